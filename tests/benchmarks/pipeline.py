"""The real service at several rates: from the hand-over of a tick until its commit.

Generator, service and PostgreSQL are processes of their own on this machine.  The
generator speaks both brokers' real wire formats over real sockets (IBKR with TLS, one
frame a tick) and notes the time just before it gives a tick to the kernel.  After the run
each tick is looked up in the table.  HTTP and metrics are on, and `/metrics` is read each
five seconds.  Each run has a new service and a new database.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measured_run import Measured, Plan, RunFailed, measure
from tests.benchmarks.measured_server import open_server
from tests.benchmarks.report import Bar, Plot, Report, Table, say
from tests.benchmarks.sent_ticks import Latency

HELP = "latency, loss and CPU time of the service at several rates"
QUICK = ("--rates", "50,10000", "--seconds", "10", "--contracts", "", "--burst", "5000")

NORMAL_RATE = 50
BUSY_RATE = 10_000
SUSTAINED_RATE = 20_000
PEAK_RATE = 30_000
MANY_CONTRACTS = 10_000
USUAL_CONTRACTS = 200
_METHOD = "Until PostgreSQL wrote the commit; without the first second, which has its own table."


def numbers(text: str) -> list[int]:
    """Return the numbers of a list with commas."""
    return [int(each) for each in text.split(",") if each.strip()]


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that each run has."""
    parser.add_argument(
        "--postgres",
        type=Path,
        metavar="DIR",
        help="directory of the programs of another PostgreSQL than the bundled one",
    )
    parser.add_argument(
        "--one-record-a-frame",
        action="store_true",
        help="IBKR sends each frame in a TLS record of its own, not those that are due"
        " together in one",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the contracts")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--rates",
        type=numbers,
        default="50,1000,5000,10000,20000,30000",
        help="ticks a second of both brokers together, one run each",
    )
    parser.add_argument("--seconds", type=float, default=25.0, help="length of a run")
    parser.add_argument(
        "--peak-seconds",
        type=float,
        default=60.0,
        help=f"length of a run at {PEAK_RATE} ticks a second or more",
    )
    parser.add_argument(
        "--contracts",
        type=numbers,
        default="1000,10000",
        help=f"numbers of contracts for more runs, at {BUSY_RATE} ticks a second",
    )
    parser.add_argument(
        "--burst", type=int, default=20_000, help="ticks at once; 0 for no such run"
    )
    add_run_options(parser)


def plans_of(options: argparse.Namespace) -> list[Plan]:
    """Return the runs of the options."""
    given = {"seed": options.seed, "one_record_a_frame": options.one_record_a_frame}
    plans = [
        _at_rate(rate, USUAL_CONTRACTS, options, given) for rate in options.rates
    ] + [
        _at_rate(BUSY_RATE, contracts, options, given)
        for contracts in options.contracts
    ]
    if options.burst:
        plans.append(Plan(rate=0, ticks=options.burst, **given))
    return plans


def _at_rate(
    rate: int, contracts: int, options: argparse.Namespace, given: dict
) -> Plan:
    seconds = options.peak_seconds if rate >= PEAK_RATE else options.seconds
    return Plan(rate=rate, ticks=int(rate * seconds), contracts=contracts, **given)


def run(options: argparse.Namespace) -> Report:
    """Measure each rate, each number of contracts, and the burst."""
    found: list[Measured] = []
    broken: list[str] = []
    with open_server(options.postgres) as server:
        for plan in plans_of(options):
            say(f"{title_of(plan)} ...")
            try:
                found.append(measure(server, plan))
            except RunFailed as exc:
                broken.append(f"{title_of(plan)}: {exc}")
                say(f"  {exc}")
            else:
                say(f"  {_glance(found[-1])}")
        return Report(
            tables=[
                _latency_table(found),
                _first_table(found),
                cost_table(found),
            ],
            bars=_bars(found),
            plots=_plots(found),
            failures=[*broken, *failures_of(found)],
            machine={"PostgreSQL": server.version},
        )


def title_of(plan: Plan) -> str:
    """Return a run's name."""
    if not plan.rate:
        return f"burst of {plan.ticks:,}"
    contracts = (
        "" if plan.contracts == USUAL_CONTRACTS else f", {plan.contracts:,} contracts"
    )
    return f"{plan.rate:,.0f}/s{contracts}"


def failures_of(found: Sequence[Measured]) -> list[str]:
    """Return a sentence for each run with a tick that is not exactly one row."""
    return [
        f"{title_of(each.plan)}: {each.compared.lost} ticks lost,"
        f" {each.compared.twice} stored twice, {each.compared.unexpected} rows that were"
        " never sent"
        for each in found
        if each.compared.lost or each.compared.twice or each.compared.unexpected
    ]


def cost_table(found: Sequence[Measured]) -> Table:
    """Return CPU time, memory and the lag of the event loop."""
    return Table(
        "Cost",
        [
            *("run", "service us/tick", "PostgreSQL us/tick", "generator us/tick"),
            *("service cores", "peak MiB", "loop p99 ms <=", "loop max ms <="),
            *("spooled", "sent late p99 ms", "subscribed after s"),
        ],
        [
            [
                title_of(each.plan),
                each.us_a_tick(each.service_cpu_s),
                each.us_a_tick(each.server_cpu_s),
                each.us_a_tick(each.sent.cpu_s),
                each.service_cpu_s / each.seconds,
                each.memory_mib,
                *each.lag_ms,
                each.spooled,
                max(one.late_p99_s for one in each.sent.brokers.values()) * 1e3,
                each.ready_s,
            ]
            for each in found
        ],
        [
            "CPU time of all threads and processes, user and system, from the first tick"
            " until all were stored.",
            "The lag of the event loop is measured ten times a second; the numbers are"
            " bounds of a histogram.",
            "Sent late: how much later than due the generator gave 99 % of the ticks to"
            " the kernel at most; its hand-over counts from then.",
        ],
    )


def latency_cells(latency: Latency) -> list[float | None]:
    """Return p50, p95, p99 and the most until the commit."""
    return [None] * 4 if latency.commit_ms is None else [*latency.commit_ms]


def _latency_table(found: Sequence[Measured]) -> Table:
    return Table(
        "Latency",
        [
            *("run", "ticks", "p50 ms", "p95 ms", "p99 ms", "max ms"),
            *("p99 ms to persisted_at", "lost", "twice", "unexpected"),
        ],
        [
            [
                title_of(each.plan),
                each.compared.sent,
                *latency_cells(_load(each)),
                None if _load(each).ms is None else _load(each).ms[2],
                each.compared.lost,
                each.compared.twice,
                each.compared.unexpected,
            ]
            for each in found
        ],
        [_METHOD, "A row's persisted_at is the moment at which PostgreSQL copied it."],
    )


def _first_table(found: Sequence[Measured]) -> Table:
    return Table(
        "The first bursts",
        [
            *("run", "p50 ms", "p95 ms", "p99 ms", "max ms"),
            *("answers p50 ms", "answers p99 ms", "answers max ms"),
        ],
        [
            [
                title_of(each.plan),
                *latency_cells(each.compared.first_second),
                *(latency_cells(each.compared.opening)[at] for at in (0, 2, 3)),
            ]
            for each in found
            if each.plan.rate
        ],
        [
            "The first second of the load; and the first answers to the subscriptions,"
            " which all come at once when the service connects.",
        ],
    )


def _load(measured: Measured) -> Latency:
    """Return what counts: a burst has nothing but its first second."""
    compared = measured.compared
    return compared.rest if measured.plan.rate else compared.first_second


def _glance(measured: Measured) -> str:
    cells = [
        "-" if each is None else f"{each:.1f}"
        for each in latency_cells(_load(measured))
    ]
    return (
        f"p50/p95/p99/max {'/'.join(cells)} ms, lost {measured.compared.lost},"
        f" service {measured.us_a_tick(measured.service_cpu_s):.0f} us/tick,"
        f" {measured.memory_mib:.0f} MiB"
    )


def _plots(found: Sequence[Measured]) -> list[Plot]:
    usual = [
        each
        for each in found
        if each.plan.rate
        and each.plan.contracts == USUAL_CONTRACTS
        and each.compared.rest.commit_ms is not None
    ]
    lines = {
        name: [(each.plan.rate, each.compared.rest.commit_ms[at]) for each in usual]
        for at, name in enumerate(("p50", "p95", "p99"))
    }
    return [
        Plot(
            "latency",
            "From the hand-over of a tick until its commit",
            "ticks a second",
            "ms",
            lines,
        )
    ]


def _bars(found: Sequence[Measured]) -> list[Bar]:
    runs = {(each.plan.rate, each.plan.contracts): each for each in found}
    bars: list[Bar] = []
    if normal := runs.get((NORMAL_RATE, USUAL_CONTRACTS)):
        _, p95, p99, _ = _load(normal).commit_ms or (0, 0, 0, 0)
        bars.append(
            Bar(
                "latency at 50 ticks/s",
                "p95 <= 3 ms, p99 <= 6 ms",
                f"{p95:.1f}, {p99:.1f} ms",
                p95 <= 3 and p99 <= 6,
            )
        )
    if busy := runs.get((BUSY_RATE, USUAL_CONTRACTS)):
        bars += _busy_bars(busy, runs.get((BUSY_RATE, MANY_CONTRACTS)))
    if sustained := runs.get((SUSTAINED_RATE, USUAL_CONTRACTS)):
        bars.append(_memory_bar("at 20,000 ticks/s", sustained))
    if peak := runs.get((PEAK_RATE, USUAL_CONTRACTS)):
        seconds = peak.plan.ticks / peak.plan.rate
        bars.append(
            Bar(
                "peak of 30,000 ticks/s",
                "60 s, none lost",
                f"{seconds:.0f} s, {peak.compared.lost} lost",
                None if seconds < 60 else not peak.compared.lost,
            )
        )
    if burst := runs.get((0, USUAL_CONTRACTS)):
        most = latency_cells(_load(burst))[3]
        bars.append(
            Bar(
                f"burst of {burst.plan.ticks:,} ticks",
                "durable within 1 s",
                "-" if most is None else f"{most / 1e3:.2f} s",
                most is not None and most <= 1e3 and not burst.compared.lost,
            )
        )
    return bars


def _busy_bars(busy: Measured, many: Measured | None) -> list[Bar]:
    cost = busy.us_a_tick(busy.service_cpu_s)
    p99, most = busy.lag_ms
    bars = [
        Bar(
            "CPU time of the service at 10,000 ticks/s",
            "<= 50 us a tick",
            f"{cost:.0f} us",
            cost <= 50,
        ),
        Bar(
            "event loop lag at 10,000 ticks/s",
            "p99 <= 5 ms, max <= 50 ms",
            f"<= {p99:g}, <= {most:g} ms",
            p99 <= 5 and most <= 50,
        ),
    ]
    if many is not None:
        ratio = many.us_a_tick(many.service_cpu_s) / cost
        bars += [
            Bar(
                "CPU time with 10,000 contracts, against 200",
                "<= 1.2 times",
                f"{ratio:.2f} times",
                ratio <= 1.2,
            ),
            _memory_bar("with 10,000 contracts", many),
        ]
    return bars


def _memory_bar(where: str, measured: Measured) -> Bar:
    return Bar(
        f"memory of the service {where}",
        "<= 180 MiB",
        f"{measured.memory_mib:.0f} MiB",
        measured.memory_mib <= 180,
    )
