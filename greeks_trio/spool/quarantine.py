"""Rows that PostgreSQL refused, in a file that several processes may use at a time.

The service adds rows; commands look at them and take them out.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.spool.database import (
    FileDamaged,
    check_version,
    connect,
    pragma_number,
    too_new,
    transaction,
    translated,
    used_bytes,
)
from greeks_trio.spool.format import decode_ticks, from_microseconds
from greeks_trio.spool.keepsakes import limit_damaged, stamp
from greeks_trio.spool.quarantine_rows import INSERT, SCHEMA, to_row

logger = logging.getLogger(__name__)

VERSION: Final = 1

# A quarter of a million rows.  So many mean a mistake in the schema, which the newest
# ones show as well as the oldest.
MAX_BYTES: Final = 256 * 2**20

_TRIES: Final = 3

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedTick:
    """A row and why it is here.

    Attributes:
        id: For `QuarantineFile.remove`.
        sqlstate: PostgreSQL's code; `None` when the driver refused it.
        tick: ``read_at`` is 0.
    """

    id: int
    added_at: datetime
    sqlstate: str | None
    reason: str
    tick: Tick


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalCount:
    """How many rows were refused for one reason."""

    sqlstate: str | None
    reason: str
    rows: int


class QuarantineFile:
    """The file, opened at the first call and made at the first `add`.

    Synchronous; every method raises `SpoolUnavailable` when the disk does not do it, and
    `ConfigError` when a newer version of this program has written the file.

    Args:
        is_owner: Whether a damaged file is moved aside and begun anew.

    Attributes:
        openings: How often it was opened: what was counted before may not be there.
    """

    def __init__(
        self, path: Path, *, max_bytes: int = MAX_BYTES, is_owner: bool = False
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._is_owner = is_owner
        self._connection: sqlite3.Connection | None = None
        self.openings = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> int:
        """Keep a row, once however often it is added; the oldest go for want of room.

        Returns how many rows more there are now.
        """
        row = to_row(tick, sqlstate, reason)

        def add(connection: sqlite3.Connection) -> tuple[int, int]:
            with transaction(connection):
                added = connection.execute(INSERT, row).rowcount
                return added, self._make_room(connection)

        added, dropped = self._use(add)
        if dropped:
            logger.critical(
                "quarantine.full dropped_rows=%d max_bytes=%d", dropped, self._max_bytes
            )
        return added - dropped

    def list(self, limit: int, *, after: int = 0) -> list[QuarantinedTick]:
        """Return the oldest rows with larger ids than ``after``.

        Those that cannot be decoded stay where they are.
        """
        rows = self._look(
            "SELECT id, added_at, sqlstate, reason, blob FROM rows WHERE id > ?"
            " ORDER BY id LIMIT ?",
            after,
            limit,
        )
        found: list[QuarantinedTick] = []
        for id_, added_at, sqlstate, reason, blob in rows:
            try:
                [tick] = decode_ticks(blob)
            except ValueError as exc:
                logger.error("quarantine.unreadable id=%d reason=%s", id_, exc)
                continue
            found.append(
                QuarantinedTick(
                    id=id_,
                    added_at=from_microseconds(added_at),
                    sqlstate=sqlstate,
                    reason=reason,
                    tick=tick,
                )
            )
        return found

    def remove(self, ids: Iterable[int]) -> None:
        """Take rows out; unknown ids are fine."""

        def remove(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany(
                    "DELETE FROM rows WHERE id = ?", [(id_,) for id_ in ids]
                )

        if self._path.exists():
            self._use(remove)

    def count(self) -> int:
        """Return the number of rows."""
        rows = self._look("SELECT count(*) FROM rows")
        return int(rows[0][0]) if rows else 0

    def version(self) -> int | None:
        """Return a number that is another one once another process has changed the file.

        `None` without a file.  Cheap, where `count` reads an index.
        """
        if not self._path.exists():
            return None
        return self._use(lambda found: pragma_number(found, "data_version"))

    def counts(self) -> Sequence[RefusalCount]:
        """Return the number of rows by SQLSTATE and reason, most first."""
        rows = self._look(
            "SELECT sqlstate, reason, count(*) FROM rows GROUP BY 1, 2 ORDER BY 3 DESC"
        )
        return [
            RefusalCount(sqlstate=sqlstate, reason=reason, rows=number)
            for sqlstate, reason, number in rows
        ]

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _look(self, query: str, *arguments: object) -> Sequence[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        return self._use(lambda found: found.execute(query, arguments).fetchall())

    def _use(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        for _ in range(_TRIES):
            try:
                with translated(self._path):
                    return work(self._connection or self._open())
            except FileDamaged as exc:
                self.close()
                if not self._is_owner:
                    raise SpoolUnavailable(f"{self._path} is damaged: {exc}") from exc
                self._move_aside(str(exc))
        raise SpoolUnavailable(f"{self._path} is damaged again and again")

    def _open(self) -> sqlite3.Connection:
        check_version(self._path, VERSION)
        with ExitStack() as stack:
            connection = connect(self._path, exclusive=False)
            stack.callback(connection.close)
            found = pragma_number(connection, "user_version")
            if found > VERSION:
                raise too_new(self._path, found, VERSION)
            with transaction(connection):
                connection.execute(SCHEMA)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            stack.pop_all()
        self._connection = connection
        self.openings += 1
        return connection

    def _make_room(self, connection: sqlite3.Connection) -> int:
        dropped = 0
        while used_bytes(connection) > self._max_bytes:
            cursor = connection.execute(
                "DELETE FROM rows WHERE id IN"
                " (SELECT id FROM rows ORDER BY id LIMIT 100)"
            )
            if not cursor.rowcount:
                break
            dropped += cursor.rowcount
        return dropped

    def _move_aside(self, reason: str) -> None:
        kept = self._path.with_name(f"{self._path.name}.damaged-{stamp()}")
        with translated(self._path):
            for suffix in ("", "-wal"):
                with suppress(FileNotFoundError):
                    source = self._path.with_name(self._path.name + suffix)
                    source.rename(kept.with_name(kept.name + suffix))
            self._path.with_name(f"{self._path.name}-shm").unlink(missing_ok=True)
        logger.critical("quarantine.damaged kept=%s reason=%s", kept, reason)
        limit_damaged(self._path)
