"""Notes in the spool's file, in whole transactions."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable

from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.spool import entries
from greeks_trio.spool.database import transaction
from greeks_trio.spool.format import decode_note, verified
from greeks_trio.spool.keepsakes import Keepsakes

logger = logging.getLogger(__name__)


def read_notes(
    connection: sqlite3.Connection, keepsakes: Keepsakes
) -> list[tuple[int, JournalEntry]]:
    """Return every note with its id, oldest first; drop those that cannot be read."""
    notes: list[tuple[int, JournalEntry]] = []
    broken: list[int] = []
    for raw in list(entries.all_notes(connection)):
        try:
            blob = verified(raw.blob, raw.checksum)
            notes.append((raw.id, decode_note(raw.kind, blob)))
        except ValueError as exc:
            logger.critical("spool.note_lost id=%d reason=%s", raw.id, exc)
            keepsakes.keep(f"note-{raw.id}", raw.blob)
            broken.append(raw.id)
    if broken:
        with transaction(connection):
            entries.delete_notes(connection, broken)
    return notes


def insert_notes(
    connection: sqlite3.Connection, notes: Iterable[JournalEntry]
) -> list[int]:
    """Add notes and return their ids."""
    with transaction(connection):
        return [entries.insert_note(connection, note) for note in notes]


def forget_notes(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete notes; unknown ids are fine."""
    with transaction(connection):
        entries.delete_notes(connection, ids)
