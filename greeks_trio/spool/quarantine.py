"""Rows that PostgreSQL refused, in a file that several processes may use at a time.

The service adds rows.  Commands read them and take them out.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.spool.damage import put_aside
from greeks_trio.spool.database import (
    Database,
    connect,
    pragma_number,
    transaction,
    used_bytes,
)
from greeks_trio.spool.format import (
    decode_ticks,
    encode_ticks,
    from_microseconds,
    to_microseconds,
)
from greeks_trio.spool.worker import DiskWorker

logger = logging.getLogger(__name__)

VERSION: Final = 1

# A quarter of a million rows.  So many mean a mistake in the schema, which the newest
# ones show as well as the oldest.
MAX_BYTES: Final = 256 * 2**20

# Characters of PostgreSQL's text that are kept.
_MAX_REASON: Final = 2_000

# Times are microseconds since 1970.  The unique columns are the primary key of the table
# that refused the row, so a row that is refused again is not kept again.
_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS rows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    broker TEXT NOT NULL,
    account_id BLOB NOT NULL,
    contract_key BLOB NOT NULL,
    event_time INTEGER NOT NULL,
    fingerprint INTEGER NOT NULL,
    added_at INTEGER NOT NULL,
    sqlstate TEXT,
    reason TEXT NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (broker, account_id, contract_key, event_time, fingerprint)
)"""

_INSERT: Final = """INSERT INTO rows (
    broker, account_id, contract_key, event_time, fingerprint, added_at, sqlstate,
    reason, blob
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedTick:
    """A row and why it is here.

    Attributes:
        id: For `QuarantineFile.remove`.
        sqlstate: PostgreSQL's code; `None` when the driver refused the row.
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
    """The file.  The first call opens it, and the first `add` makes it.

    Synchronous.  Every method raises `SpoolUnavailable` when the disk refuses, and
    `ConfigError` when a newer version of this program has written the file.

    Args:
        is_owner: Whether a damaged file is put aside and a new one begun.

    Attributes:
        openings: How often the file was opened.  Another number than before means that
            rows which were counted may be gone.
    """

    def __init__(
        self, path: Path, *, max_bytes: int = MAX_BYTES, is_owner: bool = False
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._is_owner = is_owner
        self._database = Database(path, open_file=self._open, replace=self._put_aside)
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
        """Keep a row, once however often it is added.

        When there is no room, the oldest rows are deleted.  Returns how many rows more
        there are now.
        """
        row = _to_row(tick, sqlstate, reason)

        def add(connection: sqlite3.Connection) -> tuple[int, int]:
            with transaction(connection):
                added = connection.execute(_INSERT, row).rowcount
                return added, self._make_room(connection)

        added, dropped = self._database.use(add)
        if dropped:
            logger.critical(
                "quarantine.full dropped_rows=%d max_bytes=%d", dropped, self._max_bytes
            )
        return added - dropped

    def list(self, limit: int, *, after: int = 0) -> list[QuarantinedTick]:
        """Return the oldest rows with larger ids than ``after``.

        Rows that cannot be decoded stay in the file and are left out here.
        """
        rows = self._select(
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
            self._database.use(remove)

    def count(self) -> int:
        """Return the number of rows."""
        rows = self._select("SELECT count(*) FROM rows")
        return int(rows[0][0]) if rows else 0

    def version(self) -> int | None:
        """Return a number that changes when another process has changed the file.

        `None` without a file.  This is cheap, whereas `count` reads an index.
        """
        if not self._path.exists():
            return None
        return self._database.use(lambda found: pragma_number(found, "data_version"))

    def counts(self) -> Sequence[RefusalCount]:
        """Return the number of rows by SQLSTATE and reason, most first."""
        rows = self._select(
            "SELECT sqlstate, reason, count(*) FROM rows GROUP BY 1, 2 ORDER BY 3 DESC"
        )
        return [
            RefusalCount(sqlstate=sqlstate, reason=reason, rows=number)
            for sqlstate, reason, number in rows
        ]

    def close(self) -> None:
        """Close the file.  The next call opens it again."""
        self._database.close()

    def _select(self, query: str, *arguments: object) -> Sequence[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        return self._database.use(
            lambda found: found.execute(query, arguments).fetchall()
        )

    def _open(self) -> sqlite3.Connection:
        version = VERSION if self._path.exists() else None
        with ExitStack() as stack:
            connection = connect(self._path, exclusive=False, version=version)
            stack.callback(connection.close)
            with transaction(connection):
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            stack.pop_all()
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

    def _put_aside(self, damage: str) -> None:
        if not self._is_owner:
            raise SpoolUnavailable(f"{self._path} is damaged: {damage}")
        kept = put_aside(self._path)
        logger.critical("quarantine.damaged kept=%s reason=%s", kept, damage)


class QuarantineOnDisk:
    """The service's `Quarantine`: a file, every call in the worker's thread."""

    def __init__(self, file: QuarantineFile, worker: DiskWorker) -> None:
        self._file = file
        self._worker = worker
        self._waiting = 0
        # How often the file had been opened when its rows were counted.
        self._counted_in = -1
        self._seen: int | None = None

    async def add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> None:
        """See `Quarantine.add`."""
        await self._worker.run(
            functools.partial(self._add, tick, sqlstate=sqlstate, reason=reason)
        )

    def waiting(self) -> int:
        """See `Quarantine.waiting`."""
        return self._waiting

    async def recount(self) -> int:
        """See `Quarantine.recount`."""
        return await self._worker.run(self._count)

    async def take_notice(self) -> None:
        """Recount if another process may have changed the file since the last call.

        If the disk refuses, the number stays as it was.
        """
        with suppress(SpoolUnavailable):
            await self._worker.run(self._take_notice)

    def _take_notice(self) -> None:
        version = self._file.version()
        if version != self._seen:
            self._count()
            self._seen = version

    def _add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> None:
        more = self._file.add(tick, sqlstate=sqlstate, reason=reason)
        if self._counted_in == self._file.openings:
            # Counting all rows for each new one would take longer than keeping it.
            self._waiting += more
        else:
            self._count()

    def _count(self) -> int:
        self._waiting = self._file.count()
        self._counted_in = self._file.openings
        return self._waiting


def _to_row(tick: Tick, sqlstate: str | None, reason: str) -> tuple[object, ...]:
    record = tick.record
    return (
        record.broker,
        # As bytes, because PostgreSQL may have refused the row for its text.
        record.account_id.encode("utf-8", "surrogatepass"),
        record.contract_key.encode("utf-8", "surrogatepass"),
        to_microseconds(record.event_time),
        tick.fingerprint,
        to_microseconds(datetime.now(UTC)),
        sqlstate,
        reason[:_MAX_REASON].encode("utf-8", "replace").decode(),
        encode_ticks([tick]),
    )
