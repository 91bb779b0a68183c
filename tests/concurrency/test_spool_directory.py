"""The spool's directory on a real disk: lock, entries, bounds."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
    suppress,
)
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from greeks_trio.errors import ConfigError, SpoolUnavailable
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.spool.database import connect
from greeks_trio.spool.directory import open_spool
from greeks_trio.spool.worker import DiskWorker
from tests.factories import START, make_tick

ROOM = 2**30
GAP = FeedGap(broker="ibkr", started_at=START, reason="disconnected")
OTHER_GAP = FeedGap(broker="tastytrade", started_at=START, reason=GapReason.SILENCE)


async def test_appended_ticks_are_there_at_the_next_open(tmp_path):
    ticks = [make_tick(n) for n in range(3)]
    async with open_spool(tmp_path / "spool", max_bytes=ROOM) as opened:
        entry_id = await opened.spool.append(ticks)

    async with open_spool(tmp_path / "spool", max_bytes=ROOM) as opened:
        [entry] = await opened.spool.read(upto=opened.inherited_id, max_rows=10)

    assert opened.inherited_id == entry.id == entry_id
    assert list(entry.ticks) == ticks


async def test_a_new_directory_is_empty_and_for_its_owner_only(tmp_path):
    async with open_spool(tmp_path / "a" / "b", max_bytes=ROOM) as opened:
        await opened.spool.append([make_tick()])
        await opened.quarantine.add(make_tick(), sqlstate=None, reason="odd")
        files = list((tmp_path / "a" / "b").iterdir())

        assert opened.inherited_id == 0
        assert opened.inherited_journal == []
        assert opened.killed_at is None
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@pytest.mark.parametrize("exclusive", [True, False])
def test_every_commit_is_synced(tmp_path, exclusive):
    with closing(connect(tmp_path / "file", exclusive=exclusive)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        assert connection.execute("PRAGMA synchronous").fetchall() == [(2,)]


async def test_released_entries_are_gone_and_their_ids_are_not_used_again(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        first = await opened.spool.append([make_tick(1)])
        second = await opened.spool.append([make_tick(2)], release=[first, 99])
        await opened.spool.release([second])
        assert await opened.spool.read(upto=second, max_rows=10) == []
        assert opened.spool.size().oldest_at is None

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.inherited_id == 0
        assert await opened.spool.append([make_tick()]) == second + 1


async def test_reading_gives_whole_entries_oldest_first_up_to_an_id(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        ids = [
            await opened.spool.append([make_tick(n), make_tick(n + 100)])
            for n in range(4)
        ]

        for max_rows, expected in ((1, ids[:1]), (3, ids[:1]), (4, ids[:2]), (99, ids)):
            found = await opened.spool.read(upto=ids[-1], max_rows=max_rows)
            assert [entry.id for entry in found] == expected
        found = await opened.spool.read(upto=ids[1], max_rows=99)
        assert [entry.id for entry in found] == ids[:2]
        found = await opened.spool.read(after=ids[0], upto=ids[2], max_rows=99)
        assert [entry.id for entry in found] == ids[1:3]


async def test_any_number_of_entries_is_released_at_once(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        ids = [await opened.spool.append([make_tick(n)]) for n in range(1_203)]
        await opened.spool.release(ids[:-1])

        [left] = await opened.spool.read(upto=ids[-1], max_rows=9_999)
        assert left.id == ids[-1]
        assert opened.spool.size().rows == 1


async def test_the_size_counts_entries_and_ticks(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        await opened.spool.append([make_tick(5), make_tick(3)])
        entry_id = await opened.spool.append([make_tick(9)])
        size = opened.spool.size()
        await opened.spool.release([1])
        after = opened.spool.size()

    assert (size.entries, size.rows) == (2, 3)
    assert size.oldest_at == make_tick(3).record.received_at
    assert size.bytes % 4096 == 0
    assert (after.entries, after.rows) == (1, 1)
    assert after.oldest_at == make_tick(9).record.received_at
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.spool.size() == after
        assert opened.inherited_id == entry_id


async def test_the_next_run_counts_the_entries(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        for number in range(10):
            brokers = ["ibkr"] * (number % 3) + ["tastytrade"]
            await opened.spool.append([make_tick(number, broker=b) for b in brokers])
        before = opened.spool.size()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.spool.size() == before
        await opened.spool.release(range(11))
        after = opened.spool.size()

    assert (before.entries, before.rows) == (10, 19)
    assert before.oldest_at == make_tick(0).record.received_at
    assert (after.entries, after.rows, after.oldest_at) == (0, 0, None)


async def test_beyond_the_bound_the_oldest_unprotected_entries_are_dropped(
    tmp_path, caplog
):
    big = b'"%s"' % os.urandom(10_000).hex().encode()
    brokers = ["ibkr", "tastytrade"]
    async with open_spool(tmp_path, max_bytes=150_000) as opened:
        ids = [
            await opened.spool.append(
                [make_tick(n, source_payload=big, broker=brokers[n % 2])], protected=2
            )
            for n in range(30)
        ]
        dropped = opened.spool.pop_dropped()
        left = await opened.spool.read(upto=2**62, max_rows=100)

        assert opened.spool.size().bytes <= 150_000
        assert opened.spool.size().rows == len(left)
        assert opened.spool.pop_dropped() == []
    assert [entry.id for entry in left[:2]] == [1, 2]
    assert [each.ids[0].start for each in dropped] + [e.id for e in left[2:]] == ids[2:]
    assert dropped[0].rows == {"ibkr": 1}
    assert dropped[1].rows == {"tastytrade": 1}
    assert {each.reason for each in dropped} == {"spool-full"}
    assert dropped[0].first_at == dropped[0].last_at == make_tick(2).record.received_at
    [record] = caplog.records
    assert "spool.full dropped_rows=1 " in record.message


async def test_a_large_spool_that_is_empty_gives_its_room_back(tmp_path):
    noise = os.urandom(3_000_000).hex().encode()
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        ids = [
            await opened.spool.append([make_tick(source_payload=noise)])
            for _ in range(8)
        ]
        large = on_disk(tmp_path)
        await opened.spool.release(ids)

        assert on_disk(tmp_path) < 100_000 < 16_000_000 < large


def on_disk(directory):
    return sum(file.stat().st_size for file in directory.glob("spool.sqlite3*"))


async def test_journal_entries_are_kept_until_they_are_released(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        ids = await opened.spool.append_journal([GAP, OTHER_GAP, GAP])
        await opened.spool.release_journal([ids[0], 99])

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.inherited_journal == [(ids[1], OTHER_GAP), (ids[2], GAP)]
        await opened.spool.release_journal(ids)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.inherited_journal == []


async def test_a_second_owner_is_refused_with_the_name_of_the_first(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM):
        with pytest.raises(ConfigError) as refusal:
            async with open_spool(tmp_path, max_bytes=ROOM):
                pass

    [problem] = refusal.value.problems
    assert str(tmp_path) in problem
    assert f"process {os.getpid()}" in problem
    assert "GREEKS_SPOOL_DIR" in problem


@asynccontextmanager
async def child_process(**options):
    """Run a Python process that waits for its input."""
    child = await trio.lowlevel.open_process(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, **options
    )
    try:
        yield child
    finally:
        child.kill()
        await child.stdin.aclose()
        await child.wait()


async def test_a_child_process_does_not_inherit_the_lock(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        lock_fd = opened._owner._lock_fd
        assert not os.get_inheritable(lock_fd)
        async with child_process(close_fds=False) as child:
            assert str(tmp_path / "lock") not in open_files(child.pid)


def open_files(pid):
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return found


async def test_a_child_that_lives_on_does_not_own_the_directory(tmp_path):
    """Between fork and exec every child process shares the file of the lock."""
    async with AsyncExitStack() as stack:
        async with open_spool(tmp_path, max_bytes=ROOM) as opened:
            shared = (opened._owner._lock_fd,)
            child = await stack.enter_async_context(child_process(pass_fds=shared))
        async with open_spool(tmp_path, max_bytes=ROOM):
            assert child.poll() is None


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/nothing"])
async def test_a_directory_that_cannot_be_used_is_a_configuration_error(tmp_path, name):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ConfigError, match=r"GREEKS_SPOOL_DIR: .*(cannot|not safe)"):
        async with open_spool(tmp_path / name, max_bytes=ROOM):
            pass


async def test_an_unclean_end_is_known_at_the_next_start(tmp_path):
    async def end_with_a_bug():
        async with open_spool(tmp_path, max_bytes=ROOM) as opened:
            opened._owner.touch({})
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        await end_with_a_bug()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        age = datetime.now(UTC) - opened.killed_at
        opened._owner.touch({})
    assert timedelta(0) <= age < timedelta(minutes=1)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.killed_at is None


@pytest.mark.parametrize("ends", ["badly", "well"])
async def test_a_run_that_never_began_says_nothing_of_its_end(tmp_path, ends):
    for _ in range(2):
        with suppress(ConfigError):
            async with open_spool(tmp_path, max_bytes=ROOM) as opened:
                assert opened.killed_at is None
                if ends == "badly":
                    raise ConfigError(["The port is taken."])


async def test_a_run_that_never_began_does_not_hide_a_kill_before_it(tmp_path):
    moment = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
    (tmp_path / "alive").touch()
    os.utime(tmp_path / "alive", (moment.timestamp(), moment.timestamp()))

    for _ in range(2):
        with suppress(ConfigError):
            async with open_spool(tmp_path, max_bytes=ROOM) as opened:
                assert opened.killed_at == moment
                raise ConfigError(["The port is taken."])


@pytest.mark.parametrize("is_full", [False, True])
async def test_the_gap_of_a_kill_replaces_its_mark_once_the_disk_has_it(
    tmp_path, is_full
):
    (tmp_path / "alive").touch()
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        with disk_that_refuses(opened) if is_full else nullcontext():
            await opened.inherit([GAP])
        journal = opened.inherited_journal

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert (opened.killed_at is not None) == is_full
        assert opened.inherited_journal == ([] if is_full else journal)
    assert [entry for _, entry in journal] == [GAP]


@contextmanager
def disk_that_refuses(opened):
    def refuse(_):
        raise SpoolUnavailable("the disk is full")

    opened._store.append_journal = refuse
    yield
    del opened._store.append_journal


async def test_an_unclean_end_tells_when_each_broker_was_heard_of(tmp_path):
    moment = datetime(2026, 11, 20, 15, 30, 0, 250_000, UTC)

    async def end_with_a_bug():
        async with open_spool(tmp_path, max_bytes=ROOM) as opened:
            opened._owner.touch({"ibkr": moment})
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        await end_with_a_bug()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.heard_at == {"ibkr": moment}
        opened._owner.touch({"tastytrade": moment})

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.heard_at == {}


async def test_the_alive_mark_is_touched_until_cancelled(tmp_path, monkeypatch):
    touched, send = [], trio.Event()

    def note_touch(path, _):
        touched.append(path.name)
        if len(touched) == 2:
            trio.from_thread.run_sync(send.set)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        monkeypatch.setattr("greeks_trio.spool.directory._ALIVE_INTERVAL_S", 0.01)
        monkeypatch.setattr("greeks_trio.spool.lock._touch", note_touch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opened.run_alive_mark, dict)
            await send.wait()
            nursery.cancel_scope.cancel()
        monkeypatch.undo()

    assert touched == ["alive", "alive"]
    assert not (tmp_path / "alive").exists()


async def test_a_process_without_threads_has_a_condition_until_it_gets_one(
    tmp_path, monkeypatch
):
    conditions, alive = Conditions(), tmp_path / "alive"

    async def refuse(*_, **__):
        await trio.lowlevel.checkpoint()
        raise RuntimeError("can't start new thread")

    async def until(holds):
        with trio.fail_after(10):
            while not holds():  # noqa: ASYNC110 - a file and a condition have no event
                await trio.sleep(0.01)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        monkeypatch.setattr("greeks_trio.spool.directory._ALIVE_INTERVAL_S", 0.01)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opened.run_alive_mark, dict, conditions)
            await until(alive.exists)
            with monkeypatch.context() as patch:
                patch.setattr(trio.to_thread, "run_sync", refuse)
                await until(lambda: conditions.has(ConditionKind.SPOOL_UNAVAILABLE))
            await until(lambda: not conditions.has(ConditionKind.SPOOL_UNAVAILABLE))
            nursery.cancel_scope.cancel()

        monkeypatch.setattr(trio.to_thread, "run_sync", refuse)
    monkeypatch.undo()


async def test_a_cancelled_call_does_not_wait_for_a_disk_that_hangs():
    worker, hangs, done = DiskWorker(), threading.Event(), []
    with trio.fail_after(10):
        with trio.move_on_after(0.01):
            await worker.run(lambda: done.append(hangs.wait(20)))
        with trio.move_on_after(0.01) as waiting:
            await worker.run(lambda: done.append("too early"))
        hangs.set()
        await worker.run(lambda: done.append("next"))

    assert waiting.cancelled_caught
    assert done == [True, "next"]


async def test_calls_that_overlap_take_their_turns(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(opened.spool.append, [make_tick(number)])

        found = await opened.spool.read(upto=100, max_rows=100)

    assert [entry.id for entry in found] == list(range(1, 21))


async def test_an_append_that_is_cancelled_is_there_whole_or_not_at_all(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        for number in range(20):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(opened.spool.append, [make_tick(number)] * 3)
                    await trio.lowlevel.checkpoint()
                    if number % 2:
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
        found = await opened.spool.read(upto=100, max_rows=100)

        assert opened.spool.size().rows == 3 * len(found)
    assert all(len(entry.ticks) == 3 for entry in found)


async def test_an_append_without_ticks_only_releases(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        entry_id = await opened.spool.append([make_tick()])

        assert await opened.spool.append([], release=[entry_id]) == 0
        assert opened.spool.size().entries == 0
