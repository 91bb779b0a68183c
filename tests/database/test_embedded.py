from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import trio

from greeks_trio.config.settings import DatabaseConfig, Secret
from greeks_trio.errors import ConfigError, StoreUnavailable
from greeks_trio.postgres.embedded import binaries as embedded_binaries
from greeks_trio.postgres.embedded import process as embedded_process
from greeks_trio.postgres.embedded import server as embedded
from greeks_trio.postgres.embedded.cluster import Cluster, open_cluster
from greeks_trio.postgres.embedded.server import embedded_server, open_embedded_server
from tests.fix_postgres import QUICK, connect

IS_ROOT = os.geteuid() == 0
# The longest end of a server on a busy machine, seconds.
PATIENCE_S = 20
ROOT = Path(__file__).parents[2]

# A small service: runs a server, reports it, and stores one more row at Ctrl-C.
SERVICE = """
import sys
from pathlib import Path
import psycopg, trio
from greeks_trio.postgres.embedded.server import open_embedded_server

async def main():
    async with open_embedded_server(
        Path(sys.argv[1]), settings={"fsync": "off"}
    ) as config:
        with psycopg.connect(
            host=config.server.host, port=config.server.port, user=config.user,
            password=config.password.reveal(), dbname=config.dbname, autocommit=True,
        ) as connection:
            connection.execute("create table if not exists stored (what text)")
            connection.execute("insert into stored values ('before')")
            pid_file = Path(sys.argv[1]) / "postgres-18" / "postmaster.pid"
            try:
                print(pid_file.read_text().split()[0], flush=True)
                await trio.sleep_forever()
            except KeyboardInterrupt:
                connection.execute("insert into stored values ('after')")

trio.run(main)
"""


@contextmanager
def service(
    data_dir: Path, *prefix: str
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a process that runs a server, in a group of its own, and the server's pid."""
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", SERVICE, str(data_dir)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                _, errors = process.communicate()
                raise AssertionError(errors)
            yield process, int(line)
        finally:
            process.kill()


@contextmanager
def watched(pid: int) -> Iterator[select.poll]:
    """Yield a file descriptor that becomes readable at the end of the process."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        yield poll
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)


def has_ended(poll: select.poll) -> bool:
    return bool(poll.poll(PATIENCE_S * 1000))


def stored(data_dir: Path) -> list[str]:
    with (
        embedded_server(data_dir, settings=QUICK) as config,
        connect(config) as connection,
    ):
        return [what for (what,) in connection.execute("select what from stored")]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[tuple[Path, DatabaseConfig]]:
    """A server as the service runs it, and its data directory."""
    data_dir = tmp_path_factory.mktemp("running")
    with embedded_server(data_dir) as config:
        yield data_dir, config


@pytest.fixture
def running_connection(running) -> Iterator[psycopg.Connection]:
    _, config = running
    with connect(config) as connection:
        yield connection


def show(connection: psycopg.Connection, *names: str) -> list[str]:
    """Return PostgreSQL's settings of these names."""
    found = [connection.execute(f"show {name}").fetchone() for name in names]
    return [row[0] for row in found if row is not None]


def test_the_server_is_the_version_asked_for(running_connection, embedded_16_server):
    with connect(embedded_16_server) as other:
        assert other.info.server_version // 10_000 == 16
    assert running_connection.info.server_version // 10_000 == 18


def test_the_database_is_there_and_made_for_any_text(running_connection):
    info = running_connection.info

    assert (info.user, info.dbname) == ("portfolio", "portfolio_engine")
    assert show(running_connection, "server_encoding", "timezone") == ["UTF8", "UTC"]


def test_data_is_safe_from_a_power_failure_unless_asked_otherwise(
    running_connection, embedded_16_server
):
    assert show(running_connection, "fsync", "synchronous_commit") == ["on", "on"]
    with connect(embedded_16_server) as quick:
        assert show(quick, "fsync") == ["off"]


def test_only_the_password_opens_it(running):
    data_dir, config = running
    for guess in (Secret("wrong"), Secret("")):
        with pytest.raises(psycopg.OperationalError, match="password"):
            connect(replace(config, password=guess))

    kept = data_dir / "postgres-18-password"
    assert kept.read_text() == config.password.reveal()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert config.password.reveal() not in (data_dir / "postgres.log").read_text()


def test_it_listens_on_loopback_only(running, running_connection):
    _, config = running

    assert (config.server.host, config.sslmode) == ("127.0.0.1", "disable")
    assert show(running_connection, "listen_addresses") == ["127.0.0.1"]
    assert show(running_connection, "unix_socket_directories") == [""]


def test_a_data_directory_has_one_server_at_a_time(running, running_connection):
    data_dir, _ = running
    with pytest.raises(StoreUnavailable, match="another process uses"):
        with embedded_server(data_dir):
            pass

    assert running_connection.execute("select 1").fetchone() == (1,)


def test_a_data_directory_keeps_its_data(tmp_path):
    data_dir = tmp_path / "new" / "data"
    with (
        embedded_server(data_dir, settings=QUICK) as config,
        connect(config) as connection,
    ):
        connection.execute("create table stored as select 'kept' as what")

    assert stored(data_dir) == ["kept"]


def test_a_temporary_directory_is_removed(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with embedded_server(settings=QUICK):
        [directory] = tmp_path.glob("greeks-trio-*")

    assert not directory.exists()


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(used_directory):
    with service(used_directory) as (process, pid), watched(pid) as server:
        os.killpg(process.pid, signal.SIGINT)

        assert process.wait(PATIENCE_S) == 0
        assert has_ended(server)

    assert stored(used_directory) == ["before", "after"]
    # The first of the two servers ended cleanly: the second had nothing to recover.
    assert "not properly shut down" not in (used_directory / "postgres.log").read_text()


def test_the_server_ends_with_a_parent_that_is_killed(used_directory):
    with service(used_directory) as (process, pid), watched(pid) as server:
        process.kill()

        assert has_ended(server)

    assert stored(used_directory) == ["before"]


def test_a_start_right_after_a_kill_waits_for_the_old_server(used_directory):
    with service(used_directory) as (process, pid), watched(pid) as server:
        process.kill()
        process.wait()

        assert stored(used_directory) == ["before"]
        assert has_ended(server)


def test_a_committed_row_survives_the_kill_of_both(used_directory):
    with service(used_directory) as (process, pid), watched(pid) as server:
        process.send_signal(signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        process.kill()

        assert has_ended(server)

    assert stored(used_directory) == ["before"]
    assert "not properly shut down" in (used_directory / "postgres.log").read_text()


def test_an_orphan_is_replaced(used_directory):
    with open_cluster(used_directory, 18, durable=False) as cluster:
        pid = _start_orphan(cluster)

    with (
        watched(pid) as orphan,
        embedded_server(used_directory, settings=QUICK) as config,
        connect(config) as connection,
    ):
        assert has_ended(orphan)
        assert connection.execute("select 1").fetchone() == (1,)


def _start_orphan(cluster: Cluster) -> int:
    """Start a server that does not know this process, as after a killed service on macOS."""
    cluster.runner.run(
        "pg_ctl",
        "start",
        f"--pgdata={cluster.server_path}",
        f"--log={cluster.server_path}/orphan.log",
        f"--options=-h 127.0.0.1 -p {embedded._free_port()} -k ''",
        "--wait",
    )
    return int((cluster.directory / "postmaster.pid").read_text().split()[0])


def test_the_number_of_a_server_that_has_gone_may_be_another_processs(used_directory):
    with open_cluster(used_directory, 18, durable=False) as cluster:
        directory, account = cluster.directory, cluster.runner.account
    user = {} if account is None else {"user": account.uid, "group": account.gid}
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, **user) as innocent:
        pid_file = directory / "postmaster.pid"
        pid_file.write_text(f"{innocent.pid}\n{directory}\n1\n1\n\n\n\nready   \n")
        if account is not None:
            os.chown(pid_file, account.uid, account.gid)

        with (
            embedded_server(used_directory, settings=QUICK) as config,
            connect(config) as connection,
        ):
            assert connection.execute("select 1").fetchone() == (1,)

        assert innocent.poll() is None


def test_half_a_cluster_is_not_taken_for_one(tmp_path):
    half = tmp_path / "postgres-18.half"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")

    with embedded_server(tmp_path, settings=QUICK) as config:
        with connect(config) as connection:
            assert connection.execute("select 1").fetchone() == (1,)

    assert not half.exists()


def test_it_works_below_a_directory_that_only_we_can_enter(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with (
        embedded_server(closed / "data", settings=QUICK) as config,
        connect(config) as connection,
    ):
        connection.execute("create table stored as select 'kept' as what")

    assert stored(closed / "data") == ["kept"]
    assert closed.stat().st_mode & 0o777 == 0o700
    assert (closed / "data" / "postgres-18").stat().st_mode & 0o777 == 0o700


def test_it_works_in_a_directory_that_every_user_can_enter(open_directory):
    with embedded_server(open_directory, settings=QUICK) as config:
        with connect(config) as connection:
            found = connection.execute("show data_directory").fetchone()

    assert found == (str(open_directory.resolve() / "postgres-18"),)


def test_an_ordinary_user_needs_nothing_else(open_directory):
    """As root, the test changes to a user that may only read Python's files."""
    data_dir = open_directory / "data"
    prefix: list[str] = []
    if IS_ROOT:
        data_dir.mkdir()
        os.chown(data_dir, 65534, 65534)
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]

    with service(data_dir, *prefix) as (process, pid), watched(pid) as server:
        owner = (data_dir / "postgres-18").stat().st_uid
        process.kill()
        assert has_ended(server)

    assert owner == (65534 if IS_ROOT else os.getuid())
    if not IS_ROOT:
        assert stored(data_dir) == ["before"]
        return
    # The user could put links there, so root keeps away.
    with pytest.raises(ConfigError, match=r"belongs to \w+; choose a directory"):
        stored(data_dir)
    with service(data_dir, *prefix):
        pass


def test_programs_that_the_servers_user_cannot_reach_are_copied_once(
    tmp_path, open_directory, monkeypatch
):
    package = embedded_binaries._package_directory()
    closed = tmp_path / "site-packages"
    for directory in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(
            directory,
            closed / directory.name,
            symlinks=True,
            ignore=shutil.ignore_patterns("pginstall", "include", "*.a"),
        )
    monkeypatch.setattr(
        embedded_binaries, "_package_directory", lambda: closed / package.name
    )
    monkeypatch.setattr(embedded_binaries, "CACHE", open_directory / "cache")

    for _ in range(2):
        with (
            embedded_server(tmp_path / "data", settings=QUICK) as config,
            connect(config) as connection,
        ):
            assert connection.execute("select 1").fetchone() == (1,)

    copies = list((open_directory / "cache").glob("*"))
    assert len(copies) == (1 if IS_ROOT else 0)


def test_a_server_that_does_not_start_says_why(used_directory):
    with pytest.raises(StoreUnavailable, match=r"(?s)ended.*no_such_setting"):
        with embedded_server(used_directory, settings={"no_such_setting": "1"}):
            pass

    with embedded_server(used_directory, settings=QUICK):
        pass


def test_the_log_does_not_grow_without_end(used_directory, monkeypatch):
    monkeypatch.setattr(embedded_process, "_MAX_LOG_BYTES", 1_000)
    with embedded_server(used_directory, settings=QUICK) as config:
        with connect(config) as connection:
            for number in range(100):
                with pytest.raises(psycopg.errors.UndefinedColumn):
                    connection.execute(f"select column_{number}")

    log = (used_directory / "postgres.log").read_text()
    assert len(log) < 2_000
    assert log.splitlines()[-1].endswith("database system is shut down")


def test_a_log_that_cannot_be_written_is_done_without(used_directory):
    (used_directory / "postgres.log").unlink()
    (used_directory / "postgres.log").mkdir()

    with embedded_server(used_directory, settings=QUICK) as config:
        with connect(config) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"file is not a directory"):
        with embedded_server(tmp_path / "file" / "data"):
            pass


def test_a_port_that_is_taken_in_the_last_moment_is_left_alone(
    postgres_server, used_directory, monkeypatch
):
    taken = iter([postgres_server.server.port])
    free_port = embedded._free_port
    monkeypatch.setattr(
        embedded, "_free_port", lambda: next(taken, None) or free_port()
    )

    with embedded_server(used_directory, settings=QUICK) as config:
        assert config.server.port != postgres_server.server.port
        with connect(config) as connection:
            assert connection.execute("select 1").fetchone() == (1,)


def test_the_environment_does_not_disturb_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "xx_XX.nonsense")
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("TZ", "Pacific/Auckland")

    with embedded_server(tmp_path, settings=QUICK) as config:
        with connect(config) as connection:
            found = connection.execute("select 'Ä' < 'z', length('Ä')").fetchone()

    assert found == (False, 1)


async def test_a_start_that_is_cancelled_leaves_no_server(used_directory, monkeypatch):
    scope = trio.CancelScope()
    spawn = embedded.EmbeddedServer.spawn

    def spawn_and_cancel(server: embedded.EmbeddedServer) -> None:
        spawn(server)
        scope.cancel()

    monkeypatch.setattr(embedded.EmbeddedServer, "spawn", spawn_and_cancel)
    with scope:
        async with open_embedded_server(used_directory, settings=QUICK):
            raise AssertionError("it was cancelled before")

    assert scope.cancelled_caught
    assert not (used_directory / "postgres-18" / "postmaster.pid").exists()
    monkeypatch.undo()
    async with open_embedded_server(used_directory, settings=QUICK) as config:
        with connect(config) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
