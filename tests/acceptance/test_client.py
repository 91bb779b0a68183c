"""The client for scripts, against a real service on a real socket."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial

import httpx2
import pytest
import trio

from greeks_trio.client import GreeksClient, Refused, read_table
from greeks_trio.config.settings import Secret
from tests.database.risk_rows import CALL, MOMENT, hold, risk_database, seconds, tick
from tests.timeline import asking, serving, sessions, wait_sessions


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


@asynccontextmanager
async def answering(database, **config):
    """Yield the URL of a service."""
    async with asking(database) as timeline, serving(timeline, **config) as http:
        yield str(http.base_url)


async def call(function, *args, **kwargs):
    """Run a blocking function in a thread, because the service runs in this one."""
    return await trio.to_thread.run_sync(partial(function, *args, **kwargs))


async def test_rows_have_python_s_own_types(database, db):
    tick(db, event_time=MOMENT, rho=None, strike="600.5")
    async with answering(database) as url:
        [row] = await call(read_table, "snapshots", url=url)

    assert row["event_time"] == MOMENT
    assert row["event_time"].utcoffset() is not None
    assert row["expiration"] == date(2025, 12, 19)
    assert row["strike"] == 600.5
    assert row["rho"] is None
    assert row["contract_key"] == CALL


@pytest.mark.parametrize("typed", [CALL.replace(" ", ""), f" {CALL.lower()} "])
async def test_a_contract_is_found_in_every_spelling(database, db, typed):
    tick(db, event_time=MOMENT)
    async with answering(database) as url:
        rows = await call(
            read_table, "snapshots", url=url, contract_key=typed, underlying="spy"
        )

    assert [row["contract_key"] for row in rows] == [CALL]


async def test_a_text_that_names_no_contract_is_refused_in_words(database, db):
    async with answering(database) as url:
        with pytest.raises(Refused, match=r"query\.contract_key: 'SPY 600 call'") as no:
            await call(read_table, "snapshots", url=url, contract_key="SPY 600 call")

    assert no.value.status == 422
    assert "SPY261211C00663000" in no.value.detail


async def test_filters_may_have_python_s_own_types(database, db):
    for number in range(4):
        tick(db, event_time=MOMENT + seconds(number))
    async with answering(database) as url:
        rows = await call(
            read_table,
            "snapshots",
            url=url,
            underlying="SPY",
            account_id=None,
            start=MOMENT + seconds(1),
            expiration_from=date(2025, 12, 19),
            limit=2,
        )

    assert [row["event_time"] for row in rows] == [
        MOMENT + seconds(1),
        MOMENT + seconds(2),
    ]


@pytest.mark.parametrize(
    "table",
    ["latest", "positions", "portfolio", "divergence", "gaps", "outages", "trades"],
)
async def test_every_table_can_be_read(database, db, table):
    async with answering(database) as url:
        assert await call(read_table, table, url=url) == []


async def test_a_moment_of_the_past(database, db):
    hold(db)
    tick(db)

    def ask(url):
        with GreeksClient(url) as client:
            latest = list(client.rows("asof", at=MOMENT, is_stale=False))
            return latest, client.latest(), client.portfolio(at=MOMENT)

    async with answering(database) as url:
        then, present, sums = await call(ask, url)

    assert [row["contract_key"] for row in then] == [CALL]
    assert present == []
    assert sums[0]["option_delta"] == 50


async def test_a_trade_is_recorded_once(database, db):
    trade = {
        "id": "0b8d1f0e-7c1f-4f0e-9d55-3f5a5d3a7a11",
        "broker": "ibkr",
        "account_id": "U1",
        "symbol": "SPY",
        "action": "buy",
        "quantity": Decimal("0.1"),
        "created_at": datetime(2026, 11, 20, 15, 30, tzinfo=UTC),
    }

    def record(url):
        with GreeksClient(url) as client:
            first, second = client.record_trade(**trade), client.record_trade(**trade)
            with pytest.raises(Refused) as refused:
                client.record_trade(**trade | {"quantity": 2})
            return first, second, refused.value.status

    async with answering(database) as url:
        first, second, status = await call(record, url)

    assert first == second
    assert first["created_at"] == trade["created_at"]
    assert first["quantity"] == 0.1
    assert status == 409


async def test_a_trade_without_an_id_may_be_one_of_many(database, db):
    def record(url):
        with GreeksClient(url) as client:
            trade = {"broker": "ibkr", "account_id": "U1", "symbol": "SPY"}
            for _ in range(2):
                client.record_trade(**trade, action="buy", quantity=1)

    async with answering(database) as url:
        await call(record, url)
        trades = await call(read_table, "trades", url=url)

    assert len({trade["id"] for trade in trades}) == 2


async def test_only_a_newline_ends_a_row(database, db):
    """Another program may have written such a text; we take none."""
    odd = "a\u2028b\u2029c\u00a0d"
    db.execute(
        "insert into trades (id, broker, account_id, symbol, action, quantity,"
        " strategy_tag) values (gen_random_uuid(), 'ibkr', 'U1', 'SPY', 'buy', 1, %s)",
        [odd],
    )

    async with answering(database) as url:
        [trade] = await call(read_table, "trades", url=url)

    assert trade["strategy_tag"] == odd


async def test_a_text_with_a_control_character_is_refused_in_words(database, db):
    def record(url):
        with GreeksClient(url) as client:
            trade = {"broker": "ibkr", "account_id": "U1", "symbol": "S\u202ePY"}
            client.record_trade(**trade, action="buy", quantity=1)

    async with answering(database) as url:
        with pytest.raises(Refused, match="`symbol` has a control character"):
            await call(record, url)


async def test_a_refusal_says_why(database, db):
    async with answering(database) as url:
        with pytest.raises(Refused, match=r"query.brokr") as refused:
            await call(read_table, "snapshots", url=url, brokr="ibkr")

    assert refused.value.status == 422


async def test_a_time_without_a_zone_is_refused_before_it_is_sent():
    with pytest.raises(ValueError, match="start"):
        read_table("snapshots", start=datetime(2026, 11, 20))  # noqa: DTZ001


async def test_the_token_is_sent(database, db):
    secret = {"host": "0.0.0.0", "token": Secret("t0ken")}  # noqa: S104
    async with answering(database, **secret) as url:
        url = url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        assert await call(read_table, "trades", url=url, token="t0ken") == []
        with pytest.raises(Refused) as refused:
            await call(read_table, "trades", url=url)

    assert refused.value.status == 401


async def test_a_caller_that_stops_reading_ends_the_export(database, db):
    _many(db)

    def take_one(url):
        with GreeksClient(url) as client:
            return next(client.snapshots())

    async with answering(database) as url:
        row = await call(take_one, url)
        await wait_sessions(db, 0, "state <> 'idle'")

    assert row["id"] == 1


async def test_an_answer_that_breaks_off_is_an_error(database, db):
    _many(db)

    def take(url, rows, has_begun, go_on):
        with GreeksClient(url) as client:
            for row in client.snapshots():
                rows.append(row)
                if len(rows) == 1:
                    trio.from_thread.run_sync(has_begun.set)
                    trio.from_thread.run(go_on.wait)

    async def break_off(has_begun, go_on):
        await has_begun.wait()
        await wait_sessions(db, 1, "state = 'idle in transaction'")
        [pid] = sessions(db)
        db.execute("select pg_terminate_backend(%s, 5000)", [pid])
        go_on.set()

    rows, has_begun, go_on = [], trio.Event(), trio.Event()
    async with answering(database) as url, trio.open_nursery() as nursery:
        nursery.start_soon(break_off, has_begun, go_on)
        with pytest.raises(httpx2.HTTPError):
            await call(take, url, rows, has_begun, go_on)

    assert 0 < len(rows) < 50_000


def _many(db):
    db.execute(
        "insert into greek_snapshots (event_time, received_at, broker, account_id,"
        " underlying, contract_key, delta, availability, source_payload, fingerprint)"
        " select %s + i * interval '1 ms', now(), 'ibkr', 'U1', 'SPY', 'C', 0.5,"
        " 'realtime', '{}', i from generate_series(1, 50000) i",
        [MOMENT],
    )
