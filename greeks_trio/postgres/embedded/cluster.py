"""The bundled server's data: made once, kept, and used by one server at a time.

A data directory holds::

    postgres-18/           the cluster
    postgres-18-password   the password of the role that the service uses
    postgres-18-pgpass     the same, as libpq reads it for other programs
    postgres-18-port       the port of the last start
    postgres-18-version    the minor version of the last start
    postgres.log           the server's log
    postgres.lock          locked while a process uses the directory

The cluster belongs to the account of the server, everything else to the user of the
service.

The data directory may lie below a directory that the server's user cannot enter, such as
``/root``.  Root then opens the cluster's directory and hands the open file over; the
server finds it as ``/proc/self/fd/N``.  No directory is opened for other users.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from greeks_trio.config.directories import open_own_file
from greeks_trio.config.settings import Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.accounts import (
    Account,
    give_tree,
    new_account,
    server_account,
)
from greeks_trio.postgres.embedded.binaries import (
    ServerVersion,
    can_enter,
    find_programs,
)
from greeks_trio.postgres.embedded.files import read_small, write_small
from greeks_trio.postgres.embedded.programs import Runner
from greeks_trio.postgres.embedded.roles import (
    ADMIN,
    EARLIER_PASSWORD,
    prepare_roles,
)
from greeks_trio.postgres.embedded.running import RunningServer, find_running
from greeks_trio.program import program_name

logger = logging.getLogger(__name__)

_NOBODY: Final = 65_534


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that this process holds.

    Attributes:
        directory: Its path for this process.
        server_path: Its path for the server's user.
        runner: Runs its programs.
        running: The server that ``db start`` has started on it, `None` if there is none.
    """

    directory: Path
    server_path: str
    runner: Runner
    running: RunningServer | None = None

    def password(self) -> Secret:
        """Return the password of the service's role.

        Raises:
            StoreUnavailable: it is not known.
            OSError: its file cannot be read.
        """
        password = read_small(password_file(self.directory))
        if not password:
            raise StoreUnavailable(
                f"{password_file(self.directory)} is missing: start the service again"
            )
        return Secret(password)


def cluster_directory(data_dir: Path, version: ServerVersion) -> Path:
    """Return the directory of the cluster in a data directory."""
    return data_dir / f"postgres-{version}"


def password_file(cluster: Path) -> Path:
    """Return the file with the password of the service's role."""
    return cluster.with_name(f"{cluster.name}-password")


def port_file(cluster: Path) -> Path:
    """Return the file with the port of the last start."""
    return cluster.with_name(f"{cluster.name}-port")


def version_file(cluster: Path) -> Path:
    """Return the file with the version of the programs of the last start."""
    return cluster.with_name(f"{cluster.name}-version")


def pass_file(cluster: Path) -> Path:
    """Return the password file of libpq for other programs of the same user."""
    return cluster.with_name(f"{cluster.name}-pgpass")


@contextmanager
def open_cluster(
    data_dir: Path,
    version: ServerVersion,
    *,
    durable: bool = True,
    is_superuser: bool = False,
) -> Iterator[Cluster]:
    """Lock the data directory and yield its cluster; make the cluster if there is none.

    This ends the server of a process that was killed, and leaves a server of ``db start``
    running.  With ``durable`` false a new cluster is not synced to the disk.  With
    ``is_superuser`` true the service's role of a new cluster is a superuser.

    Raises:
        StoreUnavailable: another process uses it, another user owns it, or its data is of
            another version.
        OSError: files cannot be made or read.
    """
    directory = cluster_directory(data_dir, version)
    with lock_data(data_dir):
        _refuse_other_version(data_dir, version)
        account = server_account(directory)
        programs = find_programs(version, account)
        if account is not None and account.is_shared and account.uid != _NOBODY:
            logger.warning("embedded.shared_account uid=%d", account.uid)
        if not directory.exists():
            make_cluster(directory, programs, account, durable=durable)
        elif account is None and directory.stat().st_uid != os.geteuid():
            raise StoreUnavailable(
                f"{directory} belongs to another user: run as that user, or choose"
                " another --data-dir"
            )
        running = find_running(directory, account)
        if running is not None and running.is_detached:
            with hand_over(directory, programs, account, running) as cluster:
                yield cluster
            return
        with hand_over(directory, programs, account) as cluster:
            end_orphan(cluster)
        account = _leave_nobody(directory, account)
        programs = find_programs(version, account)
        with hand_over(directory, programs, account) as cluster:
            if not password_file(directory).exists():
                prepare(cluster, durable=durable, is_superuser=is_superuser)
            yield cluster


def prepare(cluster: Cluster, *, durable: bool, is_superuser: bool = False) -> None:
    """Make the roles of a cluster without a server, and write the password's file last.

    Raises:
        StoreUnavailable: PostgreSQL refused a statement.
        OSError: a file cannot be written.
    """
    password = prepare_roles(
        cluster.runner,
        cluster.directory,
        cluster.server_path,
        durable=durable,
        is_superuser=is_superuser,
    )
    write_small(password_file(cluster.directory), password.reveal())
    (cluster.directory / EARLIER_PASSWORD).unlink(missing_ok=True)


def _leave_nobody(directory: Path, account: Account | None) -> Account | None:
    """Give data of the shared user 65534 to an account that no other program has."""
    if account is None or account.uid != _NOBODY:
        return account
    better = new_account()
    if better.is_shared or any((directory / "pg_tblspc").iterdir()):
        logger.warning("embedded.shared_account uid=%d", account.uid)
        return account
    give_tree(directory, better)
    logger.info("embedded.account_changed uid=%d", better.uid)
    return better


def data_versions(data_dir: Path) -> list[int]:
    """Return the versions of PostgreSQL whose clusters the directory holds, sorted."""
    names = (path.name.partition("postgres-") for path in data_dir.iterdir())
    return sorted(
        int(version)
        for before, _, version in names
        if not before and version.isdecimal()
    )


def _refuse_other_version(data_dir: Path, version: ServerVersion) -> None:
    """Refuse data that another version of PostgreSQL wrote.

    Raises:
        StoreUnavailable: there is such data, and none of this version.
    """
    versions = data_versions(data_dir)
    if not versions or version in versions:
        return
    if max(versions) > version:
        raise StoreUnavailable(
            f"{data_dir} holds data of PostgreSQL {max(versions)}, and this program"
            f" brings {version}: install a newer greeks_trio"
        )
    raise StoreUnavailable(
        f"{data_dir} holds data of PostgreSQL {max(versions)}, and this program brings"
        f" {version}: stop the service, then run"
        f" `{program_name()} db upgrade --data-dir {data_dir}`"
    )


@contextmanager
def lock_data(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process alone.

    Raises:
        StoreUnavailable: another process holds it.
        OSError: the file of the lock cannot be opened, or is a link.
    """
    fd = open_own_file(data_dir / "postgres.lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnavailable(
                f"another process uses {data_dir}: stop it, or choose another"
                " --data-dir"
            ) from None
        yield
    finally:
        os.close(fd)


@contextmanager
def hand_over(
    directory: Path,
    programs: Path,
    account: Account | None,
    running: RunningServer | None = None,
) -> Iterator[Cluster]:
    """Yield the cluster with a path by which the account reaches it.

    Raises:
        StoreUnavailable: the account cannot reach it.
    """
    if can_enter(directory, account):
        yield Cluster(
            directory=directory,
            server_path=str(directory),
            runner=Runner(programs=programs, account=account),
            running=running,
        )
        return
    if sys.platform != "linux":
        raise StoreUnavailable(f"user {account} cannot enter {directory}")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield Cluster(
            directory=directory,
            server_path=f"/proc/self/fd/{fd}",
            runner=Runner(programs=programs, account=account, fds=(fd,)),
            running=running,
        )
    finally:
        os.close(fd)


def make_cluster(
    directory: Path,
    programs: Path,
    account: Account | None,
    *,
    durable: bool,
    arguments: Sequence[str] = (),
) -> None:
    """Make the cluster under another name first: its own name means that it is whole.

    Raises:
        StoreUnavailable: ``initdb`` failed; with its message.
    """
    for leftover in directory.parent.glob(f"{directory.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    password_file(directory).unlink(missing_ok=True)
    # It takes seconds, half a minute on a busy machine.
    logger.info("embedded.making data_dir=%s", directory.parent)
    fresh = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
    if account is not None:
        os.chown(fresh, account.uid, account.gid)
    with hand_over(fresh, programs, account) as cluster:
        cluster.runner.run(
            "initdb",
            f"--pgdata={cluster.server_path}",
            f"--username={ADMIN}",
            "--auth=reject",
            "--encoding=UTF8",
            # Every machine has this locale.
            "--locale=C",
            "--no-instructions",
            *([] if durable else ["--no-sync"]),
            *arguments,
            needs_name=True,
        )
    fresh.rename(directory)


def end_orphan(cluster: Cluster) -> None:
    """Stop the server of a killed process, or remove the file of a dead server."""
    pid_file = cluster.directory / "postmaster.pid"
    if not pid_file.exists():
        return
    if find_running(cluster.directory, cluster.runner.account) is None:
        # Another process may have the number now.  PostgreSQL would take it for the old
        # server and refuse to start.
        pid_file.unlink(missing_ok=True)
        return
    path = f"--pgdata={cluster.server_path}"
    stop = ("pg_ctl", "stop", path, "--wait", "--timeout=20")
    try:
        cluster.runner.run(*stop, "--mode=fast")
    except StoreUnavailable:
        # It may have ended by itself meanwhile.
        if pid_file.exists():
            cluster.runner.run(*stop, "--mode=immediate")
