"""No login of a bundled server is a superuser, and no stranger gets its password."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from greeks_trio.config.settings import Secret
from greeks_trio.errors import ConfigError, StoreUnavailable
from greeks_trio.postgres.embedded import accounts, launcher
from greeks_trio.postgres.embedded.accounts import Account, new_account
from greeks_trio.postgres.embedded.address import make_database
from greeks_trio.postgres.embedded.binaries import find_programs
from greeks_trio.postgres.embedded.cluster import hand_over
from greeks_trio.postgres.embedded.files import read_small, write_small
from greeks_trio.postgres.embedded.server import embedded_server
from tests.fix_postgres import QUICK, apply_schema, connect

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="two users need root")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("roles") / "data"
    with embedded_server(data_dir, settings=QUICK) as config:
        yield data_dir, config


def rights(connection: psycopg.Connection) -> dict[str, bool]:
    found = connection.execute(
        "select rolname, rolsuper from pg_roles where rolname !~ '^pg_'"
    )
    return dict(found.fetchall())


def test_the_role_of_the_service_owns_the_database_and_is_no_superuser(running):
    _, config = running
    with connect(config) as connection:
        assert rights(connection) == {"greeks_admin": True, "portfolio": False}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("copy (select 1) to program 'id'")
        for step in (
            "alter role portfolio superuser",
            "grant pg_execute_server_program to portfolio",
            "grant greeks_admin to portfolio",
            "set role greeks_admin",
            "select pg_read_file('PG_VERSION')",
            "alter system set port = 1",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(step)
        connection.execute("create schema own; create role reader login")
        connection.execute("drop schema own; drop role reader")


@pytest.mark.parametrize("password", ["", "x"])
def test_nobody_can_log_in_as_the_superuser(running, password):
    _, config = running
    admin = replace(config, user="greeks_admin", password=Secret(password))
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
        connect(admin)


def _make_old_cluster(data_dir: Path) -> None:
    """Make a cluster as earlier versions did: its only role is a superuser."""
    directory = data_dir / "postgres-18"
    directory.mkdir(parents=True, mode=0o700)
    account = Account(65534, 65534) if os.geteuid() == 0 else None
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    with hand_over(directory, find_programs(18, account), account) as cluster:
        path = f"--pgdata={cluster.server_path}"
        arguments = ("--username=portfolio", "--auth=reject", "--no-sync")
        cluster.runner.run("initdb", path, *arguments, "--locale=C", "-EUTF8")
        sql = (
            "create database portfolio_engine;\n\n"
            "alter role portfolio password 'old';\n\n"
        )
        data = ("-D", cluster.server_path, "postgres")
        cluster.runner.run("postgres", "--single", "-j", "-F", *data, text=sql.encode())
    hba = "host all all 127.0.0.1/32 scram-sha-256\n"
    write_small(directory / "pg_hba.conf", hba, account)
    write_small(directory / "greeks_trio.password", "old", account)


def test_the_superuser_of_an_earlier_version_loses_its_rights(tmp_path):
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    _make_old_cluster(data_dir)
    # With a password in place, the roles stay as they are.
    (data_dir / "postgres-18-password").write_text("old")
    with embedded_server(data_dir, settings=QUICK) as config:
        apply_schema(config)
        with connect(config) as connection:
            assert rights(connection) == {"portfolio": True}
            connection.execute("create type mood as enum ('up')")
            connection.execute("create schema mine create table t (i serial)")
            connection.execute("insert into mine.t default values")
    (data_dir / "postgres-18-password").unlink()

    with embedded_server(data_dir, settings=QUICK) as config:
        with connect(config) as connection:
            assert rights(connection) == {"greeks_admin": True, "portfolio": False}
            kept = connection.execute(
                "select count(*) from pg_class join pg_namespace n"
                " on n.oid = relnamespace where relowner = 10"
                " and nspname in ('public', 'mine')"
            ).fetchone()
            connection.execute("alter table mine.t add column note text")
            connection.execute("drop type mood")
            connection.execute("drop view portfolio_greeks cascade")
            rows = connection.execute("select count(*) from mine.t").fetchone()
    assert kept == (0,)
    assert rows == (1,)
    assert config.password.reveal() != "old"
    owner = (data_dir / "postgres-18").stat().st_uid
    assert owner != 65534
    assert not (data_dir / "postgres-18" / "greeks_trio.password").exists()


class Stranger:
    """A server on a port that asks for the password in clear and keeps what it gets."""

    def __init__(self) -> None:
        self.heard = b""
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        client, _ = self._socket.accept()
        with client:
            client.recv(10_000)
            client.sendall(b"R\x00\x00\x00\x08\x00\x00\x00\x03")
            self.heard = client.recv(10_000)

    def close(self) -> None:
        self._thread.join(10)
        self._socket.close()


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    stranger = Stranger()
    yield stranger
    stranger.close()


def test_a_stranger_on_the_port_gets_no_password(running, stranger):
    _, config = running
    with pytest.raises(StoreUnavailable, match="refuses its database"):
        make_database(replace(config, ports=(stranger.port,)))
    stranger.close()
    assert config.password.reveal().encode() not in stranger.heard


def test_a_fixed_port_that_is_taken_is_named_and_left_alone(used_directory):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"port {port} .*EMBEDDED_PORT"):
            with embedded_server(used_directory, port=port, settings=QUICK):
                pass


def test_any_port_stays_the_same_and_a_minor_upgrade_is_noted(used_directory, caplog):
    caplog.set_level("INFO")
    ports = []
    for _ in range(2):
        with embedded_server(used_directory, settings=QUICK) as config:
            ports.append(config.server.port)
        assert "version_changed" not in caplog.text
    (used_directory / "postgres-18-version").write_text("18.0")
    with embedded_server(used_directory, settings=QUICK) as config:
        ports.append(config.server.port)
    assert len(set(ports)) == 1
    assert "embedded.version_changed from=18.0 to=18." in caplog.text


def test_a_kernel_without_user_namespaces_is_told_in_words(monkeypatch):
    class Library:
        def prctl(self, *arguments):
            return 0

        def unshare(self, flags):
            return -1

    with pytest.raises(SystemExit, match=r"has no name.*add a line for it to /etc/p"):
        launcher._take_name(Library(), 1)
    with pytest.raises(SystemExit, match="has no user namespaces"):
        launcher._take_name(None, 1)


@needs_root
def test_root_has_an_account_that_no_other_program_has(running):
    data_dir, _ = running
    uid = (data_dir / "postgres-18").stat().st_uid
    assert uid not in (0, 65534)
    with pytest.raises(KeyError):
        pwd.getpwuid(uid)
    assert new_account().uid != uid  # its server runs
    # The password belongs to root.
    kept = data_dir / "postgres-18-password"
    assert (kept.stat().st_uid, kept.stat().st_mode & 0o777) == (0, 0o600)


@needs_root
def test_files_of_another_owner_are_not_given_away(tmp_path):
    (tmp_path / "secret").write_text("of root")
    directory = tmp_path / "data"
    (directory / "base").mkdir(parents=True)
    (directory / "base" / "1").touch()
    (directory / "link").symlink_to(tmp_path / "secret")
    os.link(tmp_path / "secret", directory / "base" / "hard")
    for path in (directory, directory / "base", directory / "base" / "1"):
        os.chown(path, 65534, 65534)
    os.chown(directory / "link", 65534, 65534, follow_symlinks=False)

    accounts.give_tree(directory, Account(59_899, 59_899))

    assert (tmp_path / "secret").stat().st_uid == 0
    for path in (directory, directory / "base", directory / "base" / "1"):
        assert path.stat().st_uid == 59_899
    assert (directory / "link").lstat().st_uid == 59_899


@needs_root
def test_a_user_of_its_own_is_preferred_and_a_shared_one_is_the_last(monkeypatch):
    own = pwd.struct_passwd(("greeks-trio", "x", 990, 991, "", "/", "/bin/false"))
    monkeypatch.setattr(accounts.pwd, "getpwnam", lambda name: own)
    assert new_account() == Account(990, 991)
    monkeypatch.undo()

    monkeypatch.setattr(accounts, "has_user_namespaces", lambda: False)
    shared = new_account()
    assert shared.uid != 0
    assert pwd.getpwuid(shared.uid)
    assert shared.is_shared or shared.uid != 65534


@needs_root
def test_a_user_without_a_name_needs_nothing_else(tmp_path):
    """The user id of a container has no line in /etc/passwd."""
    with embedded_server(tmp_path / "data", settings=QUICK) as config:
        with connect(config) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    uid = (tmp_path / "data" / "postgres-18").stat().st_uid
    assert uid in range(59_800, 59_900)


@needs_root
@pytest.mark.parametrize("name", ["postgres.lock", "postgres.log"])
def test_a_directory_that_another_user_prepared_is_left_alone(name):
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o1777)
        trap, victim = Path(shared, "trap"), Path(shared, "victim")
        victim.write_text("kept")
        script = f"mkdir -m 755 {trap} && ln -s {victim} {trap}/{name}"
        subprocess.run(["sh", "-c", script], user=65534, group=65534, check=True)

        with pytest.raises(ConfigError, match="belongs to"):
            with embedded_server(trap, settings=QUICK):
                pass
        assert victim.read_text() == "kept"
        assert not (trap / "postgres-18").exists()


def test_a_link_in_place_of_a_small_file_is_not_followed(tmp_path):
    (tmp_path / "target").write_text("kept")
    link = tmp_path / "postmaster.pid"
    link.symlink_to("target")
    with pytest.raises(OSError, match="symbolic links"):
        read_small(link)
    write_small(link, "new")  # the link is replaced, its target stays
    assert (tmp_path / "target").read_text() == "kept"
    assert read_small(link) == "new"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="plain file"):
        read_small(tmp_path / "pipe")
