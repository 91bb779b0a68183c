"""Bring a database to the schema of this program.

``db/migrations`` has the steps, one file each.  ``schema_migrations`` in the database
lists the steps that were applied.  Steps that only add to the schema may be applied while
an older program writes; such a program works with the database of a newer one.  The names
of all other steps end with `BREAKS_OLDER`.

A database that has all steps is only read: even
``create index if not exists`` would wait behind a busy table, and all other sessions
would wait behind it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
import trio
from psycopg.rows import tuple_row

from greeks_trio.errors import SchemaRejected
from greeks_trio.postgres.failures import is_about_server, translated
from greeks_trio.postgres.schema.distribution import (
    distribute_empty,
    distribute_full,
    execute_distributed,
    make_distributed,
)
from greeks_trio.postgres.schema.fleet_stubs import free_fleet_views
from greeks_trio.postgres.schema.schema_files import Migration, load_migrations
from greeks_trio.postgres.schema.statements import statements
from greeks_trio.postgres.server_kind import read_server_kind

logger = logging.getLogger(__name__)

# The first version with `unique nulls not distinct`.
OLDEST_SERVER: Final = 15_00_00
# A wait for a lock has a limit of its own, see below.
_LIMIT_S: Final = 300.0
# Any number; every program that migrates this schema must use the same.
_MIGRATION_LOCK: Final = 7_402_318_915_520_031
# `read committed` sees commits that happened during the wait for the lock.  With the
# `lock_timeout`, a migration that cannot get its lock gives up, so that other sessions do
# not wait behind it for long; the caller tries again later.
_TRANSACTION: Final = """
set transaction isolation level read committed;
set local lock_timeout = '5s'
"""
# Not `to_regclass`: it may answer from a cache that is older than the wait for the lock.
_IS_EMPTY: Final = """
select not exists (
    select from pg_class
    where relname = 'schema_migrations' and pg_table_is_visible(oid)
)
"""
# Duplicate table or view, function, and other object.
_NAME_IS_TAKEN: Final = frozenset({"42P07", "42723", "42710"})
# The end of the name of a migration that older programs cannot work with.
BREAKS_OLDER: Final = "_breaks_older"
_ELSEWHERE: Final = (
    "use another database, or a schema of its own as the search_path of the role"
)


async def bring_up_to_date(
    connection: psycopg.AsyncConnection[Any], *, look_limit_s: float
) -> list[str]:
    """Do as `migrate`, with limits of time.

    Usually there is nothing to apply; to find that out takes at most ``look_limit_s``
    seconds.

    Raises:
        StoreUnavailable: it did not work this time.
        SchemaRejected: the schema of the database does not fit this program.
    """
    with translated(connection, may_refuse=False):
        with trio.fail_after(look_limit_s):
            if await is_up_to_date(connection):
                return []
        with trio.fail_after(_LIMIT_S):
            return await migrate(connection)


async def is_up_to_date(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Return whether there is nothing to apply.

    Raises:
        SchemaRejected: as for `migrate`.
        psycopg.Error: any other error; the caller may try again.
    """
    return not await missing_migrations(connection)


async def missing_migrations(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """Return the names of the migrations that the database lacks, oldest first.

    Raises:
        SchemaRejected: as for `migrate`.
        psycopg.Error: any other error; the caller may try again.
    """
    wanted = load_migrations()
    applied = await _look(connection, wanted)
    return [each.name for each in wanted if each.name not in applied]


async def newer_migrations(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """Return the names of the migrations that a newer program has applied.

    Raises:
        SchemaRejected: as for `migrate`.
        psycopg.Error: any other error; the caller may try again.
    """
    wanted = load_migrations()
    applied = await _look(connection, wanted)
    return sorted(applied.keys() - {each.name for each in wanted})


async def migrate(
    connection: psycopg.AsyncConnection[Any],
    migrations: Sequence[Migration] | None = None,
) -> list[str]:
    """Apply the migrations that the database lacks and return their names, oldest first.

    Each migration is a transaction of its own under an advisory lock, so that two
    services can start at the same time.  When it is cancelled, only whole migrations are
    applied.  With Citus, the schema is distributed if that is possible.

    Args:
        connection: Outside a transaction.
        migrations: The migrations; by default those of this program.

    Raises:
        SchemaRejected: a newer program has changed the schema so that this one cannot
            work with it, a migration is not the one that was applied, the server is too
            old, or it refused the DDL.
        psycopg.Error: any other error, such as a lock timeout; the caller may try again.
    """
    wanted = load_migrations() if migrations is None else migrations
    applied = await _look(connection, wanted)
    kind = await read_server_kind(connection)
    made = []
    if kind.citus and not applied and migrations is None:
        made = await _make_distributed(connection)
    is_distributed = kind.is_distributed or bool(made)
    for migration in wanted:
        if migration.name in applied or migration.name in made:
            continue
        with _refusals_of(migration.name):
            if await _apply(connection, migration, is_distributed=is_distributed):
                made.append(migration.name)
    if kind.citus and applied and migrations is None and not is_distributed:
        await _distribute(connection)
    if made:
        logger.info("schema.migrated names=%s", ",".join(made))
    return made


async def rehearse(connection: psycopg.AsyncConnection[Any]) -> None:
    """Apply every migration to an empty database, and take all of it back.

    This finds what lies in the way, such as a view of another program with one of our
    names.  No other session waits, because none uses the tables yet.

    Raises:
        SchemaRejected: as for `migrate`.
        psycopg.Error: any other error; the caller may try again.
    """
    async with connection.transaction(force_rollback=True):
        await connection.execute("set local lock_timeout = '5s'")
        with _refusals_of("its schema"):
            if await distribute_empty(connection):
                await make_distributed(connection)
                return
        for migration in load_migrations():
            with _refusals_of(migration.name):
                await _execute(connection, migration, is_distributed=False)


async def _look(
    connection: psycopg.AsyncConnection[Any], wanted: Sequence[Migration]
) -> dict[str, str]:
    """Return the applied migrations, after a check against our own files."""
    if connection.info.server_version < OLDEST_SERVER:
        raise SchemaRejected(
            "PostgreSQL 15 or later is needed; this server has version"
            f" {connection.info.server_version // 10000}"
        )
    with _refusals_of("a look at its migrations"):
        try:
            applied = await _read_applied(connection)
        except psycopg.errors.UndefinedColumn as exc:
            raise SchemaRejected(
                f"the table schema_migrations belongs to another program: {_ELSEWHERE}",
                sqlstate=exc.sqlstate,
            ) from exc
    _check_history(wanted, applied)
    return applied


def _check_history(wanted: Sequence[Migration], applied: dict[str, str]) -> None:
    known = {migration.name: migration.sha256 for migration in wanted}
    newest = max(known, default="")
    unfit = sorted(
        name
        for name in applied.keys() - known.keys()
        if name < newest or name.endswith(BREAKS_OLDER)
    )
    if unfit:
        raise SchemaRejected(
            "this program cannot work with the schema of the database, which has"
            f" {', '.join(unfit)}: install the newer version, or use another database"
        )
    for name, sha256 in applied.items():
        if known.get(name, sha256) != sha256:
            raise SchemaRejected(
                f"the file {name}.sql is not the one that was applied to the database:"
                " install an unchanged version of this program"
            )


async def _read_applied(connection: psycopg.AsyncConnection[Any]) -> dict[str, str]:
    """Return the checksum of each applied migration; empty for an empty database."""
    async with (
        connection.transaction(),
        connection.cursor(row_factory=tuple_row) as cursor,
    ):
        await cursor.execute(_IS_EMPTY)
        if await cursor.fetchone() == (True,):
            return {}
        await cursor.execute("select name, sha256 from schema_migrations order by name")
        return dict(await cursor.fetchall())


async def _make_distributed(connection: psycopg.AsyncConnection[Any]) -> list[str]:
    """Make the whole schema if Citus distributes it; return the names of its migrations.

    Returns nothing when another program was faster.
    """
    with _refusals_of("its schema"):
        async with connection.transaction():
            await _lock(connection)
            if await _read_applied(connection) or not await distribute_empty(
                connection
            ):
                return []
            await make_distributed(connection)
            made = sorted(await _read_applied(connection))
    logger.info("schema.distributed")
    return made


async def _distribute(connection: psycopg.AsyncConnection[Any]) -> None:
    with _refusals_of("to distribute the schema"):
        async with connection.transaction():
            await _lock(connection)
            has_moved = await distribute_full(connection)
    if has_moved:
        logger.info("schema.distributed")


async def _apply(
    connection: psycopg.AsyncConnection[Any],
    migration: Migration,
    *,
    is_distributed: bool,
) -> bool:
    """Apply the migration; return false when another program was faster."""
    async with connection.transaction():
        await _lock(connection)
        if migration.name in await _read_applied(connection):
            return False
        await free_fleet_views(connection)
        await _execute(connection, migration, is_distributed=is_distributed)
        await connection.execute(
            "insert into schema_migrations (name, sha256) values (%s, %s)",
            [migration.name, migration.sha256],
        )
    return True


async def _execute(
    connection: psycopg.AsyncConnection[Any],
    migration: Migration,
    *,
    is_distributed: bool,
) -> None:
    """Execute the statements one by one, because Citus refuses several in one message."""
    every = statements(migration.sql.decode("utf-8"))
    if is_distributed:
        await execute_distributed(connection, every)
        return
    for statement in every:
        await connection.execute(statement.encode())


async def _lock(connection: psycopg.AsyncConnection[Any]) -> None:
    """Set the transaction up, and wait for other programs that migrate."""
    async with connection.cursor() as cursor:
        await cursor.execute(_TRANSACTION)
        await cursor.execute("select pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])


@contextmanager
def _refusals_of(what: str) -> Iterator[None]:
    """Turn refusals that are final into `SchemaRejected`.

    These are the errors of class 42: no permission, another program's table in the way,
    and so on.  An error of the server's operating system may have the same code and is
    not final.
    """
    try:
        yield
    except psycopg.errors.DependentObjectsStillExist as exc:
        raise SchemaRejected(
            f"the database refused {what}, because objects outside of this program depend on "
            f"it: {exc}; drop them, and make them again afterwards",
            sqlstate=exc.sqlstate,
        ) from exc
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as exc:
        if is_about_server(exc.diag.source_file):
            raise
        remedy = f"; {_ELSEWHERE}" if exc.sqlstate in _NAME_IS_TAKEN else ""
        raise SchemaRejected(
            f"the database refused {what}: {exc}{remedy}", sqlstate=exc.sqlstate
        ) from exc
