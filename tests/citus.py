"""A real Citus for the tests: the coordinator that ``TEST_CITUS_URL`` names.

It is a URL of a superuser's login to a database with the extension and at least one worker,
such as ``postgresql://postgres@127.0.0.1:5432/greeks``.  Each test has a schema of its own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from greeks_trio.config.settings import DatabaseConfig, Secret
from tests.fix_postgres import connect_options

URL = os.environ.get("TEST_CITUS_URL", "")
WHY_NOT = (
    "TEST_CITUS_URL is not set: the tests with a real Citus did not run; docs/testing.md"
    " says what it names"
)
_MONTHS = """
select distinct date_trunc('month', event_time at time zone 'UTC')::date
from greek_snapshots
"""
_serial = count(1)


def coordinator() -> DatabaseConfig:
    """Return the coordinator, with a new name for a schema."""
    given = {key: str(value) for key, value in conninfo_to_dict(URL).items()}
    return DatabaseConfig(
        hosts=(given.get("host", "localhost"),),
        ports=(int(given.get("port", 5432)),),
        user=given.get("user", "postgres"),
        password=Secret(given.get("password", "")),
        dbname=given.get("dbname", "postgres"),
        sslmode=given.get("sslmode", "prefer"),
        schema=f"greeks_test_{os.getpid()}_{next(_serial)}",
    )


@contextmanager
def opened(config: DatabaseConfig) -> Iterator[psycopg.Connection]:
    """Yield a plain connection whose path is the schema."""
    with psycopg.connect(**connect_options(config), autocommit=True) as connection:
        path = sql.SQL("set search_path = {}, pg_temp")
        connection.execute(path.format(sql.Identifier(config.schema or "public")))
        connection.execute("set timezone = 'UTC'")
        yield connection


@contextmanager
def fresh_schema() -> Iterator[DatabaseConfig]:
    """Yield the coordinator and a schema that does not exist yet; drop it afterwards."""
    config = coordinator()
    try:
        yield config
    finally:
        with opened(config) as connection:
            connection.execute(
                sql.SQL("drop schema if exists {} cascade").format(
                    sql.Identifier(config.schema)
                )
            )


def nodes(config: DatabaseConfig) -> list[DatabaseConfig]:
    """Return every node: the coordinator first."""
    with opened(config) as connection:
        found = connection.execute(
            "select nodename, nodeport from pg_dist_node where noderole = 'primary'"
            " and groupid <> 0 order by groupid"
        ).fetchall()
    return [config, *(replace(config, hosts=(h,), ports=(p,)) for h, p in found)]


def node_of(config: DatabaseConfig) -> DatabaseConfig:
    """Return the node that has the tables of the schema."""
    with opened(config) as connection:
        [(host, port)] = connection.execute(
            "select nodename, nodeport from citus_shards"
            " where table_name = 'greek_snapshots'::regclass"
        ).fetchall()
    return replace(config, hosts=(host,), ports=(port,))


@dataclass
class Node:
    """A node on this machine that a test kills and starts again."""

    config: DatabaseConfig
    command: list[str]
    environment: dict[str, str]
    directory: Path
    pid: int

    @classmethod
    def of(cls, config: DatabaseConfig) -> Node:
        with psycopg.connect(**connect_options(config), autocommit=True) as connection:
            [(options, directory, pid_file)] = connection.execute(
                "select pg_read_file('postmaster.opts'), current_setting('data_directory'),"
                " pg_read_file('postmaster.pid')"
            ).fetchall()
        pid = int(pid_file.split()[0])
        environment = psutil.Process(pid).environ()
        return cls(config, shlex.split(options), environment, Path(directory), pid)

    def kill(self) -> None:
        """Kill all of its processes at once."""
        postmaster = psutil.Process(self.pid)
        postmaster.suspend()
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in reversed(family):
            process.kill()
        psutil.wait_procs(family, timeout=10)

    def start(self) -> None:
        """Start it again, as the owner of its data."""
        owner = self.directory.stat()
        subprocess.run(
            ["setsid", "--fork", *self.command],
            check=True,
            env=self.environment,
            user=owner.st_uid,
            group=owner.st_gid,
            extra_groups=[],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            try:
                found = Node.of(self.config)
            except psycopg.OperationalError:
                continue
            self.pid = found.pid
            return


def copy_tables(source: psycopg.Connection, target: psycopg.Connection) -> None:
    """Copy all rows; the target has the tables, and gets the months."""
    for month in source.execute(_MONTHS).fetchall():
        target.execute("select make_month(%s)", month)
    for table, columns in _tables(source):
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        name = sql.Identifier(table)
        with (
            source.cursor().copy(
                sql.SQL("copy (select {} from {}) to stdout").format(names, name)
            ) as reading,
            target.cursor().copy(
                sql.SQL("copy {} ({}) from stdin").format(name, names)
            ) as writing,
        ):
            for data in reading:
                writing.write(data)


def _tables(connection: psycopg.Connection) -> list[tuple[str, list[str]]]:
    return connection.execute(
        "select relname, array_agg(attname order by attnum)::text[]"
        " from pg_class join pg_attribute on attrelid = pg_class.oid"
        " where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')"
        "   and not relispartition and relname <> 'schema_migrations'"
        "   and attnum > 0 and not attisdropped and attgenerated = ''"
        " group by relname"
    ).fetchall()


def questions(connection: psycopg.Connection, moment: datetime) -> list[str]:
    """Return a query for every view and every function that answers with rows."""
    views = connection.execute(
        "select format('select * from %I', relname) from pg_class"
        " where relnamespace = current_schema()::regnamespace and relkind = 'v'"
    ).fetchall()
    functions = connection.execute(
        "select proname, (proargtypes::regtype[])[0:pronargs - pronargdefaults - 1]::text[]"
        " from pg_proc where pronamespace = current_schema()::regnamespace and proretset"
        " and proname like '%asof' or pronamespace = current_schema()::regnamespace"
        " and proname in ('newest_by_lookup', 'position_values', 'portfolio_sums')"
        " order by 1"
    ).fetchall()
    at = f"timestamptz '{moment.isoformat()}'"
    values = {
        "timestamp with time zone": at,
        "double precision": "300",
        "boolean": "false",
        "text": "'SPY'",
        "date": f"date '{moment.date().isoformat()}'",
        "text[]": "null",
    }
    calls = [
        f"select * from {name}({', '.join(values[kind] for kind in kinds)})"
        for name, kinds in functions
        if name != "holdings_asof"
    ]
    return [
        *(text for (text,) in views),
        *calls,
        f"select * from holdings_asof({at}, 300, true)",
    ]


def answer(connection: psycopg.Connection, question: str) -> list[str]:
    """Return the rows in one order, without the last digits of sums.

    Those of a view have no ages, because it answers for the present.
    """
    cursor = connection.execute(question)
    names = [column.name for column in cursor.description]
    is_of_a_moment = "(" in question
    kept = [n for n, name in enumerate(names) if is_of_a_moment or not _passes(name)]
    rows = ([_plain(row[n]) for n in kept] for row in cursor)
    return sorted(map(repr, rows))


def _passes(name: str) -> bool:
    """Return whether the value changes with the time of the question."""
    return name.endswith("age_s") or name in (
        "duration_s",
        "duration",
        "days",
        "ended_at",
    )


def _plain(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.9g}")
    return sorted(value) if isinstance(value, list) else value
