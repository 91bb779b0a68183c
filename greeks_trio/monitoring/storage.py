"""The size of the database and the free room on the disks, and the fault of a full one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from greeks_trio.config.addresses import is_this_machine
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, leaves, plain_reason
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.sizes import DatabaseSizes, read_sizes

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 60.0
# Both: 5 % of a large disk are plenty, and a small disk may never have 10 GB.
_LEAST_SHARE: Final = 0.05
_LEAST_BYTES: Final = 10_000_000_000
_LEAST_DAYS: Final = 14.0


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """The room on a disk in bytes, without the reserve of root."""

    free: int
    total: int

    @property
    def is_nearly_full(self) -> bool:
        """Return whether little is left."""
        return self.free < min(_LEAST_BYTES, _LEAST_SHARE * self.total)


@dataclass(slots=True)
class Storage:
    """The sizes as they were read last; `None` before that or where it is not known.

    Attributes:
        sizes: Of the database.
        database_disk: The room for the bundled PostgreSQL.
        spool_disk: The room for the spool.
        problem: Why the last reading of the database failed; `None` after a success.
    """

    sizes: DatabaseSizes | None = None
    database_disk: DiskRoom | None = None
    spool_disk: DiskRoom | None = None
    problem: str | None = None

    @property
    def days_left(self) -> float | None:
        """Return when the growth fills the disk of the database, `None` if not known."""
        growth = self.sizes and self.sizes.bytes_per_day
        if not growth or self.database_disk is None:
            return None
        return self.database_disk.free / growth


async def run_storage_watch(
    storage: Storage,
    conditions: Conditions,
    database: Callable[[], DatabaseConfig],
    spool: Path,
) -> None:
    """Read the sizes once a minute until cancelled.

    It uses a connection of its own for each reading.  While the database is away, the
    figures of the disks go on.
    """
    while True:
        await _read_database(storage, database())
        await trio.to_thread.run_sync(_read_disks, storage, database(), spool)
        _judge(storage, conditions)
        await trio.sleep(_INTERVAL_S)


async def _read_database(storage: Storage, database: DatabaseConfig) -> None:
    try:
        async with open_connection(database, autocommit=True) as connection:
            with (
                translated(connection, may_refuse=False),
                trio.fail_after(database.timeout_s),
            ):
                storage.sizes = await read_sizes(connection)
        storage.problem = None
    except* StoreError as group:
        problem = plain_reason(group)
        # The writer reports a database that is away, without a code of PostgreSQL.
        is_news = problem != storage.problem and any(
            isinstance(exc, StoreError) and exc.sqlstate for exc in leaves(group)
        )
        level = logging.WARNING if is_news else logging.DEBUG
        logger.log(level, "storage.not_read reason=%s", problem)
        storage.problem = problem


def _read_disks(storage: Storage, database: DatabaseConfig, spool: Path) -> None:
    storage.spool_disk = _room(spool)
    directory = storage.sizes and storage.sizes.data_directory
    storage.database_disk = None
    here = [each.port for each in database.servers if is_this_machine(each.host)]
    if directory and here:
        path = Path(directory)
        if any(_is_server(path, port) for port in here):
            storage.database_disk = _room(path)


def _is_server(directory: Path, port: int) -> bool:
    """Return whether the server on this port has its data in this directory.

    The same path may exist in a container.  The fourth line of ``postmaster.pid`` is the
    port.
    """
    with suppress(OSError, IndexError, ValueError):
        lines = (directory / "postmaster.pid").read_text().splitlines()
        return int(lines[3]) == port
    return False


def _room(path: Path) -> DiskRoom | None:
    with suppress(OSError):
        found = os.statvfs(path)
        return DiskRoom(
            found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        )
    return None


def _judge(storage: Storage, conditions: Conditions) -> None:
    _judge_disk(conditions, "spool", storage.spool_disk, None)
    _judge_disk(conditions, "database", storage.database_disk, storage.days_left)


def _judge_disk(
    conditions: Conditions, name: str, room: DiskRoom | None, days: float | None
) -> None:
    kind = ConditionKind.DISK_NEARLY_FULL
    is_soon = days is not None and days < _LEAST_DAYS
    if room is None or not (room.is_nearly_full or is_soon):
        conditions.end(kind, subject=name)
        return
    when = f", enough for {days:.0f} days of ticks" if days is not None else ""
    conditions.begin(
        kind,
        f"disk: {room.free / 1e9:.1f} GB are free on the disk of the {name}{when}; make "
        "room, or set GREEKS_KEEP_MONTHS and GREEKS_KEEP_PAYLOAD_MONTHS",
        subject=name,
    )
