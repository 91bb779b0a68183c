from __future__ import annotations

import json
import math

import pytest
import trio

from greeks_trio.errors import StoreUnavailable
from greeks_trio.model.condition_kinds import Severity
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.refused_rows import RefusedRows
from tests.concurrency.fakes import ListSink, MemoryQuarantine, key_of
from tests.factories import make_tick


@pytest.fixture
def sink():
    return ListSink()


@pytest.fixture
def quarantine():
    return MemoryQuarantine()


def errors(caplog):
    return [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]


@pytest.mark.parametrize("at", ["first", "middle", "last"])
@pytest.mark.parametrize("rows", [1, 2, 7])
async def test_a_refused_row_never_takes_its_batch_along(
    autojump_clock, sink, quarantine, rows, at, caplog
):
    ticks = [make_tick(number) for number in range(rows)]
    refused = {"first": 0, "middle": rows // 2, "last": rows - 1}[at]
    sink.refuse(ticks[refused])
    refused_rows = RefusedRows(quarantine)

    stored = await refused_rows.store(sink, ticks, check_duplicates=False)

    others = ticks[:refused] + ticks[refused + 1 :]
    assert sink.ticks == stored.ticks == others
    assert stored.new == rows - 1
    assert stored.refused == quarantine.ticks == [ticks[refused]]
    assert refused_rows.quarantined == {"ibkr": 1}
    [line] = errors(caplog)
    assert line.startswith("writer.row_refused sqlstate=22003 reason=told to refuse")
    assert line.endswith("contract_key=SPY   261218C00600000 others=0")


async def test_what_many_rows_are_refused_for_is_said_once_a_minute(
    autojump_clock, sink, quarantine, caplog
):
    ticks = [make_tick(number) for number in range(10)]
    for tick in ticks:
        sink.refuse(tick)
    refused_rows = RefusedRows(quarantine)

    await refused_rows.store(sink, ticks[:5], check_duplicates=False)
    assert [line[-8:] for line in errors(caplog)] == ["others=0"]

    await trio.sleep(61)
    await refused_rows.store(sink, ticks[5:], check_duplicates=False)
    assert [line[-8:] for line in errors(caplog)] == ["others=0", "others=4"]
    assert len(quarantine.ticks) == 10


async def test_rows_without_a_partition_are_postponed_and_cost_one_more_attempt(
    autojump_clock, sink, quarantine
):
    conditions = Conditions()
    ticks = [make_tick(number) for number in range(100)]
    for number in (10, 90):
        sink.without_partition.add(key_of(ticks[number]))
    refused_rows = RefusedRows(quarantine, conditions)

    stored = await refused_rows.store(sink, ticks, check_duplicates=False)

    assert [rows for _, rows, _ in sink.writes] == [100, 98]
    assert stored.postponed == [ticks[10], ticks[90]]
    assert len(stored.ticks) == 98
    assert (quarantine.ticks, sink.probes) == ([], 0)
    assert conditions.counts()["partition missing"] == 1
    [sentence] = conditions.sentences(Severity.NOT_READY)
    assert "p_2031_05 is missing and cannot be made: told to" in sentence

    refused_rows.all_have_partitions()
    assert conditions.counts()["partition missing"] == 0


@pytest.mark.parametrize("rows", [1, 2, 500])
async def test_a_server_that_takes_no_row_at_all_is_an_outage_and_no_row_is_at_fault(
    autojump_clock, sink, quarantine, rows
):
    sink.refuses_everything = True
    refused_rows = RefusedRows(quarantine)
    ticks = [make_tick(number) for number in range(rows)]

    with pytest.raises(StoreUnavailable, match="no row at all"):
        await refused_rows.store(sink, ticks, check_duplicates=False)

    assert quarantine.ticks == []
    assert len(sink.writes) == sink.probes == 1
    assert refused_rows.failure == "takes no row at all"

    sink.refuses_everything = False
    await refused_rows.store(sink, ticks, check_duplicates=True)
    assert sink.ticks == ticks
    assert refused_rows.failure is None


async def test_a_server_that_begins_to_refuse_in_a_search_costs_no_row(
    autojump_clock, sink, quarantine
):
    """The search has found the row at fault, and the next row is refused, too."""
    ticks = [make_tick(number) for number in range(4)]
    sink.refuse(ticks[0])

    async def probe():
        sink.probes += 1
        sink.refuses_everything = sink.probes == 2
        if sink.probes == 3:
            raise StoreUnavailable("takes no row at all")

    sink.probe = probe
    with pytest.raises(StoreUnavailable):
        await RefusedRows(quarantine).store(sink, ticks, check_duplicates=False)

    assert quarantine.ticks == [ticks[0]]
    assert sink.ticks == []


async def test_the_quarantine_is_told_why(autojump_clock, sink, quarantine):
    tick = make_tick()
    sink.refuse(tick)

    await RefusedRows(quarantine).store(sink, [tick], check_duplicates=False)

    [(row, sqlstate, reason)] = quarantine.rows.values()
    assert (row, sqlstate, reason) == (tick, "22003", "told to refuse")


async def test_a_quarantine_whose_disk_hangs_does_not_hold_up_the_others(
    autojump_clock, sink, quarantine, caplog
):
    ticks = [make_tick(1), make_tick(2)]
    sink.refuse(ticks[0])
    quarantine.disk.delay = math.inf

    stored = await RefusedRows(quarantine).store(sink, ticks, check_duplicates=False)

    assert stored.not_quarantined == ticks[:1]
    assert sink.ticks == stored.ticks == ticks[1:]
    assert "quarantine=no answer row={" in caplog.text
    assert trio.current_time() == 30.0


async def test_without_a_quarantine_a_refused_row_is_in_the_log_whole(
    autojump_clock, sink, quarantine, caplog
):
    tick = make_tick(account_id="a\ud800\0", source_payload=b'{"7308":"\xff"}')
    sink.refuse(tick)
    quarantine.disk.is_full = True

    refused_rows = RefusedRows(quarantine)
    stored = await refused_rows.store(
        sink, [tick, make_tick(1)], check_duplicates=False
    )

    assert sink.ticks == stored.ticks == [make_tick(1)]
    assert (stored.refused, stored.not_quarantined) == ([], [tick])
    assert refused_rows.quarantined == {}
    [line] = [r.getMessage() for r in caplog.records if r.levelname == "CRITICAL"]
    assert line.startswith("writer.row_refused sqlstate=22003")
    row = json.loads(line.partition("row=")[2])
    assert row["account_id"] == "a\ud800\0"
    assert row["source_payload"] == r'{"7308":"\xff"}'
    assert row["event_time"].startswith("2026-11-20")
    assert row["contract_key"] == "SPY   261218C00600000"


async def test_what_is_offered_again_is_counted_and_kept_once(
    autojump_clock, sink, quarantine
):
    ticks = [make_tick(number) for number in range(4)]
    sink.refuse(ticks[0])
    # All; the first half; 0 alone; 1 is lost.
    sink.failures = [None, None, None, "before"]
    refused_rows = RefusedRows(quarantine)
    with pytest.raises(StoreUnavailable):
        await refused_rows.store(sink, ticks, check_duplicates=False)
    assert quarantine.ticks == [ticks[0]]

    stored = await refused_rows.store(sink, ticks, check_duplicates=True)

    assert quarantine.ticks == stored.refused == [ticks[0]]
    assert stored.ticks == ticks[1:]
    assert refused_rows.quarantined == {"ibkr": 1}
