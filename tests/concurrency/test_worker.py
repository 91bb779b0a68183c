"""The worker as a real process: answers, time limits, failures, and its end."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest
import trio
import trio.testing

from greeks_trio.errors import JobRefused, JobTooLong, WorkerBusy, WorkerFailed
from greeks_trio.risk.scenario_records import Holding, Holdings, ScenarioRequest
from greeks_trio.worker.process import Worker

# Answers each request with its own number of parts, or as the job says.
OTHER_WORKER = f"""
import os, sys, time
sys.path[:0] = {sys.path!r}
import msgspec
from greeks_trio.worker.frames import ANSWER, DONE, REQUEST, Request
while len(header := sys.stdin.buffer.read(REQUEST.size)) == REQUEST.size:
    body = sys.stdin.buffer.read(*REQUEST.unpack(header))
    request = msgspec.msgpack.decode(body, type=Request)
    if request.job == "sleep":
        time.sleep(600)
    if request.job == "kill":
        os.kill(os.getpid(), 9)
    if request.job == "fail":
        sys.exit("Traceback\\nValueError: a bug")
    answer = b"".join(request.parts)
    sys.stdout.buffer.write(ANSWER.pack(DONE, len(answer)) + answer)
    sys.stdout.buffer.flush()
"""


@asynccontextmanager
async def working(worker):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        yield nursery
        nursery.cancel_scope.cancel()


def other_worker(**limits):
    return Worker([sys.executable, "-c", OTHER_WORKER], **limits)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_scenarios_are_computed_in_another_process_which_ends_with_the_service():
    shares = Holding(
        broker="ibkr",
        account_id="U1",
        contract_key="SPY",
        kind="equity",
        underlying="SPY",
        units=100.0,
        money=100.0,
        underlying_price=600.0,
    )
    positions = Holdings(datetime(2026, 11, 20, tzinfo=UTC), (shares,))

    def request(**changes):
        values = {"moves": (1.0,), "vols": (0.0,), "days": (0.0,), "rate": 0.04}
        return msgspec.json.encode(ScenarioRequest(**values | changes))

    worker = Worker()
    async with working(worker):
        assert worker.pid is None
        with trio.fail_after(60):
            answer = await worker.call(
                "scenarios", request(), msgspec.json.encode(positions)
            )
            pid = worker.pid
            with pytest.raises(JobRefused, match="No option on SPX"):
                await worker.call(
                    "scenarios",
                    request(move_unit="sigma", benchmark="SPX"),
                    msgspec.json.encode(positions),
                )
        [total] = msgspec.json.decode(answer)["totals"]
        assert total["grids"][0]["profit_loss"] == [[600.0]]
        assert worker.pid == pid != os.getpid()
    assert not is_alive(pid)


async def test_a_job_that_fails_or_takes_too_long_costs_only_its_own_process():
    worker = other_worker(job_limit_s=0.5)
    async with working(worker):
        assert await worker.call("echo", b"a", b"b") == b"ab"
        first = worker.pid
        with pytest.raises(WorkerFailed, match="ValueError: a bug"):
            await worker.call("fail")
        assert not is_alive(first)
        # As the kernel does when memory runs out.
        with pytest.raises(WorkerFailed, match="signal 9 ended it"):
            await worker.call("kill")
        with trio.fail_after(4), pytest.raises(JobTooLong):
            await worker.call("sleep")
        assert worker.pid is None
        large = b"x" * 3_000_000
        assert await worker.call("echo", large) == large


async def test_a_program_that_is_missing_is_a_failure():
    with pytest.raises(WorkerFailed, match="no-such-program"):
        await Worker(["/no-such-program"]).call("echo")


async def test_a_cancelled_job_ends_its_process():
    worker = other_worker()
    async with working(worker):
        await worker.call("echo")
        pid = worker.pid
        with trio.move_on_after(0.2):
            await worker.call("sleep")
        assert not is_alive(pid)
        # The next job does not get the answer of the one before.
        assert await worker.call("echo", b"c") == b"c"


async def test_too_many_waiting_jobs_are_refused():
    worker = other_worker()
    async with working(worker) as nursery:
        for _ in range(5):
            nursery.start_soon(worker.call, "sleep")
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(3), pytest.raises(WorkerBusy):
            await worker.call("echo")


async def test_a_worker_without_jobs_ends_and_starts_again():
    worker = other_worker(idle_limit_s=0.05)
    async with working(worker):
        await worker.call("echo")
        first = worker.pid
        with trio.fail_after(10):
            while is_alive(first):  # noqa: ASYNC110 - another process has no event
                await trio.sleep(0.01)
        assert await worker.call("echo", b"d") == b"d"


async def test_the_child_ends_when_its_input_ends():
    """So it ends also after the service was killed."""
    process = await trio.run_process(
        [sys.executable, "-m", "greeks_trio.worker.child"],
        stdin=b"",
        capture_stdout=True,
        check=True,
    )

    assert process.stdout == b""


def test_the_service_starts_without_numpy():
    """It costs 20 MB and a tenth of a second; only the worker needs it."""
    code = "import sys, greeks_trio.service; print('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"
