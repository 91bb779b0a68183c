"""``status`` against a running service, and against other programs."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio

from tests.fix_processes import PATIENCE_S, run_ingest

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
SMALL = ("--contracts", "20", "--rate", "60")
TOKEN = "t0ken-of-the-status-test"


async def ask(stage, *arguments, **environment):
    """Return exit status and output of ``status``."""
    process = run_ingest(
        "status", *arguments, cwd=stage.directory, environment=environment
    )
    async with process as command:
        status = await command.wait_exit()
        return status, command.transcript()


async def wait_for(stage, expected, *arguments):
    """Run `status` until it gives the expected exit status, and return the output."""
    with trio.fail_after(2 * PATIENCE_S):
        while True:
            status, said = await ask(stage, *arguments)
            if status == expected:
                return said


@asynccontextmanager
async def serving(stage, **changes):
    """Yield the service's URL when both brokers are connected."""
    async with stage.simulate(*SMALL) as simulators:
        stage.configure(await simulators.read_json(), **changes)
        async with stage.serve() as service:
            line = await service.wait_line("http.listening")
            for broker in ("ibkr", "tastytrade"):
                await service.wait_line(f"feed.connected broker={broker}")
            await service.wait_line("writer.connected")
            yield line.rpartition("url=")[2]
            await service.stop()


async def test_a_healthy_service_gives_0_a_table_and_json(stage):
    """With a feed that a person has stopped too; the token is in the environment."""
    async with serving(stage, GREEKS_API_TOKEN=TOKEN) as url:
        table = await wait_for(stage, 0, "--url", url)
        said = await wait_for(stage, 0, "--url", url, "--json")
        wrong, refused = await ask(stage, "--url", url, GREEKS_API_TOKEN="wr0ng")
        none, wanted = await ask(stage, "--url", url, GREEKS_API_TOKEN="")
        async with httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
        ) as client:
            wish = {"brokers": ["ibkr"]}
            answer = await client.post("/v1/streaming/stop", json=wish, timeout=10)
            ready = await client.get("/readyz")
        stopped = await ask(stage, "--url", url)
        stopped_json = await ask(stage, "--url", url, "--json")

    answer_of_healthy = json.loads(said.splitlines()[0])
    assert f"greeks_trio at {url} is healthy" in table
    assert "of 10" in table
    assert "\x1b" not in table
    assert answer_of_healthy["verdict"] == "healthy"
    assert answer_of_healthy["problems"] == []
    assert answer_of_healthy["url"] == url
    service = answer_of_healthy["service"]
    assert {each["status"] for each in service["sessions"]} == {"connected"}
    assert service["ticks"]["lost"] == 0

    assert (wrong, none) == (2, 2)
    assert "the service refuses the token in GREEKS_API_TOKEN" in refused
    assert "GREEKS_API_TOKEN is not set here" in wanted
    assert TOKEN not in table + said + refused + wanted

    assert_is_a_note(answer.json(), ready, stopped, stopped_json)


def assert_is_a_note(answer, ready, stopped, stopped_json):
    """A feed that a person has stopped is a note, and no problem."""
    note = "ibkr: stopped by request"
    assert answer["sessions"][0]["notes"] == ["stopped by request"]
    assert (ready.status_code, ready.json()["notes"]) == (200, [note])
    assert ready.json()["warnings"] == []
    (status, table), (json_status, said) = stopped, stopped_json
    assert (status, json_status) == (0, 0)
    assert "is healthy" in table
    assert note in table
    document = json.loads(said.splitlines()[0])
    assert (document["problems"], document["notes"]) == ([], [note])


@pytest.mark.parametrize(
    ("environment", "arguments", "problem"),
    [
        ({"GREEKS_HTTP_BIND": "nowhere"}, (), "GREEKS_HTTP_BIND"),
        ({"GREEKS_HTTP_BIND": ""}, (), "use --url"),
        ({}, ("--url", "ftp://x"), "--url is not like"),
    ],
)
async def test_a_wrong_configuration_gives_2_and_json_too(
    tmp_path, environment, arguments, problem
):
    process = await trio.run_process(
        [sys.executable, "-m", "greeks_trio", "status", "--json", *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), **environment},
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )

    answer = json.loads(process.stdout)
    assert process.returncode == 2
    assert answer.keys() == {"verdict", "problems", "notes", "url", "service"}
    assert answer["verdict"] == "down"
    assert problem in answer["problems"][0]
    assert answer["problems"][0] in process.stderr.decode()


async def test_one_broker_away_gives_1_and_two_give_2(stage):
    """So does the address of another program."""
    async with stage.simulate(*SMALL) as simulators:
        endpoints = await simulators.read_json()
        another = endpoints["tastytrade"]["api_url"]
        # No program listens there.
        endpoints["tastytrade"]["api_url"] = "http://127.0.0.1:9"
        stage.configure(endpoints)
        async with stage.serve() as service:
            url = (await service.wait_line("http.listening")).rpartition("url=")[2]
            await service.wait_line("feed.connected broker=ibkr")
            degraded = await wait_for(stage, 1, "--url", url)
            foreign, not_ours = await ask(stage, "--url", another)
            assert await simulators.stop() == 0
            down = await wait_for(stage, 2, "--url", url)
            await service.stop()

    assert "is degraded" in degraded
    assert "- tastytrade:" in degraded
    assert foreign == 2
    assert "not greeks_trio" in not_ours
    assert "is down" in down
    assert "no broker is connected" in down


async def test_no_program_at_the_address_gives_2(stage):
    status, said = await ask(stage, "--url", "http://127.0.0.1:9")
    as_json, line = await ask(stage, "--url", "http://127.0.0.1:9", "--json")

    assert status == as_json == 2
    assert "is down" in said
    assert "no service answers" in said
    assert json.loads(line.splitlines()[0])["service"] is None


async def test_an_answer_that_cannot_be_unpacked_gives_2(stage, nursery):
    async def answer(stream):
        async with stream:
            await stream.receive_some()
            await stream.send_all(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
                b"Content-Length: 4\r\n\r\nnone"
            )

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    status, said = await ask(stage, "--url", f"http://127.0.0.1:{port}")

    assert status == 2
    assert "not greeks_trio" in said


async def test_a_name_that_is_not_valid_gives_2(stage):
    status, said = await ask(stage, "--url", f"http://{'a' * 64}.example")

    assert status == 2
    assert "no service answers" in said


async def test_a_program_that_accepts_and_does_not_answer_gives_2(stage):
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        status, said = await ask(stage, "--url", f"http://127.0.0.1:{port}")

    assert status == 2
    assert "no answer within 10 s" in said


async def test_a_wrong_address_is_a_problem_of_the_configuration(stage):
    status, said = await ask(stage, GREEKS_HTTP_BIND="127.0.0.1:0")

    assert status == 2
    assert "configuration: GREEKS_HTTP_BIND has port 0" in said
