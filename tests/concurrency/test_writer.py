from __future__ import annotations

import logging
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from greeks_trio.errors import StoreUnavailable
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.tick_counts import TickCounts, TickListeners
from greeks_trio.pipeline.writer import Writer
from greeks_trio.waiting import WakeUp
from tests.concurrency.fakes import ListSink, MemoryQuarantine, keys
from tests.factories import make_tick, tick_bytes


@pytest.fixture
def backlog():
    return Backlog(tick_bytes(1_000))


@pytest.fixture
def tick_counts():
    return TickCounts()


@pytest.fixture
def quarantine():
    return MemoryQuarantine()


@pytest.fixture
def sink():
    return ListSink()


def make_writer(backlog, *, tick_counts=None, quarantine=None, batch_rows=100):
    refused_rows = RefusedRows(quarantine or MemoryQuarantine())
    return Writer(
        backlog, refused_rows, tick_counts or TickCounts(), batch_rows=batch_rows
    )


async def test_a_lone_tick_is_written_at_once(autojump_clock, nursery, backlog, sink):
    nursery.start_soon(make_writer(backlog).run, sink.open, WakeUp())
    await trio.sleep(30)

    backlog.put([make_tick()])
    await wait_all_tasks_blocked()

    assert sink.writes == [(30.0, 1, False)]


async def test_under_load_ticks_collect_for_a_few_milliseconds(
    autojump_clock, nursery, backlog, sink
):
    nursery.start_soon(make_writer(backlog).run, sink.open, WakeUp())
    for number in range(500):
        backlog.put([make_tick(number)])
        await trio.sleep(0.001)
    await trio.sleep(0.01)

    assert sum(rows for _, rows, _ in sink.writes) == 500
    assert 70 <= len(sink.writes) <= 100
    assert max(rows for _, rows, _ in sink.writes) <= 8


async def test_a_full_batch_does_not_wait_for_more(
    autojump_clock, nursery, backlog, sink
):
    nursery.start_soon(make_writer(backlog, batch_rows=5).run, sink.open, WakeUp())
    await trio.sleep(1)
    for number in range(0, 400, 5):
        backlog.put([make_tick(number + each) for each in range(5)])
        await wait_all_tasks_blocked()

    assert sink.writes == [(1.0, 5, False)] * 80


async def test_while_a_flush_is_under_way_the_next_batch_gathers(
    autojump_clock, nursery, backlog, sink
):
    sink.delay = 1.0
    nursery.start_soon(make_writer(backlog).run, sink.open, WakeUp())
    for number in range(8):
        backlog.put([make_tick(number)])
        await trio.sleep(0.3)
    await trio.sleep(5)

    writes = [(at, rows) for at, rows, _ in sink.writes]
    assert writes == [(0, 1), (1, 3), (2, 3), (3, 1)]


async def test_a_batch_is_never_larger_than_its_limit(autojump_clock, backlog, sink):
    backlog.put([make_tick(number) for number in range(25)])
    backlog.close()

    await make_writer(backlog, batch_rows=10).run(sink.open, WakeUp())

    assert [rows for _, rows, _ in sink.writes] == [10, 10, 5]


async def test_the_writer_ends_when_the_backlog_is_closed_and_empty(
    autojump_clock, backlog, sink
):
    backlog.put([make_tick(0), make_tick(1)])
    backlog.close()

    with trio.fail_after(1):
        await make_writer(backlog).run(sink.open, WakeUp())

    assert sink.ticks == [make_tick(0), make_tick(1)]


async def test_a_database_that_goes_in_a_quiet_hour_is_noticed(
    autojump_clock, nursery, backlog, sink
):
    writer = make_writer(backlog)
    nursery.start_soon(writer.run, sink.open, WakeUp())
    await trio.sleep(3_600)
    assert (writer.statistics().is_connected, sink.connections) == (True, 1)

    sink.is_down = True
    await trio.sleep(10.5)
    assert not writer.statistics().is_connected

    sink.is_down = False
    await trio.sleep(5)
    backlog.put([make_tick()])
    await wait_all_tasks_blocked()
    assert sink.writes == [(3615.5, 1, False)]


async def test_nothing_to_store_needs_no_connection_to_end(
    autojump_clock, nursery, backlog, sink
):
    sink.is_down = True
    retry_now = WakeUp()
    nursery.start_soon(make_writer(backlog).run, sink.open, retry_now)
    await trio.sleep(60)

    backlog.close()
    retry_now.wake()
    await wait_all_tasks_blocked()

    assert not nursery.child_tasks
    assert trio.current_time() == 60


async def test_a_cancelled_writer_leaves_what_is_not_committed(
    autojump_clock, backlog, sink
):
    sink.delay = 10.0
    backlog.put([make_tick(number) for number in range(5)])

    with trio.move_on_after(1):
        await make_writer(backlog, batch_rows=3).run(sink.open, WakeUp())

    assert sink.ticks == []
    assert backlog.take(9) == [make_tick(number) for number in range(5)]


@pytest.mark.parametrize("failure", ["before", "after"])
async def test_a_failed_flush_is_repeated_and_checked_for_duplicates(
    autojump_clock, backlog, sink, tick_counts, failure
):
    sink.failures = [failure]
    backlog.put([make_tick(0), make_tick(1)])
    backlog.close()
    writer = make_writer(backlog, tick_counts=tick_counts)

    await writer.run(sink.open, WakeUp())

    assert sink.ticks == [make_tick(0), make_tick(1)]
    assert [check for _, _, check in sink.writes] == [False, True]
    assert sink.connections == 2
    assert 0.05 <= trio.current_time() <= 0.1
    assert writer.statistics().retries == 1
    assert tick_counts.already_stored == (2 if failure == "after" else 0)
    assert tick_counts.persisted == {"ibkr": 2}


async def test_after_a_success_the_fast_path_is_back(autojump_clock, backlog, sink):
    sink.failures = ["before"]
    backlog.put([make_tick(number) for number in range(4)])
    backlog.close()

    await make_writer(backlog, batch_rows=2).run(sink.open, WakeUp())

    assert [check for _, _, check in sink.writes] == [False, True, False]


async def test_without_a_database_the_writer_tries_ever_more_slowly(
    autojump_clock, nursery, backlog, sink
):
    attempts = []

    def open_sink():
        attempts.append(trio.current_time())
        return sink.open()

    sink.is_down = True
    nursery.start_soon(make_writer(backlog).run, open_sink, WakeUp())
    await trio.sleep(60)
    waits = [b - a for a, b in pairwise(attempts)]

    assert 0.05 <= waits[0] <= 0.1
    assert all(2.5 <= wait <= 5.0 for wait in waits[8:])


async def test_a_wake_up_cuts_the_wait_short(autojump_clock, nursery, backlog, sink):
    sink.is_down = True
    retry_now = WakeUp()
    backlog.put([make_tick()])
    nursery.start_soon(make_writer(backlog).run, sink.open, retry_now)
    await trio.sleep(60)
    sink.is_down = False
    now = trio.current_time()

    retry_now.wake()
    await wait_all_tasks_blocked()

    assert sink.ticks == [make_tick()]
    assert trio.current_time() == now


async def test_ticks_wait_in_memory_while_the_database_is_away(
    autojump_clock, nursery, sink
):
    backlog = Backlog(tick_bytes(10))
    sink.is_down = True
    nursery.start_soon(make_writer(backlog).run, sink.open, WakeUp())
    for number in range(15):
        backlog.put([make_tick(number)])
        await trio.sleep(1)

    sink.is_down = False
    await trio.sleep(6)

    assert sink.ticks == [make_tick(number) for number in range(5, 15)]
    assert backlog.losses.rows == {"ibkr": 5}


async def test_what_is_stored_is_durable_unless_the_disk_had_it(
    autojump_clock, backlog, sink
):
    durable = []
    backlog.put([make_tick(number) for number in range(4)])
    backlog.start_spooling(2)
    backlog.end_spooling(1)
    backlog.close()
    tick_counts = TickCounts(TickListeners(durable=durable.extend))

    await make_writer(backlog, tick_counts=tick_counts).run(sink.open, WakeUp())

    assert keys(sink.ticks) == keys(make_tick(number) for number in range(4))
    assert durable == [make_tick(2), make_tick(3)]


async def test_a_refused_row_never_takes_its_batch_along(
    autojump_clock, backlog, sink, tick_counts, quarantine
):
    ticks = [make_tick(number) for number in range(7)]
    sink.refuse(ticks[3])
    backlog.put(ticks)
    backlog.close()

    writer = make_writer(backlog, tick_counts=tick_counts, quarantine=quarantine)
    await writer.run(sink.open, WakeUp())

    assert sink.ticks == ticks[:3] + ticks[4:]
    assert quarantine.ticks == [ticks[3]]
    assert tick_counts.persisted == {"ibkr": 6}


async def test_a_row_that_nobody_keeps_is_lost_and_not_durable(
    autojump_clock, backlog, sink, quarantine
):
    sink.refuse(make_tick(0))
    quarantine.disk.is_full = True
    backlog.put([make_tick(0), make_tick(1)])
    backlog.close()
    durable = []
    tick_counts = TickCounts(TickListeners(durable=durable.extend))

    writer = make_writer(backlog, tick_counts=tick_counts, quarantine=quarantine)
    await writer.run(sink.open, WakeUp())

    assert durable == [make_tick(1)]
    assert backlog.losses.rows == {"ibkr": 1}


async def test_what_was_settled_when_the_connection_went_is_counted_once(
    autojump_clock, backlog, sink, quarantine
):
    """The connection is lost after one half was stored and a row refused."""
    ticks = [make_tick(number) for number in range(8)]
    sink.refuse(ticks[4])
    # All; the first half; the second half; 4 and 5; 4 alone; 5 is lost.
    sink.failures = [None, None, None, None, None, "before"]
    backlog.put(ticks)
    backlog.close()
    committed, durable = [], []
    tick_counts = TickCounts(
        TickListeners(committed=committed.extend, durable=durable.extend)
    )
    refused_rows = RefusedRows(quarantine)

    writer = Writer(backlog, refused_rows, tick_counts, batch_rows=100)
    await writer.run(sink.open, WakeUp())

    assert committed == sink.ticks == ticks[:4] + ticks[5:]
    assert durable == ticks
    assert quarantine.ticks == [ticks[4]]
    assert refused_rows.quarantined == {"ibkr": 1}
    assert tick_counts.persisted == {"ibkr": 7}
    assert tick_counts.latency_to_commit().since_start.count == 7
    assert [rows for _, rows, check in sink.writes if check] == [8, 4, 4, 2, 1, 1, 2]


async def test_latency_counts_from_the_frames_reading_to_the_commit(
    autojump_clock, backlog, sink, tick_counts
):
    sink.delay = 0.25
    await trio.sleep(10)
    backlog.put([make_tick(0, read_at=9.75), make_tick(1, read_at=9.75)])
    backlog.put([make_tick(2, read_at=10.0)])
    backlog.close()

    await make_writer(backlog, tick_counts=tick_counts).run(sink.open, WakeUp())

    for latency in (tick_counts.latency_to_commit(), tick_counts.latency_to_durable()):
        assert latency.since_start.count == 3
        assert latency.since_start.max == pytest.approx(0.5)
        assert latency.since_start.p50 == pytest.approx(0.5, rel=0.02)
        assert latency.window == latency.since_start
    assert tick_counts.persisted == {"ibkr": 3}
    assert trio.current_time() == 10.25


async def test_a_database_that_lets_us_in_and_takes_nothing_is_said_once(
    autojump_clock, nursery, backlog, sink, caplog
):
    nursery.start_soon(make_writer(backlog).run, sink.open, WakeUp())
    sink.failures = ["before"] * 100
    backlog.put([make_tick()])
    await trio.sleep(300)
    assert sink.connections > 50
    assert caplog.text.count("writer.retrying") == 1

    sink.failures = [None, "before"]
    await trio.sleep(300)
    backlog.put([make_tick(1)])
    await trio.sleep(1)

    assert caplog.text.count("writer.retrying") == 2


async def test_a_refused_login_is_one_error_not_one_every_few_seconds(
    autojump_clock, nursery, backlog, caplog
):
    class Refusing:
        async def __aenter__(self):
            raise StoreUnavailable("password refused", needs_person=True)

        async def __aexit__(self, *exc_info):
            raise AssertionError("never entered")

    caplog.set_level(logging.INFO)
    writer = make_writer(backlog)
    nursery.start_soon(writer.run, Refusing, WakeUp())
    await trio.sleep(60)

    levels = [record.levelname for record in caplog.records]
    assert levels == ["ERROR"]
    assert writer.statistics().last_error == "password refused"
    assert not writer.statistics().is_connected


async def test_a_commit_that_hangs_is_no_working_database(
    autojump_clock, nursery, backlog, sink, caplog
):
    """Each connection is made, each flush fails, and a ping would succeed."""
    caplog.set_level(logging.INFO)
    writer = make_writer(backlog)
    nursery.start_soon(writer.run, sink.open, WakeUp())
    await trio.sleep(1)
    assert writer.statistics().is_connected

    sink.delay, sink.failures = 5.0, ["before"] * 1_000
    backlog.put([make_tick()])
    await trio.sleep(6)
    seen = set()
    for _ in range(100):
        seen.add(writer.statistics().is_connected)
        assert writer.statistics().last_error == "told to fail"
        await trio.sleep(0.5)
    assert seen == {False}
    assert caplog.text.count("writer.connected") == 1

    sink.failures = []
    await trio.sleep(15)
    assert writer.statistics().is_connected
    assert writer.statistics().last_error is None
    assert caplog.text.count("writer.connected") == 2


async def test_after_a_failed_flush_a_ping_proves_nothing_while_ticks_wait_on_disk(
    autojump_clock, nursery, backlog, sink
):
    waiting = [True]
    refused_rows = RefusedRows(MemoryQuarantine())
    writer = Writer(
        backlog,
        refused_rows,
        TickCounts(),
        batch_rows=10,
        has_more_to_replay=lambda: waiting[0],
    )
    nursery.start_soon(writer.run, sink.open, WakeUp())
    refused_rows.failure = "the last flush failed"
    await trio.sleep(60)
    assert not writer.statistics().is_connected
    assert writer.statistics().last_error == "the last flush failed"

    waiting[0] = False
    await trio.sleep(11)
    assert writer.statistics().is_connected


async def test_ticks_without_a_partition_leave_for_the_disk(
    autojump_clock, nursery, backlog, sink
):
    late, usual = make_tick(1), make_tick(2)
    sink.without_partition.add(keys([late])[0])
    nursery.start_soon(make_writer(backlog).run, sink.open, WakeUp())
    backlog.put([late, usual])
    await trio.sleep(1)
    assert sink.ticks == [usual]
    assert (len(backlog), backlog.has_postponed) == (1, True)

    assert backlog.start_spooling(10) == [late]
    assert backlog.end_spooling(7) == [late]

    assert (len(backlog), backlog.bytes, backlog.replay_to) == (0, 0, 7)
    assert len(sink.writes) == 2


@given(
    st.lists(st.integers(1, 20), max_size=8),
    st.lists(st.sampled_from([None, "before", "after"]), max_size=8),
    st.integers(1, 30),
)
def test_every_tick_is_stored_once_whatever_fails(batches, failures, batch_rows):
    sink = ListSink()
    sink.failures = list(failures)
    backlog = Backlog(tick_bytes(1_000))
    expected = []

    async def main():
        async with trio.open_nursery() as nursery:
            writer = make_writer(backlog, batch_rows=batch_rows)
            nursery.start_soon(writer.run, sink.open, WakeUp())
            for size in batches:
                ticks = [make_tick(len(expected) + n) for n in range(size)]
                expected.extend(ticks)
                backlog.put(ticks)
                await trio.sleep(0.1)
            backlog.close()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert sorted(sink.ticks, key=lambda t: t.record.event_time) == expected
