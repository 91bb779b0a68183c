"""Where the brokers disagree: the differences are those of the database."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.reading import keys, read_rows, view, wait_state
from tests.browser.views import NOWHERE

# As in the rule that the view states.
FLOORS = {
    "delta": 0.01,
    "gamma": 0.01,
    "theta": 0.01,
    "vega": 0.01,
    "implied_volatility": 0.01,
    "price": 0.1,
    "underlying_price": 0.1,
}
THRESHOLD = 0.01
SUMMARY = """
with sizes as (
    select abs({0}_difference) / greatest(abs(ibkr_{0}), abs(tastytrade_{0}), {1}) as size
    from broker_divergence
    where not ibkr_is_stale and not tastytrade_is_stale
)
select
    count(size) as compared,
    percentile_cont(0.5) within group (order by size) as median,
    percentile_cont(0.95) within group (order by size) as p95,
    count(*) filter (where size > {2}) as beyond
from sizes
"""
# Chromium writes every answer with such a status to the console.
NOT_READY = r"status of 503 .*/readyz"
DIVERGENCE = re.compile(r"/v1/divergence")


@pytest.fixture
def open_brokers(open_page, resting, watch):
    """A function that opens the view with parameters."""
    watch.announce(NOT_READY)

    def open_brokers(params="", answer=None):
        page = open_page(resting, NOWHERE)
        if answer is not None:
            page.route(DIVERGENCE, lambda route: route.fulfill(json=answer))
        page.goto(f"{resting.url}/#/brokers{params}")
        wait_state(page)
        return page

    return open_brokers


def fresh_items(service):
    """Return the rows of the interface without a stale side."""
    items = service.ask("GET", "/v1/divergence")["items"]
    return [
        each
        for each in items
        if not each["ibkr_is_stale"] | each["tastytrade_is_stale"]
    ]


def summary(page):
    return page.get_by_role("table", name="Relative differences")


def contracts(page):
    table = page.get_by_role("table", name="Contracts at both brokers")
    table.locator("[data-key]").first.wait_for()
    return table


@pytest.mark.parametrize("measure", ["delta", "price"])
def test_both_values_and_the_difference_are_those_of_the_database(
    open_brokers, resting, measure
):
    columns = [f"ibkr_{measure}", f"tastytrade_{measure}", f"{measure}_difference"]
    expected = {
        row["contract_key"]: {name: row[name] for name in columns}
        for row in resting.fetch("select * from broker_divergence")
    }

    shown = read_rows(contracts(open_brokers(f"?measure={measure}")))

    assert len(expected) > 5
    assert {
        key: {name: row[name] for name in columns} for key, row in shown.items()
    } == expected


def test_the_summary_is_that_of_the_database(open_brokers, resting):
    page = open_brokers("?threshold=1")
    contracts(page)
    shown = read_rows(summary(page))

    for measure, floor in FLOORS.items():
        [expected] = resting.fetch(SUMMARY.format(measure, floor, THRESHOLD))
        assert shown[measure] == pytest.approx(expected, rel=1e-9), measure
    assert any(row["beyond"] for row in shown.values())
    assert shown["rho"]["compared"] == 0


def test_a_difference_beyond_the_threshold_has_a_sign_beside_it(open_brokers):
    page = open_brokers("?threshold=1")
    beyond = contracts(page).locator(".relative.beyond").first
    figure, sign = [beyond.locator(each).bounding_box() for each in (".fig", ".mark")]

    assert beyond.locator(".mark").inner_text() == "\u25b2"
    assert sign["x"] == pytest.approx(figure["x"] + figure["width"], abs=1)


def test_another_threshold_counts_anew_and_is_in_the_address(open_brokers):
    page = open_brokers("?threshold=1")
    contracts(page)
    before = sum(row["beyond"] for row in read_rows(summary(page)).values())
    page.get_by_role("group", name="Threshold").get_by_text("10%").click()

    expect(page).to_have_url(re.compile("threshold=10"))
    assert sum(row["beyond"] for row in read_rows(summary(page)).values()) < before


def test_the_largest_difference_is_first_and_each_column_sorts(open_brokers):
    page = open_brokers()
    table = contracts(page)
    largest = [
        max(row.get(f"{name}_relative") or 0 for name in FLOORS)
        for row in read_rows(table).values()
    ]
    table.get_by_role("button", name="Vega").click()
    expect(page).to_have_url(re.compile("sort=-vega"))
    by_vega = [row["vega_relative"] or 0 for row in read_rows(table).values()]

    assert largest == sorted(largest, reverse=True)
    assert by_vega == sorted(by_vega, reverse=True)


def test_a_stale_side_is_marked_and_not_in_the_summary(open_brokers, resting):
    fresh = fresh_items(resting)
    stale = fresh[0] | {"tastytrade_is_stale": True, "tastytrade_age_s": 900}
    answer = {"items": [stale, *fresh[1:]], "next_cursor": None}
    page = open_brokers(answer=answer)

    row = contracts(page).locator(f"[data-key='{stale['contract_key']}']")
    expect(row.locator(".badge.warn")).to_have_text(re.compile("15 min"))
    note = page.locator("[data-note='left-out']")
    expect(note).to_contain_text("1 with a stale side")
    expect(note).to_contain_text("1 at Tastytrade")
    assert read_rows(summary(page))["underlying_price"]["compared"] == len(fresh) - 1


def test_thetas_near_the_expiration_are_named(open_brokers, resting):
    first, *others = fresh_items(resting)
    soon = first | {"expiration": "2000-01-01", "theta_difference": 0.5}
    page = open_brokers(answer={"items": [soon, *others], "next_cursor": None})
    contracts(page)

    expect(page.locator("[data-note='near']")).to_contain_text("1 contract expires")
    row = contracts(page).locator(f"[data-key='{soon['contract_key']}']")
    expect(row).to_contain_text("†")


def test_a_row_opens_the_contract_by_the_keyboard(open_brokers):
    page = open_brokers()
    table = contracts(page)
    second = keys(table)[1]
    table.locator("[data-key]").first.focus()
    page.keyboard.press("ArrowDown")
    expect(table.locator("[data-key]").nth(1)).to_be_focused()
    page.keyboard.press("Enter")

    expect(view(page, "contract")).to_be_visible()
    assert parse_qs(urlsplit(page.url).fragment.partition("?")[2]) == {
        "contract_key": [second]
    }


def test_without_a_common_contract_the_view_says_what_to_do(open_brokers):
    page = open_brokers(answer={"items": [], "next_cursor": None})

    expect(view(page, "brokers")).to_contain_text("No contract is at both brokers")
    expect(view(page, "brokers")).to_contain_text("GREEKS_WATCHLIST")
