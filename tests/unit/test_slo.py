from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.monitoring.slo import MAX_OVERDUE_S, MIN_TICKS, RECOVERED, SloWatch
from greeks_trio.pipeline.histograms import Histogram

SLO_S = 0.5


@pytest.fixture
def said(caplog):
    """Return a function that gives the events logged since its last call."""
    caplog.set_level(logging.INFO, "greeks_trio.monitoring.slo")

    def names():
        found = [record.getMessage().split()[0] for record in caplog.records]
        caplog.clear()
        return found

    return names


@pytest.fixture
def watch():
    return SloWatch(SLO_S)


def window(ticks=100, seconds=0.002, *, slow=0, slow_s=2.0):
    """Return the latencies of one minute."""
    histogram = Histogram()
    if ticks:
        histogram.record(seconds, ticks)
    if slow:
        histogram.record(slow_s, slow)
    return histogram


def test_quick_ticks_are_not_logged(watch, said):
    watch.update(window(), [0.001], now=10.0)

    slo = watch.statistics()
    assert slo.p95_s == pytest.approx(0.002, rel=0.02)
    assert (slo.ticks, slo.breached_s, slo.breaches) == (100, None, 0)
    assert slo.in_words() is None
    assert said() == []


def test_the_beginning_and_the_end_are_logged_once(watch, said, caplog):
    watch.update(window(90, slow=10), [], now=10.0)
    begun = caplog.records[-1].getMessage()
    assert said() == ["slo.breached"]
    watch.update(window(80, slow=20), [], now=11.0)
    assert watch.statistics().breached_s == 1.0
    watch.update(window(), [], now=42.0)
    ended = caplog.records[-1].getMessage()
    assert said() == ["slo.recovered"]
    watch.update(window(), [], now=43.0)

    assert said() == []
    assert begun.startswith("slo.breached p95_ms=2000.0 slo_ms=500.0 ticks=100")
    assert ended.startswith("slo.recovered after_s=32 p95_ms=2.0")
    assert watch.statistics().breaches == 1


def test_one_tick_in_twenty_may_be_slow(watch, said):
    watch.update(window(95, slow=5), [], now=1.0)
    assert said() == []

    watch.update(window(94, slow=6), [], now=2.0)

    assert said() == ["slo.breached"]


def test_a_few_slow_ticks_at_night_are_no_breach(watch, said):
    watch.update(window(0, slow=MIN_TICKS - 1), [], now=1.0)
    assert said() == []

    watch.update(window(0, slow=MIN_TICKS), [], now=2.0)

    assert said() == ["slo.breached"]


def test_a_minute_with_few_ticks_does_not_end_a_breach(watch, said):
    watch.update(window(0, slow=100), [], now=1.0)
    watch.update(window(0, slow=MIN_TICKS - 1), [], now=2.0)
    assert said() == ["slo.breached"]

    watch.update(window(0), [], now=62.0)

    assert said() == ["slo.recovered"]


def test_latencies_around_the_target_are_one_breach(watch, said):
    for second in range(20):
        latency = SLO_S * (1.1 if second % 2 else 0.9)
        watch.update(window(100, latency), [], now=float(second))

    assert said() == ["slo.breached"]
    watch.update(window(100, SLO_S * RECOVERED * 0.97), [], now=20.0)
    assert said() == ["slo.recovered"]


def test_a_waiting_tick_counts_when_it_is_overdue(watch, said):
    """No tick becomes durable, so no new latency is measured."""
    watch.update(window(100), [SLO_S * 0.9] * 50, now=1.0)
    assert said() == []

    watch.update(window(100), [SLO_S * 1.1] * 6, now=2.0)

    assert said() == ["slo.breached"]
    slo = watch.statistics()
    assert (slo.ticks, slo.overdue) == (106, 6)
    assert slo.p95_s == pytest.approx(SLO_S * 1.1, rel=0.02)


def test_a_single_tick_that_hangs_becomes_a_breach(watch, said):
    watch.update(window(0), [SLO_S + MAX_OVERDUE_S], now=1.0)
    assert said() == []

    watch.update(window(0), [SLO_S + MAX_OVERDUE_S + 0.1], now=2.0)

    assert said() == ["slo.breached"]
    assert "the oldest is 5.6 s old" in watch.statistics().in_words()


def test_a_breach_does_not_end_while_a_tick_is_overdue(watch, said):
    watch.update(window(0, slow=100), [], now=1.0)
    watch.update(window(10_000), [1.0], now=2.0)
    assert said() == ["slo.breached"]

    watch.update(window(10_000), [0.01], now=3.0)

    assert said() == ["slo.recovered"]


@pytest.mark.parametrize("number", [1, 99, 100, 101, 2_345])
def test_each_overdue_tick_counts_for_any_number_of_them(watch, number):
    ages = [1.0 + 0.01 * n for n in range(number)]

    watch.update(window(0), ages, now=1.0)

    assert watch.statistics().ticks == number
    exact = ages[max(0, -(-95 * number // 100) - 1)]
    assert watch.statistics().p95_s == pytest.approx(exact, rel=0.03)


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(1e-3, 20.0)), max_size=60))
def test_beginnings_and_ends_alternate(seconds):
    watch, states = SloWatch(SLO_S), []

    for now, (ticks, latency) in enumerate(seconds):
        watch.update(window(ticks, latency), [latency / 10], now=float(now))
        states.append(watch.statistics().breached_s is not None)

    begun = sum(
        is_breached and not was
        for was, is_breached in zip([False, *states], states, strict=False)
    )
    assert watch.statistics().breaches == begun
