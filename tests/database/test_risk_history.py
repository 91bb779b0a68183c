"""The sums of one underlying over time are those of each moment."""

from __future__ import annotations

import math
import random
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx2
import msgspec
import pytest
import trio

from greeks_trio.api.routes import risk_history
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import BROKERS, HttpConfig
from greeks_trio.postgres.reads.risk_history import (
    RiskHistoryFilter,
    TooManyLooks,
    moments_between,
    read_risk_history,
)
from tests.database.risk_rows import (
    CALL,
    MOMENT,
    PUT,
    hold,
    hold_shares,
    risk_database,
    tick,
)
from tests.risk_agreement import agreed_sums
from tests.timeline import asking

PATH = "/v1/risk/history"
START = MOMENT - timedelta(hours=1)
TASTYTRADE = {"broker": "tastytrade", "account_id": "T1"}
FUTURE_OPTION = "./ES  251219C6600"
TAG = (
    "insert into trades (broker, account_id, symbol, contract_key, action, quantity, price,"
    " created_at, strategy_tag) values ('ibkr', 'U1', 'SPY', %s, 'buy', 1, 9.5, %s, %s)"
)


@pytest.fixture
def db(emptied_database):
    with risk_database(emptied_database) as connection:
        yield connection


def minute(number):
    return START + timedelta(minutes=number)


MOMENTS = [minute(number) for number in (-30, 0, 5, 10, 20, 30, 45, 59.9, 60)]


def fill(db):
    """Options, shares and a future of two brokers, with changes within the hour."""
    for number in range(-20, 61):
        price = {"price": 10.0 + number / 10, "underlying_price": 600.0 + number}
        tick(db, event_time=minute(number), delta=0.5 + number / 200, **price)
        if number % 7 == 0:
            tick(db, PUT, event_time=minute(number), delta=-0.3, **TASTYTRADE, **price)
    hold(db, 2, at=minute(-20))
    hold(db, 5, at=minute(7), premium_multiplier=150)
    hold(db, -1, at=minute(25))
    hold(db, 0, at=minute(50))
    hold(db, 3, PUT, at=minute(-25), currency=None, **TASTYTRADE)
    hold_shares(db, 100, at=minute(-20))
    hold_shares(db, 40, at=minute(31))
    hold_shares(db, 7, at=minute(12), currency=None, **TASTYTRADE)
    # Another underlying, an unknown position, and one that counts for no sum.
    hold(db, 1, "QQQ   251219C00600000", at=minute(-20), underlying="QQQ")
    hold(db, None, "ODD", at=minute(-20), kind="unknown", underlying=None)
    hold(db, 1, "ibkr:9", at=minute(15), kind="other", account_id="U2")


async def test_each_moment_has_the_sums_of_the_totals(emptied_database, db):
    fill(db)
    for number, tag in ((-61, "condor"), (21, "fly"), (44, None)):
        db.execute(TAG, [CALL, minute(number), tag])
    db.execute(
        "insert into position_tags (broker, account_id, contract_key, strategy_tag)"
        " values ('ibkr', 'U1', 'SPY', 'fly')"
    )

    [usd] = agreed_sums(db, MOMENTS, "SPY")
    # Written out: 100 shares, 2 calls of 100 with a delta of 0.5, 3 puts.
    assert usd["net_delta"][1] == 100 + 2 * 100 * 0.5 + 3 * 100 * -0.3
    assert usd["net_delta"][-1] == pytest.approx(40 + 7 + 3 * 100 * -0.3)
    assert usd["contracts"] == [None, *[2] * 6, 1, 1]
    for filters in (
        {"broker": "tastytrade"},
        {"broker": "ibkr", "account_id": "U1"},
        {"account_id": "U9"},
        {"strategy_tag": "condor"},
        {"strategy_tag": "fly"},
        {"strategy_tag": "fly", "broker": "ibkr"},
    ):
        agreed_sums(db, MOMENTS, "SPY", **filters)
    agreed_sums(db, MOMENTS, "SPY", stale_after_s=30.0)
    assert agreed_sums(db, MOMENTS, "QQQ")[0]["missing_net_delta"] == [None, *[1] * 8]
    hold_shares(db, 5, contract_key="VOD", underlying="VOD", at=minute(10))
    [unpriced] = agreed_sums(db, MOMENTS, "VOD")
    assert (unpriced["stale"][-1], unpriced["missing_value"][-1]) == (1, 1)
    [unknown] = agreed_sums(db, MOMENTS, "ODD")
    assert unknown["missing_net_delta"] == [None, *[1] * 8]


async def test_values_that_ticks_lack_are_carried_and_lent_as_in_the_totals(db):
    for number in range(0, 61, 2):
        at = minute(number)
        lacking = {"delta": None} if number % 4 else {"vega": math.nan, "price": None}
        tick(db, event_time=at, underlying_price=None, **lacking)
        tick(db, PUT, event_time=at, price=5.0, availability="delayed", **TASTYTRADE)
        on_future = {"underlying": "/ESZ25", "underlying_price": 6600.0 + number}
        tick(db, FUTURE_OPTION, event_time=at, price=20.0, **on_future)
    # A watched option lends its price; a position need not name its underlying.
    other = "SPY   251219C00610000"
    for number in (3, 22, 58):
        tick(db, other, event_time=minute(number), account_id="watchlist")
        tick(db, other, event_time=minute(number), account_id="U3", price=2.0)
    hold(db, 1, at=minute(-1), underlying=None)
    hold(db, 2, PUT, at=minute(-1), **TASTYTRADE)
    hold(db, 4, other, at=minute(10), underlying=None, account_id="U3")
    hold_shares(db, 10, at=minute(-1))
    terms = {"kind": "future_option", "underlying": "/ESZ25", "multiplier": 50}
    hold(db, 3, FUTURE_OPTION, at=minute(-1), price_factor=1, **terms)
    future = {"contract_key": "/ESZ25", "underlying": "/ESZ25", "kind": "future"}
    hold_shares(db, -2, at=minute(5), multiplier=50, price_factor=1, **future)
    # The same share in another currency, and an expired option.
    of_london = {"currency": "GBP", "price_factor": 0.01, "account_id": "U4"}
    hold(db, 1, "ibkr:77", at=minute(-1), **of_london)
    tick(
        db, "ibkr:77", event_time=minute(30), underlying_price=4_000.0, account_id="U4"
    )
    hold(db, 1, "OLD   251112C00600000", at=minute(-9000), expiration="2025-11-13")

    spy = agreed_sums(db, MOMENTS, "SPY")
    assert [each["currency"] for each in spy] == ["GBP", "USD"]
    assert max(spy[1]["carried"]) == 1
    assert spy[1]["missing_dollar_delta"][1] == 0
    agreed_sums(db, MOMENTS, "SPY", account_id="U1")
    agreed_sums(db, MOMENTS, "SPY", broker="tastytrade")
    [of_future] = agreed_sums(db, MOMENTS, "/ESZ25")
    assert of_future["net_delta"][-1] == 3 * 50 * 0.5 - 2 * 50


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_random_book_has_the_sums_of_the_totals(db, seed):
    """Each row lacks something or is impossible with some probability."""
    dice = random.Random(seed)

    def some(value, *others):
        return dice.choice(others) if dice.random() < 0.15 else value

    places = [
        ("ibkr", "U1"),
        ("ibkr", "U2"),
        ("tastytrade", "T1"),
        ("ibkr", "watchlist"),
    ]
    for number in range(30):
        broker, account_id = dice.choice(places)
        key = f"SPY   251219C00{500 + number}000"
        at = {"broker": broker, "account_id": account_id}
        of_ticks = some("SPY", "QQQ")
        for change in range(dice.randint(0, 4) if account_id != "watchlist" else 0):
            hold(
                db,
                dice.choice([-2, 0, 1, 3]),
                key,
                at=minute(dice.uniform(-90, 60)),
                underlying=some("SPY", None, "QQQ"),
                underlying_id=some("1", None, "2"),
                multiplier=some(100, None, -1),
                currency=some("USD", None, "EUR"),
                price_factor=some(None, 0.01, 0),
                expiration=some("2025-12-19", "2025-11-13", None),
                kind=some("option", "other", "future_option", "unknown"),
                problem=str(change),
                **at,
            )
        for _ in range(12):
            tick(
                db,
                key,
                event_time=minute(dice.uniform(-80, 60)),
                underlying=of_ticks,
                price=some(5.0, None, math.nan),
                rho=some(0.1, None),
                vega=some(0.6, None, -1),
                implied_volatility=some(0.2, None),
                gamma=some(0.01, None, math.inf),
                underlying_price=some(600 + dice.random(), None, math.nan),
                underlying_price_at=some(None, minute(dice.uniform(-80, 60))),
                availability=some("realtime", "delayed", "unknown"),
                **at,
            )
    for account in ("U1", "U2"):
        shares = {"account_id": account, "underlying_id": some("1", None, "2")}
        hold_shares(db, 10, at=minute(dice.uniform(-60, 60)), **shares)

    for filters in ({}, {"broker": "ibkr"}, {"account_id": "U2"}):
        for underlying in ("SPY", "QQQ"):
            agreed_sums(db, MOMENTS, underlying, stale_after_s=600.0, **filters)


async def test_nothing_is_known_before_the_first_reading(db):
    """Later, a moment without a position has sums of 0."""
    hold(db, 1, at=minute(10))
    hold(db, 0, at=minute(30))
    hold(db, 1, PUT, at=minute(20), **TASTYTRADE)
    tick(db, event_time=minute(-5), price=1.0)
    wanted = RiskHistoryFilter(
        underlying="SPY",
        moments=[minute(number) for number in (0, 15, 40)],
        stale_after_s=300.0,
    )

    whole = msgspec.json.decode(read_risk_history(wanted, db))
    of_one = msgspec.json.decode(
        read_risk_history(msgspec.structs.replace(wanted, account_id="U1"), db)
    )

    assert whole["accounts"] == [
        {"broker": "ibkr", "account_id": "U1", "known_from": minute(10).timestamp()},
        {
            "broker": "tastytrade",
            "account_id": "T1",
            "known_from": minute(20).timestamp(),
        },
    ]
    [usd] = of_one["currencies"]
    assert usd["positions"] == [None, 1, 0]
    assert usd["net_delta"] == [None, 50.0, 0]
    assert usd["missing_vega"] == [None, 0, 0]
    assert usd["stale"] == [None, 1, 0]
    assert usd["market_value"] == [None, 100.0, 0]
    assert usd["underlying_price"] == [None, 650.0, None]


async def test_too_many_looks_are_refused_before_they_are_made(db):
    """An expired or later contract takes none."""
    hold(db, 1, at=minute(-1))
    hold(db, 1, PUT, at=minute(29))
    hold(db, 1, "SPY   251112C00600000", at=minute(-9000), expiration="2025-11-12")
    tick(db, event_time=minute(-5))
    wanted = RiskHistoryFilter(
        underlying="SPY",
        moments=[minute(number) for number in range(0, 60, 6)],
        stale_after_s=300.0,
        max_looks=15,
    )

    read_risk_history(wanted, db)
    with pytest.raises(TooManyLooks) as caught:
        read_risk_history(msgspec.structs.replace(wanted, max_looks=14), db)

    assert (caught.value.contracts, caught.value.looks) == (2, 15)


def test_moments_are_whole_multiples_of_a_usual_length():
    moments = moments_between(minute(0.5), minute(60), 10)
    assert moments == [minute(number) for number in (0.5, 10, 20, 30, 40, 50, 60)]
    assert moments_between(minute(0), minute(60), 2) == [minute(0), minute(60)]
    for most in (2, 3, 7, 120, 300):
        for hours in (0.001, 1, 25, 9_000, 480_000):
            found = moments_between(MOMENT - timedelta(hours=hours), MOMENT, most)
            assert 2 <= len(found) <= most
            assert found == sorted(set(found))


@asynccontextmanager
async def client_of(database, now=MOMENT):
    async with asking(database) as timeline, trio.open_nursery() as nursery:
        router = risk_history.make_router(timeline, BROKERS, lambda: now)
        url = await nursery.start(run_http, HttpConfig(port=0), [router])
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


async def test_the_sums_of_the_last_hour_over_http(emptied_database, db):
    fill(db)

    async with client_of(emptied_database) as client:
        answer = await client.get(PATH, params={"underlying": "spy", "points": 13})
        of_nothing = (await client.get(f"{PATH}?underlying=VOD")).json()

    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["underlying"], found["start"]) == ("SPY", "2025-11-14T14:30:00Z")
    assert found["time"] == [minute(5 * number).timestamp() for number in range(13)]
    [usd] = found["currencies"]
    assert usd["positions"] == [3, 3, 3, *[5] * 7, 4, 4, 4]
    assert usd["underlying_price"][-1] == 656.0  # of the put
    empty = [of_nothing[name] for name in ("currencies", "accounts", "archived")]
    assert empty == [[], [], []]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "underlying"),
        ({"underlying": "SPY", "points": "301"}, "less than or equal to 300"),
        ({"underlying": "SPY", "end": "0001-01-01T00:30:00Z"}, "before the year 1970"),
        ({"underlying": "SPY", "start": "2025-11-14T15:30:00Z"}, "lies in the future"),
        ({"underlying": "SPY", "group_by": "broker"}, "group_by"),
    ],
)
async def test_what_is_no_history_is_refused_in_words(emptied_database, asked, words):
    async with client_of(emptied_database) as client:
        answer = await client.get(PATH, params=asked)

    assert answer.status_code == 422
    assert words in answer.text


async def test_too_many_contracts_are_refused_in_words(
    emptied_database, db, monkeypatch
):
    monkeypatch.setattr(risk_history, "MAX_LOOKS", 100)
    for number in range(5):
        hold(db, 1, f"SPY   251219C00{600 + number}000", at=minute(-1))

    async with client_of(emptied_database) as client:
        answer = await client.get(PATH, params={"underlying": "SPY", "points": 61})

    assert answer.status_code == 422
    words = "5 contracts at 61 moments are 305 values, and at most 100 are allowed."
    assert words in answer.json()["detail"]
    assert "Ask for about 20 `points`" in answer.json()["detail"]
