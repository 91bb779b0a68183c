"""The HTTP interface of a fleet, over services of our own that answer as a test wants."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from fastapi import APIRouter, Response

from greeks_trio.api.answers import json_answer
from greeks_trio.config.settings import Config, HttpConfig
from greeks_trio.fleet.member import Member
from greeks_trio.fleet.metrics import join_metrics
from greeks_trio.fleet.plan import ServicePlan
from greeks_trio.fleet.process import ServiceProcess
from greeks_trio.fleet.routes import make_router
from greeks_trio.fleet.watch import ServiceWatch
from tests.concurrency.api_server import BEARER, TOKEN, WITH_TOKEN, serving

STATUS = {
    "readiness": {"status": "ready", "problems": [], "warnings": [], "notes": []},
    "sessions": [{"broker": "ibkr", "status": "connected"}],
    "ticks": {"received": {"ibkr": 10}},
}
METRICS = """\
# HELP greeks_ticks_total Ticks.
# TYPE greeks_ticks_total counter
greeks_ticks_total{broker="ibkr"} 3.0
# HELP greeks_up Whether.
# TYPE greeks_up gauge
greeks_up 1.0
"""


NO_CONNECTION = "no connection"
ANOTHER = "another program answers at its address"


class OneService:
    """A service whose answers can be changed."""

    def __init__(self):
        self.status = STATUS
        self.metrics = METRICS
        self.router = APIRouter()
        self.router.get("/v1/streaming/status")(self._status)
        self.router.get("/metrics")(self._metrics)

    async def _status(self):
        return json_answer(self.status)

    async def _metrics(self):
        return Response(self.metrics)


def watch_of(name, port, **http):
    """Return the watch of a service that runs at a port of this machine."""
    config = Config(http=HttpConfig(port=port, **http))
    plan = ServicePlan(name=name, variables={}, env_file=None, config=config)
    member = Member(plan, port)
    member._process = object.__new__(ServiceProcess)
    member._process.pid = 1
    return ServiceWatch(member)


def faults_of(watches):
    # Behind the colon: the words of the operating system.
    return [each.fault.partition(":")[0] for each in watches]


@asynccontextmanager
async def fleet_of_two(services, *, fault="", **config):
    """Yield the client of a fleet over a service that answers and one that does not."""
    async with (
        serving(routers=[services.router], **WITH_TOKEN) as one,
        trio.open_nursery() as nursery,
    ):
        watches = [watch_of("desk_a", one.port, **WITH_TOKEN), watch_of("desk_b", 1)]
        for each in watches:
            nursery.start_soon(each.run)
        async with serving(routers=[make_router(lambda: watches)], **config) as fleet:
            with trio.move_on_after(10):
                while faults_of(watches) != [fault, NO_CONNECTION]:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            assert faults_of(watches) == [fault, NO_CONNECTION]
            yield fleet.client, watches
        nursery.cancel_scope.cancel()


async def test_a_service_without_an_answer_is_named_and_never_left_out():
    async with fleet_of_two(OneService()) as (client, _):
        ready = await client.get("/readyz")
        status = (await client.get("/v1/status")).json()
        metrics = (await client.get("/metrics")).text
        assert (await client.get("/healthz")).json() == {"status": "alive"}

    assert ready.status_code == 503
    [[name, [reason]]] = ready.json()["services"].items()
    assert name == "desk_b"
    assert reason.startswith("no answer since 20")
    assert NO_CONNECTION in reason
    assert list(status["services"]) == ["desk_a", "desk_b"]
    assert [each["health"] for each in status["services"].values()] == [
        "healthy",
        "down",
    ]
    assert status["summary"]["health"] == "down"
    assert list(status["summary"]["no_answer_since"]) == ["desk_b"]
    assert status["summary"]["ticks_per_second_unknown"] == 2
    assert status["services"]["desk_a"]["status"]["ticks"] == STATUS["ticks"]
    assert 'greeks_fleet_service_up{service="desk_a"} 1\n' in metrics
    assert 'greeks_fleet_service_up{service="desk_b"} 0\n' in metrics
    assert 'greeks_ticks_total{service="desk_a",broker="ibkr"} 3.0\n' in metrics
    assert 'greeks_up{service="desk_a"} 1.0\n' in metrics
    assert TOKEN not in metrics + ready.text + str(status)


async def test_a_service_that_is_not_ready_says_why():
    service = OneService()
    readiness = {"status": "not ready", "problems": ["ibkr: not logged in"]}
    service.status = {**STATUS, "readiness": readiness}
    async with fleet_of_two(service) as (client, _):
        body = (await client.get("/readyz")).json()
        status = (await client.get("/v1/status")).json()["services"]["desk_a"]

    assert body["services"]["desk_a"] == ["ibkr: not logged in"]
    assert (status["health"], status["is_ready"]) == ("degraded", False)
    assert status["no_answer_since"] is None


async def test_an_answer_that_is_too_old_counts_as_none():
    async with fleet_of_two(OneService()) as (client, watches):
        watches[0]._answered -= 60
        body = (await client.get("/readyz")).json()
        status = (await client.get("/v1/status")).json()["services"]["desk_a"]

    assert "it does not answer in time" in body["services"]["desk_a"][0]
    assert status["answer_age_s"] >= 60
    assert status["no_answer_since"] == status["answered_at"]
    assert status["ticks_per_second"] is None


async def test_the_answer_of_a_process_that_has_ended_counts_as_none_at_once():
    async with fleet_of_two(OneService()) as (client, watches):
        member = watches[0].member
        member.attempts = watches[0]._attempt = 1
        before = (await client.get("/readyz")).json()["services"]
        process, member._process = member._process, None
        member.reason = "ended by SIGKILL; it starts again by itself"
        ended = (await client.get("/readyz")).json()["services"]
        member._process, member.reason, member.attempts = process, "", 2
        again = (await client.get("/readyz")).json()["services"]

    assert "desk_a" not in before
    assert ended["desk_a"][0].endswith(": ended by SIGKILL; it starts again by itself")
    assert again["desk_a"][0].endswith(": it has just ended")


@pytest.mark.parametrize("odd", [[], {"ticks": 5}, {"readiness": {"problems": 1}}])
async def test_an_answer_of_another_program_is_no_answer(odd):
    service = OneService()
    service.status = odd
    async with fleet_of_two(service, fault=ANOTHER) as (client, _):
        body = (await client.get("/readyz")).json()

    assert body["services"]["desk_a"][0].endswith(ANOTHER)


async def test_only_health_is_told_without_the_token():
    async with fleet_of_two(OneService(), **WITH_TOKEN) as (client, _):
        for path in ("/readyz", "/v1/status", "/metrics"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers=BEARER)).status_code in (200, 503)
        assert (await client.get("/healthz")).status_code == 200


def test_each_family_comes_once_and_another_type_of_it_is_named():
    other = METRICS.replace("greeks_up gauge", "greeks_up counter")

    lines, left_out = join_metrics({"a": METRICS, "b": other})

    assert lines == [
        "# HELP greeks_ticks_total Ticks.",
        "# TYPE greeks_ticks_total counter",
        'greeks_ticks_total{service="a",broker="ibkr"} 3.0',
        'greeks_ticks_total{service="b",broker="ibkr"} 3.0',
        "# HELP greeks_up Whether.",
        "# TYPE greeks_up gauge",
        'greeks_up{service="a"} 1.0',
    ]
    assert left_out == [("b", "greeks_up")]
