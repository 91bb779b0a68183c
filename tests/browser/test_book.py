"""The book: its sums are those of the database, and a click shows their parts."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.reading import keys, read_figures, read_rows, settled, wait_state
from tests.browser.views import DESK, PHONE, VIEWS

COLUMNS = ("market_value", "dollar_delta", "dollar_gamma", "theta", "vega")
GROUPS = {
    "Underlying": "underlying",
    "Strategy": "strategy_tag",
    "Account": "account_id",
    "Broker": "broker",
}

# The cells with a figure that has less room than it needs.
CUT_OFF = """
() => [...document.querySelectorAll('td:has(.fig)')]
    .filter(cell => cell.scrollWidth > cell.clientWidth)
    .map(cell => `${cell.dataset.column}: ${cell.innerText}`)
"""


@pytest.fixture(scope="module")
def resting(demo):
    """The demo without ticks: its numbers stand still."""
    # After a new connection of its feeds, a contract may lack its theta for a moment.
    demo.wait_until(
        "(select sum(missing_theta) = 0 from risk_totals where group_by = 'book')"
    )
    with demo.at_rest():
        yield demo


@pytest.fixture
def book(page, resting):
    page.goto(resting.url + VIEWS["book"])
    wait_state(page)
    expect(parts(page).get_by_role("rowheader", name="SPX")).to_be_visible()
    return page


def totals(service, group_by):
    query = "select * from risk_totals where group_by = %s"
    return service.fetch(query, [group_by])


def parts(page, label="Underlying"):
    return page.get_by_role("table", name=f"Sums by {label}")


def columns_of(row):
    return tuple(row[name] for name in COLUMNS)


def test_the_totals_are_those_of_the_database(book, resting):
    [expected] = map(columns_of, totals(resting, "book"))
    part = book.locator("[data-currency='USD']")

    assert expected == settled(book, lambda: columns_of(read_figures(part)), expected)


@pytest.mark.parametrize("label", GROUPS)
def test_each_grouping_has_the_rows_of_the_database(book, resting, label):
    groups = book.get_by_role("group", name="Group by")
    groups.get_by_role("button", name=label).click()
    table = parts(book, label)
    expected = sorted(map(columns_of, totals(resting, GROUPS[label])))

    def read():
        return sorted(map(columns_of, read_rows(table).values()))

    assert len(expected) > 1 or label == "Strategy"
    assert expected == settled(book, read, expected)


def test_a_click_on_a_heading_sorts_and_the_address_keeps_it(book):
    heading = parts(book).get_by_role("button", name="Dollar delta")
    heading.click()
    expect(
        parts(book).get_by_role("columnheader", name="Dollar delta")
    ).to_have_attribute("aria-sort", "descending")
    descending = keys(parts(book))
    heading.click()
    ascending = keys(parts(book))
    book.reload()
    expect(parts(book).locator("[data-key]")).to_have_count(len(ascending))

    rows = read_rows(parts(book))
    deltas = [row["dollar_delta"] for row in rows.values()]
    assert len(deltas) > 2
    assert deltas == sorted(deltas)
    assert list(rows) == ascending == descending[::-1]


def test_clicks_lead_down_to_contracts_and_back_leads_up(book):
    parts(book).get_by_role("rowheader", name="SPX").click()
    expect(book).to_have_url(re.compile("underlying=SPX"))
    rows = parts(book, "Expiration").locator("[data-key]")
    expect(rows).not_to_have_count(0)
    rows.first.click()
    expect(book.locator("main")).to_have_attribute("data-view", "contracts")
    for name in keys(book.get_by_role("table", name="Contracts")):
        assert "SPX" in name
    book.go_back()
    book.go_back()

    expect(parts(book).get_by_role("rowheader", name="SPX")).to_be_visible()


def test_a_sum_that_lacks_something_says_so_and_stands_out(book):
    tile = book.locator(".figures > div", has_text="Beta delta")
    expect(tile).to_contain_text(re.compile(r"▲ \d+ missing"))
    expect(tile).to_have_class("faulty")
    whole = book.locator(".figures > div", has_text="Theta")
    expect(whole).to_contain_text("per day")
    expect(whole).not_to_have_class("faulty")
    expect(parts(book).get_by_role("rowheader", name="SPX")).to_contain_text("▲")


def test_the_currency_of_most_positions_is_large(open_page, real_demo):
    [first, *others] = real_demo.fetch(
        "select currency from risk_totals where group_by = 'book'"
        " order by positions desc"
    )
    page = open_page(real_demo, "/#/book")
    large = page.locator("[data-currency]")
    expect(large).to_have_attribute("data-currency", first["currency"])

    small = page.get_by_role("table", name="Totals in other currencies")
    assert len(others) > 1
    assert sorted(keys(small)) == sorted(row["currency"] for row in others)


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize(
    "address",
    ["/#/book", "/#/contracts", "/#/contracts?greeks=position", "/#/underlying"],
)
def test_no_figure_is_cut_off(open_page, real_demo, address, size):
    page = open_page(real_demo, address, viewport=size)
    wait_state(page)
    page.locator("tbody [data-key]").first.wait_for()

    assert page.evaluate(CUT_OFF) == []
