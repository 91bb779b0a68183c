"""Contracts of Tastytrade that bring nothing: the quote server answers no subscription."""

from __future__ import annotations

import pytest
import trio

from greeks_trio.brokers.tastytrade import shortfalls
from greeks_trio.brokers.tastytrade.subscriber import CHECK_INTERVAL_S
from greeks_trio.feeds.quiet import GREEKS_LIMIT_S
from greeks_trio.model.records import FeedGap
from tests.concurrency.tastytrade_fakes import (
    CALL,
    PUT,
    Tastytrade,
    entries,
    journalled,
    make_item,
    quoted,
    started,
)
from tests.factories import SPY_CALL, SPY_PUT

WEEKLY = "SPY   261204C00605000"


@pytest.fixture
async def tasty(nursery):
    return Tastytrade(nursery, make_item(SPY_CALL), make_item(SPY_PUT))


async def gaps(tasty):
    found = [each for each in await journalled(tasty.journal) if type(each) is FeedGap]
    return [(each.contract_key, each.reason, each.ended_at is None) for each in found]


async def test_a_contract_that_brings_no_event_at_all_has_no_greeks(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    await quoted(tasty, CALL)
    await trio.sleep(1)
    before = tasty.health.statistics()
    await trio.sleep(GREEKS_LIMIT_S + CHECK_INTERVAL_S)

    assert (before.warming, before.without_greeks) == (1, 0)
    assert tasty.health.session().status == "degraded"
    words = f"1 contract without Greeks so far ({SPY_PUT})"
    assert tasty.health.session().last_error == words
    assert await gaps(tasty) == [(SPY_PUT, "no greeks", True)]
    assert tasty.health.session().subscription_count == 2

    await quoted(tasty, PUT)
    await trio.sleep(1)
    assert await gaps(tasty) == [(SPY_PUT, "no greeks", False)]
    assert tasty.health.session().status == "connected"


async def test_a_watched_contract_without_greeks_is_told_as_well(
    autojump_clock, nursery
):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), watchlist=(WEEKLY,))
    await started(nursery, tasty)
    await quoted(tasty, CALL)

    await trio.sleep(GREEKS_LIMIT_S + CHECK_INTERVAL_S)

    assert await gaps(tasty) == [(WEEKLY, "no greeks", True)]
    assert WEEKLY in tasty.health.session().last_error


async def test_many_contracts_without_greeks_do_not_flood_the_journal(
    autojump_clock, nursery, monkeypatch
):
    monkeypatch.setattr(shortfalls, "MAX_GAPS", 3)
    items = [make_item(f"SPY   261218C{n:05}000") for n in range(1, 21)]
    tasty = Tastytrade(nursery, *items)
    await started(nursery, tasty)

    await trio.sleep(3 * GREEKS_LIMIT_S)

    assert len(await gaps(tasty)) == 3
    assert tasty.health.statistics().without_greeks == 20
    error = tasty.health.session().last_error
    assert error.startswith(
        "20 contracts without Greeks so far (SPY   261218C00001000,"
    )
    assert " and 17 more)" in error


async def test_a_silent_contract_is_asked_for_again_and_no_other(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    for second in range(0, 300, 5):
        await quoted(tasty, *([CALL, PUT] if second < 60 else [CALL]))
        await trio.sleep(5)

    again = tasty.dxlink.all("FEED_SUBSCRIPTION")[2:]
    assert [entries(each) for each in again] == [[("Greeks", PUT)]]


async def test_a_market_that_closes_is_no_silence(autojump_clock, nursery, tasty):
    await started(nursery, tasty)
    for _ in range(20):
        await quoted(tasty, CALL, PUT)
        await trio.sleep(5)

    await trio.sleep(3600)

    assert tasty.health.session().status == "connected"
    assert await gaps(tasty) == []


async def test_data_of_unknown_availability_are_named(autojump_clock, nursery, tasty):
    tasty.api.level = "gold"
    await started(nursery, tasty)
    await quoted(tasty, CALL, PUT)
    await trio.sleep(1)

    session = tasty.health.session()
    assert session.status == "degraded"
    assert session.last_error == (
        "2 subscriptions with market data of unknown availability"
        f" ({SPY_CALL}, {SPY_PUT})"
    )
