"""Scenarios over HTTP: known positions in a real database, summed again by QuantLib."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import QuantLib as ql  # noqa: N813 - as its documents do
import trio

from greeks_trio.api.routes import scenarios
from greeks_trio.api.server import run_http
from greeks_trio.commands.whatif import params_of, run_whatif
from greeks_trio.config.settings import BROKERS, HttpConfig
from greeks_trio.errors import JobTooLong, WorkerBusy, WorkerFailed
from greeks_trio.risk.pricing import years_to
from greeks_trio.worker.process import Worker
from tests.database.risk_rows import hold, hold_shares, risk_database, tick
from tests.formula_errors import AmericanPricer
from tests.timeline import asking

PATH = "/v1/risk/scenarios"
RATE = 0.03
NOW = datetime.now(UTC)
EXPIRATION = (NOW + timedelta(days=60)).date()
DAY = f"{EXPIRATION:%y%m%d}"
PUT, CALL = f"SPY   {DAY}P00600000", f"SPY   {DAY}C00620000"
INDEX_CALL = f"SPXW  {DAY}C06000000"
OPTIONS = {
    PUT: ("put", 600.0, 0.20, 5.0),
    CALL: ("call", 620.0, 0.18, -3.0),
    INDEX_CALL: ("call", 6000.0, 0.15, -1.0),
}


@asynccontextmanager
async def interface(timeline, worker):
    router = scenarios.make_router(timeline, worker, BROKERS, lambda: RATE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        url = await nursery.start(run_http, HttpConfig(port=0), [router])
        async with httpx2.AsyncClient(
            base_url=url, trust_env=False, timeout=60
        ) as client:
            yield client
        nursery.cancel_scope.cancel()


def fill(database):
    """Two accounts with options, shares, a future, and positions without a model."""
    with risk_database(database) as db:
        common = {"expiration": EXPIRATION, "at": NOW - timedelta(hours=1)}
        for key, (kind, strike, volatility, quantity) in OPTIONS.items():
            underlying, spot = ("SPX", 6050.0) if "SPXW" in key else ("SPY", 610.0)
            terms = {"underlying": underlying, "option_type": kind, "strike": strike}
            hold(db, quantity, key, **terms, **common)
            tick(
                db,
                key,
                event_time=datetime.now(UTC),
                expiration=EXPIRATION,
                implied_volatility=volatility,
                underlying_price=spot,
                price=10.0,
                **terms,
            )
        at = {"at": NOW - timedelta(hours=1)}
        hold_shares(db, 100, account_id="U2", **at)
        db.execute(
            "insert into position_tags (broker, account_id, contract_key, strategy_tag)"
            " values ('ibkr', 'U2', 'SPY', 'covered call')"
        )
        hold_shares(db, 50, account_id="U2", contract_key="KO", underlying="KO", **at)
        hold(db, 1, f"SPY   {DAY}C00700000", **common, strike=700)
        # Neither costs the other positions their answer.
        odd = {"account_id": "U3", "underlying": "ODD", "at": common["at"]}
        hold(db, 1, "ODD   270319C00100000", strike="NaN", expiration=EXPIRATION, **odd)
        hold(db, 1, "ODD   270319C00101000", expiration="infinity", **odd)
        hold(db, 1, "ODD   270319C00102000", expiration="12000-01-01", **odd)
        hold_shares(db, 1, contract_key="ibkr:9", kind="other", underlying=None, **at)


def expected_pnl(moment, *, move, points):
    """Return the profit of the options and the shares of SPY by QuantLib."""
    years, total = years_to(EXPIRATION, moment), 100 * 610.0 * move
    for key, (kind, strike, volatility, quantity) in OPTIONS.items():

        def price(
            move, points, kind=kind, strike=strike, volatility=volatility, key=key
        ):
            deviation = volatility + points / 100
            if "SPXW" not in key:
                return AmericanPricer().price(
                    kind == "call",
                    610.0 * (1 + move),
                    strike,
                    years,
                    deviation,
                    RATE,
                    0.0,
                )
            return ql.BlackCalculator(
                ql.PlainVanillaPayoff(ql.Option.Call, strike),
                6050.0 * (1 + move) * math.exp(RATE * years),
                deviation * math.sqrt(years),
                math.exp(-RATE * years),
            ).value()

        total += 100 * quantity * (price(move, points) - price(0.0, 0.0))
    return total


async def test_a_second_calculation_confirms_the_repriced_sum(
    emptied_database, monkeypatch, capsys
):
    fill(emptied_database)
    worker = Worker()
    async with (
        asking(emptied_database) as timeline,
        interface(timeline, worker) as client,
    ):
        answer = await client.get(PATH, params={"moves": "-8,0,4", "vols": "0,6"})
        one = await client.get(PATH, params={"account_id": "U2", "moves": "1"})
        by = await client.get(
            PATH, params={"underlying": "spy", "group_by": "account_id"}
        )
        buckets = await client.get(PATH, params={"group_by": "expiration_bucket"})
        tagged = await client.get(PATH, params={"strategy_tag": "covered call"})
        tags = await client.get(PATH, params={"group_by": "strategy_tag"})
        expiring = await client.get(PATH, params={"expiration": str(EXPIRATION)})
        shares = await client.get(
            PATH, params={"without": "expiration", "currency": "USD"}
        )
        euros = await client.get(PATH, params={"currency": "EUR"})
        wrong = {
            query: await client.get(f"{PATH}?{query}")
            for query in (
                "moves=a",
                "moves=-101",
                "moves=" + ",".join(["1"] * 102),
                "days=-1",
                "vols=" + "0" * 4_001,
                "vols=1&x=2",
                "betas=SPY:1",
                "benchmark=",
                "benchmark=SPX&move_unit=sigma&underlying=SPY",
                "rate=nan",
                "without=underlying",
                "moves=" + ",".join(["1"] * 100) + "&vols=" + ",".join(["1"] * 40),
            )
        }
        statuses = await statuses_of_command(client, monkeypatch)
    body = answer.json()
    moment = datetime.fromisoformat(body["as_of"])
    [total] = body["totals"]
    for row, points in enumerate((0.0, 6.0)):
        for column, move in enumerate((-0.08, 0.0, 0.04)):
            expected = expected_pnl(moment, move=move, points=points)
            found = total["grids"][0]["profit_loss"][row][column]
            assert found == pytest.approx(expected, abs=0.5)
    assert (total["contracts"], total["shares_futures"], total["currency"]) == (
        3,
        1,
        "USD",
    )
    assert body["left_out"]["reasons"] == {
        "no price of the underlying": 5,
        "positions of the kind other have no model": 1,
    }
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=2)
    # The price of the shares comes from the options of another account.
    assert one.json()["totals"][0]["grids"][0]["profit_loss"][0] == [
        pytest.approx(610.0)
    ]
    assert {each["account_id"] for each in by.json()["groups"]} == {"U1", "U2"}
    assert {each["expiration_bucket"] for each in buckets.json()["groups"]} == {
        "31-90",
        "over 365",
        None,
    }
    assert tagged.json()["totals"][0]["shares_futures"] == 1
    assert tagged.json()["totals"][0]["contracts"] == 0
    assert {each["strategy_tag"] for each in tags.json()["groups"]} == {
        "covered call",
        None,
    }
    assert [
        (row["contracts"], row["shares_futures"])
        for each in (expiring, shares, euros)
        for row in each.json()["totals"]
    ] == [(3, 0), (0, 1)]
    assert {query: each.status_code for query, each in wrong.items()} == dict.fromkeys(
        wrong, 422
    )
    assert "has to be numbers" in wrong["moves=a"].text
    assert "4000 cells" in list(wrong.values())[-1].json()["detail"]
    assert statuses == [0, 2, 1]
    out, err = capsys.readouterr()
    for words in ("P/L, USD", "SPX (USD)", "Left out, 5: no price of the underlying"):
        assert words in out
    assert "moves has to be numbers with commas" in err
    assert "No answer from http://127.0.0.1:1" in err


async def statuses_of_command(client, monkeypatch):
    """Return the exit statuses of the command: done, refused, no answer."""
    monkeypatch.setenv("GREEKS_ENV_FILE", "/dev/null")
    return [
        await run_whatif(url=url, as_json=False, params=params_of(options, betas=()))
        for url, options in (
            (
                str(client.base_url),
                {"moves": "-1,1", "group_by": "underlying", "rate": None},
            ),
            (str(client.base_url), {"moves": "x"}),
            ("http://127.0.0.1:1", {}),
        )
    ]


class FailingWorker:
    """Raises what it is told, as the worker does."""

    def __init__(self):
        self.error = None

    async def run(self):
        await trio.sleep_forever()

    async def call(self, *_):
        await trio.lowlevel.checkpoint()
        raise self.error


async def test_a_worker_without_an_answer_is_a_problem_with_a_way_out(emptied_database):
    worker = FailingWorker()
    async with (
        asking(emptied_database) as timeline,
        interface(timeline, worker) as client,
    ):
        for error, status in (
            (WorkerBusy, 503),
            (WorkerFailed, 503),
            (JobTooLong, 504),
        ):
            worker.error = error()
            answer = await client.get(PATH)

            assert answer.status_code == status
            assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
            assert answer.json()["detail"]
