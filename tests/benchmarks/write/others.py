"""What a user could run instead, with the usual libraries."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import asyncpg
import psycopg

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.records import Tick
from greeks_trio.postgres.tick_rows import COPY_TICKS, TYPES, tick_row
from tests.benchmarks.write.rows import (
    ALL_AT_ONCE,
    NAMES,
    Need,
    Rows,
    in_batches,
    needed,
    plain_row,
    warm_up_tick,
)
from tests.fix_postgres import connect, connect_options

_COLUMNS = ", ".join(NAMES)
_PSYCOPG_INSERT = (
    f"insert into greek_snapshots ({_COLUMNS}) values"
    f" ({', '.join('%s::jsonb' if name == 'source_payload' else '%s' for name in NAMES)})"
)
_ASYNCPG_INSERT = (
    f"insert into greek_snapshots ({_COLUMNS}) values"
    f" ({', '.join(f'${place}' for place in range(1, len(NAMES) + 1))})"
)
WARM_UPS = 10

Store = Callable[[Sequence[Tick]], Awaitable[None]]


class Psql:
    r"""``\copy`` of one file that has the rows in PostgreSQL's own format: the limit."""

    name = r"psql \copy, prepared file"
    share = 1.0
    batch = ALL_AT_ONCE

    def __init__(self, programs: Path) -> None:
        self._psql = programs / "psql"

    def store(self, rows: Rows, number: int) -> Need:
        """Copy the whole file in one transaction; psql measures the time itself."""
        assert number == len(rows.records)
        copy = rf"\copy greek_snapshots ({_COLUMNS}) from '%s' with (format binary)"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [
                *(self._psql, "-X", "-v", "ON_ERROR_STOP=1"),
                *("-c", copy % rows.warm_up),
                *("-c", r"\timing on", "-c", copy % rows.prepared),
            ],
            env=os.environ | libpq_environment(rows.config),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = re.search(r"^Time: ([\d.]+) ms", done.stdout, re.MULTILINE)
        if done.returncode or found is None:
            raise RuntimeError(f"{self._psql}: {done.stderr or done.stdout}")
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Need(float(found[1]) / 1000, used)

    def commit_each(self, rows: Rows, number: int) -> list[float]:
        """Return nothing: a program for each tick would measure its start."""
        return []


def libpq_environment(config: DatabaseConfig) -> dict[str, str]:
    """Return the variables that lead libpq to a database."""
    return {
        "PGHOST": config.server.host,
        "PGPORT": str(config.server.port),
        "PGUSER": config.user,
        "PGPASSWORD": config.password.reveal(),
        "PGDATABASE": config.dbname,
        "PGSSLMODE": config.sslmode,
    }


class InsertLoop:
    """One INSERT and one commit for each tick, over a blocking connection: the floor."""

    name = "psycopg, INSERT and commit for each row"
    share = 0.02
    batch = 1

    def store(self, rows: Rows, number: int) -> Need:
        """Insert one by one."""
        with connect(rows.config) as connection:
            _insert_each(connection, [warm_up_tick(each) for each in range(WARM_UPS)])
            with needed() as need:
                _insert_each(connection, rows.ticks[:number])
        return need

    def commit_each(self, rows: Rows, number: int) -> list[float]:
        """Insert one by one, and take the times."""
        with connect(rows.config) as connection:
            _insert_each(connection, [warm_up_tick(each) for each in range(WARM_UPS)])
            return _insert_each(connection, rows.ticks[:number])


def _insert_each(connection: psycopg.Connection, ticks: Sequence[Tick]) -> list[float]:
    times = []
    for tick in ticks:
        started_at = time.perf_counter()
        connection.execute(_PSYCOPG_INSERT, plain_row(tick))
        times.append(time.perf_counter() - started_at)
    return times


class _Asyncio:
    """A way on asyncio."""

    name: str
    share: float
    batch = 0

    def store(self, rows: Rows, number: int) -> Need:
        """Store in batches."""

        async def store(write: Store) -> Need:
            with needed() as need:
                for batch in in_batches(rows.ticks[:number], self.batch or rows.batch):
                    await write(batch)
            return need

        return asyncio.run(self._with_connection(rows.config, store))

    def commit_each(self, rows: Rows, number: int) -> list[float]:
        """Store each tick when the one before is committed."""

        async def commit_each(write: Store) -> list[float]:
            times = []
            for tick in rows.ticks[:number]:
                started_at = time.perf_counter()
                await write([tick])
                times.append(time.perf_counter() - started_at)
            return times

        return asyncio.run(self._with_connection(rows.config, commit_each))

    async def _with_connection(
        self, config: DatabaseConfig, function: Callable[[Store], Awaitable]
    ) -> Need | list[float]:
        raise NotImplementedError


async def _warm_up(write: Store) -> None:
    for each in range(WARM_UPS):
        await write([warm_up_tick(each)])


class _Psycopg(_Asyncio):
    async def _with_connection(self, config, function):
        options = connect_options(config)
        async with await psycopg.AsyncConnection.connect(
            autocommit=True, **options
        ) as connection:

            async def write(ticks: Sequence[Tick]) -> None:
                await self._write(connection, ticks)

            await _warm_up(write)
            return await function(write)

    async def _write(self, connection, ticks):
        raise NotImplementedError


class PsycopgCopy(_Psycopg):
    """psycopg's binary COPY, with our own cheap forms of the payload and of numbers."""

    name = "psycopg AsyncConnection, COPY"
    share = 1.0

    async def _write(self, connection, ticks):
        async with connection.cursor() as cursor, cursor.copy(COPY_TICKS) as copy:
            copy.set_types(TYPES)
            for tick in ticks:
                await copy.write_row(tick_row(tick))


class PsycopgExecutemany(_Psycopg):
    """psycopg's executemany, which sends the statements in a pipeline."""

    name = "psycopg AsyncConnection, executemany"
    share = 0.2

    async def _write(self, connection, ticks):
        async with connection.transaction(), connection.cursor() as cursor:
            await cursor.executemany(_PSYCOPG_INSERT, list(map(plain_row, ticks)))


class _Asyncpg(_Asyncio):
    async def _with_connection(self, config, function):
        connection = await asyncpg.connect(
            host=config.server.host,
            port=config.server.port,
            user=config.user,
            password=config.password.reveal(),
            database=config.dbname,
            ssl=config.sslmode,
        )
        try:

            async def write(ticks: Sequence[Tick]) -> None:
                await self._write(connection, ticks)

            await _warm_up(write)
            return await function(write)
        finally:
            await connection.close()

    async def _write(self, connection, ticks):
        raise NotImplementedError


class AsyncpgCopy(_Asyncpg):
    """asyncpg's binary COPY."""

    name = "asyncpg, copy_records_to_table"
    share = 1.0

    async def _write(self, connection, ticks):
        await connection.copy_records_to_table(
            "greek_snapshots", records=map(plain_row, ticks), columns=NAMES
        )


class AsyncpgExecutemany(_Asyncpg):
    """asyncpg's executemany for each 50 rows."""

    name = "asyncpg, executemany by 50"
    share = 0.2
    batch = 50

    async def _write(self, connection, ticks):
        await connection.executemany(_ASYNCPG_INSERT, map(plain_row, ticks))


class AsyncpgEverySecond(AsyncpgExecutemany):
    """The same, with the rows of a second: at saturation, all that there are."""

    name = "asyncpg, executemany every second"
    batch = ALL_AT_ONCE
