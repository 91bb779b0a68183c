"""Bring the data of an older major version of PostgreSQL to the present one.

``pg_upgrade`` copies the files into a new cluster beside the old one.  Number and content
of the rows of every table are compared before the new cluster gets its name.  The old
cluster is never changed into something else and never deleted, so an upgrade that was
interrupted is simply repeated.

Source: PostgreSQL documentation, "pg_upgrade".
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from greeks_trio.config.directories import make_own_directory
from greeks_trio.config.settings import Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connect import connection_arguments
from greeks_trio.postgres.embedded.accounts import Account
from greeks_trio.postgres.embedded.address import server_config
from greeks_trio.postgres.embedded.binaries import ServerVersion, find_programs
from greeks_trio.postgres.embedded.cluster import (
    Cluster,
    cluster_directory,
    data_versions,
    hand_over,
    make_cluster,
    open_cluster,
    password_file,
)
from greeks_trio.postgres.embedded.detached import data_bytes
from greeks_trio.postgres.embedded.files import write_small
from greeks_trio.postgres.embedded.process import ServerProcess
from greeks_trio.postgres.embedded.programs import Runner
from greeks_trio.postgres.embedded.roles import ADMIN, HBA
from greeks_trio.postgres.embedded.server import SETTINGS, choose_port

PRESENT: Final[ServerVersion] = 18
_OLDER: Final[tuple[ServerVersion, ...]] = (16,)
# Copies of the files, and room for the catalogs and the log of the new cluster.
_SPACE_FACTOR: Final = 1.1
_SPACE_BYTES: Final = 200 * 1024**2

# The content of a table as numbers that do not depend on the order of its rows.
Content: TypeAlias = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """The result of an upgrade.

    Attributes:
        old: The version of the old data, and `old_directory` its directory.
        tables: The number of tables that were compared.
        rows: The number of their rows.
    """

    old: int
    old_directory: Path
    tables: int
    rows: int


def upgrade_data(data_dir: Path, *, durable: bool = True) -> Upgraded | None:
    """Upgrade the newest older cluster of the directory; `None` if there is no need.

    With ``durable`` false nothing is synced to the disk; for tests.

    Raises:
        StoreUnavailable: the directory has no data, a service uses it, the disk has no room, the programs
            are missing, PostgreSQL refused, or the new data differs.
        ConfigError: another user owns or may write the directory.
        OSError: a file cannot be read or written.
    """
    if not (data_dir.exists() and data_versions(data_dir)):
        raise StoreUnavailable(f"{data_dir} has no data of the bundled PostgreSQL")
    make_own_directory(data_dir, setting="--data-dir")
    data_dir = data_dir.resolve()
    versions = data_versions(data_dir)
    if max(versions) >= PRESENT:
        return None
    old = next((each for each in _OLDER if each == max(versions)), None)
    if old is None:
        raise StoreUnavailable(
            f"this program has no PostgreSQL {max(versions)} to read the data in"
            f" {data_dir}: dump it with a greeks_trio of that time (`db dump`), then"
            " `db restore` it into an empty directory"
        )
    _refuse_full_disk(cluster_directory(data_dir, old))
    with open_cluster(data_dir, old) as cluster:
        if cluster.running is not None:
            raise StoreUnavailable(
                "PostgreSQL still runs: stop it with `db stop` first"
            )
        content = _upgrade(data_dir, cluster, durable=durable)
    return Upgraded(
        old=old,
        old_directory=cluster.directory,
        tables=len(content),
        rows=sum(rows for rows, _ in content.values()),
    )


def _refuse_full_disk(directory: Path) -> None:
    needed = int(data_bytes(directory) * _SPACE_FACTOR) + _SPACE_BYTES
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise StoreUnavailable(
            f"the copy of {directory} needs {needed / 1e9:.1f} GB, and the disk has"
            f" {free / 1e9:.1f} GB"
        )


def _upgrade(data_dir: Path, old: Cluster, *, durable: bool) -> Mapping[str, Content]:
    """Make the new cluster, compare it, and give it its name."""
    password = old.password()
    before, has_checksums = _read_content(old, data_dir, password)
    account = old.runner.account
    programs = find_programs(PRESENT, account)
    final = cluster_directory(data_dir, PRESENT)
    staging = final.with_name(f"{final.name}.upgrade")
    shutil.rmtree(staging, ignore_errors=True)
    checksums = "" if has_checksums else "no-"
    make_cluster(
        staging,
        programs,
        account,
        durable=durable,
        arguments=[f"--{checksums}data-checksums"],
    )
    with hand_over(staging, programs, account) as new:
        _run_pg_upgrade(old, new, durable=durable)
        write_small(staging / "pg_hba.conf", HBA, account)
        after, _ = _read_content(new, data_dir, password)
    if before != after:
        differing = sorted(
            name for name in {*before, *after} if before.get(name) != after.get(name)
        )
        raise StoreUnavailable(
            f"the upgraded tables differ from the old ones: {', '.join(differing)}; the"
            f" old data in {old.directory} is untouched"
        )
    write_small(password_file(final), password.reveal())
    staging.rename(final)
    return after


def _run_pg_upgrade(old: Cluster, new: Cluster, *, durable: bool) -> None:
    account = new.runner.account
    runner = Runner(
        programs=new.runner.programs,
        account=account,
        fds=(*old.runner.fds, *new.runner.fds),
    )
    with _private_directory(account) as work:
        # The superuser has no password.  Only the server's account reaches the socket.
        hba = work / "hba.conf"
        write_small(hba, "local all all trust\n", account)
        options = f"-c hba_file={hba}"
        try:
            runner.run(
                "pg_upgrade",
                f"--old-bindir={old.runner.programs}",
                f"--new-bindir={new.runner.programs}",
                f"--old-datadir={old.server_path}",
                f"--new-datadir={new.server_path}",
                f"--old-options={options}",
                f"--new-options={options}",
                f"--socketdir={work}",
                f"--username={ADMIN}",
                "--copy",
                *([] if durable else ["--no-sync"]),
                cwd=str(work),
                needs_name=True,
                limit_s=None,
            )
        except StoreUnavailable as exc:
            raise StoreUnavailable(
                f"{exc}; its messages are in {new.directory}/pg_upgrade_output.d, and the"
                f" old data in {old.directory} is untouched"
            ) from exc


@contextmanager
def _private_directory(account: Account | None) -> Iterator[Path]:
    """Yield a directory of the account with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="greeks-") as name:
        if account is not None:
            os.chown(name, account.uid, account.gid)
        yield Path(name)


def _read_content(
    cluster: Cluster, data_dir: Path, password: Secret
) -> tuple[Mapping[str, Content], bool]:
    """Return the content of every table, and whether pages have checksums."""
    port = choose_port(0, cluster.directory)
    settings = {**SETTINGS, "port": str(port)}
    process = ServerProcess(
        cluster.runner,
        ["-D", cluster.server_path, *(f"--{k}={v}" for k, v in settings.items())],
        data_dir / "postgres.log",
    )
    try:
        process.wait_ready(None)
        arguments = connection_arguments(server_config(port, password))
        with psycopg.connect(**arguments, autocommit=True) as connection:
            return _tables(connection), _has_checksums(connection)
    except psycopg.Error as exc:
        raise StoreUnavailable(str(exc), sqlstate=exc.sqlstate) from exc
    finally:
        process.stop()


def _has_checksums(connection: psycopg.Connection[Any]) -> bool:
    return connection.execute("show data_checksums").fetchone() == ("on",)


def _tables(connection: psycopg.Connection[Any]) -> Mapping[str, Content]:
    # Both versions must write numbers and times alike.
    connection.execute("set timezone to 'UTC'; set extra_float_digits to 1")
    names = connection.execute(
        "select nspname, relname from pg_class join pg_namespace"
        " on pg_namespace.oid = relnamespace where relkind = 'r'"
        " and nspname !~ '^pg_' and nspname <> 'information_schema'"
    ).fetchall()
    content = {}
    for schema, name in names:
        row = connection.execute(
            sql.SQL(
                "select count(*), coalesce(sum(hashtextextended(each::text, 0)::numeric),"
                " 0)::text from {} as each"
            ).format(sql.Identifier(schema, name))
        ).fetchone()
        content[f"{schema}.{name}"] = row if row is not None else (0, "0")
    return content
