"""The reports of `bin/bench pipeline` and `bin/bench soak`, from made-up measurements."""

from __future__ import annotations

import argparse

import pytest

from tests.benchmarks import pipeline, soak
from tests.benchmarks.generator.__main__ import Done
from tests.benchmarks.generator.pump import Sent
from tests.benchmarks.measured_run import Measured, Plan, _lag, _Metrics
from tests.benchmarks.report import Report, render
from tests.benchmarks.sent_ticks import Compared, Latency

MIB = 1024**2


def make_measured(rate=10_000, contracts=200, ticks=100_000, *, lost=0, cpu_s=4.0):
    """Return a run in which the latency is 2, 4, 5 and 9 ms."""
    latency = Latency(ticks, (1.5, 3.5, 4.5, 8.5), (2.0, 4.0, 5.0, 9.0))
    return Measured(
        plan=Plan(rate=rate, ticks=ticks, contracts=contracts),
        seconds=10.0,
        sent=Done({"ibkr": Sent(ticks, 10.0, 0.001, 0.002)}, 0.5),
        service_cpu_s=cpu_s,
        server_cpu_s=1.0,
        lag_ms=(2.5, 25.0),
        memory_mib=150.0,
        compared=Compared(
            sent=ticks,
            lost=lost,
            twice=0,
            unexpected=0,
            minutes=[latency],
            opening=latency,
            first_second=latency,
            rest=latency,
        ),
    )


def parsed(*arguments):
    """Return the options of `pipeline`."""
    parser = argparse.ArgumentParser()
    pipeline.add_options(parser)
    return parser.parse_args(arguments)


def test_the_usual_runs_are_all_rates_all_contracts_and_a_burst():
    plans = pipeline.plans_of(parsed())

    assert [(each.rate, each.contracts) for each in plans] == [
        *((rate, 200) for rate in (50, 1_000, 5_000, 10_000, 20_000, 30_000)),
        *((10_000, 1_000), (10_000, 10_000)),
        (0, 200),
    ]
    assert plans[5].ticks == 60 * 30_000
    assert plans[-1].ticks == 20_000


def test_the_runs_become_tables_and_bars():
    found = [
        make_measured(50),
        make_measured(),
        make_measured(contracts=10_000, cpu_s=5.0),
        make_measured(0, ticks=20_000),
    ]

    report = Report(
        [
            pipeline._latency_table(found),
            pipeline._first_table(found),
            pipeline.cost_table(found),
        ],
        bars=pipeline._bars(found),
        plots=pipeline._plots(found),
    )

    assert {each.what: each.met for each in report.bars} == {
        "latency at 50 ticks/s": False,  # p95 is 4 ms
        "CPU time of the service at 10,000 ticks/s": True,
        "event loop lag at 10,000 ticks/s": True,
        "CPU time with 10,000 contracts, against 200": False,  # 1.25 times
        "memory of the service with 10,000 contracts": True,
        "burst of 20,000 ticks": True,
    }
    assert "10,000/s, 10,000 contracts" in render(report)
    assert report.plots[0].lines["p99"] == [(50, 5.0), (10_000, 5.0)]
    assert pipeline.failures_of(found) == []


def test_a_lost_tick_is_a_failure():
    [sentence] = pipeline.failures_of([make_measured(lost=3)])

    assert "10,000/s: 3 ticks lost" in sentence


@pytest.mark.parametrize(("seconds", "met"), [(600, True), (60, None)])
def test_a_short_soak_says_nothing_about_its_bars(seconds, met):
    measured = make_measured(
        20_000, ticks=20_000 * seconds, cpu_s=20_000 * seconds * 30e-6
    )

    bars = soak._bars(measured, growth=0.1)

    assert [each.met for each in bars] == [met] * 3


def test_the_growth_leaves_out_the_first_quarter():
    flat = [(second, 100 * MIB) for second in range(100, 400)]
    filling = [(second, second * MIB) for second in range(100)]

    assert soak.slope([*filling, *flat]) == pytest.approx(0.0)
    assert soak.slope([(s, s * MIB) for s in range(100)]) == pytest.approx(60.0)
    assert soak.slope([]) == 0.0


def test_the_lag_is_that_of_the_load_alone():
    def metrics(*counts):
        bounds = ("0.001", "0.005", "0.05", "+Inf")
        return _Metrics(
            "\n".join(
                f'greeks_loop_lag_seconds_bucket{{le="{le}"}} {float(number)}'
                for le, number in zip(bounds, counts, strict=True)
            )
        )

    assert _lag(metrics(0, 0, 9, 9), metrics(150, 200, 209, 209)) == (5.0, 5.0)
    assert _lag(metrics(0, 0, 0, 0), metrics(90, 98, 100, 100)) == (50.0, 50.0)


def test_the_counters_of_all_brokers_are_added():
    text = (
        "# HELP greeks_ticks_persisted_total Ticks\n"
        'greeks_ticks_persisted_total{broker="ibkr"} 5.0\n'
        'greeks_ticks_persisted_total{broker="tastytrade"} 7.0\n'
    )

    assert _Metrics(text).total("persisted") == 12
