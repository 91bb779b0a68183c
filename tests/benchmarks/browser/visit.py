"""A Chromium that looks at a service: how fast a page is there, and what it costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import ARGUMENTS, CHROMIUM, MISSING

SIZE = {"width": 1440, "height": 900}
_PATIENCE_MS = 60_000
# A view that was just opened still reads its first figures.
_SETTLE_MS = 5000

# The sums of the book, those of its parts, and the P/L.
_HAS_ALL = """() =>
  [...document.querySelectorAll("[data-field=dollar_delta]")]
    .filter((each) => each.dataset.value).length > 4
  && [...document.querySelectorAll("[data-field=profit_loss]")]
    .some((each) => each.dataset.value)
"""
_FIRST_PAINT = (
    "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
)
# With an entry for each file, and the header of its answer.
_FILES = """() => {
  const files = performance.getEntriesByType("resource")
    .filter((each) => each.name.includes("/page/"));
  return [files.length, files.reduce((sum, each) => sum + each.encodedBodySize, 0)];
}"""
_COUNT_FRAMES = """(isScrolled) => {
  window.measuredFrames = [];
  const list = document.querySelector(".scroller.tall");
  let [last, way] = [performance.now(), 40];
  const step = (at) => {
    window.measuredFrames.push(at - last);
    last = at;
    if (isScrolled) {
      list.scrollTop += way;
      const rest = list.scrollHeight - list.clientHeight - list.scrollTop;
      if (rest < 2 || list.scrollTop <= 0) way = -way;
    }
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}"""


class NoBrowser(Exception):
    """There is no Chromium on this machine."""


class Opening(NamedTuple):
    """Milliseconds from the request of a page until it shows something, and everything."""

    first_paint: float
    all_data: float


class Cost(NamedTuple):
    """Percent of one core: of the page's main thread, and of all processes of Chromium."""

    main_thread: float
    browser: float


class Frames(NamedTuple):
    """The times between frames in milliseconds, and the cost meanwhile."""

    p50: float
    p95: float
    p99: float
    longest: float
    cost: Cost


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Run a Chromium until the end of the block."""
    if CHROMIUM is None:
        raise NoBrowser(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(ARGUMENTS)
        )
        yield browser
        browser.close()


def open_page(browser: Browser, address: str = "about:blank") -> Page:
    """Return a page of a new visitor, whose browser keeps nothing yet."""
    page = browser.new_context(viewport=SIZE).new_page()
    page.set_default_timeout(_PATIENCE_MS)
    page.goto(address)
    return page


def first_visit(browser: Browser, url: str) -> Opening:
    """Open the book as a new visitor."""
    page = open_page(browser, f"{url}/#/book")
    page.wait_for_function(_HAS_ALL, polling=10)
    opening = Opening(page.evaluate(_FIRST_PAINT), page.evaluate("performance.now()"))
    page.context.close()
    return opening


def weight(browser: Browser, url: str) -> tuple[int, int]:
    """Return the number and the compressed bytes of all files of the page."""
    page = open_page(browser, f"{url}/#/book")
    page.wait_for_function(_HAS_ALL)
    # The other views follow by themselves.
    page.wait_for_timeout(_SETTLE_MS)
    count, size = page.evaluate(_FILES)
    page.context.close()
    return count, size


def watch_view(browser: Browser, address: str, seconds: float) -> Cost:
    """Return what an open view costs while its numbers change."""
    page = open_page(browser, address)
    page.wait_for_timeout(_SETTLE_MS)
    cost = _cost_of(page, seconds)
    page.context.close()
    return cost


def count_frames(
    browser: Browser, address: str, seconds: float, *, is_scrolled: bool
) -> Frames:
    """Return the times between the frames of a long list."""
    page = open_page(browser, address)
    page.wait_for_selector(".scroller.tall tbody tr[data-key]")
    page.wait_for_timeout(_SETTLE_MS)
    page.evaluate(_COUNT_FRAMES, is_scrolled)
    cost = _cost_of(page, seconds)
    times = page.evaluate("window.measuredFrames.slice(3)")
    page.context.close()
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return Frames(cuts[49], cuts[94], cuts[98], max(times), cost)


def count_rows(browser: Browser, address: str) -> int:
    """Return how many rows of a long list exist in the page at once."""
    page = open_page(browser, address)
    page.wait_for_selector(".scroller.tall tbody tr[data-key]")
    page.wait_for_timeout(_SETTLE_MS)
    count = page.locator(".scroller.tall tbody tr[data-key]").count()
    page.context.close()
    return count


def _cost_of(page: Page, seconds: float) -> Cost:
    session = page.context.new_cdp_session(page)
    # The time of the thread, and not that of the clock.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def main_thread_s() -> float:
        metrics = session.send("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in metrics if each["name"] == "TaskDuration")

    before, all_before, began_at = main_thread_s(), _processor_s(), time.monotonic()
    page.wait_for_timeout(1000 * seconds)
    lasted = time.monotonic() - began_at
    main = main_thread_s() - before
    return Cost(100 * main / lasted, 100 * (_processor_s() - all_before) / lasted)


def _processor_s() -> float:
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if "chrom" in process.name():
                total += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue  # It has just ended.
    return total
