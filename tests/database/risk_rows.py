"""Positions and ticks around one moment, for the tests of the risk views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

import psycopg
from psycopg.rows import dict_row

from greeks_trio.config.settings import DatabaseConfig
from tests.fix_postgres import connect

# Any moment that is past on every machine: ages as of it are exact.
MOMENT = datetime(2025, 11, 14, 15, 30, tzinfo=UTC)
RECENTLY = MOMENT - timedelta(seconds=10)
EARLIER = MOMENT - timedelta(hours=1)
CALL = "SPY   251219C00600000"
PUT = "SPY   251219P00600000"

_serial = count(1)

_TICK = {
    "broker": "ibkr",
    "account_id": "U1",
    "underlying": "SPY",
    "contract_key": CALL,
    "expiration": "2025-12-19",
    "strike": 600,
    "option_type": "call",
    "quantity": 7,
    "delta": 0.5,
    "gamma": 0.01,
    "theta": -0.2,
    "vega": 0.6,
    "rho": 0.1,
    "implied_volatility": 0.183,
    "underlying_price": 650.0,
    "availability": "realtime",
    "source_payload": "{}",
}
_OPTION = {
    "broker": "ibkr",
    "account_id": "U1",
    "contract_key": CALL,
    "kind": "option",
    "multiplier": 100,
    "currency": "USD",
    "underlying": "SPY",
    "expiration": "2025-12-19",
    "strike": 600,
    "option_type": "call",
}
_SHARES = {
    "broker": "ibkr",
    "account_id": "U1",
    "contract_key": "SPY",
    "kind": "equity",
    "multiplier": None,
    "currency": "USD",
    "underlying": "SPY",
    "expiration": None,
}


@contextmanager
def risk_database(database: DatabaseConfig) -> Iterator[psycopg.Connection]:
    """Yield a connection to a database that takes ticks of any time."""
    with connect(database) as connection:
        connection.execute("create table ticks partition of greek_snapshots default")
        yield connection


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def tick(
    connection: psycopg.Connection,
    contract_key: str = CALL,
    *,
    event_time: datetime = RECENTLY,
    received_at: datetime | None = None,
    **changes: object,
) -> None:
    """Insert a tick, by default ten seconds before `MOMENT` and without a lag."""
    _insert(
        connection,
        "greek_snapshots",
        {
            **_TICK,
            "contract_key": contract_key,
            "event_time": event_time,
            "received_at": received_at or event_time,
            "fingerprint": next(_serial),
            **changes,
        },
    )


def hold(
    connection: psycopg.Connection,
    quantity: float = 1,
    contract_key: str = CALL,
    *,
    at: datetime = EARLIER,
    **changes: object,
) -> None:
    """Insert an option position, by default an hour before `MOMENT`."""
    row = {**_OPTION, "contract_key": contract_key, "quantity": quantity}
    _insert(connection, "positions", {**row, "observed_at": at, **changes})


def hold_shares(
    connection: psycopg.Connection,
    quantity: float = 1,
    *,
    at: datetime = EARLIER,
    **changes: object,
) -> None:
    """Insert a position of shares, as IBKR reports it: without a multiplier."""
    row = {**_SHARES, "quantity": quantity, "observed_at": at}
    _insert(connection, "positions", {**row, **changes})


def rows(connection: psycopg.Connection, query: str, *values: object) -> list[dict]:
    """Return the rows of the query as dictionaries."""
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(query, values).fetchall()


def greeks_asof(
    connection: psycopg.Connection, moment: datetime = MOMENT
) -> list[dict]:
    """Return the contracts as of the moment, by account and contract."""
    return rows(
        connection,
        "select * from greeks_asof(%s) order by broker, account_id, contract_key",
        moment,
    )


def portfolio_asof(
    connection: psycopg.Connection, moment: datetime = MOMENT
) -> list[dict]:
    """Return the sums at the moment, ordered by the columns that they are grouped by."""
    return rows(
        connection,
        "select * from portfolio_asof(%s)"
        " order by broker, account_id, currency, underlying, expiration nulls first",
        moment,
    )


def _insert(connection: psycopg.Connection, table: str, row: dict) -> None:
    places = ", ".join(["%s"] * len(row))
    connection.execute(
        f"insert into {table} ({', '.join(row)}) values ({places})", list(row.values())
    )
