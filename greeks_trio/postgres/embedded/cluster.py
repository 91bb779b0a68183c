"""The embedded server's data: made once, kept, and used by one server at a time.

A data directory holds::

    postgres-18/       the cluster, with the password of its only user in `PASSWORD`
    postgres.log       the server's log
    postgres.lock      locked while a process uses the directory

The data directory may lie below a directory that the server's user cannot enter, such as
``/root``.  Root then opens the cluster's directory and hands the open file over; the
server finds it as ``/proc/self/fd/N``.  No directory is opened for other users.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from greeks_trio.config.settings import Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.binaries import (
    Account,
    ServerVersion,
    can_enter,
    find_programs,
    server_account,
)
from greeks_trio.postgres.embedded.process import Runner

USER: Final = "portfolio"
PASSWORD: Final = "greeks_trio.password"  # noqa: S105  (the name of a file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster without a server.

    Attributes:
        directory: Its path for this process.
        server_path: Its path for the server's user.
        runner: Runs its programs.
    """

    directory: Path
    server_path: str
    runner: Runner

    def password(self) -> Secret:
        """Return the password of `USER`."""
        return Secret((self.directory / PASSWORD).read_text())


@contextmanager
def open_cluster(
    data_dir: Path, version: ServerVersion, *, durable: bool = True
) -> Iterator[Cluster]:
    """Lock the data directory and yield its cluster; make the cluster if there is none.

    This ends the server of a process that was killed.  With ``durable`` false a new
    cluster is not synced to the disk.

    Raises:
        StoreUnavailable: another process uses it, or another user owns it.
        OSError: files cannot be made or read.
    """
    directory = data_dir / f"postgres-{version}"
    with _locked(data_dir / "postgres.lock"):
        account = server_account(directory)
        programs = find_programs(version, account)
        if not directory.exists():
            _make_cluster(directory, programs, account, durable=durable)
        elif account is None and directory.stat().st_uid != os.geteuid():
            raise StoreUnavailable(
                f"{directory} belongs to another user: run as that user, or choose"
                " another --data-dir"
            )
        with _handed_over(directory, programs, account) as cluster:
            end_orphan(cluster)
            yield cluster


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreUnavailable(
                f"another process uses {path.parent}: stop it, or choose another"
                " --data-dir"
            ) from None
        yield
    finally:
        os.close(fd)


@contextmanager
def _handed_over(
    directory: Path, programs: Path, account: Account | None
) -> Iterator[Cluster]:
    if can_enter(directory, account):
        runner = Runner(programs=programs, account=account)
        yield Cluster(directory=directory, server_path=str(directory), runner=runner)
        return
    if sys.platform != "linux":
        raise StoreUnavailable(f"user {account} cannot enter {directory}")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        runner = Runner(programs=programs, account=account, fds=(fd,))
        path = f"/proc/self/fd/{fd}"
        yield Cluster(directory=directory, server_path=path, runner=runner)
    finally:
        os.close(fd)


def _make_cluster(
    directory: Path, programs: Path, account: Account | None, *, durable: bool
) -> None:
    """Make the cluster under another name first: its own name means that it is whole."""
    for leftover in directory.parent.glob(f"{directory.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
    if account is not None:
        os.chown(fresh, account.uid, account.gid)
    password = secrets.token_urlsafe(24)
    with _handed_over(fresh, programs, account) as cluster:
        _run_initdb(cluster, password, durable=durable)
    with open(os.open(fresh / PASSWORD, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(password)
    fresh.rename(directory)


def _run_initdb(cluster: Cluster, password: str, *, durable: bool) -> None:
    with _readable_file(password, cluster.runner.account) as fd:
        cluster.runner.run(
            "initdb",
            f"--pgdata={cluster.server_path}",
            f"--username={USER}",
            f"--pwfile=/dev/fd/{fd}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Every machine has this locale.
            "--locale=C",
            "--no-instructions",
            *([] if durable else ["--no-sync"]),
            fds=[fd],
        )


@contextmanager
def _readable_file(text: str, account: Account | None) -> Iterator[int]:
    """Yield an unnamed file with the text, readable for the account."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        if account is not None:
            os.fchown(file.fileno(), account.uid, account.gid)
        yield file.fileno()


def end_orphan(cluster: Cluster) -> None:
    """Stop the server of a killed process, or remove the file of a dead server."""
    pid_file = cluster.directory / "postmaster.pid"
    if not pid_file.exists():
        return
    if not _is_server_of(pid_file, cluster.directory):
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


def _is_server_of(pid_file: Path, directory: Path) -> bool:
    """Return whether the process of that number is this cluster's server."""
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
        os.kill(pid, 0)
        # A server works in its cluster's directory.
        return sys.platform != "linux" or Path(f"/proc/{pid}/cwd").samefile(directory)
    except (OSError, ValueError):
        return False
