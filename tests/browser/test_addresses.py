"""Addresses that a person has mistyped, or that somebody has made to do harm."""

from __future__ import annotations

from tests.browser.reading import wait_state

NONE_SUCH = [
    "#/book?without=color",
    "#/book?expiration=soon",
    "#/contracts?expiration=2026-99-99",
    "#/book?broker=constructor",
    "#/what-if?broker=__proto__&move_unit=constructor&vol_unit=constructor",
    "#/why?range=constructor&underlying=SPY",
    "#/limits?range=constructor&underlying=SPY",
    "#/contract?broker=ibkr&account_id=1&contract_key=" + "z" * 1000,
    "#/contract?contract_key=x&broker=ibkr&account_id=1"
    "&from=-271821-04-20T00:00:00Z&to=2026-01-01T00:00:00Z",
    "#/contracts?sort=x&underlying=<script>",
    "#/book?underlying=" + "z" * 2000,
]
"""Each has a value that there is not."""


def test_odd_addresses_show_the_view_one_after_the_other(page, watch):
    """Chromium reports as an error that the service refuses such a value."""
    watch.announce("status of 4(04|22)")
    wait_state(page)
    for address in NONE_SUCH:
        page.evaluate("hash => { location.hash = hash }", address)
        page.locator(f"main[data-view='{_view_of(address)}'] h1").wait_for()
        page.wait_for_timeout(100)
        assert page.get_by_text("This view cannot be shown").count() == 0, address
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
            address
        )


def _view_of(address):
    return address[2:].split("?")[0]


def test_a_view_that_fails_leaves_the_others_and_comes_back(page, watch):
    """The fault belongs to one address: another one of the same view has it no more."""
    watch.announce("a fault for the test")
    page.route("**/views/limits/view.js*", _failing)
    page.reload()
    failure = page.get_by_text("This view cannot be shown")
    for address, has_failed in [
        ("#/limits?rule=bad", True),
        ("#/limits?rule=other", False),
        ("#/limits?rule=bad", True),
        ("#/book", False),
    ]:
        page.evaluate("hash => { location.hash = hash }", address)
        (failure if has_failed else page.locator("main h1")).wait_for()


def _failing(route):
    found = route.fetch()
    fault = "if (params.rule === 'bad') throw new Error('a fault for the test');"
    before, opening, after = found.text().partition("({ params }) {\n")
    route.fulfill(response=found, body=f"{before}{opening}{fault}\n{after}")
