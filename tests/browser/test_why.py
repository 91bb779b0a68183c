"""Why: the waterfall and its tables are those of the service, between the chosen moments."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import assert_accessible
from tests.browser.reading import figure, number, view, wait_state
from tests.browser.views import NOWHERE

PATH = "/v1/risk/explain"
NEW_YORK = ZoneInfo("America/New_York")
PARTS = ("delta", "gamma", "theta", "vega", "vanna", "vomma", "charm", "trading")
FIGURES = ("start_value", "trades", *PARTS, "residual", "profit_loss", "end_value")


@pytest.fixture
def open_why(open_page):
    """A function that opens the view, and returns the page and its first answer."""

    def open_why(service, query="range=10min", **options):
        page = open_page(service, NOWHERE, **options)
        wait_state(page)
        with page.expect_response(f"**{PATH}*") as response:
            page.evaluate(f"() => {{ location.hash = '#/why?{query}' }}")
        view(page, "why").locator("h1").wait_for()
        return page, response.value

    return open_why


def asked(response):
    query = parse_qs(urlsplit(response.url).query)
    return {name: value for name, [value] in query.items()}


def moment(text):
    return datetime.fromisoformat(text)


def test_the_numbers_of_the_waterfall_are_those_of_the_service(open_why, demo):
    page, response = open_why(demo)
    [row] = response.json()["totals"]
    part = page.locator("[data-currency='USD']")
    numbers = part.get_by_role("table")
    shown = {
        name: number(figure(numbers, name).get_attribute("data-value"))
        for name in FIGURES
    }

    assert shown == {name: row[name] for name in FIGURES}
    assert sum(row[name] for name in PARTS) + row["residual"] == pytest.approx(
        row["profit_loss"]
    )
    picture = part.get_by_role("img")
    expect(picture).to_have_accessible_name(re.compile("Delta .*Residual .*End "))
    steps = picture.locator(".step")
    expect(steps).to_have_count(len(FIGURES) - 1)  # all but the profit or loss
    expect(part.locator("header")).to_contain_text("of the P/L")


def test_the_bars_of_the_waterfall_follow_one_another(open_why, demo):
    """Each part begins where the one before it ends."""
    page, _ = open_why(demo)
    page.get_by_role("img").first.wait_for()
    places = page.locator(".fill.part").evaluate_all(
        "bars => bars.map(b => [b.className.includes('loss'),"
        " parseFloat(b.style.bottom), parseFloat(b.style.height)])"
    )
    ends = [
        (low, low + size) if is_loss else (low + size, low)
        for is_loss, low, size in places
    ]

    assert len(ends) == len(PARTS)
    for (end, _), (_, start) in pairwise(ends):
        assert start == pytest.approx(end, abs=0.01)


def test_moments_are_those_of_the_browsers_zone(open_why, demo):
    page, _ = open_why(demo, timezone_id="Asia/Tokyo")
    tokyo = ZoneInfo("Asia/Tokyo")
    start = datetime.now(tokyo).replace(microsecond=0) - timedelta(minutes=5)
    page.get_by_label("From").fill(f"{start:%Y-%m-%dT%H:%M:%S}")
    with page.expect_response(f"**{PATH}*") as response:
        page.get_by_role("button", name="Explain").click()

    assert moment(asked(response.value)["start"]) == start
    assert "end" not in asked(response.value)
    expect(page).to_have_url(re.compile("start="))
    expect(view(page, "why")).to_contain_text("Asia/Tokyo")


def test_a_range_without_positions_says_so_and_what_to_do(open_why, demo, watch):
    watch.announce("status of 422")
    page, response = open_why(demo, "range=yesterday")

    assert response.status == 422
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No position was held in this time. Choose another")
    start, end = (moment(asked(response)[name]) for name in ("start", "end"))
    today = datetime.now(NEW_YORK).date()
    midnight = datetime.combine(today, time(), NEW_YORK)
    assert end == midnight
    assert start == datetime.combine(today - timedelta(days=1), time(), NEW_YORK)


def test_days_of_new_york_begin_at_its_midnight_also_when_clocks_change(page):
    moments = [
        datetime.combine(date(2026, month, day), time(hour), NEW_YORK)
        for month, day in ((3, 8), (3, 9), (7, 1), (11, 1), (11, 2), (12, 31))
        for hour in (0, 1, 3, 12, 23)
    ]
    found = page.evaluate(
        """async moments => {
            const { startOfDay } = await import('/page/lib/newyork.js');
            return moments.map(each => [startOfDay(each), startOfDay(each, -1)]);
        }""",
        [each.timestamp() * 1000 for each in moments],
    )

    days = [(each.date(), each.date() - timedelta(days=1)) for each in moments]
    assert found == [
        [datetime.combine(day, time(), NEW_YORK).timestamp() * 1000 for day in pair]
        for pair in days
    ]


def test_the_open_and_the_prior_close_are_those_of_weekdays(page):
    cases = {
        # Friday after the close, before the open of a Monday, a Sunday, after clocks changed
        (2026, 7, 10, 17): ((2026, 7, 10, 9, 30), (2026, 7, 9, 16)),
        (2026, 7, 13, 9): ((2026, 7, 10, 9, 30), (2026, 7, 10, 16)),
        (2026, 7, 12, 12): ((2026, 7, 10, 9, 30), (2026, 7, 10, 16)),
        (2026, 3, 9, 10): ((2026, 3, 9, 9, 30), (2026, 3, 6, 16)),
    }
    found = page.evaluate(
        """async moments => {
            const { RANGES } = await import('/page/views/why/ranges.js');
            return moments.map(each => ['open', 'close'].map(
                name => RANGES[name].momentsAt(each)));
        }""",
        [milliseconds(*each) for each in cases],
    )

    assert found == [
        [[milliseconds(*each), None] for each in pair] for pair in cases.values()
    ]


def milliseconds(*parts):
    return datetime(*parts, tzinfo=NEW_YORK).timestamp() * 1000


def test_a_click_on_a_group_shows_its_parts(open_why, demo):
    page, response = open_why(demo)
    answer = response.json()
    table = page.get_by_role("region", name="Groups").get_by_role("table")
    rows = {each["group"]["underlying"]: each for each in answer["groups"]}
    row = table.locator("[data-key='SPY USD']")
    for name in ("profit_loss", "delta", "residual"):
        shown = number(figure(row, name).get_attribute("data-value"))
        assert shown == rows["SPY"][name]
    with page.expect_response(f"**{PATH}*") as response:
        row.click()

    assert asked(response.value)["underlying"] == "SPY"
    assert asked(response.value)["group_by"] == "expiration"
    expect(page.get_by_role("group", name="Filters")).to_contain_text("SPY")
    expect(table.locator("[data-key^='SPY 2']").first).to_be_visible()


def test_a_click_on_a_heading_sorts_the_groups(open_why, demo):
    page, _ = open_why(demo)
    table = page.get_by_role("region", name="Groups").get_by_role("table")
    table.get_by_role("button", name="Delta").click()
    expect(page).to_have_url(re.compile("sort=-delta"))
    deltas = [
        number(each)
        for each in figure(table, "delta").evaluate_all(
            "all => all.map(e => e.dataset.value)"
        )
    ]

    assert len(deltas) > 2
    assert deltas == sorted(deltas, reverse=True)


def test_each_currency_has_a_waterfall_and_what_is_left_out_is_named(open_why, resting):
    page, response = open_why(resting)
    answer = response.json()
    currencies = {each["currency"] for each in answer["totals"]}
    assert len(currencies) > 1
    assert answer["left_out_count"]

    part = view(page, "why")
    expect(part.locator("[data-currency] .waterfall")).to_have_count(len(currencies))
    panel = part.locator("[data-part='left-out']")
    expect(panel).to_contain_text(f"Left out: {answer['left_out_count']}")
    for each in answer["left_out"]:
        expect(panel).to_contain_text(each["reason"])
    assert_accessible(page)


def test_a_range_before_the_first_prices_says_so_and_offers_the_first_moment(
    open_why, demo
):
    page, _ = open_why(demo, "range=today")
    notice = page.locator("[data-part='late-start']")
    expect(notice).to_contain_text("known only from a later moment")
    with page.expect_response(f"**{PATH}*") as response:
        notice.get_by_role("button", name="Begin at").click()

    [first] = {
        row["first_price_at"]
        for row in demo.ask("GET", "/v1/risk/profit?group_by=book")["items"]
    }
    assert moment(asked(response.value)["start"]) == moment(first)
    [row] = response.value.json()["totals"]
    assert row["start_value"] != 0
    assert (row["first_seen"], row["trades"]) == (0, 0)
    expect(notice).to_be_hidden()
