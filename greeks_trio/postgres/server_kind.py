"""Find out which kind of server it is: PostgreSQL alone, a standby, or a node of Citus."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import dict_row, tuple_row

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.findings import Finding, Verdict

# The first version of Citus with schema-based sharding.
OLDEST_CITUS: Final = "12.0"

_SERVER: Final = """
select
    current_setting('server_version') as version,
    pg_is_in_recovery() as is_standby,
    (select count(*) from pg_stat_replication where state = 'streaming') as standbys,
    coalesce(current_schema(), '') as schema,
    to_regclass('schema_migrations') is not null as has_tables,
    current_user::text as role,
    coalesce((
        select pg_has_role(nspowner, 'USAGE') from pg_namespace
        where nspname = current_schema()), false) as is_owner,
    (select extversion from pg_extension where extname = 'citus') as citus,
    to_regclass('pg_catalog.pg_dist_schema') is not null as has_schemas
"""
_NODES: Final = """
select
    coalesce((select groupid from pg_dist_local_group), 0) = 0 as is_coordinator,
    (select count(*) from pg_dist_node
     where noderole = 'primary' and groupid <> 0) as workers,
    (select count(*) from pg_dist_node
     where noderole = 'primary' and isactive and shouldhaveshards) as takes_shards
"""
_PLACE: Final = """
select nodename || ':' || nodeport
from pg_dist_schema s
left join pg_dist_partition p on p.colocationid = s.colocationid
left join pg_dist_shard using (logicalrelid)
left join pg_dist_placement using (shardid)
left join pg_dist_node n on n.groupid = pg_dist_placement.groupid and noderole = 'primary'
where s.schemaid = to_regnamespace(quote_ident(%s))
order by 1 limit 1
"""
# A session sets synchronous_commit at the coordinator only.
_UNSAFE: Final = """
select nodename || ':' || nodeport, success, result
from run_command_on_workers($$
    select concat_ws(' and ',
        case when current_setting('synchronous_commit') in ('off', 'local')
            then 'synchronous_commit' end,
        case when current_setting('fsync') = 'off' then 'fsync' end)
$$)
where not success or result <> ''
order by 1
"""


class ServerKind(msgspec.Struct, frozen=True):
    """A server, and the place of our tables on it.

    Attributes:
        version: The version of PostgreSQL.
        is_standby: Whether it follows another server and accepts no rows.
        standbys: The standbys that follow it and that the role may see.
        schema: The schema of our tables.
        has_tables: Whether it has them.
        role: Our role.
        is_owner: Whether our role owns the schema.
        citus: The version of Citus; `None` without the extension.
        has_schemas: Whether this version of Citus can distribute schemas.
        is_coordinator: Whether it is the coordinator.
        workers: The workers of Citus.
        takes_shards: The nodes that may have tables.
        is_distributed: Whether Citus has distributed the schema.
        node: The node that has the tables of a distributed schema, once there are some.
    """

    version: str
    is_standby: bool
    standbys: int
    schema: str
    has_tables: bool
    role: str
    is_owner: bool
    citus: str | None = None
    has_schemas: bool = False
    is_coordinator: bool = True
    workers: int = 0
    takes_shards: int = 0
    is_distributed: bool = False
    node: str | None = None

    def describe(self) -> str:
        """Return the kind of the server, and the place of the tables, in words."""
        named = f"PostgreSQL {self.version}"
        if self.citus is None:
            if self.is_standby:
                return f"{named}, a standby, which accepts no rows"
            many = "standby follows" if self.standbys == 1 else "standbys follow"
            return named + (f"; {self.standbys} {many} it" if self.standbys else "")
        many = "worker" if self.workers == 1 else "workers"
        role = "coordinator of" if self.is_coordinator else "one of"
        kind = f"{named} with Citus {self.citus}, {role} {self.workers} {many}"
        if self.is_standby:
            kind += ", a standby, which accepts no rows"
        if not self.is_distributed and not self.has_tables:
            return f"{kind}; the schema {self.schema} has no tables yet"
        if not self.is_distributed:
            return (
                f"{kind}; the tables of the schema {self.schema} are on this node only"
            )
        place = f" and its tables are on {self.node}" if self.node else ""
        return f"{kind}; the schema {self.schema} is distributed{place}"

    def obstacle(self) -> tuple[str, str] | None:
        """Return the reason for which Citus does not work for us, and the remedy."""
        if self.citus is None:
            return None
        again = "then run migrate"
        if not self.is_coordinator:
            return (
                "only the coordinator distributes a schema and makes partitions",
                "set POSTGRES_HOST to the coordinator",
            )
        if self.is_distributed:
            return None
        if not self.has_schemas:
            return (
                f"Citus {self.citus} cannot distribute a schema",
                f"update Citus to {OLDEST_CITUS} or later, {again}",
            )
        if self.schema == "public":
            return (
                "the schema public cannot be distributed",
                f"set GREEKS_DB_SCHEMA to a schema for this login, {again}",
            )
        if not self.is_owner:
            change = sql.SQL("alter schema {} owner to {};").format(
                sql.Identifier(self.schema), sql.Identifier(self.role)
            )
            return (
                f"the role {self.role} does not own the schema {self.schema}",
                f"{change.as_string()} {again}",
            )
        if not self.takes_shards:
            return (
                "the coordinator has no worker",
                f"select citus_add_node('...', 5432); on the coordinator, {again}",
            )
        return None


async def read_server_kind(connection: psycopg.AsyncConnection[Any]) -> ServerKind:
    """Return the kind of the server.

    Raises:
        psycopg.Error: there is no answer.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_SERVER)
        [found] = await cursor.fetchall()
        if found["citus"] is None:
            return msgspec.convert(found, ServerKind)
        await cursor.execute(_NODES)
        found |= (await cursor.fetchall())[0]
    if found["has_schemas"]:
        async with connection.cursor(row_factory=tuple_row) as places:
            await places.execute(_PLACE, [found["schema"]])
            rows = await places.fetchall()
        found["is_distributed"] = bool(rows)
        found["node"] = rows[0][0] if rows else None
    return msgspec.convert(found, ServerKind)


async def inspect_server(
    connection: psycopg.AsyncConnection[Any], _: DatabaseConfig
) -> list[Finding]:
    """Return the kind of the server, and whether its nodes share the work.

    Raises:
        psycopg.Error: there is no answer.
    """
    kind = await read_server_kind(connection)
    verdict: Verdict = "fine"
    sentence, remedy = kind.describe(), None
    obstacle = kind.obstacle()
    if obstacle is None and kind.citus and not kind.is_distributed:
        obstacle = "migrate distributes them", "run migrate"
    if obstacle is not None:
        verdict = "warning" if kind.has_tables or kind.obstacle() else "fine"
        reason, remedy = obstacle
        sentence = f"{sentence}: {reason}"
        remedy = f"{remedy[0].upper()}{remedy[1:]}."
    found = Finding(subject="server", verdict=verdict, sentence=sentence, remedy=remedy)
    return [found, *(await _inspect_workers(connection) if kind.is_distributed else [])]


async def _inspect_workers(
    connection: psycopg.AsyncConnection[Any],
) -> list[Finding]:
    """Return a finding for each worker that does not answer, or may lose a commit."""
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_UNSAFE)
        return [_of_worker(*row) for row in await cursor.fetchall()]


def _of_worker(node: str, is_answering: bool, result: str) -> Finding:
    if not is_answering:
        return Finding(
            subject="server",
            verdict="failed",
            sentence=f"the worker {node} does not answer: {result}",
        )
    return Finding(
        subject="server",
        verdict="warning",
        sentence=f"{result} is off on the worker {node}, so a crash of it may lose "
        "committed ticks",
        remedy="Set it to on in the postgresql.conf of each worker.",
    )
