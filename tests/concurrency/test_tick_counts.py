from __future__ import annotations

from datetime import timedelta

import pytest
import trio

from greeks_trio.model.records import Tick
from greeks_trio.pipeline.refused_rows import BatchOutcome
from greeks_trio.pipeline.tick_counts import TickCounts, TickListeners
from tests.factories import START, make_record, make_tick


def stored(*numbers, new=None, read_at=0.0):
    ticks = [make_tick(number, read_at=read_at) for number in numbers]
    return BatchOutcome(ticks=ticks, new=len(ticks) if new is None else new)


async def test_commits_are_counted_by_broker(autojump_clock):
    tick_counts = TickCounts()

    tick_counts.committed(stored(0, 1))
    tick_counts.committed(BatchOutcome([make_tick(broker="tastytrade")], new=1))

    assert tick_counts.persisted == {"ibkr": 2, "tastytrade": 1}
    assert not tick_counts.replayed


async def test_ticks_that_the_table_had_are_counted(autojump_clock):
    tick_counts = TickCounts()

    tick_counts.committed(stored(0, 1, 2, new=1))
    tick_counts.committed_again(stored(3, new=0))

    assert tick_counts.already_stored == 3
    assert tick_counts.replayed == {"ibkr": 1}


async def test_the_two_latencies_count_from_the_reading_of_the_frame(autojump_clock):
    tick_counts = TickCounts()
    await trio.sleep(10)
    ticks = stored(0, 1, read_at=9.9)
    tick_counts.durable(ticks.ticks)
    await trio.sleep(1)

    tick_counts.committed(ticks)

    assert tick_counts.latency_to_durable().since_start.max == pytest.approx(0.1)
    assert tick_counts.latency_to_commit().since_start.max == pytest.approx(1.1)
    assert tick_counts.latency_to_commit().since_start.count == 2


async def test_replayed_ticks_have_no_latency(autojump_clock):
    tick_counts = TickCounts()

    tick_counts.committed_again(stored(0, 1))

    assert tick_counts.latency_to_commit().since_start.count == 0
    assert tick_counts.latency_to_durable().since_start.count == 0


async def test_a_latency_leaves_the_window_and_stays_in_the_sum(autojump_clock):
    tick_counts = TickCounts()
    tick_counts.durable([make_tick()])

    await trio.sleep(61)

    assert tick_counts.latency_to_durable().window.count == 0
    assert tick_counts.latency_to_durable().since_start.count == 1


async def test_listeners_are_called_with_ticks_and_not_without(autojump_clock):
    durable, committed = [], []
    tick_counts = TickCounts(
        TickListeners(durable=durable.append, committed=committed.append)
    )

    tick_counts.durable([make_tick(0)])
    tick_counts.durable([])
    tick_counts.committed(stored(1))
    tick_counts.committed_again(stored(2))
    tick_counts.committed(BatchOutcome(refused=[make_tick(3)]))

    assert durable == [[make_tick(0)]]
    assert committed == [[make_tick(1)], [make_tick(2)]]


async def test_latencies_are_counted_by_broker_with_a_bound_for_the_target(
    autojump_clock,
):
    tick_counts = TickCounts(slo_target_s=0.3)
    await trio.sleep(1)

    tick_counts.durable(
        [
            make_tick(0, read_at=0.9),
            make_tick(1, read_at=0.9),
            make_tick(2, read_at=0.5),
            make_tick(3, read_at=0.5, broker="tastytrade"),
        ]
    )

    ibkr, tastytrade = (
        tick_counts.to_durable.by_broker[each] for each in ("ibkr", "tastytrade")
    )
    assert (ibkr.count, ibkr.above(0.3)) == (3, 1)
    assert (tastytrade.count, tastytrade.above(0.3)) == (1, 1)
    assert ibkr.sum == pytest.approx(0.7)
    assert (0.3, 2) in ibkr.cumulative()


async def test_the_event_age_is_counted_once_for_each_durable_tick(autojump_clock):
    tick_counts = TickCounts()
    early = make_record(0, received_at=START - timedelta(seconds=1))
    ticks = [make_tick(0), make_tick(1), Tick(early, 0, 0.0)]

    tick_counts.durable(ticks)
    tick_counts.committed(BatchOutcome(ticks=ticks, new=3))

    age = tick_counts.event_age["ibkr"]
    assert age.count == 3
    # A clock that is behind the broker's gives 0.
    assert age.sum == pytest.approx(0.04)
    assert age.above(0.01) == 2
