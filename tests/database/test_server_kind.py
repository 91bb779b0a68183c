"""``check`` and the log say which kind of server it is."""

from __future__ import annotations

import logging

import pytest

from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.schema.schema_watch import log_server
from greeks_trio.postgres.server_kind import (
    ServerKind,
    inspect_server,
    read_server_kind,
)

PLAIN = ServerKind(
    version="18.4",
    is_standby=False,
    standbys=0,
    schema="desk_a",
    has_tables=True,
    role="desk",
    is_owner=True,
)
COORDINATOR = {"citus": "15.0-1", "has_schemas": True, "workers": 2, "takes_shards": 2}


def changed(**changes):
    values = {name: getattr(PLAIN, name) for name in PLAIN.__struct_fields__}
    return ServerKind(**{**values, **changes})


async def test_a_server_of_its_own_is_named(database):
    async with open_connection(database, autocommit=True) as connection:
        kind = await read_server_kind(connection)
        [finding] = await inspect_server(connection, database)
    assert kind.citus is None
    assert kind.has_tables
    assert kind.is_owner
    assert kind.obstacle() is None
    assert finding.verdict == "fine"
    assert finding.sentence == f"PostgreSQL {kind.version}"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_standby": True}, "a standby, which accepts no rows"),
        ({"standbys": 2}, "2 standbys follow it"),
        (COORDINATOR, "coordinator of 2 workers; the tables"),
        ({**COORDINATOR, "has_tables": False}, "has no tables yet"),
        (
            {**COORDINATOR, "is_distributed": True, "node": "w2:5432"},
            "is distributed and its tables are on w2:5432",
        ),
        ({**COORDINATOR, "is_coordinator": False}, "one of 2 workers"),
    ],
)
def test_each_kind_has_its_words(changes, words):
    assert words in changed(**changes).describe()


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"schema": "public"}, "GREEKS_DB_SCHEMA"),
        ({"has_schemas": False}, "12.0"),
        ({"is_owner": False}, 'alter schema "desk_a" owner to "desk"'),
        ({"takes_shards": 0}, "citus_add_node"),
        ({"is_coordinator": False}, "POSTGRES_HOST"),
        ({"is_coordinator": False, "is_distributed": True}, "POSTGRES_HOST"),
    ],
)
def test_an_obstacle_has_its_remedy(changes, remedy):
    _, found = changed(**COORDINATOR | changes).obstacle()
    assert remedy in found


def test_a_coordinator_with_workers_has_no_obstacle():
    assert changed(**COORDINATOR).obstacle() is None
    assert changed(**COORDINATOR, is_distributed=True).obstacle() is None


async def test_the_log_names_the_server_once(database, caplog):
    caplog.set_level(logging.INFO)
    async with open_connection(database, autocommit=True) as connection:
        findings = await inspect_server(connection, database)
    told = log_server(findings, "")
    assert log_server(findings, told) == told
    assert caplog.text.count("database.server kind=PostgreSQL") == 1
