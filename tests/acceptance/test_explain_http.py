"""A profit or loss explained over HTTP: a market in the database whose truth is known."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import httpx2
import pytest
import trio

from greeks_trio.api.routes import explain
from greeks_trio.api.server import run_http
from greeks_trio.commands.explain import run_explain
from greeks_trio.config.settings import BROKERS, HttpConfig
from greeks_trio.simulators.market import black_scholes_greeks
from greeks_trio.worker.process import Worker
from tests.database.risk_rows import hold, hold_shares, risk_database, tick
from tests.timeline import asking

PATH = "/v1/risk/explain"
START = datetime(2026, 3, 20, 14, 30, tzinfo=UTC)
END = START + timedelta(hours=1)
NOW = END + timedelta(hours=1)
EXPIRATION = date(2026, 4, 17)
CALL, PUT = "SPY   260417C00600000", "SPY   260417P00590000"
UNPRICED = "SPY   260417C00700000"
ODD, EVER = "ODD   270319C00100000", "ODD   270319C00102000"
CONTRACTS = {CALL: ("call", 600.0, -3.0), PUT: ("put", 590.0, 2.0)}


@asynccontextmanager
async def interface(timeline, worker):
    router = explain.make_router(timeline, worker, BROKERS, lambda: 0.04, lambda: NOW)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        url = await nursery.start(run_http, HttpConfig(port=0), [router])
        async with httpx2.AsyncClient(
            base_url=url, trust_env=False, timeout=60
        ) as client:
            yield client
        nursery.cancel_scope.cancel()


def market(minute):
    """Return the price of the underlying and the volatility at a minute."""
    return 600.0 + 3.0 * math.sin(minute / 9.0), 0.20 + 0.005 * math.sin(minute / 7.0)


def value(contract_key, minute):
    """Return the true price and the Greeks."""
    option_type, strike, _ = CONTRACTS[contract_key]
    spot, volatility = market(minute)
    end = datetime(2026, 4, 17, 20, 0, tzinfo=UTC)  # 16:00 in New York in summer
    years = (end - START - timedelta(minutes=minute)).total_seconds() / 86_400 / 365
    greeks = black_scholes_greeks(
        option_type, spot=spot, strike=strike, years=years, volatility=volatility
    )
    return spot * greeks.delta - greeks.rho * 100.0 / years, greeks


def fill(database):
    """Two accounts, a tick each half a minute, a trade, shares, and an outage."""
    with risk_database(database) as db:
        held_at = START - timedelta(days=1)
        terms = {"expiration": EXPIRATION, "at": held_at}
        for key, (option_type, strike, quantity) in CONTRACTS.items():
            account = {"account_id": "U1" if key == CALL else "U2"}
            its = {"option_type": option_type, "strike": strike, **account}
            hold(db, quantity, key, **its, **terms)
            for minute in (n / 2 for n in range(121)):
                price, greeks = value(key, minute)
                spot, volatility = market(minute)
                tick(
                    db,
                    key,
                    event_time=START + timedelta(minutes=minute),
                    expiration=EXPIRATION,
                    price=price,
                    underlying_price=spot,
                    implied_volatility=volatility,
                    delta=greeks.delta,
                    gamma=greeks.gamma,
                    theta=greeks.theta,
                    vega=greeks.vega,
                    **its,
                )
        hold(db, 1, UNPRICED, strike=700, option_type="call", **terms)
        # Neither costs the other positions their answer.
        odd = {**terms, "account_id": "U9", "underlying": "ODD"}
        hold(db, 1, ODD, **odd | {"strike": "NaN"})
        hold(db, 1, EVER, **odd | {"expiration": "12000-01-01"})
        hold_shares(db, 100, at=held_at)
        # One more put: bought for 15.00 after ten minutes, seen a minute later.
        put = {"option_type": "put", "strike": 590, "account_id": "U2"}
        terms["at"] = START + timedelta(minutes=11)
        hold(db, 3, PUT, **put, **terms)
        db.execute(
            "insert into trades (broker, account_id, symbol, contract_key, action,"
            " quantity, price, created_at, strategy_tag)"
            " values ('ibkr', 'U2', 'SPY', %s, 'buy', 1, 15, %s, 'hedge')",
            [PUT, START + timedelta(minutes=10)],
        )
        db.execute(
            "insert into feed_gaps values ('ibkr', null, null, %s, %s, 'disconnected')",
            [START + timedelta(minutes=20.1), START + timedelta(minutes=20.2)],
        )


def true_profit():
    moves = {key: value(key, 60.0)[0] - value(key, 0.0)[0] for key in CONTRACTS}
    held = sum(100 * CONTRACTS[key][2] * move for key, move in moves.items())
    return held + 100 * (value(PUT, 60.0)[0] - 15.0) + 100 * (market(60)[0] - 600.0)


async def test_the_profit_is_the_true_one_and_the_residual_is_small(
    emptied_database, monkeypatch, capsys
):
    fill(emptied_database)
    monkeypatch.setenv("GREEKS_ENV_FILE", "/dev/null")
    hour = {"start": START.isoformat(), "end": END.isoformat()}
    async with (
        asking(emptied_database) as timeline,
        interface(timeline, Worker()) as client,
    ):

        async def ask(**params):
            return await client.get(PATH, params=params)

        async def command(**params):
            url = str(client.base_url)
            return await run_explain(url=url, as_json=False, params=params)

        answers = {
            group_by: await ask(**hour, group_by=group_by)
            for group_by in ("account_id", "contract_key", "strategy_tag", "underlying")
        }
        of_u2 = await ask(**hour, account_id="U2", underlying="spy")
        of_hedge = await ask(**hour, strategy_tag="hedge")
        by_book = await ask(**hour, group_by="book")
        of_shares = await ask(**hour, without="expiration", currency="USD")
        until_now = await ask(start=END.isoformat())
        wrong = [
            await ask(**params)
            for params in (
                {"start": END.isoformat(), "end": START.isoformat()},
                {"start": (NOW + timedelta(days=1)).isoformat()},
                {"start": "2026-01-01T00:00:00Z"},
                {**hour, "broker": "tastytrade"},
                {**hour, "group_by": "color"},
                {**hour, "without": "underlying"},
            )
        ]
        statuses = (
            await command(**hour, group_by="account_id"),
            await command(start="x"),
        )
    [total] = answers["account_id"].json()["totals"]
    assert round(total["profit_loss"], 2) == round(true_profit(), 2)
    gross = abs(total["delta"]) + abs(total["vega"]) + abs(total["gamma"])
    assert 0 < abs(total["residual"]) < 0.002 * gross
    parts = ("delta", "gamma", "theta", "vega", "vanna", "vomma", "charm", "trading")
    known = math.fsum(total[name] for name in (*parts, "residual", "trades"))
    assert total["end_value"] == pytest.approx(total["start_value"] + known, abs=1e-6)
    assert (total["contracts"], total["trades"], total["trades_at_price"]) == (
        3,
        1500,
        1,
    )
    # The outage is within one step of each option, and of the shares.
    assert total["gap_steps"] == 3
    for answer in answers.values():
        body = answer.json()
        assert body["totals"] == [total]
        for name in ("profit_loss", "residual", "delta", "start_value"):
            groups = math.fsum(row[name] for row in body["groups"])
            assert groups == pytest.approx(total[name], abs=1e-6)
        assert [each["contract_key"] for each in body["left_out"]] == [
            *(UNPRICED, ODD, EVER)
        ]
        assert {each["reason"] for each in body["left_out"]} == {
            "no price while it was held"
        }
        assert [each["reasons"] for each in body["outages"]] == [["disconnected"]]
    groups = answers["strategy_tag"].json()["groups"]
    assert {row["group"]["strategy_tag"] for row in groups} == {"hedge", None}
    [hedge] = [row for row in groups if row["group"]["strategy_tag"]]
    assert of_hedge.json()["totals"] == [{**hedge, "group": {}}]
    assert (by_book.json()["totals"], by_book.json()["groups"]) == ([total], [])
    assert [row["contracts"] for row in of_shares.json()["totals"]] == [1]
    assert [row["contracts"] for row in of_u2.json()["totals"]] == [1]
    # No tick came after the hour.
    assert until_now.json()["end"] == "2026-03-20T16:30:00Z"
    assert until_now.json()["totals"][0]["profit_loss"] == 0.0
    assert until_now.json()["totals"][0]["without_tick"] == 3
    assert [each.status_code for each in wrong] == [422] * 6
    assert [each.json()["detail"] for each in wrong[:4]] == [
        "`start` has to lie before `end`.",
        "`start` lies in the future.",
        "`end` lies more than 31 days after `start`.",
        "No position was held between `start` and `end`. `/v1/positions?at=` shows the"
        " positions at a moment.",
    ]
    assert statuses == (0, 2)
    shown = capsys.readouterr()
    assert f"{total['end_value']:,.2f}" in shown.out
    assert f"Left out: ibkr U1 {UNPRICED}: no price while it was held" in shown.out
    assert "has to be a time with its zone" in shown.err
