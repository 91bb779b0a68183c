"""The bundled PostgreSQL without a service: start, shell, dump, restore, upgrade."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
import trio

from greeks_trio.commands import db
from greeks_trio.config.settings import DatabaseConfig, Secret
from greeks_trio.errors import ConfigError, StoreUnavailable
from greeks_trio.postgres.embedded import clients, detached, upgrade
from greeks_trio.postgres.embedded.address import find_server, running_database
from greeks_trio.postgres.embedded.attach import open_embedded_database
from greeks_trio.postgres.embedded.detached import start_detached, stop_server
from greeks_trio.postgres.embedded.guard import open_guarded_server
from greeks_trio.postgres.embedded.server import embedded_server
from tests.fix_postgres import QUICK, apply_schema, connect

ROOT = Path(__file__).parents[2]


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does, with any free port."""
    return subprocess.run(
        [sys.executable, "-m", "greeks_trio", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "GREEKS_EMBEDDED_PORT": "0", "GREEKS_ENV_FILE": ""}
        | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def started(used_directory):
    """A server that stays, with a table, and its data directory."""
    data_dir = used_directory
    database, is_new = start_detached(data_dir, settings=QUICK)
    assert is_new
    with connect(database) as connection:
        connection.execute("create table kept as select n from generate_series(1, 9) n")
    yield data_dir, database
    stop_server(data_dir)


def count(database: DatabaseConfig) -> int:
    with connect(database) as connection:
        row = connection.execute("select count(*) from kept").fetchone()
    assert row is not None
    return int(row[0])


async def test_a_server_that_stays_serves_commands_and_services(
    started, capfd, monkeypatch
):
    data_dir, database = started
    server = find_server(data_dir)
    assert server is not None
    assert server.is_detached

    # A second start finds it.
    again, is_new = start_detached(data_dir)
    assert (again, is_new) == (database, False)

    async with open_guarded_server(data_dir) as used:
        assert used == database
        # A command works beside the service, and no command ends its server.
        async with open_embedded_database(data_dir, must_exist=True) as beside:
            assert beside == database
            assert count(beside) == 9
        with pytest.raises(StoreUnavailable, match="another process uses"):
            await trio.to_thread.run_sync(stop_server, data_dir)
    assert running_database(data_dir) == database  # the service left it running

    shell = run("psql", "--embedded", "--data-dir", data_dir, "-Atc", "table kept")
    assert (shell.returncode, len(shell.stdout.split())) == (0, 9)
    failed = run("psql", "--embedded", "--data-dir", data_dir, "-c", "select 1/0")
    assert failed.returncode == 1

    printed = run("dsn", "--embedded", "--data-dir", data_dir).stdout.strip()
    assert database.password.reveal() not in printed
    with psycopg.connect(printed) as connection:  # by the password file
        assert connection.execute("select current_user").fetchone() == ("portfolio",)
    secret = run("dsn", "--embedded", "--data-dir", data_dir, "--with-password")
    with psycopg.connect(secret.stdout.strip()) as connection:
        assert connection.info.dbname == "portfolio_engine"

    shown = run("db", "status", "--json", "--data-dir", data_dir)
    facts = json.loads(shown.stdout)
    assert facts["running"]
    assert (facts["pid"], facts["port"]) == (server.pid, database.server.port)
    assert facts["version"].startswith("18.")
    assert facts["address"] == printed

    stopped = run("db", "stop", "--data-dir", data_dir)
    assert stopped.stdout == f"stopped process {server.pid}\n"
    assert not psutil.pid_exists(server.pid)
    assert run("db", "status", "--data-dir", data_dir).returncode == 1
    log = (data_dir / "postgres-18" / "start.log").read_text()
    assert "redirecting log output" in log
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        _, port = other.getsockname()
        taken = f"port {port} .* is in use by another program"
        with pytest.raises(StoreUnavailable, match=taken):
            start_detached(data_dir, port=port)
        # Another program was quicker: only PostgreSQL's log of the day says it.
        monkeypatch.setattr(detached, "is_port_taken", lambda port: False)
        with pytest.raises(StoreUnavailable, match=taken):
            start_detached(data_dir, port=port)


async def test_a_server_that_stays_and_is_killed_is_started_again(started):
    data_dir, database = started
    server = find_server(data_dir)
    assert server is not None
    async with open_guarded_server(data_dir) as used:
        os.kill(server.pid, signal.SIGKILL)
        await trio.to_thread.run_sync(psutil.Process(server.pid).wait)
        with trio.fail_after(30):
            while True:
                present = find_server(data_dir)
                if present and present.is_ready and present.pid != server.pid:
                    break
                await trio.sleep(0.05)
        assert not present.is_detached
        assert await trio.to_thread.run_sync(count, used) == 9
    assert used.server.port == database.server.port


def test_a_dump_is_restored_elsewhere_and_nowhere_else(started, tmp_path, capfd):
    data_dir, _ = started
    file = tmp_path / "greeks.dump"
    db.dump(data_dir, file, 0)
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="exists: choose another"):
        db.dump(data_dir, file, 0)

    other = tmp_path / "other"
    assert db.restore(other, file, 0) == 0
    with embedded_server(other, settings=QUICK) as database:
        assert count(database) == 9
        with connect(database) as connection:
            owner = connection.execute(
                "select relowner::regrole::text from pg_class where relname = 'kept'"
            ).fetchone()
    assert owner == ("portfolio",)
    with pytest.raises(StoreUnavailable, match="has 1 tables: choose an empty"):
        db.restore(other, file, 0)

    whole = file.read_bytes()
    for content in (b"PGDMP", whole[: len(whole) // 2], whole[:-20]):
        (tmp_path / "broken").write_bytes(content)
        with pytest.raises(StoreUnavailable, match=r"broken is damaged.* nothing has"):
            db.restore(tmp_path / "third", tmp_path / "broken", 0)
    assert not (tmp_path / "third").exists()
    with pytest.raises(StoreUnavailable, match="has no data"):
        db.dump(tmp_path / "missing", tmp_path / "x", 0)
    assert not (tmp_path / "x").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(scope="module")
def data_of_16(tmp_path_factory):
    """A data directory that PostgreSQL 16 wrote."""
    data_dir = tmp_path_factory.mktemp("sixteen") / "data"
    with embedded_server(data_dir, version=16, settings=QUICK) as database:
        apply_schema(database)
        with connect(database) as connection:
            connection.execute(
                "create table kept as select n, n / 3.0::float8 as third,"
                " timestamptz '2026-01-01 00:00Z' + n * interval '1 s' as at"
                " from generate_series(1, 10000) n"
            )
    return data_dir


def test_older_data_is_upgraded_once_and_kept(data_of_16, monkeypatch, capfd):
    with pytest.raises(StoreUnavailable, match="db upgrade --data-dir"):
        with embedded_server(data_of_16):
            pass
    # An upgrade that was interrupted.
    (data_of_16 / "postgres-18.upgrade").mkdir()

    # A copy that differs is not taken.
    content = upgrade._tables
    monkeypatch.setattr(
        upgrade,
        "_tables",
        lambda connection: content(connection) | _loses_a_row(connection),
    )
    with pytest.raises(
        StoreUnavailable, match=r"differ from the old ones: public\.kept"
    ):
        upgrade.upgrade_data(data_of_16, durable=False)
    assert not (data_of_16 / "postgres-18").exists()
    monkeypatch.undo()

    # A full disk is noticed first.
    monkeypatch.setattr(upgrade, "_SPACE_BYTES", 10**18)
    with pytest.raises(StoreUnavailable, match="the disk has"):
        upgrade.upgrade_data(data_of_16, durable=False)
    monkeypatch.undo()

    done = upgrade.upgrade_data(data_of_16, durable=False)
    assert done is not None
    assert (done.old, done.rows >= 10_000) == (16, True)
    assert done.old_directory.is_dir()
    assert upgrade.upgrade_data(data_of_16, durable=False) is None
    with embedded_server(data_of_16, settings=QUICK) as database:
        assert count(database) == 10_000
        with connect(database) as connection:
            assert connection.info.server_version // 10_000 == 18
            assert connection.execute("show is_superuser").fetchone() == ("off",)
        with pytest.raises(psycopg.OperationalError, match="rejects"):
            connect(replace(database, user="greeks_admin"))


def _loses_a_row(connection: psycopg.Connection) -> dict[str, tuple[int, str]]:
    is_new = connection.info.server_version >= 18_00_00
    return {"public.kept": (9_999, "1")} if is_new else {}


def test_newer_data_is_refused_in_words(tmp_path):
    (tmp_path / "postgres-19").mkdir()
    with pytest.raises(StoreUnavailable, match=r"PostgreSQL 19, .* install a newer"):
        with embedded_server(tmp_path):
            pass


def test_the_password_is_in_the_environment_only(monkeypatch):
    database = DatabaseConfig(
        hosts=("db",), password=Secret("s3cret"), sslmode="require"
    )
    present = {"PGSERVICE": "other", "PGHOSTADDR": "1.2.3.4", "HOME": "/h"}
    environment = clients.client_environment(database, present)
    assert environment == {
        "HOME": "/h",
        "PGHOST": "db",
        "PGPORT": "5432",
        "PGUSER": "portfolio",
        "PGDATABASE": "portfolio_engine",
        "PGSSLMODE": "require",
        "PGREQUIREAUTH": "scram-sha-256",
        "PGPASSWORD": "s3cret",
    }


def test_a_machine_without_client_programs_is_told_what_to_install(monkeypatch):
    def missing(version, account):
        raise StoreUnavailable("not installed")

    monkeypatch.setattr(clients, "find_programs", missing)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StoreUnavailable, match=r"no psql: install .*postgresql-client"):
        clients.find_client("psql")


def test_an_upgrade_of_a_wrong_name_makes_no_directory(tmp_path):
    with pytest.raises(StoreUnavailable, match="has no data"):
        upgrade.upgrade_data(tmp_path / "typo")

    assert list(tmp_path.iterdir()) == []
