"""Acknowledged rows that the database has lost are found, and stored again."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import trio

from greeks_trio.commands.verify import Comparison, _in_json, compare, in_words
from greeks_trio.errors import StoreUnavailable
from greeks_trio.model.records import FeedGap, LeftoverGaps
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.replayer import Replayer
from greeks_trio.pipeline.spooler import Spooler
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.postgres.acknowledged_rows import AcknowledgedRows
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.spool.acknowledged import (
    AcknowledgedLog,
    read_acknowledged,
    segments_in,
)
from greeks_trio.spool.directory import open_spool
from greeks_trio.spool.offer_again import OfferAgain
from tests.factories import clock_of_trio, make_tick, tick_bytes
from tests.fix_postgres import connect

ROOM = 2**30
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows and make partitions."""
    return emptied_database


def tick_at(number, **changes):
    at = NOW + timedelta(seconds=number)
    return make_tick(number, event_time=at, received_at=at, **changes)


TICKS = [tick_at(n, broker=("ibkr", "tastytrade")[n % 2]) for n in range(40)]
GAP = FeedGap(broker="ibkr", started_at=NOW, reason="disconnected")


async def store(database, ticks):
    async with TickStore(database).open() as sink:
        await sink.write(ticks)


def delete_since(database, number):
    """Do as a backup of that moment does."""
    with connect(database) as connection:
        connection.execute(
            "delete from greek_snapshots where received_at >= %s",
            [NOW + timedelta(seconds=number)],
        )


def stored_seconds(database):
    with connect(database) as connection:
        found = connection.execute(
            "select extract(epoch from received_at - %s)::int from greek_snapshots"
            " order by 1",
            [NOW],
        )
        return [number for (number,) in found]


def gaps(database):
    with connect(database) as connection:
        return connection.execute(
            "select broker, reason, extract(epoch from started_at - %(now)s)::int,"
            " extract(epoch from ended_at - %(now)s)::int from feed_gaps order by 1, 2",
            {"now": NOW},
        ).fetchall()


async def log_of(directory, ticks, *, entries=()):
    """Write the log as a service did that has ended."""
    log = AcknowledgedLog(directory, keep_s=60, max_bytes=ROOM)
    await log.open()
    for start in range(0, len(ticks), 5):
        log.committed(ticks[start : start + 5])
    for entry in entries:
        log.stored(entry)
    await log.close()
    return log


class Running:
    """The parts of a service that offer rows again, on a real database and disk."""

    def __init__(self, disk, database):
        self.disk = disk
        self.database = database
        self.backlog = Backlog(tick_bytes(1_000))
        self.journal = Journal()
        counts = TickCounts()
        self.spooler = Spooler(
            self.backlog, disk.spool, counts, after_s=0.05, inherited_to=lambda: 0
        )
        self.replayer = Replayer(
            self.backlog, self.spooler, RefusedRows(disk.quarantine), counts
        )
        self.rows = AcknowledgedRows(lambda: database)
        self.watch = OfferAgain(
            disk.acknowledged,
            disk.spool,
            self.backlog,
            self.journal,
            self.rows.missing,
            self.rows.newest_before,
        )

    async def look(self):
        """Let the database return, and wait until it was asked for lost rows."""
        self.backlog.is_database_up = True
        await until(lambda: not self.disk.acknowledged.is_held)

    async def lose_database(self):
        """Let the database go, and wait until that was noticed."""
        self.backlog.is_database_up = False
        await until(lambda: self.disk.acknowledged.is_held)

    async def replay(self):
        """Replay what was offered again, to the end."""
        self.backlog.is_database_up = True
        self.backlog.close()
        await self.replayer.run(TickStore(self.database).open)


async def test_only_missing_rows_are_found(database):
    await store(database, TICKS)
    delete_since(database, 30)
    rows = AcknowledgedRows(lambda: database)

    assert await rows.missing(TICKS) == TICKS[30:]
    assert await rows.missing([]) == []
    assert await rows.newest_before("ibkr", NOW + timedelta(minutes=9)) == (
        NOW + timedelta(seconds=28)
    )
    assert await rows.newest_before("ibkr", NOW) is None


@pytest.mark.parametrize("lost_since", [30, 40])
async def test_a_restored_database_gets_its_rows_back_at_the_next_start(
    database, tmp_path, lost_since, caplog
):
    await store(database, TICKS)
    await log_of(tmp_path, TICKS, entries=[GAP, leftover()])
    delete_since(database, lost_since)
    async with open_spool(tmp_path, max_bytes=ROOM, keep_s=60) as disk:
        running = Running(disk, database)
        await running.watch._look(await disk.acknowledged.newest_written())
        await running.replay()

    assert stored_seconds(database) == list(range(40))
    assert running.watch.offered == (40 if lost_since < 40 else 0)
    assert [each.entry for each in running.journal.not_on_disk()] == (
        [GAP] if lost_since < 40 else []
    )
    assert ("acknowledged.rows_missing" in caplog.text) == (lost_since < 40)


def leftover():
    return LeftoverGaps(broker="ibkr", own=(), ended_at=NOW)


async def test_the_database_is_looked_at_after_each_outage(
    database, tmp_path, nursery, autojump_clock
):
    """With a clock that jumps over the delay after an answer that did not come."""
    # The answer about the newest, then those about the oldest of each broker.
    asked, answers = [], [StoreUnavailable("away"), TICKS[-1:], [], []]

    async def find_missing(ticks):
        asked.append(list(ticks))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with open_spool(tmp_path, max_bytes=ROOM, keep_s=60) as disk:
        running = Running(disk, database)
        running.watch._find_missing = find_missing
        nursery.start_soon(running.watch.run)
        await running.look()
        assert asked == []  # nothing was acknowledged before
        disk.acknowledged.committed(TICKS)
        await running.lose_database()
        await running.look()
        nursery.cancel_scope.cancel()

    assert answers == []
    assert asked[:2] == [TICKS, TICKS]
    assert running.watch.offered == 40
    assert running.backlog.replay_to > 0


async def until(condition):
    """Wait for a change that no event tells of.

    Without a limit of its own: a clock that jumps does so while the disk works, too.
    """
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.01)


async def test_what_is_offered_waits_and_is_not_offered_at_each_attempt(
    database, tmp_path, nursery
):
    """A server that lets us in and takes no row: each attempt looks like an outage."""

    async def find_missing(ticks):
        return list(ticks)

    async def newest_before(*_):
        return None

    await log_of(tmp_path, TICKS, entries=[GAP, GAP, GAP])
    async with open_spool(tmp_path, max_bytes=ROOM, keep_s=60) as disk:
        running = Running(disk, database)
        running.watch._find_missing = find_missing
        running.watch._newest_before = newest_before
        nursery.start_soon(running.watch.run)
        offered = []
        for commit in ([], TICKS[:1], [], [], TICKS[1:2], []):
            if commit:  # something was stored meanwhile
                disk.acknowledged.committed(commit)
            await running.look()
            await running.lose_database()
            offered.append(running.watch.offered)
        nursery.cancel_scope.cancel()

    # A commit during an attempt is the probe of the next one.
    assert offered == [40, 40, 81, 81, 81, 123]
    assert [each.entry for each in running.journal.not_on_disk()] == [GAP]


async def test_verify_says_what_is_missing_and_repairs_it(database, tmp_path):
    await store(database, TICKS)
    await log_of(tmp_path, TICKS[20:], entries=[GAP])
    delete_since(database, 30)

    found = await compare(tmp_path, database, repair=False)
    repaired = await compare(tmp_path, database, repair=True)
    again = await compare(tmp_path, database, repair=False)

    assert (found.acknowledged, found.missing, found.is_whole) == (20, 10, False)
    assert found.by_minute.total() == 10
    said = "\n".join(in_words(found, repair=False))
    assert "20 ticks were acknowledged" in said
    assert "10 of them are not in the table" in said
    assert "verify --repair" in said
    assert (repaired.missing, repaired.stored_again, repaired.lost) == (10, 10, [])
    assert again.is_whole
    assert stored_seconds(database) == list(range(40))
    assert gaps(database) == [("ibkr", "disconnected", 0, None)]


async def test_rows_from_before_the_log_are_told_as_a_gap(database, tmp_path):
    await store(database, TICKS)
    await log_of(tmp_path, TICKS[20:])
    delete_since(database, 10)

    found = await compare(tmp_path, database, repair=False)
    await compare(tmp_path, database, repair=True)

    assert [(gap.broker, gap.reason) for gap in found.lost] == [
        ("ibkr", "restored backup"),
        ("tastytrade", "restored backup"),
    ]
    assert not found.is_whole
    assert any(line.startswith("lost: ibkr") for line in in_words(found, repair=False))
    assert gaps(database) == [
        ("ibkr", "restored backup", 8, 20),
        ("tastytrade", "restored backup", 9, 21),
    ]
    assert stored_seconds(database) == [*range(10), *range(20, 40)]


async def test_without_a_log_it_says_that_nothing_can_be_compared(database, tmp_path):
    found = await compare(tmp_path, database, repair=False)

    [said] = in_words(found, repair=False)
    assert "GREEKS_SPOOL_KEEP_S" in said
    assert not found.is_whole


async def test_old_files_go_when_newer_rows_are_acknowledged(tmp_path, autojump_clock):
    log = AcknowledgedLog(
        tmp_path, keep_s=60, max_bytes=ROOM, now=clock_of_trio(datetime.now(UTC))
    )
    await log.open()
    log.is_held = False
    for number in range(0, 200, 5):
        log.committed([tick_at(number)])
        await log.write()
        await trio.sleep(5)
    await log.close()

    kept = [each.ticks[0] for each in read_acknowledged(segments_in(tmp_path))]
    ages = [200 - (each.record.received_at - NOW).total_seconds() for each in kept]
    assert 60 <= max(ages) <= 60 + 2 * 15 + 5
    assert min(ages) == 5
    await trio.sleep(1_000)  # nothing is acknowledged in an outage, so nothing goes
    assert len(list(read_acknowledged(segments_in(tmp_path)))) == len(kept)


async def test_the_log_keeps_to_its_bound(tmp_path):
    log = AcknowledgedLog(tmp_path, keep_s=3_600, max_bytes=20_000)
    await log.open()
    for number in range(200):
        log.committed([tick_at(number)])
        await log.write()
    await log.close()

    sizes = [path.stat().st_size for path in segments_in(tmp_path)]
    assert sum(sizes) == log.size() <= 20_000 * 1.3
    assert {path.stat().st_mode & 0o777 for path in segments_in(tmp_path)} == {0o600}
    newest = list(read_acknowledged(segments_in(tmp_path)))[-1]
    assert list(newest.ticks) == [tick_at(199)]


async def test_a_file_that_a_kill_cut_is_read_to_its_last_whole_record(tmp_path):
    await log_of(tmp_path, TICKS)
    [path] = segments_in(tmp_path)
    os.truncate(path, path.stat().st_size - 1)

    commits = list(read_acknowledged([path]))

    assert [tick for each in commits for tick in each.ticks] == TICKS[:-5]


async def test_zero_keeps_nothing_and_deletes_what_was_kept(tmp_path):
    await log_of(tmp_path, TICKS)

    async with open_spool(tmp_path, max_bytes=ROOM, keep_s=0) as disk:
        assert not disk.acknowledged.is_on

    assert segments_in(tmp_path) == []


async def test_a_disk_that_refuses_loses_the_log_and_nothing_else(
    tmp_path, monkeypatch, caplog
):
    log = await log_of(tmp_path, TICKS[:5])

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "_append", refuse)
    for tick in TICKS[5:7]:
        log.committed([tick])
        await log.write()

    assert log.dropped > 0
    assert caplog.text.count("acknowledged.not_written") == 1


async def test_the_log_writes_each_second_and_once_more_at_its_end(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("greeks_trio.spool.acknowledged._WRITE_INTERVAL_S", 0.01)
    log = AcknowledgedLog(tmp_path, keep_s=60, max_bytes=ROOM)
    await log.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        log.committed(TICKS[:5])
        with trio.fail_after(20):
            while not list(read_acknowledged(segments_in(tmp_path))):  # noqa: ASYNC110
                await trio.sleep(0.01)  # a file has no notification
        log.committed(TICKS[5:])
        nursery.cancel_scope.cancel()

    assert len(list(read_acknowledged(segments_in(tmp_path)))) == 2


async def test_many_rows_are_written_before_the_second_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr("greeks_trio.spool.acknowledged._WRITE_INTERVAL_S", 3_600)
    monkeypatch.setattr("greeks_trio.spool.acknowledged._WRITE_BYTES", 5_000)
    log = AcknowledgedLog(tmp_path, keep_s=60, max_bytes=ROOM)
    await log.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(20):
            log.committed([tick_at(number)])
        with trio.fail_after(20):
            while not log.size():  # noqa: ASYNC110
                await trio.sleep(0.01)  # a file has no notification
        nursery.cancel_scope.cancel()

    assert len(list(read_acknowledged(segments_in(tmp_path)))) == 20


async def test_rows_that_were_copied_are_in_the_log_as_they_were_sent(
    database, tmp_path
):
    log = AcknowledgedLog(tmp_path, keep_s=60, max_bytes=ROOM)
    await log.open()
    async with TickStore(database, on_commit=log.committed).open() as sink:
        await sink.write(TICKS[:30])
        await sink.write(TICKS[20:])  # some are stored already
        await sink.write([tick_at(100)])
    await log.close()

    commits = [list(each.ticks) for each in read_acknowledged(segments_in(tmp_path))]

    assert commits == [TICKS[:30], TICKS[20:], [tick_at(100)]]
    assert list(log.newest) == [tick_at(100)]


def test_the_result_is_json_too():
    document = json.loads(msgspec.json.encode(_in_json(Comparison())))

    assert document["ok"] is False  # nothing was compared
    assert set(document) >= {"acknowledged", "missing", "minutes", "lost", "gaps"}
