"""Starting and stopping feeds over HTTP, on a real socket of loopback."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio

from greeks_trio.api.routes.feeds import make_router
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import BROKERS, HttpConfig
from greeks_trio.model.records import StreamSession


class FakeSwitches:
    """Switches that act at once; only the feeds in `late` do not end."""

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
async def serving(switches):
    """Yield a client whose base URL is the server."""
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            run_http, HttpConfig(port=0), [make_router(switches, BROKERS)]
        )
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


async def post(switches, verb, body):
    async with serving(switches) as client:
        # The client's own JSON has no lone surrogates.
        content, kind = json.dumps(body), {"Content-Type": "application/json"}
        path = f"/v1/streaming/{verb}"
        return await client.post(path, content=content, headers=kind)


def states(response):
    return {each["broker"]: each["status"] for each in response.json()["sessions"]}


async def test_the_answer_has_the_later_sessions_of_the_named_brokers():
    switches = FakeSwitches()

    stopped = await post(switches, "stop", {"brokers": ["tastytrade", "tastytrade"]})
    started = await post(switches, "start", {"brokers": ["tastytrade", "ibkr"]})

    assert (stopped.status_code, started.status_code) == (200, 200)
    assert states(stopped) == {"tastytrade": "disconnected"}
    assert states(started) == {"ibkr": "connecting", "tastytrade": "connecting"}
    assert switches.asked == [
        ("stop", ["tastytrade"]),
        ("start", ["ibkr", "tastytrade"]),
    ]


async def test_a_stop_that_takes_long_is_accepted_and_shows_it():
    switches = FakeSwitches()
    switches.late = ["ibkr"]

    response = await post(switches, "stop", {"brokers": ["ibkr", "tastytrade"]})

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
            " Set TASTYTRADE_ENABLED=true and restart the service to enable it.",
        ),
    ],
)
async def test_the_refusal_of_another_broker_lists_the_enabled_ones(
    verb, name, status, detail
):
    switches = FakeSwitches("ibkr")

    response = await post(switches, verb, {"brokers": ["ibkr", name]})

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] == detail
    assert switches.asked == []


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
    switches = FakeSwitches()

    response = await post(switches, verb, body)

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert switches.asked == []


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize("content", [b"{", b"x", b"\xff", b'{"brokers": ["\xff"]}'])
async def test_a_body_that_is_not_json_changes_nothing(verb, content):
    switches = FakeSwitches()
    async with serving(switches) as client:
        response = await client.post(
            f"/v1/streaming/{verb}",
            content=content,
            headers={"Content-Type": "application/json"},
        )

    assert response.status_code == 400
    assert response.json()["detail"] == "The body is not JSON."
    assert switches.asked == []


async def test_the_description_has_examples_and_every_answer():
    async with serving(FakeSwitches()) as client:
        description = (await client.get("/openapi.json")).json()

    for verb, statuses in [("start", "200 409 422"), ("stop", "200 202 409 422")]:
        described = description["paths"][f"/v1/streaming/{verb}"]["post"]
        assert set(described["responses"]) >= set(statuses.split())
    wish = description["components"]["schemas"]["Wish"]
    assert wish["examples"] == [{"brokers": ["ibkr"]}]
    assert wish["properties"]["brokers"]["items"]["enum"] == ["ibkr", "tastytrade"]
