"""The tables of the spool's file, and the statements on them.

Numbers lie before the blobs, so that reading them does not touch the pages of the blobs.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Final

import msgspec

from greeks_trio.model.records import Broker
from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.spool.database import FileDamaged, transaction
from greeks_trio.spool.format import (
    checksum,
    encode_note,
    from_microseconds,
    to_microseconds,
)
from greeks_trio.spool.inventory import Facts

# Counted up when a version of this program could no longer read what another wrote.
VERSION: Final = 1

# Times are microseconds since 1970.  AUTOINCREMENT: an id is never used again, also when
# the newest entry was released.
_SCHEMA: Final = (
    """CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        row_count INTEGER NOT NULL,
        rows_by_broker TEXT NOT NULL,
        first_at INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        blob BLOB NOT NULL
    )""",
    """CREATE TABLE notes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        checksum INTEGER NOT NULL,
        blob BLOB NOT NULL
    )""",
)
# SQLite takes 999 parameters at least.
_DELETED_AT_ONCE: Final = 500
_FACTS: Final = "id, rows_by_broker, first_at, last_at"
_ENTRY: Final = f"{_FACTS}, row_count, checksum, blob"

_ROWS: Final = msgspec.json.Decoder(dict[Broker, int])


@dataclass(frozen=True, slots=True)
class RawEntry:
    """An entry as it lies in the file."""

    id: int
    row_count: int
    facts: Facts
    checksum: int
    blob: bytes

    @property
    def is_intact(self) -> bool:
        """Return whether the blob is the one that was written."""
        return checksum(self.blob) == self.checksum


@dataclass(frozen=True, slots=True)
class RawNote:
    """A note as it lies in the file."""

    id: int
    kind: str
    checksum: int
    blob: bytes


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty file a spool."""
    with transaction(connection):
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")


def insert_entry(connection: sqlite3.Connection, facts: Facts, blob: bytes) -> int:
    """Add an entry and return its id."""
    return _insert(connection, None, facts, checksum(blob), blob)


def copy_entry(connection: sqlite3.Connection, entry: RawEntry) -> None:
    """Add an entry of another file with its id."""
    _insert(connection, entry.id, entry.facts, entry.checksum, entry.blob)


def delete_entries(
    connection: sqlite3.Connection, ids: Iterable[int]
) -> dict[int, Facts]:
    """Delete entries and return the facts of those that were there."""
    removed: dict[int, Facts] = {}
    remaining = iter(ids)
    while some := list(islice(remaining, _DELETED_AT_ONCE)):
        places = ", ".join("?" * len(some))
        rows = connection.execute(
            f"DELETE FROM entries WHERE id IN ({places}) RETURNING {_FACTS}",  # noqa: S608
            some,
        ).fetchall()
        removed.update((row[0], _facts(*row[1:])) for row in rows)
    return removed


def oldest_id(connection: sqlite3.Connection, *, above: int) -> int | None:
    """Return the lowest id above the given one."""
    [[found]] = connection.execute(
        "SELECT min(id) FROM entries WHERE id > ?", (above,)
    ).fetchall()
    return None if found is None else int(found)


def oldest_receipt(connection: sqlite3.Connection) -> datetime | None:
    """Return when the first tick of the oldest entry was received."""
    rows = connection.execute(
        "SELECT first_at FROM entries ORDER BY id LIMIT 1"
    ).fetchall()
    return _moment(rows[0][0]) if rows else None


def totals(connection: sqlite3.Connection) -> tuple[int, Counter[Broker]]:
    """Return how many entries there are, and their ticks by broker.

    There may be millions of entries and the service waits, so nothing is made of each:
    few differ in their numbers of ticks.
    """
    texts = Counter(
        text for [text] in connection.execute("SELECT rows_by_broker FROM entries")
    )
    rows: Counter[Broker] = Counter()
    for text, entries in texts.items():
        for broker, number in _rows(text).items():
            rows[broker] += entries * number
    return texts.total(), rows


def newest_facts(connection: sqlite3.Connection, limit: int) -> list[tuple[int, Facts]]:
    """Return the facts of the newest entries, oldest first."""
    rows = connection.execute(
        f"SELECT {_FACTS} FROM entries ORDER BY id DESC LIMIT ?",  # noqa: S608
        (limit,),
    ).fetchall()
    return [(row[0], _facts(*row[1:])) for row in reversed(rows)]


def read_entry(connection: sqlite3.Connection, entry_id: int) -> RawEntry | None:
    """Return an entry; `None` when there is none of this id."""
    rows = connection.execute(
        f"SELECT {_ENTRY} FROM entries WHERE id = ?",  # noqa: S608
        (entry_id,),
    ).fetchall()
    return _raw_entry(*rows[0]) if rows else None


def read_entries(
    connection: sqlite3.Connection, *, above: int, upto: int, max_rows: int
) -> list[RawEntry]:
    """Return the oldest entries with ids in these bounds.

    As many as fit into ``max_rows`` ticks, at least one; none when there is none.
    """
    found: list[RawEntry] = []
    rows = 0
    cursor = connection.execute(
        f"SELECT {_ENTRY} FROM entries WHERE id > ? AND id <= ? ORDER BY id",  # noqa: S608
        (above, upto),
    )
    with closing(cursor):
        for row in cursor:
            entry = _raw_entry(*row)
            rows += entry.row_count
            if found and rows > max_rows:
                break
            found.append(entry)
    return found


def read_facts(connection: sqlite3.Connection, entry_id: int) -> Facts | None:
    """Return what an entry holds without reading its ticks."""
    rows = connection.execute(
        f"SELECT {_FACTS} FROM entries WHERE id = ?",  # noqa: S608
        (entry_id,),
    ).fetchall()
    return _facts(*rows[0][1:]) if rows else None


def newest_id(connection: sqlite3.Connection) -> int:
    """Return the highest id that was ever given."""
    rows = connection.execute(
        "SELECT seq FROM sqlite_sequence WHERE name = 'entries'"
    ).fetchall()
    return int(rows[0][0]) if rows else 0


def raise_newest_id(connection: sqlite3.Connection, at_least: int) -> None:
    """Let the ids of new entries begin above the given one."""
    if newest_id(connection) >= at_least:
        return
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'entries'")
    connection.execute("INSERT INTO sqlite_sequence VALUES ('entries', ?)", (at_least,))


def insert_note(connection: sqlite3.Connection, note: JournalEntry) -> int:
    """Add a note and return its id."""
    kind, blob = encode_note(note)
    return _insert_note(connection, (None, kind, checksum(blob), blob))


def copy_note(connection: sqlite3.Connection, note: RawNote) -> None:
    """Add a note of another file with its id."""
    _insert_note(connection, (note.id, note.kind, note.checksum, note.blob))


def delete_notes(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete notes; unknown ids are fine."""
    connection.executemany("DELETE FROM notes WHERE id = ?", [(id_,) for id_ in ids])


def all_notes(connection: sqlite3.Connection) -> Iterator[RawNote]:
    """Yield the notes, oldest first."""
    rows = connection.execute("SELECT id, kind, checksum, blob FROM notes ORDER BY id")
    for row in rows:
        yield RawNote(*row)


def _insert_note(connection: sqlite3.Connection, values: tuple[object, ...]) -> int:
    cursor = connection.execute(
        "INSERT INTO notes (id, kind, checksum, blob) VALUES (?, ?, ?, ?)", values
    )
    return int(cursor.lastrowid or 0)


def _insert(
    connection: sqlite3.Connection,
    entry_id: int | None,
    facts: Facts,
    check: int,
    blob: bytes,
) -> int:
    cursor = connection.execute(
        "INSERT INTO entries (id, row_count, rows_by_broker, first_at, last_at,"
        " checksum, blob) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            entry_id,
            facts.row_count,
            msgspec.json.encode(facts.rows).decode(),
            to_microseconds(facts.first_at),
            to_microseconds(facts.last_at),
            check,
            blob,
        ),
    )
    return int(cursor.lastrowid or 0)


def _raw_entry(
    entry_id: int,
    rows_by_broker: str,
    first_at: int,
    last_at: int,
    row_count: object,
    check: int,
    blob: object,
) -> RawEntry:
    if not isinstance(blob, bytes) or not isinstance(row_count, int):
        raise FileDamaged(f"entry {entry_id} has values of wrong types")
    facts = _facts(rows_by_broker, first_at, last_at)
    return RawEntry(entry_id, row_count, facts, check, blob)


def _facts(rows_by_broker: str, first_at: int, last_at: int) -> Facts:
    return Facts(_rows(rows_by_broker), _moment(first_at), _moment(last_at))


def _moment(microseconds: int) -> datetime:
    try:
        return from_microseconds(microseconds)
    except (TypeError, OverflowError) as exc:
        raise FileDamaged(f"an entry's times are wrong: {exc}") from exc


@lru_cache(maxsize=1_000)
def _rows(rows_by_broker: str) -> Mapping[Broker, int]:
    """Return the numbers; the same object for the same text, which most entries have."""
    try:
        return _ROWS.decode(rows_by_broker)
    except (msgspec.MsgspecError, TypeError, ValueError) as exc:
        raise FileDamaged(f"an entry's numbers are wrong: {exc}") from exc
