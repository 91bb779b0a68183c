"""The latest tick of each series: never backwards, coalesced, bounded."""

from __future__ import annotations

from datetime import timedelta

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.model.contracts import ContractKey
from greeks_trio.pipeline.latest import MAX_FRESH, Latest
from greeks_trio.pipeline.processor import Processor
from tests.factories import SPY_CALL, SPY_PUT, START, make_frame, make_record


def put(latest, *records):
    for record in records:
        latest.put((record.broker, record.account_id, record.contract_key), record)


def key(number):
    return ContractKey(f"SPY   261218C{number:08d}")


def records_of(latest, since=0):
    return latest.changes(since)[1]


def test_the_first_look_gives_the_latest_of_each_series_oldest_change_first():
    latest = Latest()
    call, newer, put_ = (
        make_record(0),
        make_record(1),
        make_record(0, contract_key=SPY_PUT),
    )
    put(latest, call)
    records_of(latest)
    put(latest, put_)
    records_of(latest)
    put(latest, newer)

    assert records_of(latest) == [put_, newer]
    assert len(latest) == 2


def test_the_same_contract_at_another_account_or_broker_is_another_series():
    latest = Latest()
    put(
        latest,
        make_record(account_id="U1"),
        make_record(account_id="U2"),
        make_record(account_id="U1", broker="tastytrade"),
    )

    assert len(records_of(latest)) == 3


def test_a_look_gives_only_what_changed_since_the_last_one():
    latest = Latest()
    put(latest, make_record(0), make_record(0, contract_key=SPY_PUT))
    version, _ = latest.changes()
    newer = make_record(5)
    put(latest, make_record(4), newer)

    after, changed = latest.changes(version)

    assert changed == [newer]
    assert records_of(latest, after) == []


def test_each_reader_has_its_own_pace():
    latest = Latest()
    put(latest, make_record(0))
    slow, _ = latest.changes()
    fast = slow
    seen_fast = []
    for number in range(1, 4):
        put(latest, make_record(number))
        fast, changed = latest.changes(fast)
        seen_fast += changed

    assert seen_fast == [make_record(1), make_record(2), make_record(3)]
    assert records_of(latest, slow) == [make_record(3)]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.sampled_from([1.0, 2.0])),
        max_size=20,
    ),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=4),
    st.data(),
)
def test_the_latest_tick_is_never_replaced_by_an_older_one(events, table, data):
    """For any order of ticks, reads and ticks of the table."""
    processor, shown = Processor(), []

    def tick(event_s, received_s, delta):
        received_at = START + timedelta(minutes=1, seconds=received_s)
        return make_record(event_s, received_at=received_at, delta=delta)

    def look():
        shown.extend(processor.latest.changes()[1])

    seeds = [[tick(*times, 3.0)] for times in table]
    for event in events:
        processor.process(make_frame(tick(*event)))
        if seeds and data.draw(st.booleans()):
            processor.latest.seed(seeds.pop())
        if data.draw(st.booleans()):
            look()
    for left in seeds:
        processor.latest.seed(left)
    look()

    order = [(record.event_time, record.received_at) for record in shown]
    assert order == sorted(order)
    if events or table:
        times = [tick(*event) for event in events]
        times += [tick(*each, 3.0) for each in table]
        assert order[-1][0] == max(record.event_time for record in times)


def test_of_two_events_with_one_time_the_last_received_is_the_latest():
    processor = Processor()
    first, second = make_record(delta=0.1), make_record(delta=0.2)

    processor.process(make_frame(first, second))

    assert records_of(processor.latest) == [second]


def test_a_late_tick_is_not_the_latest():
    processor = Processor()
    newest = make_record(10)
    for record in (newest, make_record(3)):
        processor.process(make_frame(record))

    assert records_of(processor.latest) == [newest]


def test_a_clock_that_is_set_back_does_not_bring_back_an_older_tick():
    """Of ticks with one event time, the one with the later receipt stays."""
    processor = Processor()
    first = make_record(delta=0.1)
    earlier = make_record(delta=0.2, received_at=START - timedelta(hours=1))

    processor.process(make_frame(first))
    processor.process(make_frame(earlier))

    assert records_of(processor.latest) == [first]


def test_the_table_gives_series_without_a_tick_so_far():
    latest = Latest()
    live = make_record(5)
    put(latest, live)
    version, _ = latest.changes()
    stored = make_record(3, contract_key=SPY_PUT)

    taken = latest.seed([make_record(4), stored])

    assert taken == 1
    assert records_of(latest, version) == [stored]
    assert set(map(id, records_of(latest))) == {id(live), id(stored)}


def test_a_tick_that_came_meanwhile_wins_against_the_same_from_the_table():
    latest = Latest()
    live, stored = make_record(5), make_record(5, source_payload=b"null")
    put(latest, live)

    latest.seed([stored])

    assert records_of(latest) == [live]


def test_a_tick_older_than_the_tables_does_not_replace_it():
    """A broker sends its last value again after our restart."""
    latest = Latest()
    stored = make_record(9)
    latest.seed([stored])

    put(latest, make_record(8))

    assert records_of(latest) == [stored]


def test_beyond_the_bound_the_series_without_change_for_longest_are_dropped():
    latest = Latest(max_series=3)
    for number in range(3):
        put(latest, make_record(number, contract_key=key(number)))
        len(latest)
    put(latest, make_record(9, contract_key=key(0)))

    put(latest, make_record(9, contract_key=key(3)))

    assert {record.contract_key for record in records_of(latest)} == {
        key(0),
        key(2),
        key(3),
    }


def test_the_bound_holds_without_a_reader():
    latest = Latest(max_series=3)

    for number in range(100):
        put(latest, make_record(contract_key=key(number)))
        assert len(latest._fresh) <= 4
    assert len(latest) == 3


def test_the_table_takes_no_live_series_place():
    latest = Latest(max_series=2)
    put(latest, make_record(contract_key=key(1)), make_record(contract_key=key(2)))

    latest.seed([make_record(contract_key=key(number)) for number in (3, 4)])

    assert {record.contract_key for record in records_of(latest)} == {key(1), key(2)}


async def test_the_next_tick_wakes_every_waiting_reader(autojump_clock):
    latest = Latest()
    put(latest, make_record(0))
    version, _ = latest.changes()
    woken = []

    async def wait(name):
        await latest.wait_newer(version)
        woken.append((name, trio.current_time()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "a")
        nursery.start_soon(wait, "b")
        await trio.sleep(7)
        put(latest, make_record(1))

    assert sorted(woken) == [("a", 7.0), ("b", 7.0)]


async def test_a_reader_that_missed_a_change_does_not_wait(autojump_clock):
    """Another reader has read in between."""
    latest = Latest()
    version, _ = latest.changes()
    put(latest, make_record(1))
    latest.changes(version)

    with trio.fail_after(1):
        await latest.wait_newer(version)

    assert records_of(latest, version) == [make_record(1)]


async def test_ticks_of_the_table_wake_the_readers_too(autojump_clock):
    latest = Latest()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(latest.wait_newer, 0)
        await trio.testing.wait_all_tasks_blocked()
        latest.seed([make_record(contract_key=SPY_CALL)])

    assert len(latest) == 1


def test_a_huge_payload_is_not_kept_and_its_tick_is():
    latest = Latest()
    small, huge = b'{"7308": "0.5"}', b'{"x": "' + b"x" * 5_000 + b'"}'
    put(latest, make_record(0, source_payload=small))
    put(latest, make_record(0, contract_key=SPY_PUT, source_payload=huge))

    kept = {each.contract_key: each for each in records_of(latest)}
    assert kept[SPY_CALL].source_payload == small
    assert kept[SPY_PUT].source_payload == b"{}"
    assert kept[SPY_PUT].delta == kept[SPY_CALL].delta


def test_a_reader_that_takes_some_gets_each_changed_series_once_and_newest():
    latest = Latest()
    put(latest, *(make_record(0, contract_key=key(number)) for number in range(7)))
    version, first = latest.changes(most=3)
    changed_again = make_record(1, contract_key=key(1))
    not_read_yet = make_record(1, contract_key=key(5))
    put(latest, changed_again, not_read_yet)

    version, second = latest.changes(version, most=3)
    version, third = latest.changes(version, most=3)

    assert [each.contract_key for each in first] == [key(n) for n in range(3)]
    assert [each.contract_key for each in second] == [key(n) for n in (3, 4, 6)]
    assert third == [changed_again, not_read_yet]
    assert version == latest.version


def test_without_a_reader_no_more_than_some_ticks_wait_for_the_next_one():
    latest = Latest()
    for number in range(3 * MAX_FRESH):
        put(latest, make_record(0, contract_key=key(number)))
        assert len(latest._fresh) <= MAX_FRESH

    assert len(latest) == 3 * MAX_FRESH
