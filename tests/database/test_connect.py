"""Connecting: the error of a refused or impossible login, and the settings of a session."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import trio
from psycopg import sql

from greeks_trio.config.settings import Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connect import (
    connection_arguments,
    open_connection,
)
from greeks_trio.postgres.login import login_error
from tests.fix_postgres import connect


async def test_connecting_to_a_deaf_server_ends_in_time(proxy):
    proxy.go_deaf()
    started_at = trio.current_time()

    with pytest.raises(StoreUnavailable, match="in time") as caught:
        async with open_connection(replace(proxy.config, timeout_s=0.2)):
            pass

    assert caught.value.sqlstate is None
    assert trio.current_time() - started_at < 8


async def test_a_port_without_a_listener_is_unavailable(database):
    with pytest.raises(StoreUnavailable) as caught:
        async with open_connection(replace(database, hosts=("127.0.0.1",), ports=(1,))):
            pass

    assert caught.value.sqlstate is None


async def test_a_host_that_has_no_address_is_unavailable(database):
    with pytest.raises(StoreUnavailable, match=r"nowhere\.invalid"):
        async with open_connection(replace(database, hosts=("nowhere.invalid",))):
            pass


async def test_the_next_server_is_tried_when_the_first_is_away(database):
    server = database.server
    several = replace(database, hosts=(server.host,) * 2, ports=(1, server.port))

    async with open_connection(several) as connection:
        assert connection.info.port == server.port


async def test_the_next_server_is_tried_in_time_when_the_first_is_deaf(proxy, database):
    proxy.go_deaf()
    deaf, well = proxy.config.server, database.server
    several = replace(
        database, hosts=(deaf.host, well.host), ports=(deaf.port, well.port)
    )

    async with open_connection(several) as connection:
        assert connection.info.port == well.port


async def test_each_server_that_is_away_is_named_once_with_its_reason(database):
    several = replace(database, hosts=("127.0.0.1",) * 2, ports=(1, 2))
    with pytest.raises(StoreUnavailable) as caught:
        async with open_connection(several):
            pass

    reason = "Connection refused; start PostgreSQL there, or correct POSTGRES_HOST and"
    reason += " POSTGRES_PORT"
    assert str(caught.value) == f"127.0.0.1:1: {reason}; 127.0.0.1:2: {reason}"


async def test_an_unknown_database_says_its_sqlstate(database):
    with pytest.raises(StoreUnavailable, match="nowhere") as caught:
        async with open_connection(replace(database, dbname="nowhere")):
            pass

    assert caught.value.sqlstate == "3D000"


async def test_an_unknown_role_says_its_sqlstate_and_no_password(database):
    stranger = replace(database, user="stranger", password=Secret("hunter2"))
    with pytest.raises(StoreUnavailable, match="stranger") as caught:
        async with open_connection(stranger):
            pass

    assert caught.value.sqlstate[:2] == "28"
    assert "hunter2" not in repr(caught.value) + repr(caught.value.__cause__)


def test_libpqs_verbose_text_gives_the_code_in_any_language():
    error = login_error(
        'connection to server at "::1", port 5432 failed: FATAL:  28P01: '
        "Passwort-Authentifizierung für Benutzer »p« fehlgeschlagen\nORT: auth.c:326\n"
    )

    assert error.sqlstate == "28P01"
    assert str(error) == (
        "Passwort-Authentifizierung für Benutzer »p« fehlgeschlagen;"
        " correct POSTGRES_USER or POSTGRES_PASSWORD"
    )


def test_libpqs_own_failures_have_no_code():
    assert login_error("server does not support SSL").sqlstate is None


async def test_sessions_are_in_utc_and_commit_durably(database):
    async with open_connection(database) as connection:
        for setting, value in {
            "timezone": "UTC",
            "synchronous_commit": "on",
            "lock_timeout": "4s",  # it says so before we give it up at 5 s
            "statement_timeout": "0",
            "idle_in_transaction_session_timeout": "10s",
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
        }.items():
            cursor = await connection.execute(f"show {setting}")
            assert await cursor.fetchall() == [(value,)]


def test_a_dead_peer_is_noticed_at_both_ends_of_the_link(database):
    arguments = connection_arguments(replace(database, timeout_s=5))

    assert arguments["tcp_user_timeout"] == 5_000
    assert arguments["keepalives"] == 1
    assert arguments["keepalives_idle"] == 10
    assert arguments["connect_timeout"] == 3  # for each address, within five for all
    assert arguments["target_session_attrs"] == "read-write"


async def test_a_server_with_dates_of_its_own_style_is_understood(empty_database):
    with connect(empty_database) as admin:
        admin.execute(
            sql.SQL("alter database {} set datestyle = 'German'").format(
                sql.Identifier(empty_database.dbname)
            )
        )

    async with open_connection(empty_database) as connection:
        cursor = await connection.execute("select timestamptz '2026-02-01 00:00+00'")
        [(moment,)] = await cursor.fetchall()

    assert moment == datetime(2026, 2, 1, tzinfo=UTC)
