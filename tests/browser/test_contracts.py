"""The list of contracts: its figures, and each way to look for a contract."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.reading import (
    figure,
    keys,
    read_rows,
    view,
    wait_change,
    wait_state,
)
from tests.browser.views import NOWHERE
from tests.browser.visitors import Visitors
from tests.browser.watch import Watch

CONTRACT = (
    "quantity",
    "price",
    "delta",
    "gamma",
    "theta",
    "vega",
    "rho",
    "implied_volatility",
    "underlying_price",
)
POSITION = (
    "position_value",
    "position_delta",
    "position_gamma",
    "position_theta",
    "position_vega",
    "position_rho",
)
KEY = "broker || '|' || account_id || '|' || contract_key"
# Click on each heading twice; return what it says of the order then.
SORT_BY_ALL = """
async () => {
    const found = {};
    for (const button of document.querySelectorAll('thead button')) {
        found[button.textContent] = [];
        for (let click = 0; click < 2; click += 1) {
            button.click();
            await new Promise(requestAnimationFrame);
            found[button.textContent].push(button.parentElement.ariaSort);
        }
    }
    return found;
}
"""
# All rows of the book are drawn at once in a window of this height.
TALL = {"width": 1600, "height": 4_500}


@pytest.fixture(scope="module")
def tall_page(browser, resting):
    """One page of the resting book for several tests, with all rows."""
    watch = Watch()
    with Visitors(browser, watch, {}) as visitors:
        yield visitors.open(resting, viewport=TALL)
    watch.assert_quiet()


def show(page, service, choice=""):
    """Show the list with the choices of the address, and all positions in it."""
    page.goto(f"{service.url}/#/contracts{choice}")
    wait_state(page)
    [expected] = service.fetch("select count(*) from position_greeks")
    expect(shown(page, "total")).to_have_attribute("data-value", str(expected["count"]))
    page.locator("tbody [data-key]").first.wait_for()
    return page


def rows_of(service, table, columns):
    found = service.fetch(f"select {KEY} as key, * from {table}")
    return {row["key"]: {name: row[name] for name in columns} for row in found}


def shown(page, field="shown"):
    return page.locator(f"[data-field='{field}']")


def assert_equal(found, expected):
    """Sums of floating-point numbers differ in their last digits."""
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        for name, value in row.items():
            wanted = None if value is None else pytest.approx(float(value), rel=1e-9)
            assert found[key].get(name) == wanted, (key, name)


def test_the_figures_of_a_contract_are_those_of_the_database(tall_page, resting):
    page = show(tall_page, resting)
    expected = rows_of(resting, "latest_greeks", CONTRACT)
    found = {key: row for key, row in read_rows(page).items() if key in expected}

    assert len(expected) > 50
    assert_equal(found, expected)


def test_the_figures_of_a_position_are_those_of_the_risk(tall_page, resting):
    page = show(tall_page, resting, "?greeks=position")

    expected = rows_of(resting, "position_greeks", POSITION)
    assert {key.split("|")[2][0] for key in expected} > {"/", "."}
    assert_equal(read_rows(page), expected)


def test_the_sums_of_groups_are_those_of_the_book(tall_page, resting):
    page = show(tall_page, resting, "?greeks=position&by=underlying")
    found = {
        key.removeprefix("group|"): row
        for key, row in read_rows(page).items()
        if key.startswith("group|")
    }
    totals = resting.fetch(
        "select * from risk_totals where group_by = 'underlying' and positions > 1"
        " and other_positions = 0 and unnamed_currency = 0"
    )

    assert len(totals) > 3
    for total in totals:
        row = found[total["underlying"]]
        assert row["position_delta"] == pytest.approx(total["net_delta"])
        # Shares have no theta: the page leaves it empty, and the sum of none is 0.
        assert (row["position_theta"] or 0.0) == pytest.approx(total["theta"] or 0.0)
        assert row["position_value"] == pytest.approx(total["market_value"])


def test_stale_rows_are_counted_and_can_be_had_alone(tall_page, resting):
    page = show(tall_page, resting, "?is_stale=true")
    expected = {
        row["key"]: row["stale_reason"]
        for row in resting.fetch(
            f"select {KEY} as key, stale_reason from position_greeks where is_stale"
        )
    }
    expect(page.locator("tbody [data-key]")).to_have_count(len(expected))

    found = {key: row["stale_reason"] for key, row in read_rows(page).items()}
    assert found == expected
    expect(shown(page, "stale")).to_have_attribute("data-value", str(len(expected)))


def test_words_find_contracts_and_the_address_keeps_them(page, demo):
    page = show(page, demo)
    page.keyboard.press("/")
    page.keyboard.type("spy tasty")
    expect(page).to_have_url(f"{demo.url}/#/contracts?q=spy+tasty")
    [expected] = demo.fetch(
        "select count(*) from position_greeks"
        " where underlying = 'SPY' and broker = 'tastytrade'"
    )
    expect(shown(page)).to_have_attribute("data-value", str(expected["count"]))
    page.reload()

    expect(page.get_by_role("searchbox")).to_have_value("spy tasty")
    expect(shown(page)).to_have_attribute("data-value", str(expected["count"]))
    assert {key[:10] for key in keys(page)} == {"tastytrade"}


def test_what_no_contract_fits_says_so_and_how_to_go_on(page, demo):
    page.goto(f"{demo.url}/#/contracts?q=nothing+of+this")

    expect(page.get_by_role("heading", name="No contract fits")).to_be_visible()
    page.get_by_role("link", name="Show all").click()
    page.locator("tbody [data-key]").first.wait_for()


def test_the_arrow_keys_and_enter_lead_to_a_contract(page, demo):
    page = show(page, demo, "?q=spy")
    names = keys(page)
    page.get_by_role("searchbox").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.locator("tr:focus")).to_have_attribute("data-key", names[1])
    page.keyboard.press("Enter")

    expect(view(page, "contract").get_by_role("heading", level=1)).to_be_visible()
    broker, account, _ = names[1].split("|")
    assert f"broker={broker}&account_id={account}" in page.url


def test_every_column_sorts_in_both_directions(tall_page, resting):
    page = show(tall_page, resting, "?greeks=position&q=es")
    directions = page.evaluate(SORT_BY_ALL)

    assert {"Contract", "Vega", "Age", "State", "Source", "Rho"} <= directions.keys()
    for name, found in directions.items():
        assert set(found) == {"ascending", "descending"}, name


def test_numbers_are_in_the_order_of_their_column(tall_page, resting):
    page = show(tall_page, resting, "?sort=-position_vega&greeks=position")

    values = [row.get("position_vega") for row in read_rows(page).values()]
    known = [value for value in values if value is not None]
    assert len(known) > 50
    assert known == sorted(known, reverse=True)
    assert values == known + [None] * (len(values) - len(known)), "the rest is last"


def test_a_long_list_draws_only_what_is_visible(open_page, resting):
    page = show(open_page(resting, NOWHERE), resting)
    total = int(shown(page).get_attribute("data-value"))
    drawn = page.locator("tbody [data-key]")

    assert drawn.count() < total
    page.locator("tbody tr[tabindex='0']").focus()
    page.keyboard.press("End")
    expect(page.locator("tr:focus")).to_have_attribute("aria-rowindex", str(total + 1))


def test_the_order_stays_under_the_pointer(page, demo):
    page = show(page, demo, "?sort=age_s")
    page.locator("tbody tr").nth(3).hover()
    before = keys(page)
    for _ in range(3):
        wait_change(page.locator("tbody tr").first.locator("[data-field='age_s']"))

    assert keys(page) == before
    expect(page.get_by_text("while you are in the list")).to_be_visible()
    page.get_by_role("heading", level=1).hover()
    expect(page.get_by_text("while you are in the list")).to_be_hidden()
    page.wait_for_function(
        "before => [...document.querySelectorAll('[data-key]')]"
        ".some((row, at) => row.dataset.key !== before[at])",
        arg=before,
    )


def test_the_list_is_live(page, demo):
    page = show(page, demo)
    wait_change(figure(page.locator("[data-key*='C00']"), "price"))


def test_a_group_leads_to_its_contracts(page, demo):
    page = show(page, demo, "?by=underlying")
    page.locator("tr.group").get_by_role("link", name="SPY", exact=True).click()
    expect(page.locator(".chip")).to_contain_text("SPY")

    assert "SPY" in page.url
    [expected] = demo.fetch(
        "select count(*) from position_greeks where underlying = 'SPY'"
    )
    expect(shown(page)).to_have_attribute("data-value", str(expected["count"]))


def test_a_group_without_a_value_leads_to_its_positions(page, demo):
    page = show(page, demo, "?by=expiration")
    page.get_by_role("link", name="no expiration").click()
    [expected] = demo.fetch(
        "select count(*) from position_greeks where expiration is null"
    )
    expect(shown(page)).to_have_attribute("data-value", str(expected["count"]))

    assert "without=expiration" in page.url
    assert expected["count"] > 0


def test_a_change_is_visible_for_a_moment(open_page, demo):
    page = open_page(demo, "/#/contracts", reduced_motion="no-preference")
    changed = page.locator("[data-flash]").first
    changed.wait_for()
    handle = changed.element_handle()

    page.wait_for_function("figure => !figure.dataset.flash", arg=handle)


def test_positions_that_cannot_be_read_are_named(open_page, demo, watch):
    watch.announce("status of 503")
    page = open_page(demo, "/livez")
    page.route(
        "**/v1/risk/positions*",
        lambda route: route.fulfill(status=503, json={"detail": "It is away."}),
    )
    page.goto(f"{demo.url}/#/contracts")

    expect(page.locator(".head")).to_contain_text(
        "Strategies, shares and futures are missing: It is away."
    )
    page.locator("tbody [data-key]").first.wait_for()
