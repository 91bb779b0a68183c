"""From the disk into the real table: rows that are stored already are not stored again."""

from __future__ import annotations

import pytest
import trio

from greeks_trio.pipeline import replayer as replaying
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.replayer import Replayer
from greeks_trio.pipeline.spooler import Spooler
from greeks_trio.pipeline.tick_counts import TickCounts
from greeks_trio.postgres.tick_store import CopySink, TickStore
from greeks_trio.spool.directory import open_spool
from tests.concurrency.fakes import MemoryQuarantine
from tests.factories import START, make_tick
from tests.fix_postgres import connect
from tests.snapshots import rows

ENTRY, ENTRIES = 50, 12
TICKS = [make_tick(number) for number in range(ENTRY * ENTRIES)]


@pytest.fixture
def batches(monkeypatch):
    """The batches that were sent: their rows, and whether they were checked."""
    sent = []

    async def write(self, ticks, *, check_duplicates=False):
        is_checked = check_duplicates or self._duplicates.are_likely(
            trio.current_time()
        )
        sent.append((len(ticks), is_checked))
        return await real_write(self, ticks, check_duplicates=check_duplicates)

    real_write = CopySink.write
    monkeypatch.setattr(CopySink, "write", write)
    monkeypatch.setattr(replaying, "FIRST_ROWS", 2 * ENTRY)
    monkeypatch.setattr(replaying, "BATCH_ROWS", 3 * ENTRY)
    monkeypatch.setattr("greeks_trio.postgres.duplicates.ENOUGH_NEW_ROWS", 4 * ENTRY)
    return sent


async def replay(database, directory, *, stop_after=None):
    """Store what is on disk; or end as by a kill, before so many entries are deleted."""
    async with open_spool(directory, max_bytes=1 << 30) as disk:
        spool = disk.spool
        if not spool.size().rows:
            for start in range(0, len(TICKS), ENTRY):
                await spool.append(TICKS[start : start + ENTRY])
        backlog, counts = Backlog(1 << 30), TickCounts()
        spooler = Spooler(
            backlog, spool, counts, after_s=1.0, inherited_to=lambda: ENTRIES
        )
        replayer = Replayer(backlog, spooler, RefusedRows(MemoryQuarantine()), counts)
        released = spooler.replayed

        async def release(entries):
            if stop_after is not None and entries[-1].id > stop_after:
                scope.cancel()
            await trio.lowlevel.checkpoint()
            await released(entries)

        spooler.replayed = release
        backlog.is_database_up = True
        backlog.close()
        with trio.CancelScope() as scope:
            await replayer.run(TickStore(database, today=START.date).open)
        return counts, spool.size().rows


async def test_all_new_rows_go_by_copy_after_the_first_batch(
    database, tmp_path, batches
):
    counts, left = await replay(database, tmp_path)

    assert batches == [
        (100, True),
        (150, False),
        (150, False),
        (150, False),
        (50, False),
    ]
    assert (counts.already_stored, left) == (0, 0)
    with connect(database) as observer:
        assert rows(observer) == [tick.record for tick in TICKS]


@pytest.mark.parametrize("stop_after", [0, 2, 5])
async def test_a_kill_between_commit_and_deletion_stores_nothing_twice(
    database, tmp_path, batches, stop_after
):
    before, left = await replay(database, tmp_path, stop_after=stop_after)
    assert left == len(TICKS) - stop_after * ENTRY
    batches.clear()

    counts, left = await replay(database, tmp_path)

    again = before.persisted.total() - stop_after * ENTRY
    assert (counts.already_stored, left) == (again, 0)
    assert again > 0
    assert batches[0] == (100, True)
    with connect(database) as observer:
        assert rows(observer) == [tick.record for tick in TICKS]


async def test_a_stored_row_in_a_later_batch_costs_one_failed_copy(
    database, tmp_path, batches
):
    """The commit of the writer was in doubt in the middle of the outage."""
    async with TickStore(database, today=START.date).open() as sink:
        await sink.write([TICKS[260], TICKS[301], TICKS[420]])
    batches.clear()

    counts, left = await replay(database, tmp_path)

    # The second copy fails, and the batches behind it are checked.
    assert batches == [(100, True), (150, False), (150, False), (150, True), (50, True)]
    assert (counts.already_stored, left) == (3, 0)
    with connect(database) as observer:
        assert rows(observer) == [tick.record for tick in TICKS]
