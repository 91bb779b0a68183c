from __future__ import annotations

from collections import Counter

from greeks_trio.pipeline.spooled_ticks import SpooledTicks
from greeks_trio.pipeline.stores import Dropped
from tests.factories import START, make_tick


def make_ticks(entry, rows, **changes):
    ticks = [make_tick(number, **changes) for number in range(rows)]
    for tick in ticks:
        tick.entry = entry
    return ticks


def dropped(entry, **rows):
    return Dropped(
        ids=(range(entry, entry + 1),),
        rows=Counter(rows),
        first_at=START,
        last_at=START,
        reason="spool-full",
    )


def test_an_entry_is_released_with_its_last_tick():
    spooled, ticks = SpooledTicks(), make_ticks(1, 3)
    spooled.add(1, in_memory=ticks, stored=[])

    assert [spooled.stored(some) for some in (ticks[:1], ticks[1:])] == [False, True]
    assert spooled.pop_released() == [1]
    assert spooled.pop_released() == []


def test_ticks_of_several_entries_and_of_none_are_stored_together():
    spooled, first, second = SpooledTicks(), make_ticks(1, 2), make_ticks(2, 2)
    spooled.add(1, in_memory=first, stored=[])
    spooled.add(2, in_memory=second, stored=[])

    assert spooled.stored([*first, second[0], *make_ticks(0, 1)])

    assert spooled.pop_released() == [1]
    assert spooled.in_memory([range(1, 3)]) == {2}


def test_an_entry_whose_ticks_are_stored_already_is_released_at_once():
    spooled = SpooledTicks()

    spooled.add(1, in_memory=[], stored=make_ticks(1, 2))

    assert spooled.pop_released() == [1]


def test_an_entry_of_which_the_disk_has_more_than_memory_is_not_released():
    spooled, ticks = SpooledTicks(), make_ticks(1, 2)
    spooled.add(1, in_memory=ticks, stored=[])

    spooled.evicted(ticks[0])
    assert not spooled.stored([ticks[1]])

    assert spooled.pop_released() == []


def test_an_entry_that_only_the_disk_has_is_forgotten():
    spooled, ticks = SpooledTicks(), make_ticks(1, 2)
    spooled.add(1, in_memory=ticks, stored=[])

    for tick in ticks:
        spooled.evicted(tick)

    assert spooled.in_memory([range(1, 2)]) == set()
    assert spooled.lost_with(dropped(1, ibkr=2)) == {"ibkr": 2}


def test_stored_ticks_and_those_in_memory_are_not_lost_with_their_entry():
    spooled = SpooledTicks()
    ticks = make_ticks(1, 4) + make_ticks(1, 3, broker="tastytrade")
    spooled.add(1, in_memory=ticks, stored=[])
    spooled.stored([ticks[0]])
    for tick in ticks[4:6]:
        spooled.evicted(tick)
    assert spooled.in_memory([range(1, 2)]) == {1}

    lost = spooled.lost_with(dropped(1, ibkr=4, tastytrade=3))

    assert lost == {"tastytrade": 2}
    assert spooled.in_memory([range(1, 2)]) == set()


def test_a_released_entry_costs_nothing_when_the_disk_drops_it():
    spooled, ticks = SpooledTicks(), make_ticks(1, 2)
    spooled.add(1, in_memory=ticks, stored=[])
    spooled.stored(ticks)

    assert spooled.lost_with(dropped(1, ibkr=2)) == {}


def test_a_deleted_entry_is_forgotten_unless_memory_has_its_ticks():
    spooled, first, second = SpooledTicks(), make_ticks(1, 2), make_ticks(2, 1)
    spooled.add(1, in_memory=first, stored=[])
    spooled.add(2, in_memory=second, stored=[])
    spooled.evicted(first[0])
    spooled.stored([first[1]])

    spooled.forget([1, 2, 3])

    assert spooled.in_memory([range(1, 3)]) == {2}


def test_an_entry_of_an_earlier_run_is_lost_whole():
    assert SpooledTicks().lost_with(dropped(7, ibkr=5)) == {"ibkr": 5}
