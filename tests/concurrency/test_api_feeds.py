"""Starting and stopping feeds over HTTP, on a real socket of loopback."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio

from greeks_trio.api.routes import feeds as streaming
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import HttpConfig
from greeks_trio.model.records import StreamSession


class FakeControl:
    """Switches that do at once what is asked, but for `late`, which go on ending."""

    def __init__(self, *enabled):
        self.enabled = list(enabled) or ["ibkr", "tastytrade"]
        self.status = dict.fromkeys(self.enabled, "connected")
        self.late = []
        self.asked = []

    def sessions(self, brokers):
        return [
            StreamSession(broker=broker, status=status)
            for broker, status in self.status.items()
            if broker in brokers
        ]

    async def start(self, brokers):
        await self._turn("start", brokers, "connecting")

    async def stop(self, brokers):
        ended = [each for each in brokers if each not in self.late]
        await self._turn("stop", ended, "disconnected")
        return self.late

    async def _turn(self, verb, brokers, status):
        await trio.lowlevel.checkpoint()
        self.asked.append((verb, list(brokers)))
        self.status |= dict.fromkeys(brokers, status)


@asynccontextmanager
async def serving(control):
    """Yield a client whose base URL is the server."""
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            run_http, HttpConfig(port=0), [streaming.make_router(control)]
        )
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


async def post(control, verb, body):
    async with serving(control) as client:
        # Not the client's own JSON, which has no lone surrogates.
        content, kind = json.dumps(body), {"Content-Type": "application/json"}
        path = f"/v1/streaming/{verb}"
        return await client.post(path, content=content, headers=kind)


def states(response):
    return {each["broker"]: each["status"] for each in response.json()["sessions"]}


async def test_the_answer_has_the_sessions_of_those_who_are_named_afterwards():
    control = FakeControl()

    stopped = await post(control, "stop", {"brokers": ["tastytrade", "tastytrade"]})
    started = await post(control, "start", {"brokers": ["tastytrade", "ibkr"]})

    assert (stopped.status_code, started.status_code) == (200, 200)
    assert states(stopped) == {"tastytrade": "disconnected"}
    assert states(started) == {"ibkr": "connecting", "tastytrade": "connecting"}
    assert control.asked == [
        ("stop", ["tastytrade"]),
        ("start", ["ibkr", "tastytrade"]),
    ]


async def test_a_stop_that_takes_long_is_accepted_and_shows_it():
    control = FakeControl()
    control.late = ["ibkr"]

    response = await post(control, "stop", {"brokers": ["ibkr", "tastytrade"]})

    assert response.status_code == 202
    assert states(response) == {"ibkr": "connected", "tastytrade": "disconnected"}


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize(
    ("name", "status", "detail"),
    [
        ("schwab", 422, "There is no broker 'schwab'. Enabled: ibkr."),
        ("\ud800'\n", 422, 'There is no broker "\\ud800\'\\n". Enabled: ibkr.'),
        (
            "tastytrade",
            409,
            "tastytrade is not enabled. Enabled: ibkr."
            " TASTYTRADE_ENABLED=true and a restart enable it.",
        ),
    ],
)
async def test_who_names_another_is_told_who_can_be_named(verb, name, status, detail):
    control = FakeControl("ibkr")

    response = await post(control, verb, {"brokers": ["ibkr", name]})

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] == detail
    assert control.asked == []


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"brokers": []},
        {"brokers": "ibkr"},
        {"brokers": [None]},
        {"brokers": ["\ud800"]},
        {"brokers": ["ibkr"] * 17},
        {"brokers": ["ibkr"], "force": True},
        ["ibkr"],
        None,
    ],
)
async def test_a_body_that_says_something_else_changes_nothing(verb, body):
    control = FakeControl()

    response = await post(control, verb, body)

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert control.asked == []


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize("content", [b"{", b"x", b"\xff", b'{"brokers": ["\xff"]}'])
async def test_a_body_that_is_not_json_changes_nothing(verb, content):
    control = FakeControl()
    async with serving(control) as client:
        response = await client.post(
            f"/v1/streaming/{verb}",
            content=content,
            headers={"Content-Type": "application/json"},
        )

    assert response.status_code == 400
    assert response.json()["detail"] == "The body is not JSON."
    assert control.asked == []


async def test_the_description_has_examples_and_every_answer():
    async with serving(FakeControl()) as client:
        description = (await client.get("/openapi.json")).json()

    for verb, statuses in [("start", "200 409 422"), ("stop", "200 202 409 422")]:
        described = description["paths"][f"/v1/streaming/{verb}"]["post"]
        assert set(described["responses"]) >= set(statuses.split())
    wish = description["components"]["schemas"]["Wish"]
    assert wish["examples"] == [{"brokers": ["ibkr"]}]
    assert wish["properties"]["brokers"]["items"]["enum"] == ["ibkr", "tastytrade"]
