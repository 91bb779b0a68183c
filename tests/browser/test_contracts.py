"""The list of contracts, and one contract."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.reading import (
    keys,
    read_figures,
    read_rows,
    settled,
    view,
    wait_change,
    wait_state,
)
from tests.browser.views import address

COLUMNS = ("quantity", "price", "delta", "gamma", "theta", "vega", "implied_volatility")
OPTIONS = f"""
select concat_ws('|', broker, account_id, contract_key) as key, {", ".join(COLUMNS)}
from latest_greeks where delta is not null
"""


@pytest.fixture
def contracts(kept_page, demo):
    kept_page.goto(address(demo, "contracts"))
    wait_state(kept_page)
    expect(rows(kept_page)).not_to_have_count(0)
    return kept_page


def table(page):
    return page.get_by_role("table", name="Contracts")


def rows(page):
    return table(page).locator("[data-key]")


def test_every_option_has_the_values_of_the_database(contracts, demo):
    with demo.at_rest():
        expected = {row.pop("key"): row for row in demo.fetch(OPTIONS)}

        def read():
            shown = read_rows(table(contracts))
            return {
                key: {name: shown.get(key, {}).get(name) for name in COLUMNS}
                for key in expected
            }

        assert len(expected) > 10
        assert expected == settled(contracts, read, expected)


def test_words_filter_the_list_and_stay_in_the_address(contracts):
    everything = keys(table(contracts))
    contracts.keyboard.press("/")
    contracts.keyboard.type("spx c")
    expect(contracts).to_have_url(re.compile(r"q=spx"))
    expect(rows(contracts)).not_to_have_count(len(everything))
    filtered = keys(table(contracts))
    contracts.reload()
    expect(rows(contracts)).to_have_count(len(filtered))
    contracts.keyboard.press("/")
    contracts.keyboard.press("Escape")

    expect(rows(contracts)).to_have_count(len(everything))
    assert 0 < len(filtered) < len(everything)
    assert all("SPX" in key for key in filtered)


def test_a_heading_sorts_the_list(contracts):
    table(contracts).get_by_role("button", name="Qty").click()
    expect(contracts).to_have_url(re.compile("sort=-quantity"))

    def read():
        return [row["quantity"] for row in read_rows(table(contracts)).values()]

    expected = sorted(read(), reverse=True)
    assert expected == settled(contracts, read, expected)
    assert expected[0] > expected[-1]


def test_groups_have_a_heading_with_their_sums(contracts):
    contracts.get_by_label("Group by").select_option("broker")

    expect(table(contracts).locator("[data-key^='group|']")).to_have_count(2)


def test_the_keyboard_opens_a_contract(contracts):
    rows(contracts).first.focus()
    contracts.keyboard.press("ArrowDown")
    contracts.keyboard.press("ArrowDown")
    chosen = keys(table(contracts))[2].split("|")[2]
    contracts.keyboard.press("Enter")

    expect(view(contracts, "contract")).to_be_visible()
    expect(contracts).to_have_url(re.compile("contract_key="))
    assert chosen.split()[0] in contracts.url


def test_a_contract_is_live_and_has_a_history(kept_page, demo):
    kept_page.goto(address(demo, "contract"))
    part = view(kept_page, "contract")
    wait_change(part.locator("[data-field='price']"))
    expect(part.locator("canvas")).not_to_have_count(0)

    assert read_figures(part.locator(".figures").first)["delta"] is not None
