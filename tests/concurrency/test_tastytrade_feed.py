from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from tests.concurrency.tastytrade_fakes import (
    ACCOUNT,
    CALL,
    COLUMNS,
    PUT,
    TIME_MS,
    Tastytrade,
    greeks_row,
    make_item,
    started,
)
from tests.factories import SPY_CALL, SPY_PUT, START


@pytest.fixture
async def tasty(nursery):
    return Tastytrade(nursery, make_item(SPY_CALL), make_item(SPY_PUT))


async def test_a_greeks_event_becomes_a_tick(autojump_clock, nursery, tasty):
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(("Trade", [["SPY", 668.25]]))
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL, 0.51)]))
    [tick] = await tasty.receive()

    assert (tick.broker, tick.account_id, tick.contract_key) == (
        "tastytrade",
        ACCOUNT,
        SPY_CALL,
    )
    assert (tick.delta, tick.gamma, tick.theta) == (0.51, 0.01, -0.2)
    assert (tick.vega, tick.rho, tick.implied_volatility) == (0.6, 0.03, 0.183)
    assert tick.event_time == START
    assert tick.received_at == tasty.health.session().last_message_at
    assert tick.quantity == Decimal(2)
    assert tick.underlying_price == 668.25
    assert tick.availability == "realtime"
    assert json.loads(tick.source_payload) == dict(
        zip(COLUMNS["Greeks"], greeks_row(CALL, 0.51), strict=True)
    )


async def test_an_old_trade_loses_against_the_market_of_now(
    autojump_clock, nursery, tasty
):
    tasty.dxlink.columns["Trade"] = ["eventSymbol", "time", "price"]
    tasty.dxlink.columns["TradeETH"] = ["eventSymbol", "price", "time"]
    tasty.dxlink.columns["Greeks"] = [*COLUMNS["Greeks"], "price"]
    await started(nursery, tasty)
    hours = 3_600_000

    await tasty.dxlink.send_rows(
        ("Trade", [["SPY", TIME_MS - 5 * hours, 612.5]]),
        ("Greeks", [[*greeks_row(CALL), 12.75]]),
        ("TradeETH", [["SPY", 640.0, TIME_MS - 2 * hours]]),
        ("Greeks", [[*greeks_row(CALL), 12.75]]),
        ("Quote", [["SPY", 668.0, 668.5]]),
        ("Greeks", [[*greeks_row(CALL), "NaN"]]),
    )

    ticks = await tasty.receive()
    assert [tick.underlying_price for tick in ticks] == [612.5, 640.0, 668.25]
    assert [tick.underlying_price_at for tick in ticks] == [
        START - timedelta(hours=5),
        START - timedelta(hours=2),
        ticks[2].received_at,
    ]
    assert [tick.price for tick in ticks] == [12.75, 12.75, None]


async def test_numbers_that_stand_for_unset_are_missing_and_counted(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)
    unset = 1.7976931348623157e308

    await tasty.dxlink.send_rows(
        ("Trade", [["SPY", -1.0]]),
        ("Greeks", [greeks_row(CALL, unset, vega=-1, theta=-1)]),
    )

    [tick] = await tasty.receive()
    assert (tick.delta, tick.vega, tick.theta, tick.gamma) == (None, None, None, 0.01)
    assert tick.underlying_price is None
    counts = tasty.health.statistics().counts
    names = ("delta", "theta", "vega", "underlying-price")
    assert [counts[f"impossible.{name}"] for name in names] == [1, 1, 1, 1]


async def test_without_times_a_trade_inside_the_market_comes_before_its_middle(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(
        ("Greeks", [greeks_row(CALL)]),
        ("Quote", [["SPY", 668.0, 668.5]]),
        ("Greeks", [greeks_row(CALL)]),
        ("Trade", [["SPY", 668.1]]),
        ("Trade", [["SPY", "NaN"]]),
        ("Greeks", [greeks_row(CALL)]),
    )

    prices = [tick.underlying_price for tick in await tasty.receive()]
    assert prices == [None, 668.25, 668.1]


async def test_a_missing_greek_is_null_and_the_others_are_kept(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await tasty.dxlink.send_rows(
        ("Greeks", [greeks_row(CALL, "NaN", rho=None, vega="Infinity")])
    )
    [tick] = await tasty.receive()

    assert (tick.delta, tick.rho, tick.vega, tick.gamma) == (None, None, None, 0.01)
    assert json.loads(tick.source_payload)["delta"] == "NaN"


async def test_columns_may_be_announced_anew_at_any_time(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await tasty.dxlink.announce(Greeks=["vega", "eventSymbol", "time", "delta"])
    await tasty.dxlink.send(
        type="FEED_DATA", channel=1, data=["Greeks", [0.7, CALL, TIME_MS, 0.4]]
    )
    [tick] = await tasty.receive()

    assert (tick.vega, tick.delta, tick.gamma) == (0.7, 0.4, None)


async def test_a_switch_to_the_full_format_is_followed(autojump_clock, nursery, tasty):
    await started(nursery, tasty)
    event = {"eventType": "Greeks", "eventSymbol": CALL, "time": TIME_MS, "delta": 0.3}

    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL, 0.2)]))
    await tasty.dxlink.send(type="FEED_DATA", channel=1, data=[event])
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL, 0.4)]))
    ticks = [tick for _ in range(3) for tick in await tasty.receive()]

    assert [tick.delta for tick in ticks] == [0.2, 0.3, 0.4]
    assert [tick.gamma for tick in ticks] == [0.01, None, 0.01]


async def test_odd_frames_are_counted_and_reading_goes_on(
    autojump_clock, nursery, tasty
):
    await started(nursery, tasty)

    await tasty.dxlink.send_text("no json, quote-token-1")
    await tasty.dxlink.send(type="NEWS", channel=1)
    await tasty.dxlink.send(
        type="FEED_DATA",
        channel=1,
        data=["Greeks", [CALL], "Candle", [1], "Greeks", greeks_row(PUT)],
    )
    await tasty.dxlink.send_rows(
        ("Greeks", [greeks_row(".NOBODY1C1"), greeks_row(CALL, flags=2)])
    )
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert [tick.contract_key for tick in await tasty.receive()] == [SPY_PUT]
    assert [tick.contract_key for tick in await tasty.receive()] == [SPY_CALL]
    counts = tasty.health.statistics().counts
    assert counts == {
        "odd.not-json": 1,
        "dxlink.unknown-message": 1,
        "odd.incomplete-row": 1,
        "dxlink.other-type": 1,
        "quote.unknown-symbol": 1,
        "dxlink.marker": 1,
    }
    assert tasty.health.odd_frames[0] == ("not-json", "no json, ***")


async def test_an_error_is_information(autojump_clock, nursery, tasty):
    await started(nursery, tasty)

    await tasty.dxlink.send(type="ERROR", channel=0, error="UNKNOWN", message="hm")
    await tasty.dxlink.send_rows(("Greeks", [greeks_row(CALL)]))

    assert len(await tasty.receive()) == 1
    assert tasty.health.statistics().counts["dxlink.error"] == 1


async def test_a_frame_of_several_mib_arrives_whole(autojump_clock, nursery, tasty):
    await started(nursery, tasty)
    rows = [greeks_row(CALL, number / 50_000) for number in range(40_000)]

    await tasty.dxlink.send_rows(("Greeks", rows))
    ticks = []
    while len(ticks) < len(rows):
        ticks += await tasty.receive()

    assert len(json.dumps(rows)) > 2 * 1024 * 1024
    assert [tick.delta for tick in ticks] == [row[4] for row in rows]
