"""Futures options on the watch-list: their symbols are in the chains of their products."""

from __future__ import annotations

import dataclasses
import json

import pytest
import trio

from greeks_trio.brokers.tastytrade.watched_options import ASK_AGAIN_S
from tests.concurrency.tastytrade_fakes import (
    Tastytrade,
    entries,
    greeks_row,
    make_item,
    started,
)
from tests.factories import SPY_CALL

PRODUCTS = "/instruments/future-option-products"
CHAIN = "/futures-option-chains/MES/nested"
WATCHED = "./EX2 270212P6100"
STREAMED = "./EX2G27P6100:XCME"


def answer(data):
    return (200, {}, json.dumps({"data": data}).encode())


def product(trading_class, code):
    return {"root-symbol": trading_class, "future-product": {"code": code}}


def expiration(trading_class="EX2", day="2027-02-12", future="/MESH7", strikes=None):
    usual = [
        {
            "strike-price": "6100.0",
            "call-streamer-symbol": "./EX2G27C6100:XCME",
            "put-streamer-symbol": STREAMED,
        }
    ]
    return {
        "option-root-symbol": trading_class,
        "expiration-date": day,
        "underlying-symbol": future,
        "strikes": usual if strikes is None else strikes,
    }


def chain(*expirations):
    return answer({"futures": [], "option-chains": [{"expirations": expirations}]})


@pytest.fixture
async def tasty(nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), watchlist=(WATCHED,))
    tasty.api.answers[PRODUCTS] = answer(
        {"items": [7, {}, product("EW2", "ES"), product("EX2", "MES")]}
    )
    odd = [7, expiration(future="/MES"), expiration(day="2027-02-05")]
    tasty.api.answers[CHAIN] = chain(*odd, expiration("EX3"), expiration())
    return tasty


async def test_a_watched_futures_option_is_found_in_its_chain(
    autojump_clock, nursery, tasty
):
    subscription = await started(nursery, tasty)
    await tasty.dxlink.send_rows(
        ("Trade", [["/MESH27:XCME", 6050.0]]), ("Greeks", [greeks_row(STREAMED, -0.6)])
    )
    [tick] = await tasty.receive()
    await trio.sleep(600)

    assert ("Greeks", STREAMED) in entries(subscription)
    assert (tick.contract_key, tick.account_id) == (WATCHED, "watchlist")
    assert (tick.underlying, tick.underlying_price) == ("/MESH27", 6050.0)
    assert tasty.api.paths().count(CHAIN) == tasty.api.paths().count(PRODUCTS) == 1
    assert "streamer symbol" not in (tasty.health.session().last_error or "")


@pytest.mark.parametrize(
    ("path", "reply", "words"),
    [
        (
            PRODUCTS,
            (404, {}, b""),
            "the list of products cannot be read: Tastytrade ans",
        ),
        (PRODUCTS, answer({"items": []}), "Tastytrade lists no options EX2"),
        (
            CHAIN,
            (404, {}, b""),
            "the options on MES cannot be read: Tastytrade answered",
        ),
        (CHAIN, answer(7), "the options on MES cannot be read: Tastytrade's answer"),
        (CHAIN, chain(), "it is not among the options on MES"),
        (CHAIN, chain(expiration(strikes=[])), "it is not among the options on MES"),
        (
            CHAIN,
            chain(expiration(strikes=[{"strike-price": 6100}])),
            "it is not among the options on MES",
        ),
    ],
)
async def test_one_that_is_not_found_is_named_and_looked_up_again(
    autojump_clock, nursery, tasty, path, reply, words
):
    good, tasty.api.answers[path] = tasty.api.answers[path], reply
    await started(nursery, tasty)
    await trio.sleep(ASK_AGAIN_S / 2)
    missing = tasty.health.session()
    asked = tasty.api.paths().count(path)
    tasty.api.answers[path] = good
    await trio.sleep(ASK_AGAIN_S)

    assert missing.status == "degraded"
    assert f"no streamer symbol for {WATCHED}: {words}" in missing.last_error
    assert (missing.subscription_count, asked) == (1, 1)
    assert "streamer symbol" not in (tasty.health.session().last_error or "")
    assert tasty.health.session().subscription_count == 2


async def test_one_that_is_added_is_looked_up_at_once(autojump_clock, nursery, tasty):
    tasty.api.answers[CHAIN] = chain(expiration(), expiration("EX2", "2027-03-12"))
    added = "./EX2 270312C6100"
    await started(nursery, tasty)
    await trio.sleep(10)
    before = tasty.api.paths().count(CHAIN)
    config = dataclasses.replace(tasty.config, watchlist=(WATCHED, added))
    tasty.feed.reload(config)
    await trio.sleep(10)

    assert tasty.api.paths().count(CHAIN) == before + 1
    assert tasty.health.session().subscription_count == 3


async def test_one_that_is_held_needs_no_chain(autojump_clock, nursery):
    item = make_item(
        "./MESH7EX2G7 270212P6100",
        kind="Future Option",
        **{"underlying-symbol": "/MESH7", "streamer-symbol": STREAMED},
    )
    tasty = Tastytrade(nursery, item, watchlist=(WATCHED,))
    subscription = await started(nursery, tasty)

    assert entries(subscription) == [("Greeks", STREAMED)]
    assert PRODUCTS not in tasty.api.paths()
