from __future__ import annotations

import pytest

from greeks_trio.errors import StoreRejected, StoreUnavailable
from tests.concurrency.fakes import ListSink
from tests.factories import make_tick


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
