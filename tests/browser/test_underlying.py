"""The underlyings: their figures are those of the database and of the interface."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import assert_accessible, assert_keyboard_reaches_all
from tests.browser.reading import (
    figure,
    keys,
    read_figures,
    read_rows,
    view,
    wait_state,
)
from tests.browser.views import NOWHERE, PHONE

# It has many options, also of several expirations.
MANY = "/ESH27"
HISTORY = re.compile(r"/v1/risk/history\?")
IN_TOTALS = ("market_value", "net_delta", "dollar_delta", "theta", "vega")
IN_HISTORY = (
    *("net_delta", "dollar_delta", "gamma", "dollar_gamma", "theta", "vega"),
    *("market_value", "underlying_price"),
)
IN_SKEW = ("at_the_money", "put_25_delta", "call_25_delta", "skew")
# Chromium writes every answer with such a status to the console.
NOT_READY = r"status of 503 .*/readyz"

# The brokers may have prices of the same moment, each rounded in its own way.
PRICES_OF_THE_NEWEST_MOMENT = """
select distinct underlying, underlying_price from (
    select underlying, underlying_price, rank() over (
        partition by underlying
        order by coalesce(underlying_price_at, event_time) desc
    ) as place
    from latest_greeks where underlying_price is not null
) ranked where place = 1
"""
NEWEST_PRICES = """
select distinct on (underlying) underlying, underlying_price
from latest_greeks where underlying_price is not null
order by underlying, coalesce(underlying_price_at, event_time) desc
"""


@pytest.fixture
def open_view(open_page, resting, watch):
    """A function that opens the view with parameters, and waits for its table."""
    watch.announce(NOT_READY)

    def open_view(params="", **options):
        page = open_page(resting, f"/#/underlying{params}", **options)
        wait_state(page)
        return page

    return open_view


def of(underlying, more=""):
    return f"?underlying={quote(underlying, safe='')}{more}"


def table(page, name):
    found = page.get_by_role("table", name=name)
    found.locator("[data-key]").first.wait_for()
    return found


def by(name, rows):
    return {row[name]: row for row in rows}


def test_the_list_has_the_figures_of_the_database(open_view, resting):
    totals = by(
        "underlying",
        resting.fetch("select * from risk_totals where group_by = 'underlying'"),
    )
    prices = {}
    for each in resting.fetch(PRICES_OF_THE_NEWEST_MOMENT):
        prices.setdefault(each["underlying"], set()).add(each["underlying_price"])
    metrics = by("symbol", resting.fetch("select * from latest_market_metrics"))
    terms = by(
        "underlying",
        resting.fetch("select * from volatility_term_structure where days = 30"),
    )

    page = open_view()
    expect(figure(table(page, "Underlyings"), "beta").first).to_be_visible()
    rows = {
        key.split("|")[0]: row
        for key, row in read_rows(table(page, "Underlyings")).items()
    }

    assert rows.keys() == totals.keys()
    for underlying, row in rows.items():
        expected = totals[underlying]
        metric = metrics.get(underlying, {})
        assert row["dollar_delta"] == expected["dollar_delta"], underlying
        assert row["positions"] == expected["positions"], underlying
        assert row["underlying_price"] in prices.get(underlying, {None}), underlying
        assert row["beta"] == metric.get("beta"), underlying
        assert row.get("iv_rank") == metric.get("iv_rank"), underlying
        assert row["implied_volatility"] == terms.get(underlying, {}).get(
            "implied_volatility"
        ), underlying


def test_the_largest_is_first_and_a_click_opens_it(open_view):
    page = open_view()
    rows = read_rows(table(page, "Underlyings"))
    sizes = [abs(row["dollar_delta"] or 0) for row in rows.values()]
    first = next(iter(rows))
    page.locator(f"[data-key='{first}']").click()

    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 0
    name = first.split("|")[0]
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Underlyings")


def test_the_sums_of_one_are_those_of_the_database(open_view, resting):
    [expected] = resting.fetch(
        "select * from risk_totals where group_by = 'underlying' and underlying = %s",
        [MANY],
    )
    page = open_view(of(MANY))
    part = page.get_by_label("Totals in USD")
    expect(figure(part, "theta")).to_have_attribute(
        "data-value", str(expected["theta"])
    )

    shown = read_figures(part)
    assert {name: shown[name] for name in IN_TOTALS} == {
        name: expected[name] for name in IN_TOTALS
    }


def test_the_charts_have_the_sums_over_time_of_the_interface(
    open_view, resting, open_page
):
    page = open_page(resting, NOWHERE)
    with page.expect_response(HISTORY) as answered:
        page.goto(f"{resting.url}/#/underlying{of(MANY, '&range=15min')}")
    [expected] = answered.value.json()["currencies"]
    part = page.get_by_label("Over time in USD")
    expect(part).to_contain_text("the last moment")

    assert read_figures(part) == {name: expected[name][-1] for name in IN_HISTORY}
    assert expected["positions"][-1] > 1


def test_what_the_moments_lack_is_named(open_view):
    page = open_view(of(MANY, "&range=1d"))
    lacks = page.locator("details.lacks")
    lacks.locator("summary").click()

    # The demo is younger than a day, and its feeds were stopped.
    expect(lacks).to_contain_text("positions are known from")
    # The list has the first ones; the stops of other tests may fill it.
    expect(lacks).to_contain_text(
        re.compile("the positions are not known|more; zoom in to see them")
    )
    expect(lacks).to_contain_text("A person stopped this feed")
    for part in page.get_by_role("img", name=re.compile("over time")).all()[1:]:
        expect(part).to_have_accessible_name(
            re.compile("not known or incomplete|Nothing")
        )


def test_a_dragged_range_is_in_the_address_and_back_returns(open_view):
    page = open_view(of(MANY, "&range=15min"))
    plot = page.locator(".over-time .u-over").first
    plot.wait_for()
    box = plot.bounding_box()
    with page.expect_request(HISTORY) as asked:
        page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 40, steps=3)
        page.mouse.up()
    query = parse_qs(urlsplit(asked.value.url).query)
    chosen = parse_qs(urlsplit(page.url).fragment.partition("?")[2])

    assert (query["start"], query["end"]) == (chosen["from"], chosen["to"])
    expect(page.get_by_role("button", name="Back to now")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("button", name="15min")).to_have_attribute(
        "aria-pressed", "true"
    )


def test_the_smile_near_the_money_has_the_volatilities_of_the_database(
    open_view, resting
):
    page = open_view(of(MANY))
    readout = page.locator("dl.readout")
    expect(readout).to_contain_text("near the money")
    strike = float(
        readout.locator("dt").inner_text().split()[1].rstrip(",").replace(",", "")
    )
    expected = resting.fetch(
        "select expiration::text, broker, option_type, strike::float, implied_volatility as iv"
        " from latest_greeks where underlying = %s and implied_volatility is not null",
        [MANY],
    )
    shown = {
        (key, name): value
        for key, row in read_rows(readout).items()
        for name, value in row.items()
    }
    chosen = [row for row in expected if row["expiration"] in keys(readout)]
    price = by("underlying", resting.fetch(NEWEST_PRICES))[MANY]["underlying_price"]
    nearest = min({row["strike"] for row in chosen}, key=lambda each: abs(each - price))

    assert strike == nearest
    assert shown == {
        (row["expiration"], f"{row['broker']}_{row['option_type']}"): row["iv"]
        for row in chosen
        if row["strike"] == nearest
    }


def test_the_expirations_of_the_smile_are_chosen_and_in_the_address(open_view):
    page = open_view(of(MANY))
    choices = page.get_by_role("group", name="Expirations").get_by_role("button")
    expect(choices.nth(1)).to_be_visible()
    pressed = [each.get_attribute("aria-pressed") for each in choices.all()]
    other = pressed.index("false")
    choices.nth(other).focus()
    page.keyboard.press("Space")

    expect(choices.nth(other)).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(choices.nth(other)).to_have_attribute("aria-pressed", "true")
    assert len(keys(page.locator("dl.readout"))) == pressed.count("true") + 1


def test_the_skew_of_each_expiration_is_that_of_the_database(open_view, resting):
    expected = resting.fetch(
        "select * from volatility_skew where underlying = %s order by expiration",
        [MANY],
    )
    page = open_view(of(MANY))
    rows = read_rows(table(page, "Skew by expiration"))

    assert list(rows) == [str(row["expiration"]) for row in expected]
    for row in expected:
        shown = rows[str(row["expiration"])]
        assert {name: shown[name] for name in IN_SKEW} == {
            name: row[name] for name in IN_SKEW
        }
        assert (shown["options"], shown["not_used"]) == (
            row["options"],
            row["not_used"],
        )
    assert any(row["at_the_money"] is None for row in expected)
    expect(table(page, "Skew by expiration")).to_contain_text("too few options")


def test_an_underlying_that_is_not_there_says_so(open_view):
    page = open_view(of("NOTHING"))

    expect(view(page, "underlying")).to_contain_text("Nothing about NOTHING")


def test_a_history_that_cannot_be_read_says_why(open_page, resting, watch):
    watch.announce("status of 503")
    page = open_page(resting, NOWHERE)
    problem = {"title": "x", "status": 503, "detail": "The database does not answer."}
    page.route(HISTORY, lambda route: route.fulfill(status=503, json=problem))
    page.goto(f"{resting.url}/#/underlying{of(MANY)}")

    part = page.get_by_label("The book over time")
    expect(part).to_contain_text("The database does not answer.")
    expect(part.get_by_role("button", name="Try again")).to_be_visible()


def test_one_underlying_is_accessible_and_fits_a_phone(open_view):
    page = open_view(of(MANY), viewport=PHONE)
    table(page, "Skew by expiration")
    expect(page.locator(".over-time h3")).to_have_count(len(IN_HISTORY))

    assert_accessible(page)
    assert_keyboard_reaches_all(page)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
