"""Reading a damaged file with plain SQL, and putting it aside."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from greeks_trio.spool.database import MAX_ID, FileDamaged, Order, newest_id
from greeks_trio.spool.entries import RawEntry
from greeks_trio.spool.journal import RawJournalEntry

logger = logging.getLogger(__name__)

# No row has this id.
END: Final = 2**63 - 1

# Whole files, each as large as the spool may be.
_KEPT_FILES: Final = 3
_UNREADABLE: Final = (sqlite3.Error, FileDamaged)

_Row = TypeVar("_Row", RawEntry, RawJournalEntry)
# `scan_entries` or `scan_journal`: yields the rows between two ids in an order.
_Scan: TypeAlias = Callable[[sqlite3.Connection, int, int, Order], Iterator[_Row]]


@contextmanager
def open_damaged(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a damaged file for reading.  Every read may raise `sqlite3.Error`."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(connection):
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Without this SQLite reads nothing of a file that is shorter than it was.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA query_only = ON")
        yield connection


def readable(
    scan: _Scan[_Row], source: sqlite3.Connection
) -> Generator[_Row | range, None, None]:
    """Yield the rows that can be read, and the ids that cannot, in rising order."""
    last_id = 0
    while True:
        try:
            for row in scan(source, last_id, END, "ASC"):
                if not last_id < row.id <= MAX_ID:
                    raise FileDamaged("the ids of a page are not in order")
                row.decoded()
                yield row
                last_id = row.id
        except _UNREADABLE as exc:
            logger.debug("spool.unreadable above=%d reason=%s", last_id, exc)
        else:
            return
        next_id = _next_readable_id(scan, source, last_id)
        yield range(last_id + 1, next_id)
        if next_id == END:
            return
        last_id = next_id - 1


def newest_id_in(source: sqlite3.Connection, table: str) -> int:
    """Return the highest id that was ever given in a table, 0 when that is unreadable."""
    with suppress(*_UNREADABLE):
        return newest_id(source, table)
    return 0


def put_aside(path: Path) -> Path:
    """Rename a damaged file and its log, and return the new name.

    The name ends with ``.damaged``, or with a number when there are such files already.
    The oldest files beyond a few are deleted.
    """
    numbers = _damaged_numbers(path)
    kept = _damaged_name(path, max(numbers, default=0) + 1)
    rename(path, kept)
    with suppress(FileNotFoundError):
        rename(beside(path, "-wal"), beside(kept, "-wal"))
    beside(path, "-shm").unlink(missing_ok=True)
    for number in sorted(numbers)[: 1 - _KEPT_FILES]:
        old = _damaged_name(path, number)
        logger.warning("spool.damaged_file_deleted path=%s", old)
        unlink(old)
    return kept


def rename(old: Path, new: Path) -> None:
    """Rename a file and sync the directory."""
    old.rename(new)
    fd = os.open(new.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unlink(path: Path) -> None:
    """Delete a database with its log, if it is there."""
    for suffix in ("", "-wal", "-shm"):
        beside(path, suffix).unlink(missing_ok=True)


def beside(path: Path, suffix: str) -> Path:
    """Return the path with a longer name."""
    return path.with_name(path.name + suffix)


def _next_readable_id(
    scan: _Scan[_Row], source: sqlite3.Connection, last_id: int
) -> int:
    """Return the lowest readable id behind a damaged page, `END` when there is none.

    Steps that double lead over the damaged page, and reading backwards leads to its end.
    """
    next_id = _first_id_behind(scan, source, last_id)
    with suppress(*_UNREADABLE):
        for row in scan(source, last_id, next_id, "DESC"):
            row.decoded()
            next_id = min(next_id, row.id)
    # The next id is the one that could not be read just now.
    return max(next_id, last_id + 2)


def _first_id_behind(
    scan: _Scan[_Row], source: sqlite3.Connection, last_id: int
) -> int:
    step = 1
    while last_id + step < END:
        try:
            first = next(scan(source, last_id + step, END, "ASC"), None)
        except _UNREADABLE:
            step *= 2
        else:
            return first.id if first is not None else END
    return END


def _damaged_name(path: Path, number: int) -> Path:
    return beside(path, ".damaged" if number == 1 else f".damaged-{number}")


def _damaged_numbers(path: Path) -> list[int]:
    """Return the numbers of the damaged files that are kept; the first has none."""
    pattern = re.compile(re.escape(path.name) + r"\.damaged(?:-(\d{1,9}))?")
    found = map(pattern.fullmatch, (each.name for each in path.parent.iterdir()))
    return [int(each[1] or 1) for each in found if each]
