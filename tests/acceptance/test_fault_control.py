from __future__ import annotations

import json

import httpx2
import pytest
import trio

from greeks_trio.simulators.control import MAX_FAULTS, Control
from greeks_trio.simulators.registry import SIMULATORS
from greeks_trio.simulators.tastytrade.endpoints import TastytradeEndpoints
from tests.acceptance.dxlink_client import open_client
from tests.acceptance.test_simulate import open_simulators

JSON = {"Content-Type": "application/json"}


class Triggered:
    """Verbs that only keep their arguments.  Each lasts until `over` is set."""

    def __init__(self):
        self.over = trio.Event()
        self.verbs = {"tastytrade": {"drop": self._drop}}
        self._send, self.calls = trio.open_memory_channel(MAX_FAULTS)

    async def _drop(self, arg):
        self._send.send_nowait(arg)
        await self.over.wait()

    def close(self):
        self._send.close()
        self.calls.close()


@pytest.fixture
def triggered():
    triggered = Triggered()
    yield triggered
    triggered.close()


@pytest.fixture
async def http(nursery, triggered):
    url = await nursery.start(Control(triggered.verbs).run, 0)
    async with httpx2.AsyncClient(base_url=url) as http:
        yield http


async def test_the_list_describes_each_fault_of_a_running_broker(http):
    answer = await http.get("/faults")

    assert answer.status_code == 200
    [(broker, kinds)] = answer.json().items()
    assert broker == "tastytrade"
    assert kinds.keys() == SIMULATORS["tastytrade"].faults.keys()
    assert kinds["drop"] == {
        "help": "closes every connection and refuses new ones for ARG seconds",
        "default": 5.0,
        "most": 86400.0,
    }


@pytest.mark.parametrize(
    ("body", "arg"),
    [
        ('{"fault": "tastytrade:drop", "arg": 2.5}', 2.5),
        ('{"fault": "tastytrade:drop"}', 5.0),
        ('{"fault": "tastytrade:drop:7"}', 7.0),
        ('"tastytrade:drop:0"', 0.0),
    ],
)
async def test_a_fault_that_is_posted_happens_at_once(http, triggered, body, arg):
    answer = await http.post("/faults", content=body, headers=JSON)

    assert answer.status_code == 202
    assert answer.json() == {"broker": "tastytrade", "fault": "drop", "arg": arg}
    assert await triggered.calls.receive() == arg


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "the body is not"),
        ("17", "the body is not"),
        ('{"arg": 5}', "the body is not"),
        ("[" * 100_000, "the body is not"),
        ('"tastytrade:explode"', "unknown fault 'explode'"),
        ('"schwab:drop"', "unknown broker 'schwab'"),
        ('"tastytrade:drop@3"', "is not BROKER:NAME[:ARG]"),
        ('{"fault": "tastytrade:drop", "arg": -1}', "is not a number from 0 up"),
        ('{"fault": "tastytrade:drop:1", "arg": 1}', "is not a number from 0 up"),
        ('{"fault": "tastytrade:close-1000", "arg": 1}', "takes no argument"),
        ('{"fault": "tastytrade:drop", "arg": 1e9}', "is above 86400"),
        ('"ibkr:drop"', "ibkr does not run"),
    ],
)
async def test_a_fault_that_is_not_possible_is_refused_with_a_reason(
    http, body, reason
):
    answer = await http.post("/faults", content=body, headers=JSON)

    assert answer.status_code == 400
    assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/faults", {"Content-Type": "text/plain"}, 415),
        ("POST", "/faults", {}, 415),
        ("POST", "/faults", JSON | {"Host": "evil.example"}, 403),
        ("GET", "/faults", {"Host": "evil.example:80"}, 403),
        ("GET", "/", {}, 404),
        ("DELETE", "/faults", {}, 405),
    ],
)
async def test_a_request_that_a_web_page_could_send_does_nothing(
    http, triggered, method, path, headers, status
):
    answer = await http.request(
        method, path, content='"tastytrade:drop"', headers=headers
    )

    assert answer.status_code == status
    with pytest.raises(trio.WouldBlock):
        triggered.calls.receive_nowait()


async def test_the_number_of_faults_at_a_time_is_limited(http, triggered):
    async def post():
        return await http.post("/faults", content='"tastytrade:drop"', headers=JSON)

    statuses = [(await post()).status_code for _ in range(MAX_FAULTS + 1)]
    for _ in range(MAX_FAULTS):
        await triggered.calls.receive()
    triggered.over.set()
    await trio.testing.wait_all_tasks_blocked()
    after = await post()

    assert statuses == [202] * MAX_FAULTS + [503]
    assert after.status_code == 202


async def test_the_simulators_announce_the_endpoint_and_cause_its_faults():
    options = {"contracts": 4, "only": "tastytrade", "control_port": 0}
    async with open_simulators(**options) as (process, announced):
        tastytrade = TastytradeEndpoints(**announced["tastytrade"])
        async with open_client(tastytrade) as client:
            wish = {"fault": "tastytrade:drop", "arg": 0}
            async with httpx2.AsyncClient() as http:
                answer = await http.post(
                    f"{announced['control_url']}/faults", json=wish
                )
            code = await client.receive_to_end()
        process.terminate()
        status = await process.wait()

    assert (answer.status_code, code, status) == (202, 1012, 0)


async def test_a_stop_ends_a_fault_under_way():
    options = {"contracts": 4, "control_port": 0}
    async with open_simulators(**options) as (process, announced):
        tastytrade = TastytradeEndpoints(**announced["tastytrade"])
        async with open_client(tastytrade) as client:
            async with httpx2.AsyncClient() as http:
                url = f"{announced['control_url']}/faults"
                listed = (await http.get(url)).json()
                for broker in listed:
                    body = json.dumps(f"{broker}:silent:900")
                    await http.post(url, content=body, headers=JSON)
            process.terminate()
            code = await client.receive_to_end()
        with trio.fail_after(5):
            status = await process.wait()

    assert (code, status) == (1000, 0)
    assert listed.keys() == {"ibkr", "tastytrade"}
