"""What the page says when something is not as it should be."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.accessibility import assert_accessible
from tests.browser.reading import figure, view, wait_change, wait_state
from tests.browser.services import BROKERS
from tests.browser.views import VIEWS

# Longer than the page needs to notice it on a busy machine; a broker comes back by itself.
AWAY_S = 6

BELOW_HEADING = """
tiles => {
    const { x, y, width, height } = tiles.getBoundingClientRect();
    const heading = document.querySelector("h1").getBoundingClientRect();
    return [x, y - heading.y, width, height];
}
"""
WRONG_CLOCK = """
const real = Date;
globalThis.Date = class extends real {
    constructor(...parts) { parts.length ? super(...parts) : super(Date.now()); }
    static now() { return real.now() + 3_600_000; }
};
"""


def notice(page, name):
    return page.locator(f"[data-notice='{name}']")


def test_a_broker_that_is_down_is_named_and_its_figures_are_grey(
    open_page, staged, take
):
    page = open_page(staged, "/#/book?by=broker")
    wait_state(page)
    staged.fail(f"ibkr:drop:{AWAY_S}")

    expect(notice(page, "down-ibkr")).to_be_visible()
    grey = page.locator("tr.unvouched")
    expect(grey).not_to_have_count(0)
    names = grey.evaluate_all("rows => rows.map(row => row.dataset.key.split(' ')[0])")
    assert set(names) == {"ibkr"}
    take(page, "degraded")
    assert_accessible(page)
    expect(notice(page, "down-ibkr")).to_be_hidden()
    expect(grey).to_have_count(0)


def test_a_standby_is_no_fault_and_names_the_service_that_streams(open_page, staged):
    page = open_page(staged)
    wait_state(page)
    with staged.connect() as connection:
        connection.execute(
            "update leases set holder = 'desk-b:/spool', epoch = epoch + 1,"
            " expires_at = now() + interval '1 h' where name = 'feed:ibkr'"
        )
        said = notice(page, "down-ibkr")
        expect(said).to_contain_text("IBKR is a standby.", timeout=15_000)
        expect(said).to_contain_text("desk-b:/spool has the lease and streams")
        # The other service keeps its part of the sums fresh.
        expect(view(page, "book").get_by_text("of the sums is old")).to_have_count(0)
        page.goto(f"{staged.url}/#/health")
        expect(view(page, "health")).to_contain_text("IBKR is standby")
        connection.execute(
            "update leases set expires_at = '-infinity' where name = 'feed:ibkr'"
        )
    expect(said).to_be_hidden(timeout=20_000)


def test_two_brokers_that_are_down_are_told_together(open_page, staged):
    page = open_page(staged)
    wait_state(page)
    for broker in BROKERS:
        staged.fail(f"{broker}:drop:{AWAY_S}")

    expect(notice(page, "all-down")).to_be_visible()
    expect(notice(page, "all-down")).to_be_hidden()


def test_a_database_that_is_away_leaves_the_ticks(open_page, staged, watch):
    watch.announce("status of 50[34]")
    page = open_page(staged)
    wait_state(page)
    with staged.without_database():
        expect(notice(page, "database")).to_be_visible()
        assert_accessible(page)
        wait_state(page)
        for name in ("what-if", "why", "brokers", "limits"):
            page.goto(staged.url + VIEWS[name])
            expect(view(page, name)).to_contain_text("The database is away.")
    expect(notice(page, "database")).to_be_hidden()
    page.goto(staged.url + VIEWS["book"])
    wait_change(figure(page, "theta"))


def test_a_page_that_is_opened_without_a_database_says_why_it_is_empty(
    open_page, staged, watch
):
    watch.announce("status of 50[34]")
    with staged.without_database():
        page = open_page(staged)
        expect(notice(page, "database")).to_be_visible()
        expect(
            page.get_by_role("heading", name="The sums cannot be read")
        ).to_be_visible()
        expect(view(page, "book")).not_to_contain_text("Loading")
        page.goto(staged.url + VIEWS["contracts"])
        expect(
            page.get_by_role("heading", name="The contracts cannot be read")
        ).to_be_visible()
    expect(page.get_by_role("table", name="Contracts")).to_be_visible()
    page.goto(staged.url + VIEWS["book"])
    wait_change(figure(page, "theta"))


def test_sums_with_a_part_of_a_stopped_broker_are_not_called_complete(
    open_page, staged
):
    page = open_page(staged, VIEWS["book"])
    parts = page.get_by_role("table", name="Sums by Underlying")
    expect(parts).to_contain_text("complete")
    with staged.at_rest(["ibkr"]):
        expect(parts).to_contain_text("IBKR old")
        expect(parts).not_to_contain_text("complete")
        for name in ("what-if", "why"):
            page.goto(staged.url + VIEWS[name])
            expect(view(page, name)).to_contain_text("its part of the sums is old")
    expect(notice(page, "down-ibkr")).to_be_hidden()


def test_nothing_moves_when_the_sums_come(open_page, demo):
    held = []
    page = open_page(demo, "/livez")
    page.route("**/v1/risk/totals*", lambda route: held.append(route))
    page.goto(demo.url)
    tiles = page.locator("dl.sums").first

    def box():
        # Both at one moment: a notice may come above them, such as that of closed markets.
        return tiles.evaluate(BELOW_HEADING)

    expect(page.get_by_text("Loading", exact=True).first).to_be_visible()
    before = box()

    for route in held:
        route.continue_()
    page.unroute("**/v1/risk/totals*")
    expect(figure(tiles, "vega")).not_to_have_attribute("data-value", "")
    assert box() == before


def test_the_ages_are_right_where_the_clock_of_the_browser_is_wrong(open_page, demo):
    page = open_page(demo, "/livez")
    page.add_init_script(WRONG_CLOCK)
    page.goto(demo.url)

    expect(notice(page, "clock")).to_contain_text("ahead")


def test_each_of_two_tabs_goes_on_without_the_other(open_page, demo):
    first = open_page(demo)
    second = first.context.new_page()
    second.goto(demo.url)
    wait_state(first)
    wait_state(second)
    first.close()

    wait_change(figure(second, "theta"))


def test_a_closed_market_is_named(open_page, demo):
    """Only the hours are not those of the service: no test can wait for the night."""

    def close(route):
        answer = route.fetch()
        status = answer.json()
        status["staleness"]["markets_open"] = {"equity": False, "future": True}
        status["staleness"]["trading"] = {"ibkr": 0, "tastytrade": 0}
        # On a busy machine the service cannot always read the calendars in time.
        status["staleness"]["hours_unknown"] = {"ibkr": {}, "tastytrade": {}}
        route.fulfill(response=answer, json=status)

    page = open_page(demo, "/livez")
    page.route("**/v1/streaming/status", close)
    page.goto(demo.url)

    expect(notice(page, "closed")).to_be_visible()


def test_an_account_without_positions_says_what_to_do(empty, open_page, watch):
    """The database is empty too, so there is no moment from which to explain a profit."""
    watch.announce(r"status of 422 .*/v1/risk/explain")
    page = open_page(empty)
    wait_state(page)

    expect(page.get_by_role("heading", name="No positions yet")).to_be_visible()
    assert_accessible(page)
    for name in ("contracts", "what-if", "why", "underlying", "brokers"):
        page.goto(empty.url + VIEWS[name].partition("?")[0])
        expect(view(page, name).locator(".empty").first).to_be_visible()
    page.goto(empty.url + VIEWS["why"])
    expect(view(page, "why")).to_contain_text("No position was held in this time.")
    expect(view(page, "why")).not_to_contain_text("/v1/")
