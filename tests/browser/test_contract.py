"""One contract: its figures, and the charts of its history."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.browser.reading import figure, read_figures, view, wait_change, wait_state
from tests.browser.views import NOWHERE

FIELDS = (
    "quantity",
    "price",
    "delta",
    "gamma",
    "theta",
    "vega",
    "implied_volatility",
    "underlying_price",
    "multiplier",
    "position_value",
)
BY_BOTH = """
select contract_key
from latest_greeks
where quantity is not null and event_time is not null
group by contract_key
having count(distinct broker) = 2
order by contract_key
limit 1
"""


def address(row, **choice):
    names = ("contract_key", "broker", "account_id")
    return f"/#/contract?{urlencode({name: row[name] for name in names} | choice)}"


def busiest_contract(service):
    """Return the contract that has the most ticks at one of the brokers."""
    [row] = service.fetch(
        "select * from latest_greeks g where quantity is not null and broker = 'ibkr'"
        " and delta is not null and price is not null order by ("
        "  select count(*) from greek_snapshots t where t.broker = g.broker"
        "  and t.account_id = g.account_id and t.contract_key = g.contract_key"
        ") desc, contract_key limit 1"
    )
    return row


def charts(page):
    return page.locator("[data-measure]")


def show(page, service, row, **choice):
    """Show a contract, with its history."""
    page.goto(service.url + address(row, **choice))
    wait_state(page)
    page.locator(".u-over").first.wait_for()
    expect(page.locator(".history")).to_contain_text("tick")
    return page


def test_the_figures_are_those_of_the_database(open_page, resting):
    expected = busiest_contract(resting)
    page = show(open_page(resting, NOWHERE), resting, expected)

    found = read_figures(view(page, "contract"))
    for name in FIELDS:
        assert found[name] == pytest.approx(float(expected[name])), name
    units = expected["quantity"] * expected["multiplier"]
    assert found["position_delta"] == pytest.approx(
        float(units) * expected["delta"], rel=1e-9
    )
    expect(figure(page, "contract_key")).to_have_text(
        expected["contract_key"], use_inner_text=False
    )


def test_all_ticks_are_told_and_a_gap_has_its_reason(open_page, resting):
    row = busiest_contract(resting)
    [ticks] = resting.fetch(
        "select count(*) from greek_snapshots where broker = %s and account_id = %s"
        " and contract_key = %s",
        [row["broker"], row["account_id"], row["contract_key"]],
    )
    page = show(open_page(resting, NOWHERE), resting, row)

    words = re.compile(rf"\b{ticks['count']:,} ticks?\b")
    expect(page.locator(".history .note").first).to_contain_text(words)
    gap = page.locator("[data-gap*='stopped by request']").first
    expect(gap).to_contain_text("until now")
    expect(gap).to_contain_text("A person stopped this feed")


def test_the_measures_of_the_charts_are_in_the_address(page, demo):
    page = show(page, demo, busiest_contract(demo), measures="vega")
    expect(charts(page)).to_have_count(1)
    page.get_by_role("group", name="Charts of").get_by_role(
        "button", name="Theta"
    ).click()
    expect(charts(page)).to_have_count(2)
    page.reload()

    expect(charts(page)).to_have_count(2)
    shown = charts(page).evaluate_all("all => all.map(each => each.dataset.measure)")
    assert set(shown) == {"vega", "theta"}


def test_a_range_is_dragged_and_left_again(page, demo):
    page = show(page, demo, busiest_contract(demo))
    whole = page.url
    box = page.locator(".u-over").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=3)
    page.mouse.up()
    expect(page.get_by_role("button", name="Back to now")).to_be_visible()
    dragged = page.url
    page.get_by_role("button", name="Zoom in").click()

    assert "from=" in dragged
    page.wait_for_function("before => location.href !== before", arg=dragged)
    page.go_back()
    expect(page).to_have_url(dragged)
    page.go_back()
    expect(page).to_have_url(whole)


def test_both_brokers_are_in_one_chart(open_page, resting):
    resting.wait_until(f"exists ({BY_BOTH})")
    [held] = resting.fetch(BY_BOTH)
    row = {**held, "broker": "ibkr", "account_id": ""}
    page = show(open_page(resting, NOWHERE), resting, row, measures="price")

    legend = page.locator(".u-legend")
    expect(legend).to_contain_text("IBKR")
    expect(legend).to_contain_text("Tastytrade")
    expect(page.get_by_text("also in")).to_be_visible()


def test_the_contract_is_live(page, demo):
    page = show(page, demo, busiest_contract(demo))
    wait_change(figure(page, "price"))


def test_a_contract_that_nobody_has_says_so(page, demo):
    row = {"contract_key": "SPY   261218C09990000", "broker": "ibkr", "account_id": "U"}
    page.goto(demo.url + address(row))

    expect(page.locator("main")).to_contain_text("No account holds")
    expect(page.locator("main")).to_contain_text("No tick of this contract is stored")


def test_a_share_has_its_figures_and_no_charts(page, demo):
    [row] = demo.fetch(
        "select * from position_greeks where kind = 'equity' order by 1, 2, 3 limit 1"
    )
    page.goto(demo.url + address(row))

    expect(page.get_by_role("heading", level=1)).to_have_text(row["contract_key"])
    expect(figure(page, "position_delta")).to_have_attribute(
        "data-value", f"{row['position_delta']:g}"
    )
    expect(charts(page)).to_have_count(0)


def test_a_history_that_cannot_be_read_leaves_the_figures(open_page, demo, watch):
    watch.announce("status of 503")
    page = open_page(demo, "/livez")
    page.route(
        "**/v1/greeks/history*",
        lambda route: route.fulfill(status=503, json={"detail": "It is away."}),
    )
    page.goto(demo.url + address(busiest_contract(demo)))

    history = page.get_by_role("region", name="History")
    expect(history).to_contain_text("The history cannot be read")
    expect(history).to_contain_text("It is away.")
    wait_change(figure(page, "price"))
