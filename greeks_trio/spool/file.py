"""The spool's file as a whole: made when it is missing, replaced when it is damaged.

A new file is written under the name ``.new``.  Its format is written last, so a file
that has one is complete.  Then the damaged file is renamed, and the new one takes its
place.  The process may be killed at any moment in between: the next one begins again, or
does the last step.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from greeks_trio.config.directories import make_own_directory
from greeks_trio.model.records import Broker
from greeks_trio.spool import entries, journal
from greeks_trio.spool.damage import (
    beside,
    newest_id_in,
    open_damaged,
    put_aside,
    readable,
    rename,
    unlink,
)
from greeks_trio.spool.database import (
    connect,
    empty_log,
    pragma_number,
    raise_newest_id,
    transaction,
)
from greeks_trio.spool.entries import RawEntry

logger = logging.getLogger(__name__)

# Counted up when this program can no longer read the files of an older one.
VERSION: Final = 1

# Rows in one transaction of the new file.
_BATCH: Final = 20


@dataclass(slots=True)
class Saved:
    """The part of a damaged file that could be read, and where the rest was.

    Attributes:
        changed_at: When the damaged file was last written.
        rows: Saved ticks by broker.
        holes: Ids of entries that could not be read.
        first_at: The lost ticks were received after this moment.  `None` when no entry
            before them was saved.
        last_at: They were received before this moment.  `None` when no entry after them
            was saved.
    """

    changed_at: datetime
    entries: int = 0
    rows: Counter[Broker] = field(default_factory=Counter)
    journal_entries: int = 0
    holes: list[range] = field(default_factory=list)
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add_hole(self, ids: range, before: RawEntry | None) -> None:
        """Note ids that could not be read, and the saved entry before them."""
        if not self.holes:
            self.first_at = before.facts.last_at if before else None
        self.holes.append(ids)
        self.last_at = None

    def end_holes_at(self, newest: int) -> None:
        """Take ids out of the holes that will be given to new entries."""
        self.holes = [range(ids.start, min(ids.stop, newest + 1)) for ids in self.holes]

    def add_entry(self, entry: RawEntry) -> None:
        """Note a saved entry."""
        self.entries += 1
        self.rows.update(entry.facts.rows)
        if self.holes and self.last_at is None:
            self.last_at = entry.facts.first_at


def make_missing(path: Path, *, newest: int) -> bool:
    """Make the file if it is missing.  Return whether it was.

    Its new entries get ids above ``newest``.
    """
    if path.exists():
        return False
    fresh = beside(path, ".new")
    if not _is_complete(fresh):
        unlink(fresh)
        with closing(_create(fresh)) as connection:
            _complete(connection, newest_entry=newest)
    _install(fresh, path)
    return True


def replace_damaged(path: Path, *, newest: int) -> tuple[Path, Saved]:
    """Save the readable rows in a new file that takes the place of the damaged one.

    Return the new name of the damaged file, and the part that was saved.  ``newest`` is
    the highest id that an entry is known to have had.

    Raises:
        OSError, sqlite3.Error: the disk refuses.  The damaged file is still there.
    """
    fresh = beside(path, ".new")
    unlink(fresh)
    saved = Saved(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    with closing(_create(fresh)) as target:
        with open_damaged(path) as source:
            _copy_entries(source, target, newest, saved)
            _copy_journal(source, target, saved)
            newest_entry = max(newest, newest_id_in(source, "entries"))
            newest_note = newest_id_in(source, "notes")
        _complete(target, newest_entry=newest_entry, newest_note=newest_note)
    saved.end_holes_at(newest_entry)
    kept = put_aside(path)
    _install(fresh, path)
    return kept, saved


def remake_deleted(path: Path, source: sqlite3.Connection, *, newest: int) -> Saved:
    """Make a deleted file again from its connection, which is still open.

    Another file that has taken its place is put aside.

    Raises:
        OSError, sqlite3.Error: the disk refuses.  The connection is as it was.
        ConfigError: the directory cannot be made again.
    """
    make_own_directory(path.parent)
    fresh = beside(path, ".new")
    unlink(fresh)
    saved = Saved(datetime.now(UTC))
    with closing(_create(fresh)) as target:
        _copy_entries(source, target, newest, saved)
        _copy_journal(source, target, saved)
        _complete(
            target, newest_entry=newest, newest_note=newest_id_in(source, "notes")
        )
    if path.exists():
        put_aside(path)
    _install(fresh, path)
    return saved


def _create(path: Path) -> sqlite3.Connection:
    connection = connect(path, exclusive=True)
    with transaction(connection):
        for statement in (entries.SCHEMA, journal.SCHEMA):
            connection.execute(statement)
    return connection


def _complete(
    connection: sqlite3.Connection, *, newest_entry: int, newest_note: int = 0
) -> None:
    with transaction(connection):
        raise_newest_id(connection, "entries", newest_entry)
        raise_newest_id(connection, "notes", newest_note)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    # The file is going to be renamed without its log.
    empty_log(connection)


def _is_complete(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path)) as connection:
            return pragma_number(connection, "user_version") == VERSION
    except sqlite3.Error:
        return False


def _install(fresh: Path, path: Path) -> None:
    # The log of the damaged file is still there if the process was killed before this.
    for suffix in ("-wal", "-shm"):
        beside(path, suffix).unlink(missing_ok=True)
    rename(fresh, path)


def _copy_entries(
    source: sqlite3.Connection, target: sqlite3.Connection, newest: int, saved: Saved
) -> None:
    last: RawEntry | None = None
    found = readable(entries.scan_entries, source)
    while part := list(islice(found, _BATCH)):
        with transaction(target):
            for each in part:
                if isinstance(each, range):
                    saved.add_hole(each, last)
                    continue
                entries.copy_entry(target, each)
                saved.add_entry(each)
                last = each
    known_to = max(
        newest_id_in(source, "entries"),
        last.id if last else 0,
        saved.holes[-1].stop - 1 if saved.holes else 0,
    )
    if known_to < newest:
        # The newest ones are gone with the log, and SQLite does not notice.
        saved.add_hole(range(known_to + 1, newest + 1), last)


def _copy_journal(
    source: sqlite3.Connection, target: sqlite3.Connection, saved: Saved
) -> None:
    newest = newest_id_in(source, "notes")
    with transaction(target):
        for each in readable(journal.scan_journal, source):
            if isinstance(each, range):
                _log_lost_journal_entries(each.start, min(each.stop - 1, newest))
                continue
            journal.copy_journal_entry(target, each)
            saved.journal_entries += 1


def _log_lost_journal_entries(first: int, last: int) -> None:
    if first <= last:
        ids = first if first == last else f"{first}-{last}"
        logger.critical("spool.note_lost id=%s reason=unreadable", ids)
