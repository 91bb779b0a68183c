from __future__ import annotations

import tracemalloc
from datetime import timedelta

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.model.records import FeedGap
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.stores import Dropped
from tests.concurrency.fakes import keys
from tests.factories import START, make_record, make_tick, tick_bytes


async def test_ticks_come_out_in_the_order_in_which_they_went_in():
    backlog = Backlog(tick_bytes(10))
    backlog.put([make_tick(n) for n in range(5)])

    assert backlog.take(2) == [make_tick(0), make_tick(1)]
    assert backlog.take(9) == [make_tick(2), make_tick(3), make_tick(4)]
    assert backlog.take(9) == []


async def test_ticks_that_were_given_back_come_out_first():
    backlog = Backlog(tick_bytes(10))
    backlog.put([make_tick(n) for n in range(4)])

    backlog.take(2)
    backlog.give_back()

    assert backlog.take(9) == [make_tick(n) for n in range(4)]


@pytest.mark.parametrize("way", ["put", "give_back"])
async def test_beyond_the_bound_the_oldest_are_lost_and_counted(way, caplog):
    backlog = Backlog(tick_bytes(3))

    if way == "put":
        backlog.put([make_tick(n) for n in range(5)])
    else:
        backlog.put([make_tick(n) for n in (0, 1)])
        backlog.take(2)
        backlog.put([make_tick(n) for n in (2, 3, 4)])
        backlog.give_back()

    assert backlog.take(9) == [make_tick(2), make_tick(3), make_tick(4)]
    assert backlog.losses.rows == {"ibkr": 2}
    assert backlog.peak == 5
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("CRITICAL", f"backlog.ticks_lost max_bytes={tick_bytes(3)}")
    ]


async def test_lost_ticks_are_a_gap_from_the_first_to_the_last():
    backlog = Backlog(tick_bytes(1))
    backlog.put([make_tick(n) for n in range(3)])
    backlog.put([make_tick(9, broker="tastytrade"), make_tick(10)])

    gaps = backlog.losses.pop_gaps()

    def received(number):
        return START + timedelta(seconds=number, milliseconds=20)

    assert gaps == [
        FeedGap(
            broker="ibkr",
            started_at=received(0),
            ended_at=received(2),
            reason="ticks lost",
        ),
        FeedGap(
            broker="tastytrade",
            started_at=received(9),
            ended_at=received(9),
            reason="ticks lost",
        ),
    ]
    assert backlog.losses.pop_gaps() == []


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
async def test_the_disk_gets_ticks_in_the_order_of_the_queue(taken):
    """Two feeds have swapped ticks; those of the lost batch are given back."""
    backlog = Backlog(tick_bytes(9))
    ticks = [make_tick(number) for number in range(3)]
    for tick, read_at in zip(ticks, (1.0, 3.0, 2.0), strict=True):
        tick.read_at = read_at
    backlog.put(ticks)
    backlog.take(taken)

    assert keys(backlog.start_spooling(9, read_until=2.5)) == keys(ticks[:1])
    backlog.end_spooling(1)
    backlog.give_back()

    assert keys(backlog.start_spooling(9)) == keys(ticks[1:])
    backlog.end_spooling(2)
    backlog.take(9)
    backlog.settle()
    assert backlog.pop_released() == [1, 2]


async def test_ticks_that_the_disk_has_dropped_are_lost_when_they_leave_memory():
    backlog = Backlog(tick_bytes(2))
    backlog.put([make_tick(0), make_tick(1)])
    backlog.start_spooling(9)
    backlog.end_spooling(1)
    tick = make_tick()
    dropped = Dropped(
        ids=[range(1, 2)],
        rows={"ibkr": 2},
        first_at=tick.record.received_at,
        last_at=tick.record.received_at,
        reason="spool-full",
    )
    assert backlog.dropped_from_disk(dropped) == {}

    backlog.evict()
    assert (len(backlog), backlog.losses.total) == (2, 0)
    backlog.put([make_tick(2), make_tick(3)])

    assert backlog.losses.rows == {"ibkr": 2}
    assert backlog.replay_to == 0


def test_a_waiting_tick_takes_no_more_than_is_counted():
    backlog = Backlog(10**9)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        backlog.put(make_distinct_tick(number) for number in range(10_000))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0.7 * backlog.bytes < after - before <= backlog.bytes


def make_distinct_tick(number):
    """Return a tick that shares strings with others as those of one contract do."""
    names = ("delta", "gamma", "theta", "vega", "rho", "implied_volatility")
    values = {name: number + n / 10 for n, name in enumerate(names)}
    payload = f'{{"number":{number:0200}}}'.encode()
    return make_tick(
        number, read_at=number + 0.5, source_payload=payload, **SHARED, **values
    )


SHARED = {
    "expiration": make_record().expiration,
    "strike": make_record().strike,
    "quantity": make_record().quantity,
}


async def test_the_consumer_waits_until_there_are_ticks(nursery):
    backlog = Backlog(tick_bytes(10))
    results = []

    async def consume():
        results.append(await backlog.wait_rows())

    nursery.start_soon(consume)
    await wait_all_tasks_blocked()
    assert results == []
    backlog.put([make_tick()])
    await wait_all_tasks_blocked()

    assert results == [True]


async def test_a_closed_backlog_is_emptied_first(autojump_clock):
    backlog = Backlog(tick_bytes(10))
    backlog.put([make_tick()])
    backlog.close()

    assert await backlog.wait_rows()
    backlog.take(9)
    with trio.fail_after(1):
        assert not await backlog.wait_rows()


async def test_closing_wakes_the_consumer(nursery, autojump_clock):
    backlog = Backlog(tick_bytes(10))
    nursery.start_soon(_close_later, backlog)

    with trio.fail_after(2):
        assert not await backlog.wait_rows()
    assert trio.current_time() == 1.0


async def _close_later(backlog):
    await trio.sleep(1)
    backlog.close()
