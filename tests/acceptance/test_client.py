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

TABLES = ("latest", "positions", "portfolio", "divergence", "gaps", "outages", "trades")
TRADE = {"broker": "ibkr", "account_id": "U1", "symbol": "SPY", "action": "buy"}


@pytest.fixture
def db(emptied_database):
    with risk_database(emptied_database) as connection:
        yield connection


@asynccontextmanager
async def answering(database, **config):
    """Yield the URL of a service."""
    async with asking(database) as timeline, serving(timeline, **config) as http:
        yield str(http.base_url)


async def call(function, *args, **kwargs):
    """Run a blocking function in a thread, because the service runs in this one."""
    return await trio.to_thread.run_sync(partial(function, *args, **kwargs))


async def test_rows_have_python_s_own_types(emptied_database, db):
    tick(db, event_time=MOMENT, rho=None, strike="600.5")
    async with answering(emptied_database) as url:
        [row] = await call(read_table, "snapshots", url=url)
        in_words = {
            typed: await call(
                read_table, "snapshots", url=url, contract_key=typed, underlying="spy"
            )
            for typed in (CALL.replace(" ", ""), f" {CALL.lower()} ")
        }

    assert row["event_time"] == MOMENT
    assert row["event_time"].utcoffset() is not None
    assert row["expiration"] == date(2025, 12, 19)
    assert row["strike"] == 600.5
    assert row["rho"] is None
    assert row["contract_key"] == CALL
    # A contract is found in every spelling.
    for typed, rows in in_words.items():
        assert rows == [row], typed


async def test_a_refusal_says_why(emptied_database, db):
    def record(url, symbol):
        with GreeksClient(url) as client:
            client.record_trade(**TRADE | {"symbol": symbol}, quantity=1)

    async with answering(emptied_database) as url:
        read = partial(call, read_table, "snapshots", url=url)
        with pytest.raises(Refused, match=r"query.brokr") as unknown_filter:
            await read(brokr="ibkr")
        with pytest.raises(Refused, match=r"query\.contract_key: 'SPY 600 call'") as no:
            await read(contract_key="SPY 600 call")
        with pytest.raises(Refused, match="`symbol` has a control character"):
            await call(record, url, "S\u202ePY")

    assert unknown_filter.value.status == 422
    assert no.value.status == 422
    assert "SPY261211C00663000" in no.value.detail


async def test_filters_may_have_python_s_own_types(emptied_database, db):
    for number in range(4):
        tick(db, event_time=MOMENT + seconds(number))
    async with answering(emptied_database) as url:
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


async def test_every_table_can_be_read(emptied_database, db):
    async with answering(emptied_database) as url:
        rows = {table: await call(read_table, table, url=url) for table in TABLES}

    assert rows == {table: [] for table in TABLES}


async def test_a_moment_of_the_past(emptied_database, db):
    hold(db)
    tick(db)

    def ask(url):
        with GreeksClient(url) as client:
            latest = list(client.rows("asof", at=MOMENT, is_stale=False))
            return latest, client.latest(), client.portfolio(at=MOMENT)

    async with answering(emptied_database) as url:
        then, present, sums = await call(ask, url)

    assert [row["contract_key"] for row in then] == [CALL]
    assert present == []
    assert sums[0]["option_delta"] == 50


async def test_a_trade_is_recorded_once(emptied_database, db):
    trade = {
        **TRADE,
        "id": "0b8d1f0e-7c1f-4f0e-9d55-3f5a5d3a7a11",
        "quantity": Decimal("0.1"),
        "created_at": datetime(2026, 11, 20, 15, 30, tzinfo=UTC),
    }

    def record(url):
        with GreeksClient(url) as client:
            first, second = client.record_trade(**trade), client.record_trade(**trade)
            with pytest.raises(Refused) as refused:
                client.record_trade(**trade | {"quantity": 2})
            # Without an id, it may be one of many.
            for _ in range(2):
                client.record_trade(**TRADE, quantity=1)
            return first, second, refused.value.status

    async with answering(emptied_database) as url:
        first, second, status = await call(record, url)
        trades = await call(read_table, "trades", url=url)

    assert first == second
    assert first["created_at"] == trade["created_at"]
    assert first["quantity"] == 0.1
    assert status == 409
    assert len({trade["id"] for trade in trades}) == len(trades) == 3


async def test_only_a_newline_ends_a_row(emptied_database, db):
    """Another program may have written such a text; we take none."""
    odd = "a\u2028b\u2029c\u00a0d"
    db.execute(
        "insert into trades (id, broker, account_id, symbol, action, quantity,"
        " strategy_tag) values (gen_random_uuid(), 'ibkr', 'U1', 'SPY', 'buy', 1, %s)",
        [odd],
    )

    async with answering(emptied_database) as url:
        [trade] = await call(read_table, "trades", url=url)

    assert trade["strategy_tag"] == odd


async def test_a_time_without_a_zone_is_refused_before_it_is_sent():
    with pytest.raises(ValueError, match="start"):
        read_table("snapshots", start=datetime(2026, 11, 20))  # noqa: DTZ001


async def test_the_token_is_sent(emptied_database, db):
    secret = {"host": "0.0.0.0", "token": Secret("t0ken")}  # noqa: S104
    async with answering(emptied_database, **secret) as url:
        url = url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        assert await call(read_table, "trades", url=url, token="t0ken") == []
        with pytest.raises(Refused) as refused:
            await call(read_table, "trades", url=url)

    assert refused.value.status == 401


async def test_a_caller_that_stops_reading_ends_the_export(emptied_database, db):
    _many(db)

    def take_one(url):
        with GreeksClient(url) as client:
            return next(client.snapshots())

    async with answering(emptied_database) as url:
        row = await call(take_one, url)
        await wait_sessions(db, 0, "state <> 'idle'")

    assert row["id"] == 1


async def test_an_answer_that_breaks_off_is_an_error(emptied_database, db):
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
    async with answering(emptied_database) as url, trio.open_nursery() as nursery:
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
