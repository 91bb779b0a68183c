"""The view of the limits, and the notices about them.

The demo watches no limits, and leaves the tables to the tests.  One test has a service that
watches some.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import assert_accessible
from tests.browser.reading import keys, read_rows, wait_state
from tests.browser.views import VIEWS, address

RULE = """
insert into alert_states (
    rule, figure, scope, unit, threshold, severity, state, since, value, value_at,
    positions, missing, stale, reason, beyond_s, unknown_s, evaluated_at
) values (
    %s, 'delta', 'SPY', 'units of the underlying', %s, %s, %s, now() - interval '1 hour',
    %s, now(), 12, 0, 0, %s, 0, 0, now()
)
"""
RULES = (
    ("Ford", "outside -500 to 500", "info", "ok", 480.5, None),
    ("Size", "above 10", "warning", "ok", 4.0, None),
    ("Theta", "below -5,000", "warning", "unknown", -1200.0, "3 positions are stale"),
    ("Vega", "outside -20,000 to 20,000", "critical", "breached", -25_000.0, None),
)
ROOM = {"Ford": 19.5, "Size": 6.0, "Theta": 3_800.0, "Vega": -5_000.0}

MESSAGE = """
with event as (
    insert into alert_events (
        at, rule, figure, scope, unit, threshold, severity, kind, from_state, to_state,
        positions, missing, stale, message, message_id
    ) values (
        now() - interval '1 minute', 'Vega', 'vega', 'USD', 'USD', 'above 1', %(severity)s,
        %(kind)s, 'ok', 'ok', 1, 0, 0, %(message)s, gen_random_uuid()
    ) returning message_id
)
insert into alert_deliveries (message_id, channel, attempts, outcome, reason, finished_at)
select message_id, 'desk', 4, 'failed', 'the desk is closed', now() from event
"""
ALERTS_TOML = """
[[rule]]
name = "Stale"
figure = "stale"
above = -1
severity = "critical"
"""
TABLES = ("alert_states", "alert_events", "alert_deliveries")
# The page reads the limits itself after half a minute.
SOON_MS = 20_000


@pytest.fixture
def limits(demo):
    """The demo with some rules and their messages, until the test ends."""
    with demo.connect() as connection:
        for rule in RULES:
            connection.execute(RULE, rule)
        for kind, severity in (("breach", "critical"), ("recovery", "warning")):
            words = {"kind": kind, "severity": severity, "message": f"Vega: {kind}."}
            connection.execute(MESSAGE, words)
    yield demo
    with demo.connect() as connection:
        for table in TABLES:
            connection.execute(f"delete from {table}")


@pytest.fixture
def open_limits(open_page, limits):
    """A function that opens a view in a page of its own, so that no other test sees them."""

    def open_view(name):
        page = open_page(limits, "/livez")
        page.goto(address(limits, name))
        return page

    return open_view


def test_the_rules_are_those_of_the_database(open_limits):
    page = open_limits("limits")
    table = page.get_by_role("table")
    expect(table.locator("[data-key]")).to_have_count(len(RULES))

    shown = read_rows(table)
    assert {name: row["value"] for name, row in shown.items()} == {
        rule: value for rule, _, _, _, value, _ in RULES
    }
    assert {name: row["room"] for name, row in shown.items()} == ROOM
    # The worst is the first.
    assert keys(table) == ["Vega", "Theta", "Size", "Ford"]
    expect(table.get_by_role("row", name="Theta")).to_contain_text(
        "3 positions are stale"
    )
    # Also where the last column has no room.
    reasons = page.get_by_role("region", name="Rules").get_by_role("listitem")
    expect(reasons).to_have_text(["Theta: 3 positions are stale. "])


def test_a_breach_is_told_above_every_other_view(open_limits):
    page = open_limits("contracts")
    breach = page.locator("[data-notice='limit-Vega']")

    expect(breach).to_contain_text("25,000 units of the underlying")
    expect(page.locator("[data-notice='limits-unknown']")).to_contain_text("Theta")
    assert_accessible(page)
    breach.get_by_role("link", name="Limits").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Limits")
    expect(breach).to_be_hidden()


def test_limits_that_no_service_watches_are_grey_and_told(open_limits, limits):
    with limits.connect() as connection:
        connection.execute(
            "update alert_states set evaluated_at = now() - interval '1 h'"
        )
    page = open_limits("limits")

    expect(page.locator(".head")).to_contain_text("not watched for")
    expect(page.locator("tr.unvouched")).to_have_count(len(RULES))
    page.goto(address(limits, "book"))
    expect(page.locator("[data-notice='limits-old']")).to_be_visible()
    expect(page.locator("[data-notice='limit-Vega']")).to_be_hidden()


def test_the_messages_have_their_deliveries_and_are_filtered(open_limits):
    page = open_limits("limits")
    messages = page.get_by_role("list", name="Messages").locator("[data-kind]")
    expect(messages).to_have_count(2)
    expect(messages.first).to_contain_text("desk: failed")
    expect(messages.first).to_contain_text("the desk is closed")

    page.get_by_label("Kind").select_option("recovery")
    expect(messages).to_have_count(1)
    expect(messages).to_contain_text("Vega: recovery.")
    page.reload()
    expect(messages).to_have_count(1)
    page.get_by_label("Severity").select_option("critical")
    expect(page.get_by_text("No message", exact=True)).to_be_visible()


def test_without_rules_the_view_says_how_to_make_some(open_page, demo):
    page = open_page(demo, VIEWS["limits"])

    expect(page.get_by_role("heading", name="No limits yet")).to_be_visible()
    expect(page.get_by_text("[[rule]]")).to_be_visible()
    expect(page.locator("main")).to_contain_text("GREEKS_ALERTS_FILE")


@pytest.fixture
def rules(staged, tmp_path):
    """The empty file of the rules of a service, which watches none after the test.

    A page of the service has to be closed by then.  So this comes before `open_page`.
    """
    path = tmp_path / "alerts.toml"
    path.write_text("")
    staged.stop()
    staged.start(GREEKS_ALERTS_FILE=path)
    yield path
    staged.stop()
    staged.start()
    with staged.connect() as connection:
        for table in TABLES:
            connection.execute(f"delete from {table}")


def test_a_breach_appears_while_the_page_is_open(rules, open_page, staged):
    page = open_page(staged)
    wait_state(page)
    notice = page.locator("[data-notice='limit-Stale']")
    expect(notice).to_be_hidden()

    rules.write_text(ALERTS_TOML)
    staged.reload()
    expect(notice).to_be_visible(timeout=SOON_MS)

    rules.write_text("")
    staged.reload()
    expect(notice).to_be_hidden(timeout=SOON_MS)
