"""The view of the health: its figures, its judgement, its outages, and the switch of a feed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import assert_accessible
from tests.browser.reading import figure, keys, read_figures, settled, view, wait_state
from tests.browser.views import address

STATUS = "**/v1/streaming/status"
READY = {"status": "ready", "problems": [], "warnings": [], "notes": []}
# They stand still while no feed runs.
STILL = (
    *("feeds.ibkr.wanted", "feeds.ibkr.frames", "feeds.tastytrade.frames"),
    *("feeds.ibkr.reconnects", "feeds.tastytrade.subscription_count"),
    *("ticks.lost", "spool.rows", "quarantine.waiting", "writer.retries"),
    *("database.partitions_ahead", "slo.breaches", "version", "started_at"),
)


@pytest.fixture(scope="module")
def resting(demo):
    """The demo without feeds, so that its numbers stand still."""
    with demo.at_rest():
        yield demo


def value_of(status, path):
    for key in path.split("."):
        status = status[key]
    return status


@pytest.fixture
def judged(open_page, demo):
    """A function that opens the view of a service with this readiness and conditions."""

    def open_judged(conditions=(), **readiness):
        def judge(route):
            answer = route.fetch()
            status = answer.json()
            status["readiness"] = READY | readiness
            status["ticks"]["lost"] = status["quarantine"]["waiting"] = 0
            status["spool"] |= {"oldest_at": None, "last_error": None}
            status["conditions"] |= dict.fromkeys(conditions, 1)
            route.fulfill(response=answer, json=status)

        page = open_page(demo, "/livez")
        page.route(STATUS, judge)
        page.goto(address(demo, "health"))
        return page.get_by_label("State of the service")

    return open_judged


def test_the_figures_are_those_of_the_status(open_page, resting):
    page = open_page(resting, "/#/health")
    wait_state(page)
    expect(figure(page, "started_at")).not_to_have_count(0)
    status = resting.ask("GET", "/v1/streaming/status")
    expected = {each: value_of(status, each) for each in STILL}

    def shown():
        figures = read_figures(view(page, "health"))
        return {each: figures[each] for each in STILL}

    # The page may show the reading before the feeds were stopped.
    assert settled(page, shown, expected) == expected


def test_everything_works_where_nothing_is_wrong(judged):
    state = judged(notes=["ibkr: 9 contracts share 8 lines"])

    expect(state).to_have_attribute("data-level", "ok")
    expect(state).to_contain_text("The service is ready, and it has no warning.")
    expect(state).to_contain_text("IBKR: 9 contracts share 8 lines")


@pytest.mark.parametrize(
    ("readiness", "level"),
    [
        ({"warnings": ["tastytrade: 1 contract without Greeks so far"]}, "warn"),
        ({"status": "not ready", "problems": ["ibkr: no gateway"]}, "critical"),
    ],
)
def test_each_fault_is_told_at_the_top(judged, readiness, level):
    state = judged(**readiness)

    expect(state).to_have_attribute("data-level", level)
    expect(state).not_to_contain_text("The service is ready")
    [[sentence]] = [each for each in readiness.values() if isinstance(each, list)]
    expect(state).to_contain_text(sentence.partition(": ")[2])


def test_a_condition_has_its_meaning_and_what_to_do(judged):
    state = judged(["disk nearly full"], warnings=["the disk has 1 GB left"])

    expect(state).to_contain_text("the growth fills the latter within two weeks")
    expect(state).to_contain_text("What to do: Make room")
    expect(state).to_contain_text("set GREEKS_KEEP_MONTHS and")


def test_the_outages_are_those_of_the_database(open_page, resting):
    page = open_page(resting, "/#/health?range=1h")
    wait_state(page)
    since = datetime.now(UTC) - timedelta(hours=1)
    found = resting.ask("GET", "/v1/outages", params={"start": since.isoformat()})
    table = page.get_by_role("table", name="Outages")
    expect(table.locator("[data-key]")).to_have_count(len(found["items"]))

    assert sorted(keys(table)) == sorted(
        "|".join(
            each[name] or ""
            for name in ("broker", "account_id", "contract_key", "started_at")
        )
        for each in found["items"]
    )
    # Each feed is stopped now.
    lanes = page.get_by_role("img", name="Outages since")
    expect(lanes.locator("[data-lane='ibkr'] .lasts")).to_have_count(1)


def test_a_feed_is_stopped_and_started_after_a_confirmation(open_page, staged, watch):
    page = open_page(staged, "/#/health")
    wait_state(page)
    card = page.locator("[data-broker='tastytrade']")
    stop = card.get_by_role("button", name="Stop Tastytrade")
    dialog = page.get_by_role("dialog", name="Stop Tastytrade?")

    stop.focus()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    expect(dialog).to_contain_text("IBKR goes on")
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(stop).to_be_focused()

    page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(card.get_by_role("status")).to_contain_text("was stopped")
    expect(page.locator("[data-notice='down-tastytrade']")).to_contain_text(
        "is stopped"
    )
    start = card.get_by_role("button", name="Start Tastytrade")
    expect(start).to_be_focused()

    page.keyboard.press("Enter")
    page.get_by_role("button", name="Connect Tastytrade").click()
    expect(card.get_by_role("status")).to_contain_text("asked to connect")
    expect(card).not_to_have_class(re.compile("unvouched"))
    staged.wait_connected()
    # Escape has sent nothing.
    sent = [each.url for each in watch.requests if each.method == "POST"]
    assert sent == [f"{staged.url}/v1/streaming/{each}" for each in ("stop", "start")]


def test_a_refused_stop_is_told_in_the_words_of_the_service(open_page, staged, watch):
    watch.announce("status of 409")
    page = open_page(staged, "/#/health")
    problem = {"detail": "ibkr is not enabled.", "status": 409}
    page.route(
        "**/v1/streaming/stop", lambda route: route.fulfill(status=409, json=problem)
    )
    card = page.locator("[data-broker='ibkr']")

    card.get_by_role("button", name="Stop IBKR").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop IBKR").click()

    expect(card.get_by_role("status")).to_have_text("Not done: ibkr is not enabled.")
