"""The table of journal entries in the spool's file, and the statements on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Final

from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.spool.database import FileDamaged, Order
from greeks_trio.spool.format import (
    checksum,
    decode_journal_entry,
    encode_journal_entry,
    verified,
)

# The name of the table is older than the name of its rows.
SCHEMA: Final = """CREATE TABLE notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    blob BLOB NOT NULL
)"""
_INSERT: Final = "INSERT INTO notes (id, kind, checksum, blob) VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class RawJournalEntry:
    """A journal entry as it lies in the file."""

    id: int
    kind: str
    checksum: int
    blob: bytes

    def decoded(self) -> JournalEntry:
        """Return the journal entry.

        Raises:
            FileDamaged: the blob is not the one that was written.
        """
        try:
            return decode_journal_entry(self.kind, verified(self.blob, self.checksum))
        except (TypeError, ValueError) as exc:
            raise FileDamaged(
                f"journal entry {self.id} cannot be decoded: {exc}"
            ) from exc


def insert_journal_entry(connection: sqlite3.Connection, entry: JournalEntry) -> int:
    """Add a journal entry and return its id."""
    kind, blob = encode_journal_entry(entry)
    cursor = connection.execute(_INSERT, (None, kind, checksum(blob), blob))
    return int(cursor.lastrowid or 0)


def copy_journal_entry(connection: sqlite3.Connection, entry: RawJournalEntry) -> None:
    """Add a journal entry of another file under the id that it has there."""
    connection.execute(_INSERT, (entry.id, entry.kind, entry.checksum, entry.blob))


def delete_journal_entries(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete journal entries; unknown ids are fine."""
    connection.executemany("DELETE FROM notes WHERE id = ?", [(id_,) for id_ in ids])


def scan_journal(
    connection: sqlite3.Connection, above: int, below: int, order: Order
) -> Generator[RawJournalEntry, None, None]:
    """Yield the journal entries between these ids, in this order of ids."""
    cursor = connection.execute(
        "SELECT id, kind, checksum, blob FROM notes"  # noqa: S608
        f" WHERE id > ? AND id < ? ORDER BY id {order}",
        (above, below),
    )
    for row in cursor:
        yield RawJournalEntry(*row)
