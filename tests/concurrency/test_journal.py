from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.errors import StoreRejected, StoreUnavailable
from greeks_trio.model.condition_kinds import Severity
from greeks_trio.model.records import FeedGap, LeftoverGaps, PositionsSnapshot
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import LAST_TRIES_S, Journal
from greeks_trio.pipeline.journal_writer import JournalDisk, RefusedPart, run_journal
from tests.concurrency.fakes import MemoryQuarantine, MemorySpool
from tests.factories import START


class ListJournalSink:
    """Keeps entries; ``failures`` are raised first, in order."""

    delay = 0.0

    def __init__(self, *failures):
        self.entries = []
        self.failures = list(failures)
        self.connections = 0

    @asynccontextmanager
    async def open(self):
        self.connections += 1
        yield self

    async def write(self, entry):
        await trio.sleep(self.delay)
        if self.failures:
            raise self.failures.pop(0)
        if (failure := self.refuses(entry)) is not None:
            raise failure
        self.entries.append(entry)
        return ()

    def refuses(self, entry):
        return None


async def keep_journal(journal, sink, spool=None, quarantine=None, conditions=None):
    await run_journal(
        journal,
        sink.open,
        JournalDisk(
            spool=spool or MemorySpool(),
            quarantine=quarantine or MemoryQuarantine(),
            after_s=0.05,
        ),
        conditions or Conditions(),
    )


def make_gap(reason, broker="ibkr"):
    return FeedGap(broker=broker, started_at=START, reason=reason)


def make_snapshot(number, broker="ibkr"):
    at = START + timedelta(seconds=number)
    return PositionsSnapshot(
        broker=broker, account_ids=("U1",), positions=(), observed_at=at
    )


NO_IDENTITY = 'table "feed_gaps" does not have a replica identity and publishes updates'


A, B, C = make_gap("a"), make_gap("b"), make_gap("c")


async def test_entries_are_stored_in_order_and_the_task_ends_when_closed(
    autojump_clock,
):
    journal, sink = Journal(), ListJournalSink()
    for gap in (A, B):
        journal.record(gap)
    journal.close()

    with trio.fail_after(1):
        await keep_journal(journal, sink)

    assert sink.entries == [A, B]


async def test_an_empty_journal_needs_no_connection(autojump_clock, nursery):
    journal, sink = Journal(), ListJournalSink()
    nursery.start_soon(keep_journal, journal, sink)
    await trio.sleep(60)
    assert sink.connections == 0

    journal.record(A)
    await wait_all_tasks_blocked()

    assert sink.entries == [A]


async def test_an_entry_that_could_not_be_stored_is_tried_again(autojump_clock):
    sink = ListJournalSink(StoreUnavailable("away"), StoreUnavailable("away"))
    journal = Journal()
    for gap in (A, B):
        journal.record(gap)
    journal.close()

    await keep_journal(journal, sink)

    assert sink.entries == [A, B]
    assert sink.connections == 3
    assert 0.1 < trio.current_time() < 0.31


async def test_an_outage_is_one_warning_not_one_every_few_seconds(
    autojump_clock, caplog
):
    caplog.set_level(logging.INFO)
    sink = ListJournalSink(*[StoreUnavailable("away")] * 20)
    journal = Journal()
    journal.record(A)

    with trio.move_on_after(60):
        await keep_journal(journal, sink)

    assert trio.current_time() == 60
    assert sink.connections > 10
    assert [r.getMessage() for r in caplog.records] == [
        "journal.retrying waiting=1 reason=away"
    ]


async def test_a_refused_entry_does_not_stop_the_others(autojump_clock, caplog):
    sink, quarantine = (
        ListJournalSink(StoreRejected("no", sqlstate="22003")),
        MemoryQuarantine(),
    )
    journal = Journal()
    for gap in (A, B):
        journal.record(gap)
    journal.close()

    await keep_journal(journal, sink, quarantine=quarantine)

    assert sink.entries == [B]
    assert quarantine.entries == [(A, "22003", "no")]
    assert "journal.entry_refused" in caplog.text


async def test_a_table_that_refuses_holds_up_no_other_table_and_no_other_broker(
    autojump_clock, nursery, caplog
):
    """A publication for all tables, and gaps without a replica identity."""
    broken = [True]
    sink, conditions, quarantine = ListJournalSink(), Conditions(), MemoryQuarantine()

    def refuses(entry):
        if broken and isinstance(entry, FeedGap) and entry.broker == "ibkr":
            return StoreUnavailable(NO_IDENTITY, sqlstate="55000")
        return None

    sink.refuses = refuses
    journal, spool = Journal(), MemorySpool()
    nursery.start_soon(keep_journal, journal, sink, spool, quarantine, conditions)
    others = [make_snapshot(1), make_gap("x", "tastytrade"), make_snapshot(2)]
    for entry in (A, others[0], B, others[1], others[2]):
        journal.record(entry)
    await trio.sleep(59)

    assert sink.entries == [others[0], others[1], others[2]]
    assert conditions.sentences(Severity.NOT_READY) == []
    assert caplog.text.count("journal.retrying") == 1

    await trio.sleep(2)
    [sentence] = conditions.sentences(Severity.NOT_READY)
    assert sentence.startswith("journal: gaps, positions and account values wait (2)")
    assert NO_IDENTITY in sentence

    await trio.sleep(600)
    assert list(spool.journal.values()) == [A, B]
    assert sink.connections < 300
    broken.clear()
    await trio.sleep(16)

    assert sink.entries[3:] == [A, B]
    assert conditions.sentences(Severity.NOT_READY) == []
    assert (quarantine.entries, spool.journal) == ([], {})


async def test_an_entry_that_fails_alone_gives_way_after_a_minute(
    autojump_clock, nursery
):
    sink, quarantine = ListJournalSink(), MemoryQuarantine()
    odd = StoreUnavailable("corrupted page", sqlstate="XX000")
    sink.refuses = lambda entry: odd if entry is A else None
    journal = Journal()
    nursery.start_soon(keep_journal, journal, sink, None, quarantine)
    for gap in (A, B):
        journal.record(gap)
    await trio.sleep(59)
    assert sink.entries == []

    await trio.sleep(20)
    assert sink.entries == [B]
    assert quarantine.entries == [(A, "XX000", "corrupted page")]
    journal.record(C)
    await trio.sleep(1)
    assert sink.entries == [B, C]


async def test_a_lone_refused_entry_goes_into_quarantine_after_a_minute(
    autojump_clock, nursery
):
    sink, quarantine = ListJournalSink(), MemoryQuarantine()
    sink.refuses = lambda _: StoreRejected("no", sqlstate="22003")
    journal = Journal()
    nursery.start_soon(keep_journal, journal, sink, None, quarantine)
    journal.record(A)
    await trio.sleep(59)
    assert quarantine.entries == []

    await trio.sleep(20)
    assert quarantine.entries == [(A, "22003", "no")]
    assert len(journal) == 0


async def test_the_end_of_leftover_gaps_spares_a_gap_that_was_stored_before_it(
    autojump_clock, nursery
):
    sink = ListJournalSink()
    leftover = LeftoverGaps(broker="ibkr", own=(), ended_at=START)
    broken = [True]
    sink.refuses = lambda entry: (
        StoreRejected("no", sqlstate="22003")
        if broken and isinstance(entry, LeftoverGaps)
        else None
    )
    journal = Journal()
    nursery.start_soon(keep_journal, journal, sink)
    for entry in (leftover, A):
        journal.record(entry)
    await trio.sleep(1)
    assert sink.entries == [A]

    broken.clear()
    await trio.sleep(16)
    assert sink.entries[1].own == ((None, START),)


async def test_a_part_that_is_refused_goes_into_quarantine(autojump_clock, nursery):
    sink, quarantine = ListJournalSink(), MemoryQuarantine()
    part = RefusedPart(make_snapshot(7), StoreRejected("no", sqlstate="23514"))

    async def write(entry):
        return [part]

    sink.write = write
    journal = Journal()
    nursery.start_soon(keep_journal, journal, sink, None, quarantine)
    journal.record(make_snapshot(1))
    await trio.sleep(1)

    assert quarantine.entries == [(part.entry, "23514", "no")]


@pytest.mark.parametrize("closed_at_s", [0, 60])
async def test_without_a_database_it_ends_soon_after_it_was_closed(
    autojump_clock, nursery, closed_at_s
):
    sink = ListJournalSink(*[StoreUnavailable("away")] * 999)
    journal = Journal()
    journal.record(A)
    ended = trio.Event()

    async def run():
        await keep_journal(journal, sink)
        ended.set()

    nursery.start_soon(run)
    await trio.sleep(closed_at_s)
    journal.close()
    await ended.wait()

    assert closed_at_s + LAST_TRIES_S <= trio.current_time()
    assert trio.current_time() <= closed_at_s + 2 * LAST_TRIES_S
    assert len(journal) == 1


async def test_a_database_that_is_back_in_time_gets_the_last_entries(autojump_clock):
    sink = ListJournalSink(StoreUnavailable("away"), StoreUnavailable("away"))
    journal = Journal()
    journal.record(A)
    journal.close()

    await keep_journal(journal, sink)

    assert sink.entries == [A]


async def test_cancelled_it_leaves_the_other_entries(autojump_clock):
    sink = ListJournalSink(*[StoreUnavailable("away")] * 99)
    journal = Journal()
    journal.record(A)

    with trio.move_on_after(5):
        await keep_journal(journal, sink)

    assert len(journal) == 1


async def test_a_full_journal_puts_the_oldest_into_quarantine(
    autojump_clock, nursery, caplog
):
    journal, quarantine = Journal(max_waiting=2), MemoryQuarantine()
    sink = ListJournalSink(*[StoreUnavailable("away")] * 999)
    nursery.start_soon(keep_journal, journal, sink, None, quarantine)

    for gap in (A, B, C, A):
        journal.record(gap)
    await trio.sleep(1)

    assert await journal.wait_entry() is C
    why = (None, "too many entries wait")
    assert quarantine.entries == [(A, *why), (B, *why)]
    assert caplog.text.count("journal.full") == 1


@pytest.mark.parametrize("oldest", [A, B])
async def test_only_the_entry_that_was_stored_is_removed(oldest):
    journal = Journal()
    journal.record(oldest)

    journal.remove(A)

    assert len(journal) == (0 if oldest is A else 1)


async def test_an_entry_that_is_stored_in_time_does_not_touch_the_disk(
    autojump_clock, nursery
):
    journal, sink, spool = Journal(), ListJournalSink(), MemorySpool()
    sink.delay = 0.04
    nursery.start_soon(keep_journal, journal, sink, spool)
    await trio.sleep(1)

    journal.record(A)
    await trio.sleep(1)

    assert sink.entries == [A]
    assert spool.disk.calls == []


async def test_a_late_entry_goes_to_disk_and_is_deleted_there_when_it_is_stored(
    autojump_clock, nursery
):
    journal, sink, spool = Journal(), ListJournalSink(), MemorySpool()
    sink.delay = 0.2
    nursery.start_soon(keep_journal, journal, sink, spool)
    await wait_all_tasks_blocked()

    journal.record(A)
    await trio.sleep(0.1)
    assert list(spool.journal.values()) == [A]
    assert spool.disk.calls == [(0.05, "append_journal")]
    await trio.sleep(1)

    assert sink.entries == [A]
    assert spool.journal == {}


async def test_an_entry_that_is_stored_while_the_disk_takes_it_is_deleted_there(
    autojump_clock, nursery
):
    journal, sink, spool = Journal(), ListJournalSink(), MemorySpool()
    sink.delay, spool.disk.delay = 0.1, 0.2
    nursery.start_soon(keep_journal, journal, sink, spool)
    journal.record(A)
    await trio.sleep(0.15)
    assert sink.entries == [A]
    await trio.sleep(5)

    assert spool.journal == {}


async def test_a_disk_that_was_full_gets_the_entries_later(autojump_clock, nursery):
    journal, spool = Journal(), MemorySpool()
    sink = ListJournalSink(*[StoreUnavailable("away")] * 999)
    nursery.start_soon(keep_journal, journal, sink, spool)
    spool.disk.is_full = True
    journal.record(A)
    journal.record(B)
    await trio.sleep(60)
    assert len(spool.disk.calls) < 30

    spool.disk.is_full = False
    await trio.sleep(6)

    assert list(spool.journal.values()) == [A, B]
    assert journal.not_on_disk() == []


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_at_the_end_the_disk_has_the_other_entries(autojump_clock, is_cancelled):
    journal, spool = Journal(), MemorySpool()
    sink = ListJournalSink(*[StoreUnavailable("away")] * 999)
    with trio.move_on_after(0.01 if is_cancelled else 99):
        journal.record(A)
        if not is_cancelled:
            journal.close()
        await keep_journal(journal, sink, spool)

    assert list(spool.journal.values()) == [A]


async def test_the_next_run_stores_the_entries_of_the_last_one_first(
    autojump_clock,
):
    spool = MemorySpool()
    await spool.append_journal([A, B])
    heir = spool.restarted()
    journal, sink = Journal(inherited=heir.inherited_journal), ListJournalSink()
    journal.record(C)
    journal.close()

    await keep_journal(journal, sink, heir)

    assert sink.entries == [A, B, C]
    assert heir.journal == {}
    assert list(spool.journal.values()) == [A, B]


async def test_an_entry_that_a_full_journal_loses_is_deleted_on_disk_too(
    autojump_clock, nursery
):
    journal, spool = Journal(max_waiting=2), MemorySpool()
    sink = ListJournalSink(*[StoreUnavailable("away")] * 999)
    nursery.start_soon(keep_journal, journal, sink, spool)
    journal.record(A)
    await trio.sleep(1)

    journal.record(B)
    journal.record(C)
    await trio.sleep(1)

    assert list(spool.journal.values()) == [B, C]


@pytest.mark.parametrize("at_ms", range(0, 400, 20))
async def test_a_journal_killed_at_any_moment_loses_no_entry_older_than_the_limit(
    autojump_clock, at_ms
):
    """Storing takes 120 ms, the disk 20: an entry is durable 90 ms after it came."""
    journal, sink, spool = Journal(), ListJournalSink(), MemorySpool()
    sink.delay, spool.disk.delay = 0.12, 0.02
    recorded = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_journal, journal, sink, spool)
        with trio.move_on_after(at_ms / 1e3):
            for number in range(5):
                recorded.append((trio.current_time(), make_gap(str(number))))
                journal.record(recorded[-1][1])
                await trio.sleep(0.06)
            await trio.sleep_forever()
        there = [*sink.entries, *spool.journal.values()]
        nursery.cancel_scope.cancel()

    old = [note for at, note in recorded if at < at_ms / 1e3 - 0.12]
    assert [note for note in old if note not in there] == []
