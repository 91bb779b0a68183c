"""Measure the live page in a Chromium, on the demo.

With 200 contracts and 50 ticks a second: how fast a new visitor sees something and
everything, what two views cost while their numbers change, and what five open pages cost
the service.  With more contracts and ticks: the times between the frames of the list of
contracts, at rest and while it is scrolled.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, field

from playwright.sync_api import Browser

from tests.benchmarks.browser.demo import Demo, DemoFailed, open_demo
from tests.benchmarks.browser.visit import (
    Cost,
    Frames,
    NoBrowser,
    Opening,
    count_frames,
    count_rows,
    first_visit,
    open_browser,
    open_page,
    watch_view,
    weight,
)
from tests.benchmarks.report import Bar, Report, Table, say

HELP = "the live page in a Chromium: first paint, processor time, frames, weight"
QUICK = ("--visits", "3", "--seconds", "8", "--lists", "2000:1000")

SMALL = (200, 50.0)
FIVE = ("book", "contracts", "underlying", "health", "what-if")
LIST = "/#/contracts?sort=-vega"

FIRST_PAINT_BAR_MS = 500
ALL_DATA_BAR_MS = 1000
CORE_BAR = 10
WEIGHT_BAR = 300_000


@dataclass
class Found:
    """All measurements; a list has its contracts and its ticks a second."""

    openings: list[Opening] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)
    files: tuple[int, int] | None = None
    latencies: dict[str, list[float]] = field(default_factory=dict)
    frames: dict[tuple[str, str], tuple[int, Frames]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--visits", type=int, default=9, help="first visits")
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument(
        "--lists",
        type=lambda text: text.split(","),
        default=["2000:1000", "10000:200"],
        help="CONTRACTS:TICKS_PER_SECOND, with commas between",
    )


def run(options: argparse.Namespace) -> Report:
    """Measure one demo after the other."""
    found = Found()
    try:
        with open_browser() as browser:
            with open_demo(*SMALL) as demo:
                _measure_small(browser, demo, options, found)
            for name in options.lists:
                contracts, _, rate = name.partition(":")
                with open_demo(int(contracts), float(rate)) as demo:
                    _measure_list(browser, demo, name, options.seconds, found)
    except (DemoFailed, NoBrowser) as exc:
        found.failures.append(str(exc))
    return make_report(found)


def _measure_small(
    browser: Browser, demo: Demo, options: argparse.Namespace, found: Found
) -> None:
    first_visit(browser, demo.url)  # The service reads and compresses the files.
    found.openings = [first_visit(browser, demo.url) for _ in range(options.visits)]
    found.files = weight(browser, demo.url)
    for view in ("book", "contracts"):
        say(f"browser: {view}")
        address = f"{demo.url}/#/{view}"
        found.costs[view] = watch_view(browser, address, options.seconds)
    found.latencies["no page"] = demo.latency_ms(options.seconds)
    pages = [open_page(browser, f"{demo.url}/#/{view}") for view in FIVE]
    pages[0].wait_for_timeout(5000)
    found.latencies["five pages"] = demo.latency_ms(options.seconds)
    for page in pages:
        page.context.close()
    found.latencies["no page again"] = demo.latency_ms(options.seconds)


def _measure_list(
    browser: Browser, demo: Demo, name: str, seconds: float, found: Found
) -> None:
    rows = count_rows(browser, demo.url + LIST)
    for how in ("at rest", "scrolled"):
        say(f"browser: {name}, {how}")
        frames = count_frames(
            browser, demo.url + LIST, seconds, is_scrolled=how == "scrolled"
        )
        found.frames[name, how] = rows, frames


def make_report(found: Found) -> Report:
    """Return the tables and the bars."""
    return Report(
        [
            _openings_table(found.openings),
            _costs_table(found.costs),
            _latencies_table(found.latencies),
            _frames_table(found.frames),
        ],
        _bars(found),
        failures=found.failures,
    )


def _openings_table(openings: list[Opening]) -> Table:
    rows = [
        [what, len(times), statistics.median(times), min(times), max(times)]
        for what, times in (
            ("first paint", [each.first_paint for each in openings]),
            ("all data of the book", [each.all_data for each in openings]),
        )
        if times
    ]
    columns = ["first visit", "visits", "median ms", "fastest ms", "slowest ms"]
    notes = ["All data: the sums, those of the parts, and the P/L since midnight."]
    return Table(
        "A new visitor, without anything in the browser's cache", columns, rows, notes
    )


def _costs_table(costs: dict[str, Cost]) -> Table:
    return Table(
        "An open view, 200 contracts at 50 ticks a second, % of one core",
        ["view", "main thread", "all processes of Chromium"],
        [[view, *cost] for view, cost in costs.items()],
    )


def _latencies_table(latencies: dict[str, list[float]]) -> Table:
    return Table(
        "Ingest meanwhile: from reading a tick to its row, ms",
        ["open pages", "p50", "p95"],
        [[name, *each] for name, each in latencies.items()],
        ["The browser has the same processors as the service and PostgreSQL."],
    )


def _frames_table(frames: dict[tuple[str, str], tuple[int, Frames]]) -> Table:
    return Table(
        "The list of contracts, times between frames, ms",
        [
            *("contracts:ticks/s", "list", "rows in the page", "p50", "p95", "p99"),
            *("longest", "main thread %", "Chromium %"),
        ],
        [[*key, rows, *each[:4], *each.cost] for key, (rows, each) in frames.items()],
        ["A screen that draws 60 frames a second has one each 16.7 ms."],
    )


def _bars(found: Found) -> list[Bar]:
    paints = [each.first_paint for each in found.openings]
    full = [each.all_data for each in found.openings]
    costs = [cost.browser for cost in found.costs.values()]
    return [
        _bar(
            "first paint",
            FIRST_PAINT_BAR_MS,
            "ms",
            statistics.median(paints) if paints else None,
        ),
        _bar(
            "all data of the book",
            ALL_DATA_BAR_MS,
            "ms",
            statistics.median(full) if full else None,
        ),
        _bar(
            "an open view, all processes of Chromium",
            CORE_BAR,
            "% of a core",
            max(costs, default=None),
        ),
        _bar("weight, compressed", WEIGHT_BAR, "bytes", found.files and found.files[1]),
    ]


def _bar(what: str, most: float, unit: str, value: float | None) -> Bar:
    if value is None:
        return Bar(what, f"<= {most:,} {unit}", "-", None)
    return Bar(what, f"<= {most:,} {unit}", f"{value:,.0f} {unit}", value <= most)
