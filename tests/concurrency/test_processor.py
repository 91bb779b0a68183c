from __future__ import annotations

from datetime import timedelta

import trio
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.model.fingerprint import fingerprint
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.processor import Processor, run_processor
from tests.factories import SPY_PUT, START, make_frame, make_record, tick_bytes


def test_a_tick_is_stamped_with_its_fingerprint_and_its_frames_time():
    record = make_record()

    [tick] = Processor().process(make_frame(record, read_at=7.5))

    assert tick.record is record
    assert tick.fingerprint == fingerprint(record)
    assert tick.read_at == 7.5


def test_a_repeated_event_is_dropped_and_counted():
    processor = Processor()
    frame = make_frame(make_record())

    assert len(processor.process(frame)) == 1
    assert processor.process(frame) == []
    assert processor.statistics().received == {"ibkr": 2}
    assert processor.statistics().duplicates == {"ibkr": 1}


def test_the_last_sixteen_events_of_a_contract_are_remembered():
    """An older one passes again, and the primary key of the table drops it."""
    processor = Processor()
    frames = [make_frame(make_record(number)) for number in range(40)]
    for frame in frames:
        processor.process(frame)

    again = [len(processor.process(frame)) for frame in reversed(frames)]

    assert again[:16] == [0] * 16
    assert again[16:] == [1] * 24


def test_equal_greeks_at_another_time_are_another_event():
    processor = Processor()

    processor.process(make_frame(make_record(0)))

    assert len(processor.process(make_frame(make_record(1)))) == 1


def test_the_same_event_in_two_accounts_is_two_rows():
    frame = make_frame(make_record(account_id="U1"), make_record(account_id="U2"))

    assert len(Processor().process(frame)) == 2


def test_the_ticks_of_a_frame_are_ordered_whatever_their_order():
    late, early = make_record(5), make_record(1)
    put = make_record(5, contract_key=SPY_PUT)

    ticks = Processor().process(make_frame(put, late, early))

    assert [tick.record for tick in ticks] == [early, late, put]


def test_a_late_event_is_stored_and_counted():
    processor = Processor()
    processor.process(make_frame(make_record(10)))

    assert len(processor.process(make_frame(make_record(3)))) == 1
    assert len(processor.process(make_frame(make_record(7)))) == 1
    assert len(processor.process(make_frame(make_record(11)))) == 1
    assert processor.statistics().late == {"ibkr": 2}


@given(st.lists(st.integers(0, 8), max_size=16), st.integers(1, 6))
def test_each_event_comes_out_once_whatever_the_order(numbers, frame_size):
    processor = Processor()
    out = []

    for at in range(0, len(numbers), frame_size):
        frame = [make_record(n) for n in numbers[at : at + frame_size]]
        out += processor.process(make_frame(*frame))

    times = [tick.record.event_time for tick in out]
    assert sorted(times) == [START + timedelta(seconds=n) for n in sorted({*numbers})]
    counts = processor.statistics()
    assert counts.received.get("ibkr", 0) == len(numbers)
    assert counts.duplicates.get("ibkr", 0) == len(numbers) - len(out)


async def test_the_processor_ends_when_every_sender_has_closed(autojump_clock):
    send, receive = trio.open_memory_channel[list[Tick]](10)
    backlog = Backlog(tick_bytes(10))
    with send:
        for number in range(3):
            send.send_nowait(make_frame(make_record(number)))

    with trio.fail_after(1):
        await run_processor(receive, Processor(), backlog)

    assert [t.record.event_time for t in backlog.take(9)] == [
        START + timedelta(seconds=number) for number in range(3)
    ]
    assert not await backlog.wait_rows()


async def test_a_cancelled_processor_closes_its_end(autojump_clock):
    send, receive = trio.open_memory_channel[list[Tick]](10)

    with trio.move_on_after(1):
        await run_processor(receive, Processor(), Backlog(tick_bytes(10)))

    with send:
        try:
            send.send_nowait(make_frame(make_record()))
        except trio.BrokenResourceError:
            closed = True
    assert closed


def test_the_latest_ticks_are_kept_without_repeats():
    processor = Processor()
    call, put = make_record(1), make_record(2, contract_key=SPY_PUT)
    for record in (call, put, call, make_record(0)):
        processor.process(make_frame(record))

    _, latest = processor.latest.changes()

    assert set(map(id, latest)) == {id(call), id(put)}
