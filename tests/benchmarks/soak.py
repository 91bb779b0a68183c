"""The real service at one rate for a long time: does anything grow?

It measures as ``pipeline`` does, and shows each minute.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tests.benchmarks.measured_run import Measured, Plan, measure
from tests.benchmarks.measured_server import open_server
from tests.benchmarks.pipeline import (
    SUSTAINED_RATE,
    USUAL_CONTRACTS,
    add_run_options,
    cost_table,
    failures_of,
    latency_cells,
)
from tests.benchmarks.report import Bar, Report, Table

HELP = "ten minutes at 20,000 ticks a second: latency by minute, growth of the memory"
QUICK = ("--seconds", "60")

BAR_SECONDS = 600.0
# The caches fill and the allocator settles in the first part of a run.
_WARM_SHARE = 0.25
_MIB = 1024**2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--rate", type=int, default=SUSTAINED_RATE, help="ticks a second"
    )
    parser.add_argument("--seconds", type=float, default=BAR_SECONDS, help="length")
    parser.add_argument(
        "--contracts", type=int, default=USUAL_CONTRACTS, help="number of contracts"
    )
    add_run_options(parser)


def run(options: argparse.Namespace) -> Report:
    """Run once and describe each minute."""
    plan = Plan(
        rate=options.rate,
        ticks=int(options.rate * options.seconds),
        contracts=options.contracts,
        seed=options.seed,
        one_record_a_frame=options.one_record_a_frame,
    )
    with open_server(options.postgres) as server:
        measured = measure(server, plan)
        machine = {"PostgreSQL": server.version}
    growth = slope(measured.memory)
    return Report(
        tables=[_minutes(measured), cost_table([measured]), _memory(measured, growth)],
        bars=_bars(measured, growth),
        failures=failures_of([measured]),
        machine=machine,
    )


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Return the growth in MiB a minute after the first part of the run.

    It is the slope of the straight line with the least squares.
    """
    samples = samples[int(len(samples) * _WARM_SHARE) :]
    if len(samples) < 2:
        return 0.0
    times, sizes = zip(*samples, strict=True)
    middle = sum(times) / len(times)
    level = sum(sizes) / len(sizes)
    spread = sum((at - middle) ** 2 for at in times)
    rise = sum((at - middle) * (size - level) for at, size in samples)
    return rise / spread * 60 / _MIB


def _minutes(measured: Measured) -> Table:
    return Table(
        f"{measured.plan.rate:,.0f} ticks a second, minute by minute",
        ["minute", "ticks", "p50 ms", "p95 ms", "p99 ms", "max ms"],
        [
            [number, each.ticks, *latency_cells(each)]
            for number, each in enumerate(measured.compared.minutes, start=1)
        ],
        ["From the hand-over of a tick until its commit; with the first second."],
    )


def _memory(measured: Measured, growth: float) -> Table:
    sizes = [size / _MIB for _, size in measured.memory] or [0.0]
    return Table(
        "Resident memory of the service",
        ["first MiB", "last MiB", "peak MiB", "growth MiB/minute"],
        [[sizes[0], sizes[-1], measured.memory_mib, growth]],
        ["The growth leaves out the first quarter of the run."],
    )


def _bars(measured: Measured, growth: float) -> list[Bar]:
    seconds = measured.plan.ticks / measured.plan.rate
    is_whole = seconds >= BAR_SECONDS and measured.plan.rate >= SUSTAINED_RATE
    p99 = latency_cells(measured.compared.rest)[2]
    cost = measured.us_a_tick(measured.service_cpu_s)
    lost = measured.compared.lost
    results = [
        (
            "20,000 ticks/s for 10 minutes",
            "none lost, p99 <= 30 ms",
            f"{seconds:.0f} s, {lost} lost, {'-' if p99 is None else f'{p99:.1f}'} ms",
            p99 is not None and p99 <= 30 and not lost,
        ),
        (
            "CPU time of the service meanwhile",
            "<= 32 us a tick",
            f"{cost:.0f} us",
            cost <= 32,
        ),
        (
            "memory of the service meanwhile",
            "<= 180 MiB, grows by < 0.5 MiB a minute",
            f"{measured.memory_mib:.0f} MiB, {growth:+.2f} MiB a minute",
            measured.memory_mib <= 180 and growth < 0.5,
        ),
    ]
    return [
        Bar(what, bar, text, met if is_whole else None)
        for what, bar, text, met in results
    ]
