"""The page of a fleet, over services whose answers the tests choose."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace

import pytest
import trio
from playwright.sync_api import expect

from greeks_trio.api.server import run_http
from greeks_trio.config.settings import Config, DatabaseConfig, HttpConfig
from greeks_trio.fleet.fleet import PAGES
from greeks_trio.fleet.member import Member
from greeks_trio.fleet.plan import ServicePlan
from greeks_trio.fleet.routes import make_router
from greeks_trio.fleet.watch import Answer, Readiness, ServiceWatch, Session
from tests.browser.accessibility import assert_accessible, assert_keyboard_reaches_all
from tests.browser.views import PHONE

SINCE = datetime(2026, 11, 20, 15, 30, 1, tzinfo=UTC)


def make_watch(name, sessions, **readiness):
    """Return a service that has just answered with these sessions."""
    config = Config(database=replace(DatabaseConfig(), schema=name))
    plan = ServicePlan(name=name, variables={}, env_file=None, config=config)
    member = Member(plan, 5000)
    member.state, member.reason = "running", ""
    watch = ServiceWatch(member)
    watch.answer = Answer(
        readiness=Readiness(**readiness),
        sessions=[Session(broker, status) for broker, status in sessions],
    )
    watch.silent_since, watch.fault, watch.answered_at = None, "", SINCE
    return watch


class Services:
    """A fleet of three, of which one is silent; `keep_fresh` lets time pass for none."""

    def __init__(self):
        lacks = "tastytrade: 1 contract without Greeks so far"
        self.fine = make_watch("desk_a", [("ibkr", "connected")])
        self.poor = make_watch("desk_b", [("tastytrade", "degraded")], warnings=[lacks])
        self.silent = make_watch("desk_c", [("ibkr", "connected")])
        self.silent.silent_since = SINCE
        self.silent.fault = "no answer within 5 s"
        self.silent.member.restarts = 3
        self.silent.member.last_end = "ended by SIGKILL"
        self.silent.member.ended_at = SINCE

    def watches(self):
        now = trio.current_time()
        for each in (self.fine, self.poor):
            each._answered = now
            each._received.clear()
            each._received.extend([(now - 10, 0), (now, 425)])
        self.fine._ticked = now - 3
        self.silent._answered = now - 250
        self.silent._ticked = now - 251
        return [self.fine, self.poor, self.silent]


@asynccontextmanager
async def serving(services):
    async with trio.open_nursery() as nursery:
        run = partial(run_http, pages=PAGES)
        router = make_router(services.watches)
        yield await nursery.start(run, HttpConfig(port=0), [router])
        nursery.cancel_scope.cancel()


@pytest.fixture
def fleet(portal):
    with portal.wrap_async_context_manager(serving(Services())) as url:
        yield SimpleNamespace(url=url, token="")


def row(page, name):
    return page.locator(f"tr[data-key={name}]")


def test_all_services_are_in_one_table_and_a_silent_one_has_no_figures(
    open_page, fleet, take
):
    page = open_page(fleet)

    expect(page.locator("[data-field=health]")).to_have_text("down")
    expect(page.locator(".sum")).to_contain_text("2 of 3 services are ready")
    expect(row(page, "desk_a")).to_contain_text("running, ready")
    expect(row(page, "desk_a").locator("[data-field=ticks_per_second]")).to_have_text(
        "42.5"
    )
    expect(row(page, "desk_b")).to_contain_text("1 contract without Greeks so far")
    silent = row(page, "desk_c")
    expect(silent).to_contain_text(
        "no answer since 2026-11-20 15:30:01 UTC: no answer within 5 s"
    )
    expect(silent).to_contain_text("was connected")
    expect(silent).to_contain_text("answered 4 min ago")
    expect(silent.locator("[data-field=ticks_per_second]")).to_have_text("\u2013")
    assert silent.get_by_role("link").get_attribute("href") == "http://127.0.0.1:5000"
    take(page, "fleet")
    assert_accessible(page)
    assert_keyboard_reaches_all(page)

    page.set_viewport_size(PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
    assert_accessible(page)


def test_figures_of_a_fleet_that_is_gone_are_named_as_old(open_page, portal, watch):
    watch.announce("Failed to load resource")
    with portal.wrap_async_context_manager(serving(Services())) as url:
        page = open_page(SimpleNamespace(url=url, token=""))
        expect(row(page, "desk_a")).to_contain_text("42.5")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The fleet gives no answer since")
    expect(page.locator("[data-field=health]")).to_have_text("no answer")
    expect(row(page, "desk_a").locator("[data-field=ticks_per_second]")).to_have_text(
        "\u2013"
    )
