from __future__ import annotations

import logging
import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.model.records import FeedGap
from tests.concurrency.fakes import TICK_BYTES, MemorySpool, keys
from tests.concurrency.pipeline_parts import AFTER_S, Pipeline
from tests.factories import make_tick


@pytest.fixture
def pipeline():
    return Pipeline()


async def begin(nursery, pipeline):
    nursery.start_soon(pipeline.run)
    await wait_all_tasks_blocked()


def levels(caplog, name):
    return [r.levelname for r in caplog.records if r.getMessage().startswith(name)]


async def test_a_tick_that_is_committed_in_time_is_not_spooled(
    autojump_clock, nursery, pipeline
):
    await begin(nursery, pipeline)
    pipeline.sink.delay = 0.049

    for number in range(20):
        pipeline.put(number)
        await trio.sleep(0.05)
    await trio.sleep(1)

    assert len(pipeline.sink.ticks) == 20
    assert pipeline.spool.disk.calls == []


async def test_a_late_tick_is_spooled_while_its_copy_goes_on(
    autojump_clock, nursery, pipeline
):
    await begin(nursery, pipeline)
    pipeline.sink.delay = 0.2
    await trio.sleep(1)

    ticks = pipeline.put(0, 1)
    await trio.sleep(0.1)
    assert keys(pipeline.spool.ticks) == keys(ticks)
    assert pipeline.spool.is_brief
    assert pipeline.sink.ticks == []
    await trio.sleep(0.2)

    assert pipeline.spool.entries == {}
    assert keys(pipeline.sink.ticks) == keys(ticks)
    assert pipeline.spool.disk.calls == [(1.05, "append"), (1.2, "release")]
    assert [at for at, _ in pipeline.durable] == [1.05, 1.05]
    assert [at for at, _ in pipeline.committed] == [1.2, 1.2]
    assert pipeline.spooler.spooled == {"ibkr": 2}
    assert not pipeline.tick_counts.replayed
    assert pipeline.sink.connections == 1


async def test_an_entry_is_released_when_its_last_tick_is_stored(
    autojump_clock, nursery
):
    pipeline = Pipeline(batch=2)
    await begin(nursery, pipeline)
    pipeline.sink.delay = 0.1

    pipeline.put(0, 1, 2, 3)
    await trio.sleep(0.15)
    assert [len(ticks) for ticks in pipeline.spool.entries.values()] == [4]
    await trio.sleep(0.1)

    assert pipeline.spool.entries == {}
    assert pipeline.spool.disk.calls[-1] == (0.2, "release")


async def test_after_a_stall_the_disk_gets_no_tick_that_is_stored_in_time(
    autojump_clock, nursery, pipeline
):
    """Releasing an entry must not put young ticks on disk, again and again."""
    await begin(nursery, pipeline)
    pipeline.spool.disk.delay = 0.008
    pipeline.sink.delay = 0.1

    for number in range(1_000):
        if number == 50:
            pipeline.sink.delay = 0.003
        pipeline.put(number)
        await trio.sleep(0.001)
    await trio.sleep(1)

    assert pipeline.spool.entries == {}
    assert pipeline.spool.disk.calls[-1][0] < 0.2
    assert len(pipeline.sink.ticks) == 1_000


async def test_with_a_late_tick_only_ticks_of_half_its_age_go_to_disk(
    autojump_clock, nursery, pipeline
):
    """The database is about to store the younger ones."""
    await begin(nursery, pipeline)
    pipeline.sink.delay = 0.04

    pipeline.put(0)
    await trio.sleep(0.004)
    waiting = pipeline.put(1)
    await trio.sleep(0.026)
    pipeline.sink.delay = 0.1
    pipeline.put(2)
    await trio.sleep(0.03)
    assert keys(pipeline.spool.ticks) == keys(waiting)
    await trio.sleep(1)

    assert pipeline.spool.entries == {}
    assert len(pipeline.sink.ticks) == 3


async def test_a_tick_that_is_stored_while_the_disk_takes_it_is_counted_once(
    autojump_clock, nursery, pipeline
):
    """The disk is slower than the database, so its entry is not needed."""
    await begin(nursery, pipeline)
    pipeline.sink.delay, pipeline.spool.disk.delay = 0.06, 0.03

    pipeline.put(0)
    await trio.sleep(1)

    assert [at for at, _ in pipeline.durable] == [0.06]
    assert pipeline.spool.disk.calls == [(0.05, "append"), (0.08, "release")]
    assert pipeline.spool.entries == {}


async def test_without_a_connection_ticks_are_spooled_at_once_and_leave_memory(
    autojump_clock, nursery, pipeline
):
    pipeline.database_goes()
    await begin(nursery, pipeline)
    await trio.sleep(10)

    ticks = pipeline.put(0, 1)
    await wait_all_tasks_blocked()

    assert keys(pipeline.spool.ticks) == keys(ticks)
    assert not pipeline.spool.is_brief
    assert pipeline.durable == [(10.0, tick) for tick in ticks]
    assert (len(pipeline.backlog), pipeline.backlog.bytes) == (0, 0)
    assert pipeline.spooler.has_more_to_replay


async def test_a_connection_that_is_lost_leaves_its_batch_to_the_disk(
    autojump_clock, nursery, pipeline
):
    await begin(nursery, pipeline)
    pipeline.sink.delay = 1.0
    ticks = pipeline.put(0, 1)
    await trio.sleep(0.5)

    pipeline.database_goes()
    await trio.sleep(1)

    assert len(pipeline.backlog) == 0
    assert keys(pipeline.spool.ticks) == keys(ticks)
    assert len(pipeline.spool.entries) == 1


async def test_a_full_disk_leaves_ticks_in_memory_and_is_logged_once(
    autojump_clock, nursery, pipeline, caplog
):
    caplog.set_level(logging.INFO)
    pipeline.database_goes()
    pipeline.spool.disk.is_full = True
    await begin(nursery, pipeline)

    pipeline.put(*range(5))
    await trio.sleep(60)
    assert len(pipeline.backlog) == 5
    assert pipeline.spooler.last_error == "told to be full"
    assert len(pipeline.spool.disk.calls) < 30
    pipeline.spool.disk.is_full = False
    await trio.sleep(6)

    assert len(pipeline.spool.ticks) == 5
    assert len(pipeline.durable) == 5
    assert pipeline.spooler.last_error is None
    assert levels(caplog, "spool.unavailable") == ["CRITICAL"]
    assert levels(caplog, "spool.available_again") == ["WARNING"]


async def test_a_full_disk_that_can_be_read_is_logged_once_too(
    autojump_clock, nursery, pipeline, caplog
):
    pipeline.database_goes()
    await begin(nursery, pipeline)
    pipeline.put(*range(5))
    await trio.sleep(1)
    pipeline.spool.disk.refused = {"append"}
    pipeline.sink.delay = 1.0
    pipeline.database_comes()

    for number in range(10):
        pipeline.put(number)
        await trio.sleep(1)
    assert pipeline.spooler.last_error == "told to be full"
    pipeline.spool.disk.refused = set()
    pipeline.sink.delay = 8.0
    pipeline.put(10)
    await trio.sleep(10)

    assert pipeline.spooler.last_error is None
    assert levels(caplog, "spool.unavailable") == ["CRITICAL"]
    assert levels(caplog, "spool.available_again") == ["WARNING"]


async def test_ticks_that_neither_takes_are_lost_beyond_the_bound_with_a_gap(
    autojump_clock, nursery, caplog
):
    pipeline = Pipeline(memory_rows=10)
    pipeline.database_goes()
    pipeline.spool.disk.is_full = True
    await begin(nursery, pipeline)

    for number in range(15):
        pipeline.put(number)
        await trio.sleep(1)
    pipeline.spool.disk.is_full = False
    await trio.sleep(6)

    assert keys(pipeline.spool.ticks) == keys(make_tick(n) for n in range(5, 15))
    assert pipeline.backlog.losses.rows == {"ibkr": 5}
    [gap] = pipeline.backlog.losses.pop_gaps()
    assert gap == FeedGap(
        broker="ibkr",
        started_at=make_tick(0).record.received_at,
        ended_at=make_tick(4).record.received_at,
        reason="ticks lost",
    )
    assert levels(caplog, "backlog.ticks_lost") == ["CRITICAL"]


async def test_a_slow_disk_saves_ticks_that_leave_memory_meanwhile(
    autojump_clock, nursery
):
    pipeline = Pipeline(memory_rows=10)
    pipeline.database_goes()
    await begin(nursery, pipeline)
    pipeline.spool.disk.delay = 1.0

    pipeline.put(*range(8))
    await trio.sleep(0.5)
    pipeline.put(*range(8, 16))  # 0 to 5 leave memory while the disk takes them
    await trio.sleep(5)

    assert pipeline.backlog.losses.total == 0
    assert keys(pipeline.spool.ticks) == keys(make_tick(n) for n in range(16))
    assert [at for at, _ in pipeline.durable] == [1.0] * 8 + [2.0] * 8


async def test_a_disk_that_refuses_in_the_end_costs_the_ticks_that_left_memory(
    autojump_clock, nursery, caplog
):
    pipeline = Pipeline(memory_rows=10)
    pipeline.database_goes()
    await begin(nursery, pipeline)
    pipeline.spool.disk.delay = 1.0
    pipeline.spool.disk.failures = [True]

    pipeline.put(*range(8))
    await trio.sleep(0.5)
    pipeline.put(*range(8, 16))
    assert pipeline.backlog.losses.total == 0
    await trio.sleep(5)

    assert pipeline.backlog.losses.total == 6
    assert keys(pipeline.spool.ticks) == keys(make_tick(n) for n in range(6, 16))
    assert len(pipeline.durable) == 10


async def test_a_full_spool_loses_the_oldest_ticks_that_left_memory(
    autojump_clock, nursery, caplog
):
    pipeline = Pipeline(MemorySpool(max_bytes=3 * TICK_BYTES))
    pipeline.database_goes()
    await begin(nursery, pipeline)

    for number in range(5):
        pipeline.put(number)
        await trio.sleep(1)

    assert keys(pipeline.spool.ticks) == keys(make_tick(n) for n in (2, 3, 4))
    assert pipeline.backlog.losses.rows == {"ibkr": 2}
    [gap] = pipeline.backlog.losses.pop_gaps()
    assert (gap.started_at, gap.ended_at) == (
        make_tick(0).record.received_at,
        make_tick(1).record.received_at,
    )
    # Not for each entry: a full spool goes on like this.
    assert levels(caplog, "spool.ticks_lost") == ["CRITICAL"]

    pipeline.put(5)
    await trio.sleep(1)
    assert levels(caplog, "spool.ticks_lost") == ["CRITICAL"] * 2


async def test_ticks_that_a_full_spool_drops_are_not_lost_while_memory_has_them(
    autojump_clock, nursery
):
    pipeline = Pipeline(MemorySpool(max_bytes=3 * TICK_BYTES))
    await begin(nursery, pipeline)
    pipeline.sink.delay = 10.0

    for number in range(5):
        pipeline.put(number)
        await trio.sleep(1)
    assert keys(pipeline.spool.ticks) == keys(make_tick(n) for n in (2, 3, 4))
    await trio.sleep(20)

    assert keys(pipeline.sink.ticks) == keys(make_tick(n) for n in range(5))
    assert pipeline.backlog.losses.total == 0
    assert len(pipeline.durable) == 5
    assert pipeline.spool.entries == {}


async def test_at_the_end_everything_is_stored_or_on_disk(
    autojump_clock, nursery, pipeline
):
    pipeline.database_goes()
    await begin(nursery, pipeline)
    pipeline.spool.disk.delay = 0.5
    pipeline.put(0, 1)
    await trio.sleep(0.1)
    pipeline.put(2, 3)

    pipeline.backlog.close()
    await trio.sleep(2)

    assert not nursery.child_tasks
    assert keys(pipeline.spool.ticks) == keys(make_tick(n) for n in range(4))
    assert pipeline.backlog.not_on_disk() == []


async def test_at_the_end_released_entries_are_deleted_on_disk(
    autojump_clock, nursery, pipeline
):
    await begin(nursery, pipeline)
    pipeline.sink.delay = 0.2
    pipeline.put(0)
    await trio.sleep(0.1)
    assert len(pipeline.spool.entries) == 1

    pipeline.backlog.close()
    await trio.sleep(1)

    assert not nursery.child_tasks
    assert pipeline.spool.entries == {}
    assert len(pipeline.sink.ticks) == 1


@pytest.mark.parametrize("finishes", [False, True])
@pytest.mark.parametrize("at_ms", range(0, 330, 15))
async def test_cancelled_at_any_moment_it_has_the_other_ticks_on_disk(
    autojump_clock, pipeline, at_ms, finishes
):
    """Commits take 120 ms, the disk 30: the cancellation meets every state."""
    pipeline.sink.delay, pipeline.spool.disk.delay = 0.12, 0.03
    pipeline.spool.disk.finishes_when_cancelled = finishes

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipeline.run)
        put = []
        with trio.move_on_after(at_ms / 1e3):
            for number in range(10):
                put += pipeline.put(number)
                await trio.sleep(0.03)
            await trio.sleep_forever()
        pipeline.backlog.close()
        nursery.cancel_scope.cancel()

    kept = keys(pipeline.sink.ticks) + keys(pipeline.spool.ticks)
    assert set(kept) == set(keys(put))
    assert pipeline.backlog.not_on_disk() == []
    assert sorted(keys(tick for _, tick in pipeline.durable)) == sorted(keys(put))
    assert trio.current_time() <= at_ms / 1e3 + 0.2


async def test_a_bug_in_another_task_costs_no_tick(autojump_clock, pipeline):
    async def have_a_bug():
        await trio.sleep(0.02)
        raise KeyError

    pipeline.sink.delay = 10.0
    with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pipeline.run)
            nursery.start_soon(have_a_bug)
            pipeline.put(0, 1, 2)
            pipeline.backlog.close()

    assert keys(pipeline.spool.ticks) == keys(make_tick(n) for n in range(3))
    assert len(pipeline.durable) == 3


async def test_a_bug_in_the_writer_does_not_cost_its_batch(autojump_clock, pipeline):
    class Broken(KeyError):
        pass

    async def write(_ticks, *, check_duplicates=False):
        await trio.sleep(0.02)
        raise Broken

    pipeline.sink.write = write
    pipeline.put(0, 1, 2)
    pipeline.backlog.close()

    with pytest.RaisesGroup(Broken, flatten_subgroups=True):
        await pipeline.run()

    assert keys(pipeline.spool.ticks) == keys(make_tick(n) for n in range(3))


async def test_a_disk_that_hangs_does_not_delay_the_end(autojump_clock, pipeline):
    pipeline.database_goes()
    pipeline.spool.disk.delay = math.inf
    pipeline.put(0)
    pipeline.backlog.close()

    with trio.move_on_after(10):
        await pipeline.run()

    assert trio.current_time() == 12.0
    assert len(pipeline.backlog.not_on_disk()) == 1


async def test_a_disk_that_hangs_is_shown_in_the_status(
    autojump_clock, nursery, pipeline
):
    pipeline.database_goes()
    pipeline.spool.disk.delay = 600.0
    await begin(nursery, pipeline)
    pipeline.put(0)
    await trio.sleep(4)
    assert pipeline.spooler.last_error is None

    await trio.sleep(56)
    assert pipeline.spooler.last_error == "the disk has not answered for 60 s"
    await trio.sleep(600)

    assert pipeline.spooler.last_error is None


async def test_the_rule_counts_from_the_reading_of_the_frame(
    autojump_clock, nursery, pipeline
):
    await begin(nursery, pipeline)
    pipeline.sink.delay = 1.0
    await trio.sleep(1)

    pipeline.backlog.put([make_tick(0, read_at=0.98)])
    await trio.sleep(0.5)

    assert pipeline.spool.disk.calls[0] == (pytest.approx(0.98 + AFTER_S), "append")
