"""Reports of the service under drill, byte by byte."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.drill.report_stream import Report, decode_reports, encode_report
from greeks_trio.drill.resources import ResourceSample, interval_of, slopes
from greeks_trio.drill.schedule import PlannedFault
from greeks_trio.drill.summary import HappenedFault, recoveries
from greeks_trio.drill.tick_log import TickLog, read_tick_log, tick_identity
from tests.drill_facts import ledger_tick_of
from tests.factories import make_record

REPORTS = [
    Report("started", "ibkr", 8080, 1.5, 0.0),
    Report("durable", "tastytrade", -(2**63), 2.5, 2.25),
    Report("commit", "ibkr", 0, 3.5, 0.0),
]


@given(st.lists(st.integers(0, 200)))
def test_reports_arrive_however_the_pipe_cuts_them(cuts):
    data = b"".join(map(encode_report, REPORTS))
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    heard, rest = [], b""

    for start, end in pairwise(bounds):
        reports, rest = decode_reports(rest + data[start:end])
        heard += reports

    assert heard == REPORTS
    assert rest == b""


def test_a_record_that_a_kill_cut_short_is_no_report():
    data = encode_report(REPORTS[1])[:-1]

    assert decode_reports(data) == ([], data)


def test_a_tick_has_the_same_identity_in_the_ledger_and_in_the_service():
    record = make_record(delta=0.5, rho=None)

    assert tick_identity(record) == tick_identity(ledger_tick_of(record))


def test_ticks_that_differ_in_anything_have_other_identities():
    tick = ledger_tick_of(make_record(delta=0.5, rho=None))
    others = [
        msgspec.structs.replace(tick, **change)
        for change in (
            {"broker": "tastytrade" if tick.broker == "ibkr" else "ibkr"},
            {"account_id": "another"},
            {"contract_key": "another"},
            {"event_time_ms": tick.event_time_ms + 1},
            {"delta": 0.501},
            {"rho": 0.0},
        )
    ]

    assert len({tick_identity(each) for each in (tick, *others)}) == len(others) + 1


def test_a_tick_log_gives_back_its_entries_in_order(tmp_path):
    log = TickLog(tmp_path / "log")
    entries = [(2**63 - 1, 1.5), (-(2**63), 2.5), (2**63 - 1, 3.5)]

    for entry in entries:
        log.write(*entry)
    log.close()

    assert list(read_tick_log(log.path)) == entries
    assert log.first_at == 1.5


def test_recovery_times_are_told_by_kind():
    plan = PlannedFault(
        number=1, at_s=0.0, kind="drop", broker="ibkr", seconds=0.0, value=0.0
    )
    faults = [HappenedFault(plan, 0.0, 0.0, recovery_s=float(n)) for n in range(1, 101)]

    told = recoveries([*faults, HappenedFault(plan, 0.0, 0.0)])

    assert msgspec.to_builtins(told) == {
        "drop": {"n": 100, "p50": 50.0, "p95": 95.0, "max": 100.0}
    }


def test_growth_is_that_of_the_second_half_and_of_samples_that_answered():
    # Ten minutes of warm-up, then 6 MB an hour; every third status was not answered.
    samples = [
        ResourceSample(
            at_s=60.0 * minute,
            memory_mb=100.0 + 10 * min(minute, 10) + 0.1 * max(0, minute - 10),
            tasks=None if minute % 3 else 40,
        )
        for minute in range(41)
    ]

    growth = slopes(samples)

    assert growth["memory_mb"] == 6.0
    assert growth["tasks"] == 0.0
    assert growth["connections"] is None
    assert slopes([]) == dict.fromkeys(growth)


def test_samples_are_a_minute_apart_and_closer_in_a_short_drill():
    assert interval_of(120.0) == 60.0
    assert interval_of(1.0) == 3.0
