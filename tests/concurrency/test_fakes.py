from __future__ import annotations

import math
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.errors import SpoolUnavailable, StoreRejected, StoreUnavailable
from greeks_trio.model.records import FeedGap
from greeks_trio.spool.directory import open_spool
from tests.concurrency.fakes import (
    TICK_BYTES,
    ListSink,
    MemoryQuarantine,
    MemorySpool,
    keys,
)
from tests.factories import START, make_tick

ROOM = 2**30


@asynccontextmanager
async def open_memory(_directory):
    yield MemorySpool(), MemoryQuarantine()


@asynccontextmanager
async def open_disk(directory):
    async with open_spool(directory, max_bytes=ROOM) as opened:
        yield opened.spool, opened.quarantine


@pytest.fixture(params=[open_memory, open_disk])
def open_both(request, tmp_path):
    """Open the fakes, and the real ones: what holds for one must hold for the other."""
    return lambda: request.param(tmp_path / "spool")


def make_ticks(*numbers):
    return [make_tick(number, read_at=5.0) for number in numbers]


async def test_the_list_sink_keeps_one_row_per_key(autojump_clock):
    sink = ListSink()

    assert await sink.write([make_tick(0), make_tick(1)]) == 2
    assert await sink.write([make_tick(1), make_tick(2)], check_duplicates=True) == 1
    assert sink.ticks == [make_tick(0), make_tick(1), make_tick(2)]


async def test_the_list_sink_objects_to_a_duplicate_on_the_fast_path(autojump_clock):
    sink = ListSink()
    await sink.write([make_tick(0)])

    with pytest.raises(AssertionError, match="duplicate"):
        await sink.write([make_tick(0)])


async def test_the_list_sink_refuses_the_whole_batch(autojump_clock):
    sink = ListSink()
    sink.refuse(make_tick(1))

    with pytest.raises(StoreRejected):
        await sink.write([make_tick(0), make_tick(1)])
    assert sink.ticks == []


@pytest.mark.parametrize(("failure", "stored"), [("before", 0), ("after", 1)])
async def test_the_list_sink_fails_once(autojump_clock, failure, stored):
    sink = ListSink()
    sink.failures = [failure]

    with pytest.raises(StoreUnavailable):
        await sink.write([make_tick(0)])
    assert len(sink.ticks) == stored
    assert await sink.write([make_tick(0)], check_duplicates=True) == 1 - stored


async def test_a_spool_gives_back_what_it_took_the_oldest_first(open_both):
    async with open_both() as (spool, _):
        first = await spool.append(make_ticks(0, 1))
        second = await spool.append(make_ticks(2))

        entries = await spool.read(upto=second, max_rows=100)

    assert 0 < first < second
    assert [entry.id for entry in entries] == [first, second]
    assert list(entries[0].ticks) == [make_tick(0), make_tick(1)]
    assert list(entries[1].ticks) == [make_tick(2)]


async def test_a_spool_reads_whole_entries_up_to_an_id(open_both):
    async with open_both() as (spool, _):
        ids = [await spool.append(make_ticks(n, n + 1)) for n in (0, 2, 4)]

        async def read(**limits):
            return [entry.id for entry in await spool.read(**limits)]

        assert await read(upto=ids[1], max_rows=100) == ids[:2]
        assert await read(upto=ids[2], max_rows=5) == ids[:2]
        assert await read(upto=ids[2], max_rows=1) == ids[:1]
        assert await read(upto=ids[0] - 1, max_rows=100) == []


async def test_a_spool_forgets_what_is_released(open_both):
    async with open_both() as (spool, _):
        first = await spool.append(make_ticks(0))
        second = await spool.append(make_ticks(1), release=[first, 99])
        entries = await spool.read(upto=second, max_rows=100)
        assert [entry.id for entry in entries] == [second]

        await spool.release([second, 98])

        assert await spool.read(upto=second, max_rows=100) == []
        third = await spool.append(make_ticks(2))
    assert third > second


async def test_a_spool_knows_how_much_it_has(open_both):
    async with open_both() as (spool, _):
        await spool.append(make_ticks(3, 4))
        await spool.append(make_ticks(5))
        size = spool.size()

    assert (size.entries, size.rows) == (2, 3)
    assert size.oldest_at == make_tick(3).record.received_at
    assert size.bytes > 0


async def test_a_spool_releases_journal_entries_by_their_ids(open_both):
    gaps = [FeedGap(broker="ibkr", started_at=START, reason=text) for text in "ab"]
    async with open_both() as (spool, _):
        first, second = await spool.append_journal(gaps)

        await spool.release_journal([first, 99])

        [third] = await spool.append_journal(gaps[:1])
    assert first < second < third


async def test_a_quarantine_keeps_a_row_once(open_both):
    async with open_both() as (_, quarantine):
        assert quarantine.waiting() == 0
        for number in (0, 0, 1):
            await quarantine.add(make_tick(number), sqlstate="22003", reason="no")

        assert quarantine.waiting() == 2
        assert await quarantine.recount() == 2


async def test_the_memory_spool_drops_the_oldest_beyond_its_bound(autojump_clock):
    spool = MemorySpool(max_bytes=2 * TICK_BYTES)

    for number in range(4):
        await spool.append(make_ticks(number), protected=1)

    assert list(spool.entries) == [1, 4]
    dropped = spool.pop_dropped()
    assert [(each.ids[0].start, each.rows, each.reason) for each in dropped] == [
        (2, {"ibkr": 1}, "spool-full"),
        (3, {"ibkr": 1}, "spool-full"),
    ]
    assert spool.pop_dropped() == []


async def test_the_memory_spool_drops_what_it_cannot_read(autojump_clock):
    spool = MemorySpool()
    for number in range(2):
        await spool.append(make_ticks(number))
    spool.damaged.add(1)

    [entry] = await spool.read(upto=2, max_rows=100)

    assert entry.id == 2
    assert [each.reason for each in spool.pop_dropped()] == ["spool-damaged"]


async def test_a_memory_disk_that_fails_has_done_nothing(autojump_clock):
    spool = MemorySpool()
    spool.disk.failures = [True]

    with pytest.raises(SpoolUnavailable):
        await spool.append(make_ticks(0))
    assert spool.entries == {}
    assert await spool.append(make_ticks(0)) == 1

    spool.disk.refused = {"append"}
    with pytest.raises(SpoolUnavailable):
        await spool.append(make_ticks(1))
    assert len(await spool.read(upto=1, max_rows=9)) == 1


@pytest.mark.parametrize("finishes", [False, True])
async def test_a_memory_disk_may_finish_what_was_cancelled(autojump_clock, finishes):
    spool = MemorySpool()
    spool.disk.delay = math.inf
    spool.disk.finishes_when_cancelled = finishes

    with trio.move_on_after(1):
        await spool.append(make_ticks(0))

    assert keys(spool.ticks) == (keys(make_ticks(0)) if finishes else [])


async def test_calls_of_a_memory_disk_take_their_turns(autojump_clock, nursery):
    spool = MemorySpool()
    spool.disk.delay = 1.0
    for number in range(3):
        nursery.start_soon(spool.append, make_ticks(number))
    await wait_all_tasks_blocked()

    await spool.release([1])

    assert trio.current_time() == 4.0
    assert [at for at, _ in spool.disk.calls] == [0.0, 1.0, 2.0, 3.0]


async def test_a_memory_spool_that_was_killed_has_an_heir_of_its_own(autojump_clock):
    spool = MemorySpool()
    await spool.append(make_ticks(0))
    heir = spool.restarted()

    await spool.append(make_ticks(1))

    assert heir.inherited_id == 1
    assert list(heir.entries) == [1]
    assert await heir.append(make_ticks(2)) == 2
