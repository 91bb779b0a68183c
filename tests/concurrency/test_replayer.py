from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.concurrency.fakes import MemorySpool, key_of, keys
from tests.concurrency.pipeline_parts import Pipeline
from tests.factories import make_tick


@pytest.fixture(autouse=True)
def rows_in_one_transaction(monkeypatch):
    monkeypatch.setattr("greeks_trio.pipeline.replayer.BATCH_ROWS", 1_000)


@pytest.fixture
def pipeline():
    return Pipeline()


def ticks_of(*numbers):
    return keys(make_tick(number) for number in numbers)


async def spool_ticks(pipeline, entries, rows):
    """Put so many ticks on disk, one second apart, with no database."""
    pipeline.database_goes()
    for number in range(entries):
        pipeline.put(*range(number * rows, (number + 1) * rows))
        await trio.sleep(1)
    assert len(pipeline.spool.entries) == entries


async def test_the_oldest_comes_first_and_is_forgotten_when_it_is_stored(
    autojump_clock, nursery, pipeline, caplog
):
    caplog.set_level(logging.INFO)
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 5, 400)

    pipeline.database_comes()
    pipeline.replay_sink.delay = 1.0
    await trio.sleep(1.5)
    assert keys(pipeline.sink.ticks) == ticks_of(*range(800))
    assert list(pipeline.spool.entries) == [3, 4, 5]
    await trio.sleep(10)

    assert keys(pipeline.sink.ticks) == ticks_of(*range(2_000))
    writes = [(rows, check) for _, rows, check in pipeline.replay_sink.writes]
    assert writes == [(800, True), (800, False), (400, False)]
    assert pipeline.sink.writes == []
    assert pipeline.spool.entries == {}
    assert not pipeline.spooler.has_more_to_replay
    assert pipeline.tick_counts.replayed == {"ibkr": 2_000}
    assert "replayer.done rows=2000 seconds=3.0" in caplog.text


async def test_the_first_batch_of_a_connection_is_small(
    autojump_clock, nursery, pipeline, monkeypatch
):
    """It is checked for duplicates, which costs more."""
    monkeypatch.setattr("greeks_trio.pipeline.replayer.FIRST_ROWS", 400)
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 4, 300)

    pipeline.database_comes()
    await trio.sleep(10)

    writes = [(rows, check) for _, rows, check in pipeline.replay_sink.writes]
    assert writes == [(300, True), (900, False)]


async def test_stored_ticks_are_counted_in_parts_while_other_tasks_run(
    autojump_clock, nursery, pipeline, monkeypatch
):
    monkeypatch.setattr("greeks_trio.pipeline.replayer._COUNTED_ROWS", 300)
    turns, counted, count = [], [], pipeline.tick_counts.committed_again

    async def take_turns():
        while True:
            turns.append(pipeline.tick_counts.replayed.total())
            await trio.lowlevel.checkpoint()

    def noted_count(stored):
        counted.append((len(stored.ticks), stored.new))
        count(stored)

    monkeypatch.setattr(pipeline.tick_counts, "committed_again", noted_count)
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 1, 800)
    # Some are stored already.
    pipeline.sink.rows |= {key_of(tick): tick for tick in map(make_tick, range(350))}

    pipeline.database_comes()
    async with trio.open_nursery() as watching:
        watching.start_soon(take_turns)
        while pipeline.spool.entries:
            await trio.lowlevel.checkpoint()
        watching.cancel_scope.cancel()

    assert counted == [(300, 300), (300, 150), (200, 0)]
    assert set(turns) & {300, 600}
    assert pipeline.tick_counts.already_stored == 350


async def test_fresh_ticks_do_not_wait_for_replayed_ones(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 3, 800)
    pipeline.replay_sink.delay = 10.0
    pipeline.database_comes()
    await trio.sleep(1)

    fresh = pipeline.put(*range(9_000, 9_005))
    await wait_all_tasks_blocked()

    assert keys(pipeline.sink.ticks) == keys(fresh)
    assert pipeline.committed == [(4.0, tick) for tick in fresh]
    assert len(pipeline.spool.entries) == 3


async def test_replayed_ticks_were_durable_before_and_have_no_latency(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 2, 10)
    assert len(pipeline.durable) == 20

    pipeline.database_comes()
    await trio.sleep(10)

    assert len(pipeline.durable) == 20
    assert len(pipeline.committed) == 20
    assert pipeline.tick_counts.latency_to_commit().since_start.count == 0
    assert pipeline.tick_counts.persisted == {"ibkr": 20}


@pytest.mark.parametrize("failure", ["before", "after"])
async def test_a_connection_lost_in_the_middle_costs_nothing_but_time(
    autojump_clock, nursery, pipeline, failure
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 4, 800)
    pipeline.replay_sink.failures = [None, failure]

    pipeline.database_comes()
    await trio.sleep(10)

    assert keys(pipeline.sink.ticks) == ticks_of(*range(3_200))
    assert pipeline.replay_sink.connections == 2
    checks = [check for _, _, check in pipeline.replay_sink.writes]
    assert checks == [True, False, True, False, False]
    assert pipeline.tick_counts.already_stored == (800 if failure == "after" else 0)
    assert pipeline.spool.entries == {}


@pytest.mark.parametrize("at", range(6))
async def test_a_disk_that_fails_in_the_middle_costs_nothing_but_time(
    autojump_clock, nursery, pipeline, at
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 3, 800)
    pipeline.spool.disk.failures = [False] * at + [True]

    pipeline.database_comes()
    await trio.sleep(10)

    assert keys(pipeline.sink.ticks) == ticks_of(*range(2_400))
    assert pipeline.spool.entries == {}


async def test_a_disk_that_refuses_to_read_is_shown_in_the_status(
    autojump_clock, nursery, pipeline, caplog
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 1, 1)
    pipeline.spool.disk.is_full = True
    pipeline.database_comes()
    await trio.sleep(1_000)
    assert pipeline.spooler.last_error == "told to be full"
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len([each for each in warned if "replayer.retrying" in each]) == 1

    pipeline.spool.disk.is_full = False
    await trio.sleep(10)

    assert pipeline.spooler.last_error is None
    assert keys(pipeline.sink.ticks) == ticks_of(0)


async def test_a_refused_row_goes_into_quarantine_and_its_entry_is_forgotten(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 2, 10)
    pipeline.sink.refuse(make_tick(7))

    pipeline.database_comes()
    await trio.sleep(10)

    others = [*range(7), *range(8, 20)]
    assert sorted(keys(pipeline.sink.ticks)) == ticks_of(*others)
    assert keys(pipeline.quarantine.ticks) == ticks_of(7)
    assert pipeline.spool.entries == {}
    assert pipeline.refused_rows.quarantined == {"ibkr": 1}
    assert pipeline.tick_counts.replayed == {"ibkr": 19}


async def test_a_refused_row_without_room_in_quarantine_is_lost_and_counted(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 1, 10)
    pipeline.sink.refuse(make_tick(7))
    pipeline.quarantine.disk.is_full = True

    pipeline.database_comes()
    await trio.sleep(10)

    assert len(pipeline.sink.ticks) == 9
    assert pipeline.backlog.losses.rows == {"ibkr": 1}
    assert pipeline.spool.entries == {}


async def test_ticks_without_a_partition_wait_on_disk_and_block_nobody(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 3, 10)
    late = [key_of(make_tick(number)) for number in (3, 4, *range(10, 20))]
    pipeline.sink.without_partition.update(late)

    pipeline.database_comes()
    await trio.sleep(10)
    assert len(pipeline.sink.ticks) == 18
    assert list(pipeline.spool.entries) == [1, 2]
    assert pipeline.tick_counts.persisted == {"ibkr": 18}
    fresh = pipeline.put(40, 41)
    await trio.sleep(1)
    assert keys(fresh) == keys(pipeline.sink.ticks[-2:])
    # Fresh ticks of that month follow by way of the disk.
    pipeline.sink.without_partition.add(key_of(make_tick(50)))
    pipeline.put(50)
    await trio.sleep(100)
    assert list(pipeline.spool.entries) == [1, 2, 4]
    assert len(pipeline.backlog) == 0
    assert pipeline.tick_counts.persisted == {"ibkr": 20}
    assert pipeline.conditions.counts()["partition missing"] == 1

    pipeline.sink.without_partition.clear()
    await trio.sleep(31)

    assert len(pipeline.sink.ticks) == 33
    assert pipeline.spool.entries == {}
    assert pipeline.tick_counts.persisted == {"ibkr": 33}
    assert pipeline.conditions.counts()["partition missing"] == 0


async def test_an_entry_that_cannot_be_read_is_lost_and_counted(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 3, 10)
    pipeline.spool.damaged.add(2)

    pipeline.database_comes()
    await trio.sleep(10)

    assert keys(pipeline.sink.ticks) == ticks_of(*range(10), *range(20, 30))
    assert pipeline.backlog.losses.rows == {"ibkr": 10}
    assert pipeline.spool.entries == {}


async def test_entries_that_are_being_replayed_are_not_dropped_for_room(
    autojump_clock, nursery
):
    pipeline = Pipeline(MemorySpool(max_bytes=2_400_000))
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 4, 600)
    pipeline.replay_sink.delay = 10.0
    pipeline.database_comes()
    await trio.sleep(1)

    pipeline.sink.delay = 5.0
    pipeline.put(*range(2_400, 2_410))
    await trio.sleep(1)

    # The first is being stored, and the second has been read already.
    assert list(pipeline.spool.entries) == [1, 2, 4, 5]
    assert pipeline.backlog.losses.total == 600
    await trio.sleep(60)
    assert len(pipeline.sink.ticks) == 2_410 - 600


async def test_the_next_batch_is_read_while_one_is_stored(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 3, 800)
    pipeline.spool.disk.calls.clear()
    pipeline.spool.disk.delay, pipeline.replay_sink.delay = 0.2, 1.0

    pipeline.database_comes()
    began_at = trio.current_time()
    await trio.sleep(10)

    reads = [at - began_at for at, kind in pipeline.spool.disk.calls if kind == "read"]
    writes = [at - began_at for at, _, _ in pipeline.replay_sink.writes]
    # Only the first read is waited for.  Each batch is stored, then deleted.
    assert writes == pytest.approx([0.2, 1.4, 2.6])
    assert reads == pytest.approx([0.0, 0.2, 1.4, 2.6, 3.8])
    assert keys(pipeline.sink.ticks) == ticks_of(*range(2_400))
    assert not pipeline.spooler.has_more_to_replay


async def test_a_disk_that_cannot_be_read_ahead_costs_the_batch_under_way_nothing(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 2, 800)
    pipeline.spool.disk.failures = [False, True]
    pipeline.replay_sink.delay = 1.0

    pipeline.database_comes()
    await trio.sleep(1.5)

    assert keys(pipeline.sink.ticks) == ticks_of(*range(800))
    assert pipeline.replay_sink.connections == 1
    await trio.sleep(10)
    assert keys(pipeline.sink.ticks) == ticks_of(*range(1_600))
    assert [rows for _, rows, _ in pipeline.replay_sink.writes] == [800, 800]


async def test_a_batch_that_is_not_stored_is_read_again_although_the_disk_had_no_other(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 1, 800)
    pipeline.replay_sink.delay, pipeline.replay_sink.failures = 1.0, ["before"]

    pipeline.database_comes()
    await trio.sleep(10)

    assert keys(pipeline.sink.ticks) == ticks_of(*range(800))
    assert pipeline.spool.entries == {}


async def test_at_the_end_it_replays_all_while_the_database_is_there(
    autojump_clock, nursery, pipeline
):
    nursery.start_soon(pipeline.run)
    await spool_ticks(pipeline, 3, 800)
    pipeline.replay_sink.delay = 1.0
    pipeline.database_comes()
    await wait_all_tasks_blocked()

    pipeline.backlog.close()
    await trio.sleep(10)

    assert not nursery.child_tasks
    assert len(pipeline.sink.ticks) == 2_400
    assert pipeline.spool.entries == {}


async def test_at_the_end_it_does_not_wait_for_a_database(autojump_clock, pipeline):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        await spool_ticks(pipeline, 3, 10)
        await trio.sleep(60)
        pipeline.backlog.close()

    assert trio.current_time() == 63
    assert len(pipeline.spool.entries) == 3


async def test_at_the_end_it_cuts_its_pause_short(autojump_clock, pipeline):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        await spool_ticks(pipeline, 1, 10)
        # The writer's connection works.  The second one has not worked for a minute.
        pipeline.sink.is_down = False
        pipeline.retry_now.wake()
        await trio.sleep(60)
        pipeline.backlog.close()

    assert trio.current_time() == 61
    assert len(pipeline.spool.entries) == 1


@pytest.mark.parametrize("finishes", [False, True])
@pytest.mark.parametrize("at_ms", range(0, 400, 20))
async def test_cancelled_at_any_moment_it_leaves_the_other_ticks_on_disk(
    autojump_clock, pipeline, at_ms, finishes
):
    """Reading takes 20 ms, storing 50, deleting 20."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        await spool_ticks(pipeline, 4, 600)
        pipeline.spool.disk.delay, pipeline.replay_sink.delay = 0.02, 0.05
        pipeline.spool.disk.finishes_when_cancelled = finishes
        pipeline.database_comes()
        await trio.sleep(at_ms / 1e3)
        pipeline.backlog.close()
        nursery.cancel_scope.cancel()

    there = keys(pipeline.sink.ticks) + keys(pipeline.spool.ticks)
    assert set(there) == set(ticks_of(*range(2_400)))


async def test_the_next_run_stores_the_ticks_of_an_earlier_one(
    autojump_clock, nursery, pipeline
):
    async with trio.open_nursery() as first:
        first.start_soon(pipeline.run)
        await spool_ticks(pipeline, 2, 10)
        pipeline.backlog.close()
    heir = Pipeline(pipeline.spool.restarted(), table=pipeline.sink)
    assert heir.spooler.has_more_to_replay

    nursery.start_soon(heir.run)
    await trio.sleep(1)

    assert keys(pipeline.sink.ticks) == ticks_of(*range(20))
    assert heir.spool.entries == {}
    assert heir.durable == []
    assert heir.tick_counts.replayed == {"ibkr": 20}


async def test_an_earlier_runs_ticks_are_replayed_when_the_disk_can_be_read_at_last(
    autojump_clock, nursery, pipeline
):
    async with trio.open_nursery() as first:
        first.start_soon(pipeline.run)
        await spool_ticks(pipeline, 2, 10)
        pipeline.backlog.close()
    spool = pipeline.spool.restarted()
    inherited, spool.inherited_id = (
        spool.inherited_id,
        None,
    )  # the disk could not be read
    spool.disk.is_full = True
    heir = Pipeline(spool, table=pipeline.sink)
    heir.sink.delay = 0.2  # so the disk is used
    nursery.start_soon(heir.run)

    heir.put(30)
    await trio.sleep(5)
    spool.disk.is_full, spool.inherited_id = False, inherited
    heir.put(31)
    await trio.sleep(10)

    assert sorted(keys(pipeline.sink.ticks)) == sorted(ticks_of(*range(20), 30, 31))
    assert spool.entries == {}


async def test_they_are_replayed_too_when_nothing_goes_to_disk(
    autojump_clock, nursery, pipeline
):
    """The disk could not be read at the start, and this run does not need it."""
    async with trio.open_nursery() as first:
        first.start_soon(pipeline.run)
        await spool_ticks(pipeline, 2, 10)
        pipeline.backlog.close()
    spool = pipeline.spool.restarted()
    inherited, spool.inherited_id = spool.inherited_id, None
    heir = Pipeline(spool, table=pipeline.sink)
    spool.disk.refused = {"read"}
    nursery.start_soon(heir.run)
    await trio.sleep(60)
    assert heir.spooler.has_more_to_replay

    spool.disk.refused, spool.inherited_id = set(), inherited
    await trio.sleep(10)

    assert keys(pipeline.sink.ticks) == ticks_of(*range(20))
    assert not heir.spooler.has_more_to_replay
