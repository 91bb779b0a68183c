"""The spool, one call at a time: what `greeks_trio.pipeline.stores.Spool` promises.

Synchronous and used by one thread at a time, except `pop_dropped` and `size`, which only
look at what the last call left.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.stores import Dropped, JournalEntry, SpooledEntry, SpoolSize
from greeks_trio.spool import entries
from greeks_trio.spool.database import (
    empty_log,
    pragma_number,
    transaction,
    used_bytes,
)
from greeks_trio.spool.file import SpoolFile
from greeks_trio.spool.format import decode_ticks, encode_ticks, verified
from greeks_trio.spool.inventory import Facts, facts_of
from greeks_trio.spool.keepsakes import Keepsakes
from greeks_trio.spool.notes import forget_notes, insert_notes, read_notes
from greeks_trio.spool.reserve import Reserve

logger = logging.getLogger(__name__)

# While the spool is full every entry costs another one.
_SAY_FULL_EVERY_S: Final = 60.0

# A file that has grown beyond this gives its room back when it is empty.
_SHRINK_FROM: Final = 16 * 2**20


class SpoolStore:
    """Ticks and notes in one file.

    Every method raises `SpoolUnavailable` when the disk does not do it.

    Args:
        max_bytes: Pages in use beyond this are freed by dropping the oldest entries.
    """

    def __init__(self, path: Path, keepsakes: Keepsakes, *, max_bytes: int) -> None:
        self._file = SpoolFile(path, keepsakes, self._lose)
        self._reserve = Reserve(path.with_name("reserve"))
        self._keepsakes = keepsakes
        self._max_bytes = max_bytes
        # Filled by the worker's thread, emptied by the pipeline after its calls.
        self._dropped: deque[Dropped] = deque()
        self._full_rows = 0
        self._say_full_at = 0.0
        self._size = SpoolSize(entries=0, rows=0, bytes=0, oldest_at=None)

    @property
    def inherited_id(self) -> int | None:
        """Return the newest id that was there when the file was opened first."""
        return self._file.inherited_id

    def open(self) -> list[tuple[int, JournalEntry]]:
        """Open the file, mended if need be, and return its notes with their ids.

        When the disk does not let it, the other methods open it later.

        Raises:
            ConfigError: a newer version of this program has written it.
        """
        self._reserve.restore()
        return self._file.use(self._open)

    def take_care(self) -> None:
        """Do what is good to do now and then, and is no harm when it is not done."""
        self._file.write_contents()
        self._reserve.restore()

    def close(self) -> None:
        """Close the file."""
        self._file.write_contents()
        self._file.close()

    def append(
        self, ticks: Sequence[Tick], *, release: Sequence[int], protected: int
    ) -> int:
        """See `Spool.append`; without ticks there is no entry, and 0 is returned.

        The entry itself is never dropped for want of room, so the file may be larger
        than its bound by one entry.
        """
        if not ticks:
            self.release(release)
            return 0
        facts, blob = facts_of(ticks), encode_ticks(ticks)

        def append(connection: sqlite3.Connection) -> int:
            with transaction(connection):
                removed = entries.delete_entries(connection, release)
                entry_id = entries.insert_entry(connection, facts, blob)
                dropped = self._make_room(connection, protected, entry_id)
                size = used_bytes(connection)
            self._file.inventory.remove(removed | dropped)
            self._file.inventory.add(entry_id, facts)
            self._measure(connection, size)
            self._drop(dropped)
            return entry_id

        return self._file.use(append)

    def release(self, ids: Sequence[int]) -> None:
        """See `Spool.release`.

        When there is no room for it, the reserve is given up and the log emptied into
        the file first: deleting is what a full disk needs.
        """
        if not ids:
            return
        try:
            self._file.use(lambda connection: self._release(connection, ids))
        except SpoolUnavailable:
            self._reserve.give_up()
            self._file.use(empty_log)
            self._file.use(lambda connection: self._release(connection, ids))

    def read(self, *, after: int = 0, upto: int, max_rows: int) -> list[SpooledEntry]:
        """See `Spool.read`."""

        def read(connection: sqlite3.Connection) -> list[SpooledEntry]:
            found = self._read(connection, after, upto, max_rows)
            # The file may have been mended meanwhile.
            self._measure(connection, used_bytes(connection))
            return found

        return self._file.use(read)

    def note(self, notes: Sequence[JournalEntry]) -> list[int]:
        """See `Spool.note`."""
        if not notes:
            return []
        return self._file.use(lambda connection: insert_notes(connection, notes))

    def forget_notes(self, ids: Sequence[int]) -> None:
        """See `Spool.forget_notes`."""
        if ids:
            self._file.use(lambda connection: forget_notes(connection, ids))

    def pop_dropped(self) -> list[Dropped]:
        """See `Spool.pop_dropped`."""
        taken: list[Dropped] = []
        with suppress(IndexError):
            while True:
                taken.append(self._dropped.popleft())
        return taken

    def size(self) -> SpoolSize:
        """See `Spool.size`."""
        return self._size

    def _open(self, connection: sqlite3.Connection) -> list[tuple[int, JournalEntry]]:
        self._measure(connection, used_bytes(connection))
        return read_notes(connection, self._keepsakes)

    def _release(self, connection: sqlite3.Connection, ids: Iterable[int]) -> None:
        with transaction(connection):
            removed = entries.delete_entries(connection, ids)
            size = used_bytes(connection)
        self._file.inventory.remove(removed)
        self._measure(connection, size)
        if not self._file.inventory.entries:
            self._shrink(connection)

    def _read(
        self, connection: sqlite3.Connection, after: int, upto: int, max_rows: int
    ) -> list[SpooledEntry]:
        found: list[SpooledEntry] = []
        last_id = after
        # Once, unless all that was read is damaged.
        while not found:
            raw = entries.read_entries(
                connection, above=last_id, upto=upto, max_rows=max_rows
            )
            if not raw:
                break
            last_id = raw[-1].id
            for entry in raw:
                ticks = self._decode(connection, entry)
                if ticks is not None:
                    found.append(SpooledEntry(id=entry.id, ticks=ticks))
        return found

    def _decode(
        self, connection: sqlite3.Connection, entry: entries.RawEntry
    ) -> list[Tick] | None:
        try:
            return decode_ticks(verified(entry.blob, entry.checksum))
        except ValueError as exc:
            logger.critical(
                "spool.entry_lost id=%d rows=%d reason=%s",
                entry.id,
                entry.row_count,
                exc,
            )
        self._keepsakes.keep(f"entry-{entry.id}", entry.blob)
        self._release(connection, [entry.id])
        self._lose([entry.facts.as_dropped(entry.id, "spool-damaged")])
        return None

    def _make_room(
        self, connection: sqlite3.Connection, protected: int, newest: int
    ) -> dict[int, Facts]:
        dropped: dict[int, Facts] = {}
        while used_bytes(connection) > self._max_bytes:
            oldest = entries.oldest_id(connection, above=protected)
            if oldest is None or oldest >= newest:
                break
            dropped |= entries.delete_entries(connection, [oldest])
        return dropped

    def _drop(self, dropped: Mapping[int, Facts]) -> None:
        if not dropped:
            return
        self._lose([each.as_dropped(i, "spool-full") for i, each in dropped.items()])
        self._full_rows += sum(facts.row_count for facts in dropped.values())
        if time.monotonic() >= self._say_full_at:
            self._say_full_at = time.monotonic() + _SAY_FULL_EVERY_S
            logger.critical(
                "spool.full dropped_rows=%d max_bytes=%d",
                self._full_rows,
                self._max_bytes,
            )

    def _lose(self, dropped: Iterable[Dropped]) -> None:
        self._dropped.extend(list(dropped))

    def _measure(self, connection: sqlite3.Connection, size: int) -> None:
        inventory = self._file.inventory
        self._size = SpoolSize(
            entries=inventory.entries,
            rows=inventory.rows,
            bytes=size,
            oldest_at=entries.oldest_receipt(connection),
        )

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Give the disk back what an empty spool does not need."""
        size = pragma_number(connection, "page_count")
        if size * pragma_number(connection, "page_size") < _SHRINK_FROM:
            return
        # A disk without room for it now has it the next time.
        with suppress(sqlite3.OperationalError):
            connection.execute("VACUUM")
            empty_log(connection)
