"""``status`` against a running service, and against other programs.

Most calls are made in this process; each exit status is that of a process once.
"""

from __future__ import annotations

import gzip
import json
import signal
from contextlib import asynccontextmanager

import httpx2
import pytest
import trio

from greeks_trio.commands.status import LIMIT_S, run_status
from greeks_trio.errors import ConfigError
from tests.fix_processes import PATIENCE_S, run_ingest

pytestmark = pytest.mark.timeout(120)

SMALL = ("--contracts", "20", "--rate", "60")
TOKEN = "t0ken-of-the-status-test"
NO_PROGRAM = "http://127.0.0.1:9"


@pytest.fixture
def ask(monkeypatch, capsys, tmp_path):
    """Return a function for exit status and output, with `tmp_path` as the directory."""

    async def ask(*, url=None, as_json=False, limit_s=LIMIT_S, **environment):
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name, value in environment.items():
                patch.setenv(name, value)
            status = await run_status(url=url, as_json=as_json, limit_s=limit_s)
        return status, capsys.readouterr().out

    return ask


async def ask_process(directory, *arguments, **environment):
    """Return exit status and output of ``status``."""
    process = run_ingest("status", *arguments, cwd=directory, environment=environment)
    async with process as command:
        status = await command.wait_exit()
        return status, command.transcript()


async def wait_for(ask, expected, **options):
    """Ask until it gives the expected exit status, and return the output."""
    with trio.fail_after(2 * PATIENCE_S):
        while True:
            status, said = await ask(**options)
            if status == expected:
                return said
            await trio.sleep(0.1)  # it is another program that changes


async def wait_connected(client):
    """Wait until every broker is connected."""
    with trio.fail_after(2 * PATIENCE_S):
        while True:
            answer = await client.get("/v1/streaming/status")
            sessions = answer.json()["sessions"]
            if {each["status"] for each in sessions} == {"connected"}:
                return
            await trio.sleep(0.1)


@asynccontextmanager
async def serving(stage, **changes):
    """Yield (simulators, endpoints, the service's URL) when both brokers are connected."""
    async with stage.simulate(*SMALL, "--control-port", "0") as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints, **changes)
        async with stage.serve() as service:
            line = await service.wait_line("http.listening")
            for broker in ("ibkr", "tastytrade"):
                await service.wait_line(f"feed.connected broker={broker}")
            await service.wait_line("writer.connected")
            yield simulators, endpoints, line.rpartition("url=")[2]
            await service.stop()


async def test_a_service_is_healthy_then_degraded_then_down(stage, ask):
    """A feed that a person has stopped leaves it healthy; the token is in the file.

    One broker away gives 1, and two give 2, as does the address of another program.
    """
    async with serving(stage, GREEKS_API_TOKEN=TOKEN) as (simulators, endpoints, url):
        await wait_for(ask, 0, url=url)
        status, table = await ask_process(stage.directory, "--url", url)
        watch = ("risk", "--watch", "--url", url)
        async with run_ingest(*watch, cwd=stage.directory) as watching:
            await watching.wait_line("together", number=2, stream="stdout")
            assert await watching.stop(signal.SIGINT) == 0
            assert "stopping" not in watching.transcript()
        said = await wait_for(ask, 0, url=url, as_json=True)
        wrong, refused = await ask(url=url, GREEKS_API_TOKEN="wr0ng")
        none, wanted = await ask(url=url, GREEKS_API_TOKEN="")
        async with httpx2.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
        ) as client:
            wish = {"brokers": ["ibkr"]}
            answer = await client.post("/v1/streaming/stop", json=wish, timeout=30)
            ready = await client.get("/readyz")
            stopped = await ask(url=url)
            stopped_json = await ask(url=url, as_json=True)
            await client.post("/v1/streaming/start", json=wish, timeout=30)
            # Else both brokers are away for a moment, which is another state.
            await wait_connected(client)
            fault = {"fault": "tastytrade:drop", "arg": 900}
            await client.post(f"{endpoints['control_url']}/faults", json=fault)
        degraded = await wait_for(ask, 1, url=url)
        degraded_process, _ = await ask_process(stage.directory, "--url", url)
        foreign, not_ours = await ask(url=endpoints["control_url"])
        assert await simulators.stop() == 0
        down = await wait_for(ask, 2, url=url)

    assert (status, degraded_process, foreign) == (0, 1, 2)
    assert "is degraded" in degraded
    assert "- tastytrade:" in degraded
    assert "not greeks_trio" in not_ours
    assert "is down" in down
    assert "no broker is connected" in down

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
    ("environment", "url", "problem"),
    [
        ({"GREEKS_HTTP_BIND": "nowhere"}, None, "GREEKS_HTTP_BIND"),
        ({"GREEKS_HTTP_BIND": ""}, None, "use --url"),
        ({"GREEKS_HTTP_BIND": "127.0.0.1:0"}, None, "GREEKS_HTTP_BIND has port 0"),
        ({}, "ftp://x", "--url is not like"),
    ],
)
async def test_a_wrong_configuration_is_an_error_and_in_json_too(
    ask, capsys, environment, url, problem
):
    with pytest.raises(ConfigError) as caught:
        await ask(url=url, as_json=True, **environment)

    answer = json.loads(capsys.readouterr().out)
    assert answer.keys() == {"verdict", "problems", "notes", "url", "service"}
    assert answer["verdict"] == "down"
    assert problem in answer["problems"][0]
    assert answer["problems"] == list(caught.value.problems)


async def test_a_process_with_a_wrong_configuration_gives_2_and_its_problem(tmp_path):
    process = run_ingest(
        "status", "--json", cwd=tmp_path, environment={"GREEKS_HTTP_BIND": "nowhere"}
    )
    async with process as command:
        assert await command.wait_exit() == 2
        [problem] = (await command.read_json())["problems"]

    assert problem in "\n".join(command.lines["stderr"])


async def test_no_program_at_the_address_gives_2(tmp_path, ask):
    process_status, _ = await ask_process(tmp_path, "--url", NO_PROGRAM)
    status, said = await ask(url=NO_PROGRAM)
    as_json, line = await ask(url=NO_PROGRAM, as_json=True)

    assert process_status == status == as_json == 2
    assert "is down" in said
    assert "no service answers" in said
    assert json.loads(line)["service"] is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"none", "it sent an answer that is no gzip"),
        (gzip.compress(bytes(9 * 2**20)), "it sent an answer of more than 8 MiB"),
    ],
    ids=["broken", "bomb"],
)
async def test_an_answer_that_cannot_be_unpacked_gives_2(
    nursery, tmp_path, monkeypatch, capsys, body, reason
):
    async def answer(stream):
        async with stream:
            await stream.receive_some()
            await stream.send_all(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
            )

    monkeypatch.chdir(tmp_path)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    nursery.start_soon(trio.serve_listeners, answer, [listener])
    status = await run_status(url=f"http://127.0.0.1:{port}", as_json=False)
    nursery.cancel_scope.cancel()

    assert status == 2
    said = " ".join(capsys.readouterr().out.split())
    assert f"not greeks_trio; {reason}" in said


async def test_a_name_that_is_not_valid_gives_2(ask):
    status, said = await ask(url=f"http://{'a' * 64}.example")

    assert status == 2
    assert "no service answers" in said


async def test_a_program_that_accepts_and_does_not_answer_gives_2(ask):
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        status, said = await ask(url=f"http://127.0.0.1:{port}", limit_s=0.5)

    assert status == 2
    assert "no answer within 0.5 s" in said
    assert LIMIT_S == 10.0
