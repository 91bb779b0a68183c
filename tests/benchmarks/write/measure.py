"""All ways in turn, round after round, on one server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import trio

from greeks_trio.model.records import Tick
from greeks_trio.postgres.tick_store import TickStore
from tests.benchmarks.report import say
from tests.benchmarks.servers import ServerCpu
from tests.benchmarks.write.rows import NAMES, Found, Rows, Way, warm_up_tick
from tests.factories import START
from tests.fix_postgres import connect

_COLUMNS = ", ".join(NAMES)
_CHECK = f"""
select count(*), coalesce(sum(hashtextextended(rows::text, 0)::numeric), 0)
from (
    select {_COLUMNS} from greek_snapshots where event_time >= %s
    order by event_time limit %s
) as rows
"""
_COUNT = "select count(*) from greek_snapshots where event_time >= %s"
_OTHERS = """
select count(*) from pg_stat_activity
where backend_type = 'client backend' and pid <> pg_backend_pid()
  and datname = current_database()
"""
# A server process ends a moment after its client has gone.
_GONE_LIMIT_S = 10.0


class WrongRows(Exception):
    """The table holds other rows than those that were given."""


@dataclass
class Sizes:
    """How much each way stores in a round, and how many rounds there are."""

    rounds: int
    commits: int


def prepare(rows: Rows) -> None:
    """Make the schema, the partitions, and the files for psql."""

    async def store(ticks: Sequence[Tick]) -> None:
        async with TickStore(rows.config, today=START.date).open() as sink:
            await sink.write(ticks)

    for ticks, path in (([warm_up_tick(0)], rows.warm_up), (rows.ticks, rows.prepared)):
        trio.run(store, ticks)
        with connect(rows.config) as connection:
            _export(connection, path)
            connection.execute("truncate greek_snapshots")
        path.chmod(0o644)


def _export(connection: psycopg.Connection, path: Path) -> None:
    query = f"select {_COLUMNS} from greek_snapshots order by event_time"
    with path.open("wb") as file, connection.cursor() as cursor:
        with cursor.copy(f"copy ({query}) to stdout (format binary)") as copy:
            for block in copy:
                file.write(block)


def _import(connection: psycopg.Connection, path: Path) -> None:
    statement = f"copy greek_snapshots ({_COLUMNS}) from stdin (format binary)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(path.read_bytes())


def measure(rows: Rows, ways: Sequence[Way], sizes: Sizes) -> dict[str, Found]:
    """Return what each way needed.

    Raises:
        WrongRows: a way stored other rows than the others.
    """
    found = {
        way.name: Found(min(way.batch or rows.batch, _number(rows, way)))
        for way in ways
    }
    cpu = ServerCpu(rows.config)
    with connect(rows.config) as admin:
        _empty(admin)
        _import(admin, rows.prepared)
        expected = {n: _values(admin, n) for n in {_number(rows, way) for way in ways}}
        for number in range(sizes.rounds):
            first = number % len(ways)
            for way in (*ways[first:], *ways[:first]):
                say(f"write: round {number + 1} of {sizes.rounds}: {way.name}")
                _measure_rows(admin, rows, way, found[way.name], cpu)
                size = _number(rows, way)
                if number == 0 and _values(admin, size) != expected[size]:
                    raise WrongRows(
                        f"{way.name}: a value is not the one that was given"
                    )
                _empty(admin)
                commits = max(1, sizes.commits // sizes.rounds)
                found[way.name].commits_s += way.commit_each(rows, commits)
    return found


def _number(rows: Rows, way: Way) -> int:
    return max(1, int(len(rows.records) * way.share))


def _measure_rows(
    admin: psycopg.Connection, rows: Rows, way: Way, found: Found, cpu: ServerCpu
) -> None:
    number = _number(rows, way)
    _empty(admin)
    before = cpu.seconds()
    need = way.store(rows, number)
    _wait_gone(admin)
    after = cpu.seconds()
    [(stored,)] = admin.execute(_COUNT, [START]).fetchall()
    if stored != number:
        raise WrongRows(f"{way.name}: {stored:,} rows in the table, not {number:,}")
    found.rows_per_s.append(number / need.wall_s)
    found.client_us.append(1e6 * need.client_s / number)
    if before is not None and after is not None:
        found.server_us.append(1e6 * (after - before) / number)


def _empty(admin: psycopg.Connection) -> None:
    admin.execute("truncate greek_snapshots")
    admin.execute("checkpoint")


def _wait_gone(admin: psycopg.Connection) -> None:
    give_up_at = time.monotonic() + _GONE_LIMIT_S
    while time.monotonic() < give_up_at:
        [(others,)] = admin.execute(_OTHERS).fetchall()
        if not others:
            return
        time.sleep(0.02)
    raise RuntimeError("a client has gone, and its server process has not")


def _values(admin: psycopg.Connection, number: int) -> tuple:
    [values] = admin.execute(_CHECK, [START, number]).fetchall()
    return values
