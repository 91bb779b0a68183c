"""The HTTP interface on a real socket of loopback."""

from __future__ import annotations

import json
import logging
import socket
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio

from greeks_trio.api.access.browser_sessions import brings_token
from greeks_trio.api.routes import status
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import BROKERS, HttpConfig, Secret
from greeks_trio.errors import ConfigError
from greeks_trio.model.records import StreamSession

# Far below any keep-alive or grace period.
STOP_LIMIT_S = 1.0


SCHEMA = {"latency_ms": {"type": "object"}}


class FakeState:
    """The status of a service, as a test sets it."""

    def __init__(self):
        self.problems = []
        self.fails = False

    def sessions(self):
        if self.fails:
            raise KeyError("s3cret")
        return [StreamSession(broker="ibkr", status="connected", subscription_count=7)]

    def readiness(self):
        return self.problems

    def warnings(self):
        return ["latency: above the SLO"]

    def notes(self):
        return ["ibkr: stopped by request"]

    def source(self):
        return status.StatusSource(
            sessions=self.sessions,
            readiness=self.readiness,
            warnings=self.warnings,
            notes=self.notes,
            figures=steps_of_figures,
        )


def figures():
    return {"latency_ms": {"p50": 1.5, "p99": float("nan")}}


def steps_of_figures():
    yield
    return figures()


@asynccontextmanager
async def serving(state=None, **config):
    """Yield a client whose base URL is the server."""
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            run_http,
            HttpConfig(port=0, **config),
            [
                status.make_router(
                    (state or FakeState()).source(), BROKERS, SCHEMA, figures()
                )
            ],
        )
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


async def test_livez_needs_nothing():
    async with serving() as client:
        response = await client.get("/livez")

    assert response.status_code == 200


async def test_readyz_gives_the_reasons_why_not():
    state = FakeState()
    async with serving(state) as client:
        ready = await client.get("/readyz")
        state.problems = ["database: not connected yet"]
        not_ready = await client.get("/readyz")

    assert ready.status_code == 200
    assert not_ready.status_code == 503
    assert ready.json() == {
        "status": "ready",
        "problems": [],
        "warnings": ["latency: above the SLO"],
        "notes": ["ibkr: stopped by request"],
    }
    assert not_ready.json() == {
        "status": "not ready",
        "problems": ["database: not connected yet"],
        "warnings": ["latency: above the SLO"],
        "notes": ["ibkr: stopped by request"],
    }


async def test_the_status_has_the_sessions_and_the_numbers():
    async with serving() as client:
        response = await client.get("/v1/streaming/status")

    status = response.json()
    assert status["readiness"] == {
        "status": "ready",
        "problems": [],
        "warnings": ["latency: above the SLO"],
        "notes": ["ibkr: stopped by request"],
    }
    assert status["sessions"] == [
        {
            "broker": "ibkr",
            "status": "connected",
            "last_heartbeat_at": None,
            "last_message_at": None,
            "reconnect_attempt": 0,
            "subscription_count": 7,
            "last_error": None,
            "notes": [],
        }
    ]
    assert status["latency_ms"] == {"p50": 1.5, "p99": None}


async def test_the_description_names_every_path():
    async with serving() as client:
        description = (await client.get("/openapi.json")).json()

    assert set(description["paths"]) == {
        "/livez",
        "/readyz",
        "/v1/session",
        "/v1/streaming/status",
    }
    assert "last_heartbeat_at" in json.dumps(description)


async def test_the_description_of_the_interface_is_compressed_and_not_sent_twice():
    async with serving() as client:
        plain = await client.get(
            "/openapi.json", headers={"Accept-Encoding": "identity"}
        )
        packed = await client.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
        known = await client.get(
            "/openapi.json", headers={"If-None-Match": plain.headers["etag"]}
        )

    assert packed.json() == plain.json()
    assert packed.headers["content-type"] == "application/json"
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 3
    assert "content-encoding" not in plain.headers
    assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize("path", ["/livez", "/nothing-here"])
async def test_every_answer_has_the_security_headers(path):
    async with serving() as client:
        headers = (await client.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "", "["])
async def test_a_foreign_host_header_is_refused_on_loopback(host):
    async with serving() as client:
        response = await client.get("/v1/streaming/status", headers={"Host": host})

    assert response.status_code == 421
    assert "sessions" not in response.text


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:2", "LOCALHOST:3"])
async def test_every_name_of_loopback_is_fine(host):
    async with serving() as client:
        response = await client.get("/livez", headers={"Host": host})

    assert response.status_code == 200


async def test_beyond_loopback_the_token_is_needed():
    config = {"host": "0.0.0.0", "token": Secret("t0ken")}  # noqa: S104
    async with serving(**config) as client:
        path = "/v1/streaming/status"
        without = await client.get(path)
        wrong = await client.get(path, headers={"Authorization": "Bearer t0keN"})
        right = await client.get(path, headers={"Authorization": "Bearer t0ken"})
        alive = await client.get("/livez", headers={"Host": "probe.example"})

    assert without.status_code == wrong.status_code == 401
    assert without.headers["www-authenticate"] == "Bearer"
    assert right.status_code == alive.status_code == 200


@pytest.mark.parametrize(
    ("header", "is_right"),
    [
        (b"Bearer t\xc3\xb6ken", True),
        (b"bearer  t\xc3\xb6ken ", True),
        (b"Bearer t", False),
        (b"Bearer", False),
        (b"Basic t\xc3\xb6ken", False),
        (b"", False),
        (b"\xff\xfe", False),
    ],
)
def test_only_the_whole_token_as_bearer_is_right(header, is_right):
    assert brings_token(header, Secret("t\u00f6ken")) is is_right


async def test_a_bug_in_an_answer_stays_in_that_answer(caplog):
    state = FakeState()
    state.fails = True
    async with serving(state) as client:
        broken = await client.get("/v1/streaming/status")
        fine = await client.get("/livez")

    assert broken.status_code == 500
    assert "s3cret" not in broken.text
    assert fine.status_code == 200


async def test_a_port_that_is_taken_is_a_problem_of_the_configuration():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = HttpConfig(port=taken.getsockname()[1])

        with pytest.raises(ConfigError, match="GREEKS_HTTP_BIND"):
            await run_http(config, [])


async def test_an_address_that_is_not_ours_is_one_too():
    with pytest.raises(ConfigError, match="GREEKS_HTTP_BIND"):
        await run_http(HttpConfig(host="192.0.2.1", token=Secret("t")), [])


async def test_a_cancellation_stops_it_at_once_and_frees_the_port():
    """Also while clients keep their connections open, one of them with half a request."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(run_http, HttpConfig(port=0), [])
            port = int(url.rpartition(":")[2])
            idle = await trio.open_tcp_stream("127.0.0.1", port)
            halfway = await trio.open_tcp_stream("127.0.0.1", port)
            await halfway.send_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
            async with idle, halfway:
                cancelled_at = trio.current_time()
                scope.cancel()

    assert trio.current_time() - cancelled_at < STOP_LIMIT_S
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    ("host", "warnings"),
    [("127.0.0.1", 0), ("localhost", 0), ("0.0.0.0", 1)],  # noqa: S104
)
async def test_beyond_loopback_the_log_says_that_the_token_can_be_read(
    caplog, host, warnings
):
    async with serving(host=host, token=Secret("t0ken")):
        pass

    assert caplog.text.count("http.unencrypted") == warnings
    assert "t0ken" not in caplog.text


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]")],  # noqa: S104
)
async def test_the_log_names_the_page_for_a_browser_on_this_machine(
    caplog, host, shown
):
    caplog.set_level(logging.INFO)
    async with trio.open_nursery() as nursery:
        url = await nursery.start(run_http, HttpConfig(host=host, port=0), [])
        nursery.cancel_scope.cancel()

    port = url.rpartition(":")[2]
    assert f"http.listening page=http://{shown}:{port}/ url={url}" in caplog.text


async def test_ipv6_has_brackets_in_its_url():
    async with trio.open_nursery() as nursery:
        url = await nursery.start(run_http, HttpConfig(host="::1", port=0), [])
        nursery.cancel_scope.cancel()

    assert url.startswith("http://[::1]:")


async def test_requests_are_not_logged(caplog):
    with caplog.at_level(logging.INFO):
        async with serving() as client:
            await client.get("/livez?token=s3cret")

    ours = [
        record.getMessage() for record in caplog.records if "http" not in record.name
    ]
    assert not any("s3cret" in message for message in ours)
