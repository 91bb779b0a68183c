"""Compare the ticks that the simulated brokers sent with the rows of the table.

The demo and the drill use it.  Ledger, reports and rows meet in PostgreSQL, so an hour
of ticks needs no memory here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg

from greeks_trio.config.settings import BROKERS
from greeks_trio.drill import comparison_sql as sql
from greeks_trio.drill.tick_log import read_tick_log, tick_identity
from greeks_trio.simulators.ledger import read_ledger

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The sources of a comparison besides the table.

    Attributes:
        ledger: File of the ticks that the brokers sent.
        reports: File of the ticks that the service reported, see `TickLog`.
        after_id: Only rows with a greater id count.
        ignored_accounts: Rows of these accounts do not count.
        clock_error: Returns by how many seconds the service's wall clock was ahead at
            a monotonic time.
    """

    ledger: Path
    reports: Path
    after_id: int = 0
    ignored_accounts: Sequence[str] = ()
    clock_error: Callable[[float], float] = lambda _: 0.0


class BrokerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The ticks of one broker.

    Attributes:
        sent: Different ticks in the ledger.
        persisted: Rows.
        lost: Ticks of the ledger without a row.
        duplicates: Rows beyond one for a tick, even if their keys differ.
        unexpected: Rows that no tick of the ledger explains, and rows whose payload
            belongs to another event.
    """

    sent: int
    persisted: int
    lost: int
    duplicates: int
    unexpected: int


class Ages(msgspec.Struct, frozen=True):
    """Times from the simulator's send to the report, in milliseconds."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


async def last_row_id(connection: psycopg.AsyncConnection[Any]) -> int:
    """Return the newest row's id, 0 for an empty table."""
    [(newest,)] = await fetch(connection, sql.LAST_ROW_ID)
    return newest or 0


async def compare(
    connection: psycopg.AsyncConnection[Any], evidence: Evidence
) -> dict[str, BrokerCounts]:
    """Return the counts of each broker; the connection gets temporary tables."""
    await execute(connection, sql.TABLES)
    scope = (evidence.after_id, list(evidence.ignored_accounts))
    await copy_rows(connection, "scope", [scope])
    await copy_rows(connection, "ledger", _ledger_rows(evidence))
    await copy_rows(connection, "reports", read_tick_log(evidence.reports))
    await execute(connection, sql.MATCHES)
    rows = await fetch(connection, sql.COUNTS, {"brokers": list(BROKERS)})
    names = BrokerCounts.__struct_fields__
    return {
        broker: BrokerCounts(**dict(zip(names, counts, strict=True)))
        for broker, *counts in rows
    }


async def read_ages(connection: psycopg.AsyncConnection[Any]) -> Ages:
    """Return the ages of the reported ticks, after `compare`."""
    [(values,)] = await fetch(connection, sql.AGES)
    return Ages(*(round(value, 3) for value in values or ()))


async def read_largest_gaps(
    connection: psycopg.AsyncConnection[Any], after_id: int
) -> dict[str, float]:
    """Return each broker's longest time between the receipts of two rows, in seconds.

    A broker with less than two rows is missing.
    """
    rows = await fetch(connection, sql.LARGEST_GAPS, {"after_id": after_id})
    return {broker: seconds for broker, seconds in rows if seconds is not None}


async def execute(connection: psycopg.AsyncConnection[Any], statements: str) -> None:
    """Run statements without parameters."""
    await connection.execute(statements.encode())


async def copy_rows(
    connection: psycopg.AsyncConnection[Any],
    table: str,
    rows: Iterable[tuple[object, ...]],
) -> None:
    """Add rows to a temporary table."""
    command = f"copy {table} from stdin".encode()
    async with connection.cursor() as cursor, cursor.copy(command) as copy:
        for row in rows:
            await copy.write_row(row)


async def fetch(
    connection: psycopg.AsyncConnection[Any],
    query: str,
    parameters: dict[str, object] | None = None,
) -> list[Any]:
    """Return all rows of a query."""
    cursor = await connection.execute(query.encode(), parameters)
    return await cursor.fetchall()


def _ledger_rows(evidence: Evidence) -> Iterator[tuple[object, ...]]:
    for tick in read_ledger(evidence.ledger):
        yield (
            tick.broker,
            tick.account_id,
            tick.contract_key,
            _EPOCH + timedelta(milliseconds=tick.event_time_ms),
            tick.delta,
            tick.gamma,
            tick.theta,
            tick.vega,
            tick.rho,
            tick.implied_volatility,
            tick.sent_monotonic,
            evidence.clock_error(tick.sent_monotonic),
            tick_identity(tick),
        )
