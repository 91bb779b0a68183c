"""The table of ticks in the spool's file, and the statements on it.

The numbers of a row lie before its blob, so reading them does not touch the blob's pages.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import Final

import msgspec

from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.stores import Dropped
from greeks_trio.spool.database import FileDamaged, Order
from greeks_trio.spool.format import (
    checksum,
    decode_ticks,
    from_microseconds,
    to_microseconds,
    verified,
)

# Times are microseconds since 1970.  AUTOINCREMENT: an id is never used again, even after
# the newest entry was released.
SCHEMA: Final = """CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    row_count INTEGER NOT NULL,
    rows_by_broker TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    blob BLOB NOT NULL
)"""
# SQLite takes 999 parameters at least.
_DELETED_AT_ONCE: Final = 500
_FACTS: Final = "id, rows_by_broker, first_at, last_at"
_ENTRY: Final = f"{_FACTS}, row_count, checksum, blob"

_RECEIPT: Final = attrgetter("received_at")
_BROKER: Final = attrgetter("broker")

_ROWS: Final = msgspec.json.Decoder(dict[Broker, int])


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of an entry: ticks by broker, first and last receipt."""

    rows: Mapping[Broker, int]
    first_at: datetime
    last_at: datetime

    @property
    def row_count(self) -> int:
        """Return the number of ticks."""
        return sum(self.rows.values())

    def as_dropped(self, entry_id: int, reason: str) -> Dropped:
        """Return the message that the entry is gone."""
        return Dropped(
            ids=(range(entry_id, entry_id + 1),),
            rows=self.rows,
            first_at=self.first_at,
            last_at=self.last_at,
            reason=reason,
        )


@dataclass(frozen=True, slots=True)
class RawEntry:
    """An entry as it lies in the file."""

    id: int
    row_count: int
    facts: Facts
    checksum: int
    blob: bytes

    def decoded(self) -> list[Tick]:
        """Return the ticks.

        Raises:
            FileDamaged: the blob is not the one that was written.
        """
        try:
            return decode_ticks(verified(self.blob, self.checksum))
        except ValueError as exc:
            raise FileDamaged(f"entry {self.id} cannot be decoded: {exc}") from exc


def facts_of(ticks: Iterable[Tick]) -> Facts:
    """Return the facts of at least one tick."""
    records = [tick.record for tick in ticks]
    receipts = set(map(_RECEIPT, records))
    return Facts(Counter(map(_BROKER, records)), min(receipts), max(receipts))


def insert_entry(connection: sqlite3.Connection, facts: Facts, blob: bytes) -> int:
    """Add an entry and return its id."""
    return _insert(connection, None, facts, checksum(blob), blob)


def copy_entry(connection: sqlite3.Connection, entry: RawEntry) -> None:
    """Add an entry of another file under the id that it has there."""
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


def newest_receipt(connection: sqlite3.Connection) -> datetime | None:
    """Return when the last tick of the newest entry was received."""
    rows = connection.execute(
        "SELECT last_at FROM entries ORDER BY id DESC LIMIT 1"
    ).fetchall()
    return _moment(rows[0][0]) if rows else None


def count(connection: sqlite3.Connection) -> tuple[int, Counter[Broker]]:
    """Return how many entries there are, and their ticks by broker.

    The service waits for this, and there may be millions of entries.  Few of them differ
    in their numbers of ticks, so each different text is decoded once.
    """
    texts = Counter(
        text for [text] in connection.execute("SELECT rows_by_broker FROM entries")
    )
    rows: Counter[Broker] = Counter()
    for text, entries in texts.items():
        for broker, number in _rows(text).items():
            rows[broker] += entries * number
    return texts.total(), rows


def scan_entries(
    connection: sqlite3.Connection, above: int, below: int, order: Order
) -> Generator[RawEntry, None, None]:
    """Yield the entries with ids between these two, in this order of ids."""
    cursor = connection.execute(
        f"SELECT {_ENTRY} FROM entries WHERE id > ? AND id < ? ORDER BY id {order}",  # noqa: S608
        (above, below),
    )
    for row in cursor:
        yield _raw_entry(*row)


def read_entries(
    connection: sqlite3.Connection, *, above: int, upto: int, max_rows: int
) -> list[RawEntry]:
    """Return the oldest entries with ids in these bounds.

    Return as many as fit into ``max_rows`` ticks, but at least one if there is one.
    """
    found: list[RawEntry] = []
    rows = 0
    with closing(scan_entries(connection, above, upto + 1, "ASC")) as entries:
        for entry in entries:
            rows += entry.row_count
            if found and rows > max_rows:
                break
            found.append(entry)
    return found


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
    """Return the numbers of a text.  Most entries have the same few texts."""
    try:
        return _ROWS.decode(rows_by_broker)
    except (msgspec.MsgspecError, TypeError, ValueError) as exc:
        raise FileDamaged(f"an entry's numbers are wrong: {exc}") from exc
