"""The spool, one call at a time, as `greeks_trio.pipeline.stores.Spool` promises it.

Synchronous.  One thread at a time may use it, except `pop_dropped` and `size`, which
return the results of the last call.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from greeks_trio.config.settings import BROKERS
from greeks_trio.errors import SpoolUnavailable
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.stores import Dropped, JournalEntry, SpooledEntry, SpoolSize
from greeks_trio.spool import entries, journal
from greeks_trio.spool.damage import END
from greeks_trio.spool.database import (
    Database,
    FileDamaged,
    connect,
    empty_log,
    newest_id,
    shrink,
    transaction,
    used_bytes,
)
from greeks_trio.spool.entries import Facts
from greeks_trio.spool.file import (
    VERSION,
    Saved,
    make_missing,
    remake_deleted,
    replace_damaged,
)
from greeks_trio.spool.format import encode_ticks
from greeks_trio.spool.totals import Totals, TotalsFile

logger = logging.getLogger(__name__)

# While the spool is full, each new entry costs an old one.
_SAY_FULL_EVERY_S: Final = 60.0


class SpoolStore:
    """Ticks and journal entries in one file.

    Every method raises `SpoolUnavailable` when the disk refuses.  A damaged file is
    replaced by a new one with its readable rows, and the call goes on with that.

    Args:
        max_bytes: The bound of the pages in use.  Beyond it the oldest entries are
            dropped.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._database = Database(
            path,
            open_file=self._open_file,
            replace=self._replace_file,
            rescue=self._remake_file,
        )
        self._totals_file = TotalsFile(path.with_name(f"{path.name}.contents"))
        # `None` until the file was opened for the first time.
        self._totals: Totals | None = None
        self._inherited_id: int | None = None
        # The worker's thread appends, and the pipeline pops after its calls.
        self._dropped: deque[Dropped] = deque()
        self._full_rows = 0
        self._say_full_at = 0.0
        self._size = SpoolSize(entries=0, rows=0, bytes=0, oldest_at=None)

    @property
    def inherited_id(self) -> int | None:
        """Return the newest id of an earlier run; 0 when nothing is left of any.

        `None` until the file was opened for the first time.
        """
        return self._inherited_id

    def open(self) -> list[tuple[int, JournalEntry]]:
        """Open the file and return its journal entries with their ids, oldest first.

        If the disk refuses now, the other methods open the file later.

        Raises:
            ConfigError: a newer version of this program has written the file.
        """
        return self._database.use(self._read_journal)

    @property
    def last_error(self) -> str | None:
        """Return why the last call failed, `None` if it did not."""
        return self._database.last_error

    def look(self) -> None:
        """Make the file again if it was deleted while it is open.

        Raises:
            SpoolUnavailable: the disk refuses.
        """
        self._database.use(lambda _: None)

    def probe(self) -> None:
        """Write a page of the file, to learn whether the disk takes it.

        Raises:
            SpoolUnavailable: it does not.
        """

        def write(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                connection.execute(f"PRAGMA user_version = {VERSION}")

        self._database.use(write)

    def write_totals(self) -> None:
        """Write beside the file how much it holds, if the disk takes it."""
        if self._totals is not None and self._database.is_open:
            self._totals_file.write(self._totals)

    def close(self) -> None:
        """Close the file."""
        self.write_totals()
        self._database.close()

    def append(
        self,
        ticks: Sequence[Tick],
        *,
        release: Sequence[int],
        protected: int,
        is_brief: bool = False,
    ) -> int:
        """See `Spool.append`.  Without ticks there is no entry, and 0 is returned.

        The new entry itself is never dropped for want of room, so the file may be larger
        than its bound by one entry.
        """
        if not ticks:
            self.release(release)
            return 0
        facts, blob = (
            entries.facts_of(ticks),
            encode_ticks(ticks, compress=not is_brief),
        )

        def append(connection: sqlite3.Connection) -> int:
            with transaction(connection):
                released = entries.delete_entries(connection, release)
                entry_id = entries.insert_entry(connection, facts, blob)
                dropped = self._make_room(connection, protected, entry_id)
                size = used_bytes(connection)
                first_at = entries.oldest_receipt(connection)
            self._count(
                size, first_at, added={entry_id: facts}, removed=released | dropped
            )
            self._drop(dropped)
            return entry_id

        return self._database.use(append)

    def release(self, ids: Sequence[int]) -> None:
        """See `Spool.release`.

        When there is no room for the deletion in the log, the log is first copied into
        the file.
        """
        if not ids:
            return
        try:
            self._database.use(lambda connection: self._release(connection, ids))
        except SpoolUnavailable:
            self._database.use(empty_log)
            self._database.use(lambda connection: self._release(connection, ids))

    def read(self, *, after: int = 0, upto: int, max_rows: int) -> list[SpooledEntry]:
        """See `Spool.read`."""

        def read(connection: sqlite3.Connection) -> list[SpooledEntry]:
            found = entries.read_entries(
                connection, above=after, upto=upto, max_rows=max_rows
            )
            return [SpooledEntry(id=each.id, ticks=each.decoded()) for each in found]

        return self._database.use(read)

    def append_journal(self, added: Sequence[JournalEntry]) -> list[int]:
        """See `Spool.append_journal`."""

        def append(connection: sqlite3.Connection) -> list[int]:
            with transaction(connection):
                return [
                    journal.insert_journal_entry(connection, each) for each in added
                ]

        return self._database.use(append) if added else []

    def release_journal(self, ids: Sequence[int]) -> None:
        """See `Spool.release_journal`."""

        def release(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                journal.delete_journal_entries(connection, ids)

        if ids:
            self._database.use(release)

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

    # The file.

    def _open_file(self) -> sqlite3.Connection:
        earlier = self._totals or self._totals_file.read() or Totals()
        was_missing = make_missing(self._path, newest=earlier.newest_id)
        with ExitStack() as stack:
            connection = connect(self._path, exclusive=True, version=VERSION)
            stack.callback(connection.close)
            found = _totals_of(connection)
            if found.newest_id < earlier.newest_id:
                raise FileDamaged(
                    f"its newest entry is {found.newest_id}, and there was one with "
                    f"the number {earlier.newest_id}"
                )
            size = used_bytes(connection)
            stack.pop_all()
        if was_missing:
            saved = Saved(datetime.now(UTC), found.entries, Counter(found.rows))
            saved.add_hole(range(1, earlier.newest_id + 1), None)
            self._tell_loss(saved, earlier)
        if self._inherited_id is None:
            is_needed = found.entries or self._dropped
            self._inherited_id = found.newest_id if is_needed else 0
        self._set_totals(found, size)
        return connection

    def _replace_file(self, damage: str) -> None:
        earlier = self._totals or self._totals_file.read()
        kept, saved = replace_damaged(
            self._path, newest=earlier.newest_id if earlier else 0
        )
        lost_entries = earlier.entries - saved.entries if earlier else 0
        logger.critical(
            "spool.damaged kept=%s salvaged_entries=%d salvaged_rows=%d "
            "salvaged_notes=%d lost_entries=%s reason=%s",
            kept,
            saved.entries,
            saved.rows.total(),
            saved.journal_entries,
            max(0, lost_entries) if earlier else "unknown",
            damage,
        )
        self._tell_loss(saved, earlier)

    def _remake_file(self, connection: sqlite3.Connection) -> None:
        newest = self._totals.newest_id if self._totals else 0
        saved = remake_deleted(self._path, connection, newest=newest)
        logger.critical(
            "spool.file_deleted path=%s saved_entries=%d saved_rows=%d saved_notes=%d",
            self._path,
            saved.entries,
            saved.rows.total(),
            saved.journal_entries,
        )
        self._tell_loss(saved, self._totals)

    def _tell_loss(self, saved: Saved, earlier: Totals | None) -> None:
        """Tell about the ticks that a damaged or deleted file had and the new one lacks.

        The totals of this run are exact.  Those of an earlier run may be a second old.
        Without any, neither the number of the ticks nor their brokers are known.
        """
        if not saved.holes or (earlier is not None and not earlier.rows):
            return
        before = earlier or Totals()
        missing = Counter(before.rows) - saved.rows
        if not missing and self._totals is not None:
            return
        logger.critical(
            "spool.rows_lost entries_or_more=%d rows=%s",
            max(1, before.entries - saved.entries),
            missing.total() if missing else "unknown",
        )
        moments = [
            saved.first_at or before.first_at or saved.changed_at,
            saved.last_at or before.last_at or saved.changed_at,
        ]
        self._dropped.append(
            Dropped(
                ids=tuple(saved.holes),
                rows=missing or dict.fromkeys(BROKERS, 0),
                first_at=min(moments),
                last_at=max(moments),
                reason="spool-damaged",
            )
        )

    def _read_journal(
        self, connection: sqlite3.Connection
    ) -> list[tuple[int, JournalEntry]]:
        found = list(journal.scan_journal(connection, 0, END, "ASC"))
        return [(each.id, each.decoded()) for each in found]

    # The entries.

    def _release(self, connection: sqlite3.Connection, ids: Iterable[int]) -> None:
        with transaction(connection):
            removed = entries.delete_entries(connection, ids)
            size = used_bytes(connection)
            first_at = entries.oldest_receipt(connection)
        self._count(size, first_at, added={}, removed=removed)
        if not self._size.entries:
            shrink(connection)

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
        self._dropped.extend(
            [facts.as_dropped(i, "spool-full") for i, facts in dropped.items()]
        )
        self._full_rows += sum(facts.row_count for facts in dropped.values())
        if time.monotonic() >= self._say_full_at:
            self._say_full_at = time.monotonic() + _SAY_FULL_EVERY_S
            logger.critical(
                "spool.full dropped_rows=%d max_bytes=%d",
                self._full_rows,
                self._max_bytes,
            )

    def _count(
        self,
        size: int,
        first_at: datetime | None,
        *,
        added: Mapping[int, Facts],
        removed: Mapping[int, Facts],
    ) -> None:
        before = self._totals or Totals()
        self._set_totals(
            before.changed(added=added, removed=removed, first_at=first_at), size
        )

    def _set_totals(self, totals: Totals, size: int) -> None:
        self._totals = totals
        self._size = SpoolSize(
            entries=totals.entries,
            rows=sum(totals.rows.values()),
            bytes=size,
            oldest_at=totals.first_at,
        )


def _totals_of(connection: sqlite3.Connection) -> Totals:
    """Count the entries, which reads a page of each of them."""
    number, rows = entries.count(connection)
    return Totals(
        newest_id=newest_id(connection, "entries"),
        entries=number,
        rows=dict(rows),
        first_at=entries.oldest_receipt(connection),
        last_at=entries.newest_receipt(connection),
    )
