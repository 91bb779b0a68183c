"""Rows and journal entries that PostgreSQL refused, in a file for several processes.

The service adds them.  Commands read them and take them out.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.spool.damage import put_aside
from greeks_trio.spool.database import (
    Database,
    connect,
    pragma_number,
    transaction,
    used_bytes,
)
from greeks_trio.spool.format import (
    decode_journal_entry,
    decode_ticks,
    encode_journal_entry,
    encode_ticks,
    from_microseconds,
    to_microseconds,
)

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

# Versions of this program that know no such table leave it alone.
_ENTRIES_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    sqlstate TEXT,
    reason TEXT NOT NULL,
    blob BLOB NOT NULL,
    UNIQUE (kind, blob)
)"""

_INSERT_ENTRY: Final = """INSERT INTO entries (kind, added_at, sqlstate, reason, blob)
VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""

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
class QuarantinedEntry:
    """A journal entry and why it is here.

    Attributes:
        id: For `QuarantineFile.remove_entries`.
    """

    id: int
    added_at: datetime
    sqlstate: str | None
    reason: str
    entry: JournalEntry


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

    def add_entry(
        self, entry: JournalEntry, *, sqlstate: str | None, reason: str
    ) -> int:
        """Keep a journal entry.  Returns how many more there are now."""
        kind, blob = encode_journal_entry(entry)
        row = (
            kind,
            to_microseconds(datetime.now(UTC)),
            sqlstate,
            _cut(reason),
            blob,
        )

        def add(connection: sqlite3.Connection) -> int:
            with transaction(connection):
                return connection.execute(_INSERT_ENTRY, row).rowcount

        return self._database.use(add)

    def entries(self) -> Sequence[QuarantinedEntry]:
        """Return the journal entries, oldest first; there are few.

        Entries that cannot be decoded stay in the file and are left out here.
        """
        found: list[QuarantinedEntry] = []
        for id_, added_at, sqlstate, reason, kind, blob in self._select(
            "SELECT id, added_at, sqlstate, reason, kind, blob FROM entries ORDER BY id"
        ):
            try:
                entry = decode_journal_entry(kind, blob)
            except (TypeError, ValueError) as exc:
                logger.error("quarantine.unreadable entry=%d reason=%s", id_, exc)
                continue
            found.append(
                QuarantinedEntry(
                    id=id_,
                    added_at=from_microseconds(added_at),
                    sqlstate=sqlstate,
                    reason=reason,
                    entry=entry,
                )
            )
        return found

    def remove_entries(self, ids: Iterable[int]) -> None:
        """Take journal entries out; unknown ids are fine."""
        self._remove("DELETE FROM entries WHERE id = ?", ids)

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
        self._remove("DELETE FROM rows WHERE id = ?", ids)

    def count(self) -> int:
        """Return the number of rows and journal entries."""
        rows = self._select(
            "SELECT (SELECT count(*) FROM rows) + (SELECT count(*) FROM entries)"
        )
        return int(rows[0][0]) if rows else 0

    def version(self) -> int | None:
        """Return a number that changes when another process has changed the file.

        `None` without a file.  This is cheap, whereas `count` reads an index.
        """
        if not self._path.exists():
            return None
        return self._database.use(lambda found: pragma_number(found, "data_version"))

    def counts(self) -> Sequence[RefusalCount]:
        """Return the number of rows by SQLSTATE and reason, most first.

        Journal entries count as rows.
        """
        rows = self._select(
            "SELECT sqlstate, reason, count(*) FROM"
            " (SELECT sqlstate, reason FROM rows UNION ALL"
            " SELECT sqlstate, reason FROM entries) GROUP BY 1, 2 ORDER BY 3 DESC"
        )
        return [
            RefusalCount(sqlstate=sqlstate, reason=reason, rows=number)
            for sqlstate, reason, number in rows
        ]

    def close(self) -> None:
        """Close the file.  The next call opens it again."""
        self._database.close()

    def _remove(self, statement: str, ids: Iterable[int]) -> None:
        def remove(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.executemany(statement, [(id_,) for id_ in ids])

        if self._path.exists():
            self._database.use(remove)

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
                connection.execute(_ENTRIES_SCHEMA)
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
        _cut(reason),
        encode_ticks([tick]),
    )


def _cut(reason: str) -> str:
    return reason[:_MAX_REASON].encode("utf-8", "replace").decode()
