"""Making a good file of a damaged one, entry by entry.

Three names, so that the process may be killed at any instant and the next one goes on:
the damaged file is moved to ``.salvaging``, what can be read of it is written to
``.new``, that takes the place of the file, and the damaged one is moved to
``.damaged-<UTC time>``.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from greeks_trio.pipeline.stores import Dropped
from greeks_trio.spool import entries
from greeks_trio.spool.database import (
    FileDamaged,
    connect,
    transaction,
)
from greeks_trio.spool.keepsakes import Keepsakes, limit_damaged, stamp
from greeks_trio.spool.wreck import PAGE_BYTES, open_damaged

logger = logging.getLogger(__name__)

# Ids between the readable ends that are looked up one by one.
_MAX_PROBES: Final = 200_000
# Entries in one transaction of the file that is made.
_BATCH: Final = 100
_UNREADABLE: Final = (sqlite3.Error, FileDamaged)


@dataclass(slots=True)
class Salvage:
    """What came of it.

    Attributes:
        lost: Entries whose numbers can be read and whose ticks cannot.
    """

    entries: int = 0
    rows: int = 0
    notes: int = 0
    lost: list[Dropped] = field(default_factory=list)


def create(path: Path) -> None:
    """Make an empty spool, in one step: a file of this name is never half of one."""
    fresh = _beside(path, ".new")
    _unlink(fresh)
    with closing(connect(fresh, exclusive=True)) as connection:
        entries.create_tables(connection)
    _rename(fresh, path)


def set_aside(path: Path) -> None:
    """Give the damaged file the name under which it waits for `salvage_waiting`."""
    _rename(path, _beside(path, ".salvaging"))
    _finish_set_aside(path)


def salvage_waiting(path: Path, keepsakes: Keepsakes, reason: str) -> Salvage | None:
    """Salvage a file that waits for it, if any, also one of an earlier run.

    Raises:
        OSError, sqlite3.Error: the disk; the damaged file is still there.
    """
    waiting = _beside(path, ".salvaging")
    if not waiting.exists():
        return None
    found = Salvage()
    if not path.exists():
        _finish_set_aside(path)
        found = _salvage(waiting, path, keepsakes)
    kept = _beside(path, f".damaged-{stamp()}")
    with suppress(FileNotFoundError):
        _rename(_beside(waiting, "-wal"), _beside(kept, "-wal"))
    _rename(waiting, kept)
    logger.critical(
        "spool.damaged kept=%s salvaged_entries=%d salvaged_rows=%d salvaged_notes=%d "
        "lost_entries=%d reason=%s",
        kept,
        found.entries,
        found.rows,
        found.notes,
        len(found.lost),
        reason,
    )
    limit_damaged(path)
    return found


def _salvage(damaged: Path, path: Path, keepsakes: Keepsakes) -> Salvage:
    fresh = _beside(path, ".new")
    _unlink(fresh)
    result = Salvage()
    with closing(connect(fresh, exclusive=True)) as target:
        entries.create_tables(target)
    template = fresh.read_bytes()[:PAGE_BYTES]
    with (
        closing(connect(fresh, exclusive=True)) as target,
        open_damaged(damaged, template, keepsakes) as source,
    ):
        ids = _readable_ids(source)
        while batch := list(islice(ids, _BATCH)):
            with transaction(target):
                _copy_entries(source, target, batch, keepsakes, result)
        with transaction(target):
            _copy_rest(source, target, result)
    _rename(fresh, path)
    return result


def _copy_entries(
    source: sqlite3.Connection,
    target: sqlite3.Connection,
    ids: Iterable[int],
    keepsakes: Keepsakes,
    result: Salvage,
) -> None:
    for entry_id in ids:
        try:
            entry = entries.read_entry(source, entry_id)
        except _UNREADABLE:
            result.lost += _facts_only(source, entry_id)
            continue
        if entry is None:
            continue
        if not entry.is_intact:
            keepsakes.keep(f"entry-{entry_id}", entry.blob)
            result.lost.append(entry.facts.as_dropped(entry_id, "spool-damaged"))
            continue
        entries.copy_entry(target, entry)
        result.entries += 1
        result.rows += entry.row_count


def _copy_rest(
    source: sqlite3.Connection, target: sqlite3.Connection, result: Salvage
) -> None:
    with suppress(*_UNREADABLE):
        for note in entries.all_notes(source):
            entries.copy_note(target, note)
            result.notes += 1
    with suppress(*_UNREADABLE):
        entries.raise_newest_id(target, entries.newest_id(source))


def _facts_only(source: sqlite3.Connection, entry_id: int) -> list[Dropped]:
    try:
        facts = entries.read_facts(source, entry_id)
    except _UNREADABLE:
        return []
    return [facts.as_dropped(entry_id, "spool-damaged")] if facts else []


def _readable_ids(source: sqlite3.Connection) -> Iterator[int]:
    """Yield ids from the front as far as it can be read, likewise from the back.

    And every number between, in case there is an entry of it.
    """
    front, ended = _ids(source, "ASC")
    yield from front
    if ended:
        return
    back, _ = _ids(source, "DESC")
    after_front = front[-1] + 1 if front else 1
    before_back = min((i for i in back if i >= after_front), default=None)
    if before_back is None:
        # Nothing is known of the end: as far as ids were given.
        with suppress(*_UNREADABLE):
            before_back = entries.newest_id(source) + 1
    yield from range(after_front, min(before_back or 0, after_front + _MAX_PROBES))
    yield from (i for i in reversed(back) if i >= after_front)


def _ids(source: sqlite3.Connection, order: str) -> tuple[list[int], bool]:
    found: list[int] = []
    try:
        for [entry_id] in source.execute(f"SELECT id FROM entries ORDER BY id {order}"):  # noqa: S608
            found.append(entry_id)
    except sqlite3.Error:
        return found, False
    return found, True


def _finish_set_aside(path: Path) -> None:
    """Move the log after its file, which a kill may have come between."""
    with suppress(FileNotFoundError):
        _rename(_beside(path, "-wal"), _beside(path, ".salvaging-wal"))
    _beside(path, "-shm").unlink(missing_ok=True)


def _unlink(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        _beside(path, suffix).unlink(missing_ok=True)


def _rename(old: Path, new: Path) -> None:
    old.rename(new)
    fd = os.open(new.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
