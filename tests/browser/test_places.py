"""Where a person was: ways to another view begin at its top, and Back leads to the same place."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.reading import view, wait_state
from tests.browser.views import PHONE

# Shifts of the layout, as the browser counts them: 0.1 is the limit of a good page.  A notice
# that comes or goes above the view moves all of it, and does not count.
_WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver(list => {
    for (const each of list.getEntries()) {
        const moved = each.sources.map(({node}) => node?.id || node?.className || node?.nodeName);
        if (!moved.includes('main')) window.shifts.push([each.startTime, each.value, moved]);
    }
}).observe({type: 'layout-shift', buffered: true});
"""
# Nothing has moved for two seconds: all is there.
_HAS_SETTLED = """
() => performance.now() - Math.max(0, ...window.shifts.map(each => each[0])) > 2000
"""
_SHIFTS_SINCE = "at => window.shifts.filter(each => each[0] >= at)"
LOOK_MS = 4_000
MOST_SHIFT = 0.005


@pytest.fixture
def contracts(page, demo):
    page.goto(f"{demo.url}/#/contracts")
    wait_state(page)
    page.locator("tbody [data-key]").first.wait_for()
    return page


def list_of(page):
    return page.locator(".scroller.tall")


def scroll_to(page, top):
    """Scroll as soon as the page is high enough, and wait until the place is noted."""
    page.wait_for_function(
        "top => { scrollTo(0, top); return history.state?.top === top; }", arg=top
    )


def test_back_leads_to_the_row_that_was_opened(contracts):
    page = contracts
    place = list_of(page)
    place.evaluate("element => { element.scrollTop = element.scrollHeight / 2; }")
    page.wait_for_function("() => history.state?.['table Contracts'] > 100")
    row = page.locator("tbody [data-key]").nth(12)
    name = row.get_attribute("data-key")
    row.focus()
    before = place.evaluate("element => element.scrollTop")
    page.keyboard.press("Enter")
    expect(view(page, "contract")).to_be_visible()
    page.go_back()

    expect(page.locator(f"[data-key='{name}']")).to_be_focused()
    assert abs(place.evaluate("element => element.scrollTop") - before) < 60


def test_another_view_begins_at_its_top_and_back_returns(open_page, demo):
    page = open_page(demo, "/#/book", viewport=PHONE)
    row = page.get_by_role("rowheader", name="SPX")
    row.wait_for()
    scroll_to(page, 300)
    row.click()
    expect(page.get_by_role("table", name="Sums by Expiration")).to_be_attached()
    page.wait_for_function("() => scrollY === 0")
    page.go_back()

    expect(page.get_by_role("table", name="Sums by Underlying")).to_be_attached()
    page.wait_for_function("() => scrollY === 300")


def test_a_choice_within_a_view_moves_nothing(open_page, demo):
    page = open_page(demo, "/livez", viewport=PHONE)
    page.add_init_script(_WATCH_SHIFTS)
    page.goto(f"{demo.url}/#/underlying?underlying=SPX")
    choice = page.get_by_role("button", name="15min")
    choice.wait_for()
    # On a busy machine the tables above come late.
    page.wait_for_function(_HAS_SETTLED)
    scroll_to(page, 400)
    before = choice.bounding_box()["y"]
    choice.evaluate("element => element.click()")
    page.wait_for_url("**range=15min*")
    page.wait_for_timeout(300)

    # Not the place in the page: a line above may come or go meanwhile.
    assert abs(choice.bounding_box()["y"] - before) < 20


def test_the_skip_link_leads_to_the_view_that_is_shown(contracts):
    contracts.get_by_role("link", name="Skip to the view").focus()
    contracts.keyboard.press("Enter")

    expect(view(contracts, "contracts")).to_be_focused()
    assert contracts.url.endswith("#/contracts")


@pytest.mark.parametrize("name", ["book", "contracts"])
def test_nothing_moves_while_numbers_change(open_page, real_demo, name):
    page = open_page(real_demo, "/livez", viewport=PHONE)
    page.add_init_script(_WATCH_SHIFTS)
    page.goto(f"{real_demo.url}/#/{name}")
    wait_state(page)
    page.locator("tbody [data-key]").first.wait_for()
    page.wait_for_function(_HAS_SETTLED)
    since = page.evaluate("performance.now()")
    page.wait_for_timeout(LOOK_MS)

    shifts = page.evaluate(_SHIFTS_SINCE, since)
    assert sum(size for _, size, _ in shifts) < MOST_SHIFT, shifts
