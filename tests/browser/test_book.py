"""The book: its sums are those of the database, and a click shows their parts."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.reading import figure, keys, read_figures, read_rows, wait_state

COLUMNS = (
    "market_value",
    "dollar_delta",
    "dollar_gamma",
    "theta",
    "vega",
)
GROUPS = {
    "Underlying": "underlying",
    "Strategy": "strategy_tag",
    "Account": "account_id",
    "Broker": "broker",
}


@pytest.fixture(scope="module")
def resting(demo):
    """The demo without ticks: its numbers stand still."""
    with demo.at_rest():
        yield demo


def totals(service, group_by):
    query = "select * from risk_totals where group_by = %s"
    return service.fetch(query, [group_by])


def test_the_totals_are_those_of_the_database(open_page, resting):
    page = open_page(resting)
    wait_state(page)
    [expected] = totals(resting, "book")
    part = page.locator("[data-currency='USD']")
    expect(figure(part, "theta")).to_have_attribute(
        "data-value", str(expected["theta"])
    )

    shown = read_figures(part)
    assert {name: shown[name] for name in COLUMNS} == {
        name: expected[name] for name in COLUMNS
    }


@pytest.mark.parametrize("label", GROUPS)
def test_each_grouping_has_the_rows_of_the_database(open_page, resting, watch, label):
    page = open_page(resting)
    groups = page.get_by_role("group", name="Group by")
    groups.get_by_role("button", name=label).click()
    table = page.get_by_role("table")
    expected = totals(resting, GROUPS[label])
    expect(table.locator("[data-key]")).to_have_count(len(expected))

    shown = read_rows(table)
    for column in COLUMNS:
        assert sorted(row[column] for row in shown.values()) == sorted(
            row[column] for row in expected
        ), column


def test_a_click_on_a_heading_sorts_and_the_address_keeps_it(page):
    wait_state(page)
    table = page.get_by_role("table")
    table.get_by_role("button", name="Underlying").click()
    expect(table.locator("[data-key]").nth(2)).to_be_visible()
    ascending = keys(table)
    table.get_by_role("button", name="Underlying").click()
    descending = keys(table)
    page.reload()
    table.locator("[data-key]").first.wait_for()

    assert len(ascending) > 2
    assert ascending == sorted(ascending)
    assert descending == ascending[::-1] == keys(table)
