"""One service of a fleet, with processes that end as a test wants."""

from __future__ import annotations

import fcntl
import os
import signal
from contextlib import contextmanager

import pytest
import trio

from greeks_trio.config.settings import Config, SpoolConfig
from greeks_trio.fleet import member as module
from greeks_trio.fleet.member import Member
from greeks_trio.fleet.plan import ServicePlan
from greeks_trio.waiting import WakeUp


class Started(list):
    """The processes that have started."""

    def __init__(self):
        super().__init__()
        self.grown = WakeUp()


class FakeProcess:
    """A process that runs for some seconds, or until a signal that it obeys."""

    def __init__(self, started, lives_s, status, obeys):
        self.pid = 1000 + len(started)
        self.started_at = trio.current_time()
        self.signals = []
        self._status = status
        self._obeys = obeys
        self._end = trio.CancelScope(deadline=trio.current_time() + lives_s)
        self.output = self._lines()
        started.append(self)
        started.grown.wake()

    async def _lines(self):
        yield b"2026-01-31T09:30:00Z INFO a.b\n"
        with self._end:
            await trio.sleep_forever()

    def send(self, number):
        self.signals.append(number)
        if number in self._obeys:
            self._status = 0 if number == signal.SIGTERM else -number
            self._end.cancel()

    def reap(self):
        return self._status


@pytest.fixture
def processes(monkeypatch):
    """A function that lets the processes of a service live so long and end so."""
    started = Started()

    def prepare(*lives, obeys=(signal.SIGTERM, signal.SIGKILL)):
        coming = iter(lives)

        def start(_):
            lives_s, status = next(coming, (1e6, 0))
            return FakeProcess(started, lives_s, status, obeys)

        monkeypatch.setattr(module, "ServiceProcess", start)
        return started

    return prepare


@pytest.fixture
def member(tmp_path):
    config = Config(spool=SpoolConfig(directory=tmp_path))
    plan = ServicePlan(name="desk", variables={}, env_file=None, config=config)
    return Member(plan, 5000)


async def starts(member, started, number):
    """Run the service until so many processes have started; return when, in seconds."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.run)
        while len(started) < number:
            await started.grown.wait()
        member.stop()
    return [each.started_at - started[0].started_at for each in started]


def pauses(moments, lives_s):
    ends = [at + lives_s for at in moments]
    return [later - end for end, later in zip(ends[:-1], moments[1:], strict=True)]


async def test_the_wait_before_a_start_grows_to_a_minute(
    processes, member, autojump_clock
):
    started = processes(*[(1, -9)] * 12)

    moments = await starts(member, started, 12)

    found = pauses(moments, 1)
    for number, pause in enumerate(found):
        most = min(60, 2**number)
        assert most / 2 <= pause <= most + 0.1, found
    assert member.restarts == 11
    assert member.last_end == "exit status 0: stopped on request"


async def test_a_service_that_ran_for_a_minute_is_started_again_soon(
    processes, member, autojump_clock
):
    started = processes((1, 1), (1, 1), (1, 1), (1, 1), (61, 1))

    moments = await starts(member, started, 6)

    assert moments[5] - moments[4] - 61 <= 1.1


@pytest.mark.parametrize("status", [2, 3, 4])
async def test_after_a_status_that_needs_a_person_the_start_comes_late(
    processes, member, autojump_clock, caplog, status
):
    started = processes((1, status), (1, status), (1, status))

    moments = await starts(member, started, 3)

    first, second = pauses(moments, 1)
    assert 30 <= first <= 60.1
    assert 60 <= second <= 120.1
    errors = [each for each in caplog.records if each.levelname == "ERROR"]
    assert len(errors) == 2
    assert f"exit status {status}: " in errors[0].getMessage()


async def test_a_hangup_brings_the_next_start_forward(
    processes, member, autojump_clock
):
    started = processes((1, 2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.run)
        await trio.sleep(2)
        assert (member.state, member.pid) == ("waiting", None)
        assert (
            member.reason == "exit status 2: wrong settings; it starts again by itself"
        )
        member.hang_up()
        await trio.sleep(0.1)
        assert len(started) == 2
        member.hang_up()
        assert started[1].signals == [signal.SIGHUP]
        member.stop()
    assert started[1].signals == [signal.SIGHUP, signal.SIGTERM]


async def test_a_service_that_does_not_stop_is_killed_at_the_limit(
    processes, member, autojump_clock, caplog
):
    caplog.set_level("INFO")
    started = processes(obeys=(signal.SIGKILL,))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.run)
        await trio.sleep(1)
        began = trio.current_time()
        member.stop()
    assert trio.current_time() - began == pytest.approx(member.stop_limit_s)
    assert member.stop_limit_s == 30
    assert started[0].signals == [signal.SIGTERM, signal.SIGKILL]
    assert "fleet.killed service=desk pid=1000 reason=it did not stop" in caplog.text
    assert "fleet.stopped service=desk reason=ended by SIGKILL" in caplog.text


@contextmanager
def lock_of_another(directory):
    with (directory / "lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock


async def test_a_service_waits_while_another_process_has_its_spool(
    processes, member, autojump_clock, tmp_path, caplog
):
    started = processes()
    with lock_of_another(tmp_path) as lock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(member.run)
            await trio.sleep(5)
            assert started == []
            assert f"process {os.getpid()} has its spool directory" in member.reason
            fcntl.flock(lock, fcntl.LOCK_UN)
            await trio.sleep(1)
            assert len(started) == 1
            member.stop()
    assert caplog.text.count("fleet.waiting") == 1


async def test_a_cancelled_fleet_leaves_no_process_behind(
    processes, member, autojump_clock
):
    started = processes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(member.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert started[0].signals == [signal.SIGTERM]
    assert member.pid is None
