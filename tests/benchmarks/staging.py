"""Compare the ways to insert rows of which some may be stored already.

Half of the rows of each batch are stored
already.  All contenders take turns, so that changes of the machine reach all of them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import msgspec
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.records import Tick
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.schema.partitions import ensure_partitions_ahead
from greeks_trio.postgres.tick_rows import (
    COLUMNS,
    INSERT_NEW,
    TYPES,
    pack_columns,
    register_dumpers,
    tick_row,
)
from tests.benchmarks.report import Report, Table
from tests.benchmarks.servers import add_server_options, describe_server, open_database
from tests.benchmarks.ticks import make_batches
from tests.benchmarks.write.rows import plain_row
from tests.factories import START
from tests.fix_postgres import apply_schema, connect

HELP = "ways to insert rows of which some are stored already"
QUICK = ("--rounds", "1")

SIZES = (1, 50, 500, 5_000)
# Batches of each size and round.
BATCHES = {1: 200, 50: 100, 500: 30, 5_000: 6}

_NAMES = ", ".join(name for name, _ in COLUMNS)
_TABLE = f"select {_NAMES} from greek_snapshots with no data"
_KEYS = "event_time, broker, account_id, contract_key, fingerprint, received_at"

Connection: TypeAlias = TrioConnection[Any]
Merge: TypeAlias = Callable[[Connection, Sequence[Tick]], Awaitable[int]]


def _insert_from(table: str) -> bytes:
    return (
        f"insert into greek_snapshots ({_NAMES}) select {_NAMES} from {table}"
        f" order by {_KEYS} on conflict do nothing returning 1"
    ).encode()


async def _copy(connection: Connection, table: str, ticks: Sequence[Tick]) -> None:
    statement = f"copy {table} ({_NAMES}) from stdin (format binary)".encode()
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(TYPES)
        for tick in ticks:
            await copy.write_row(tick_row(tick))


async def _count(connection: Connection, statement: bytes, *params: object) -> int:
    cursor = await connection.execute(statement, params or None)
    return len(await cursor.fetchall())


async def lasting_temporary_table(connection: Connection, ticks: Sequence[Tick]) -> int:
    """One temporary table for the life of the connection."""
    await connection.execute(
        "create temp table if not exists staged on commit delete rows as "
        f"{_TABLE}".encode()
    )
    async with connection.transaction():
        await _copy(connection, "pg_temp.staged", ticks)
        return await _count(connection, _insert_from("pg_temp.staged"))


async def temporary_table(connection: Connection, ticks: Sequence[Tick]) -> int:
    """A temporary table for each transaction."""
    async with connection.transaction():
        await connection.execute(
            f"create temp table brief on commit drop as {_TABLE}".encode()
        )
        await _copy(connection, "pg_temp.brief", ticks)
        return await _count(connection, _insert_from("pg_temp.brief"))


async def unlogged_table(connection: Connection, ticks: Sequence[Tick]) -> int:
    """A lasting table without a log; its rows are deleted in the same transaction."""
    async with connection.transaction():
        await _copy(connection, "unlogged_staging", ticks)
        new = await _count(connection, _insert_from("unlogged_staging"))
        await connection.execute("delete from unlogged_staging")
        return new


async def json_records(connection: Connection, ticks: Sequence[Tick]) -> int:
    """One parameter, a JSON array of objects."""
    objects = []
    for tick in ticks:
        values = msgspec.structs.asdict(tick.record)
        values["source_payload"] = msgspec.Raw(tick.record.source_payload)
        values["fingerprint"] = tick.fingerprint
        objects.append(values)
    return await _count(
        connection,
        _insert_from("json_populate_recordset(null::greek_snapshots, %s::json)"),
        msgspec.json.encode(objects).decode(),
    )


async def unnest_lists(connection: Connection, ticks: Sequence[Tick]) -> int:
    """One array for each column, made by psycopg's adapter of lists."""
    rows = list(map(plain_row, ticks))
    arrays = ", ".join(
        f"%s::{'text' if name == 'source_payload' else kind}[]"
        for name, kind in COLUMNS
    )
    chosen = _NAMES.replace("source_payload", "source_payload::jsonb")
    statement = (
        f"insert into greek_snapshots ({_NAMES}) select {chosen}"
        f" from unnest({arrays}) as staged ({_NAMES})"
        f" order by {_KEYS} on conflict do nothing returning 1"
    ).encode()
    columns = [list(column) for column in zip(*rows, strict=True)]
    return await _count(connection, statement, *columns)


async def unnest_packed(connection: Connection, ticks: Sequence[Tick]) -> int:
    """One array for each column, made by psycopg's formatter of COPY: the product."""
    columns = await pack_columns(connection.cursor(), ticks)
    return await _count(connection, INSERT_NEW, *columns)


CONTENDERS: dict[str, Merge] = {
    "temporary table, lasting": lasting_temporary_table,
    "temporary table, on commit drop": temporary_table,
    "unlogged table": unlogged_table,
    "json_populate_recordset": json_records,
    "unnest, psycopg's lists": unnest_lists,
    "unnest, packed arrays": unnest_packed,
}


async def measure(config: DatabaseConfig, size: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of a batch, by contender."""
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    batches = make_batches(size * BATCHES[size], size)
    for _ in range(rounds):
        for name, merge in CONTENDERS.items():
            with connect(config) as admin:
                admin.execute("truncate greek_snapshots")
                admin.execute("checkpoint")
            async with open_connection(config, autocommit=True) as connection:
                register_dumpers(connection)
                for batch in batches:
                    await unnest_packed(connection, batch[::2])
                    started_at = time.perf_counter()
                    new = await merge(connection, batch)
                    times[name].append(time.perf_counter() - started_at)
                    expected = len(batch) - len(batch[::2])
                    if new != expected:
                        raise RuntimeError(f"{name}: {new} new rows, not {expected}")
    return {name: statistics.median(each) for name, each in times.items()}


async def measure_sizes(config: DatabaseConfig, rounds: int) -> Table:
    """Return median milliseconds, and the ratio to the lasting table."""
    with connect(config) as admin:
        admin.execute(f"create unlogged table unlogged_staging as {_TABLE}")
    async with open_connection(config, autocommit=True) as connection:
        await ensure_partitions_ahead(connection, START.date())
    table = Table(
        "A batch of which half is stored already: ms (ratio to a lasting table)",
        ["rows", *CONTENDERS],
        [],
    )
    for size in SIZES:
        medians = await measure(config, size, rounds)
        base = medians["temporary table, lasting"]
        cells = [f"{s * 1e3:.2f} ({s / base:.2f})" for s in medians.values()]
        table.rows.append([size, *cells])
    return table


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rounds", type=int, default=5, help="of all ways in turn")
    add_server_options(parser)


def run(options: argparse.Namespace) -> Report:
    """Measure all ways in turn."""
    with open_database(options) as config:
        apply_schema(config)
        table = trio.run(measure_sizes, config, options.rounds)
        return Report([table], machine=describe_server(config))
