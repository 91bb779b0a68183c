"""The spool's file: whatever happens to it, it is a good one again at the next use.

It knows what is in it, so it can tell what is lost when it is damaged.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, TypeVar

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.pipeline.stores import Dropped
from greeks_trio.spool import entries
from greeks_trio.spool.contents import Contents, ContentsFile
from greeks_trio.spool.database import (
    FileDamaged,
    check_version,
    connect,
    pragma_number,
    too_new,
    transaction,
    translated,
)
from greeks_trio.spool.inventory import MAX_KNOWN, Inventory
from greeks_trio.spool.keepsakes import Keepsakes
from greeks_trio.spool.salvage import create, salvage_waiting, set_aside

logger = logging.getLogger(__name__)

# A file that was found damaged is damaged no more at the second try.
_TRIES: Final = 3

_T = TypeVar("_T")


class SpoolFile:
    """A connection that opens by itself, and the inventory of what is in the file.

    Args:
        on_lost: Told of entries that a damage has cost.
    """

    def __init__(
        self,
        path: Path,
        keepsakes: Keepsakes,
        on_lost: Callable[[list[Dropped]], None],
    ) -> None:
        self.path = path
        self._keepsakes = keepsakes
        self._on_lost = on_lost
        self._connection: sqlite3.Connection | None = None
        self._damage = "the last run did not get to salvaging it"
        self.inventory = Inventory()
        self.inherited_id: int | None = None
        self._contents = ContentsFile(path.with_name(f"{path.name}.contents"))

    def use(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Return what the work returns; on a damaged file it is done again.

        Raises:
            SpoolUnavailable: the disk does not do it.
            ConfigError: a newer version of this program has written the file.
        """
        for _ in range(_TRIES):
            try:
                with translated(self.path):
                    return work(self._connection or self._open())
            except FileDamaged as exc:
                self._give_up(str(exc))
            except SpoolUnavailable as exc:
                if _may_be_confused(exc):
                    self.close()
                raise
        raise SpoolUnavailable(f"{self.path} is damaged again and again")

    def write_contents(self) -> None:
        """Write down what is in the file, for the day when it cannot be read."""
        if self._connection is not None:
            self._contents.write(self.inventory.contents())

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # Copies the log into the file, and leaves it beside when it cannot.
            with suppress(sqlite3.Error):
                connection.close()

    def _open(self) -> sqlite3.Connection:
        salvage = salvage_waiting(self.path, self._keepsakes, self._damage)
        check_version(self.path, entries.VERSION)
        if not self.path.exists():
            create(self.path)
        with ExitStack() as stack:
            connection = connect(self.path, exclusive=True)
            stack.callback(connection.close)
            self._check(connection)
            given_id = entries.newest_id(connection)
            inventory = _count(connection)
            earlier = self._earlier()
            inventory.newest_id = max(given_id, earlier.newest_id)
            with transaction(connection):
                entries.raise_newest_id(connection, inventory.newest_id)
            stack.pop_all()
        is_damaged = salvage is not None or given_id < earlier.newest_id
        self._take_over(inventory, salvage.lost if salvage else [], earlier, is_damaged)
        self._connection = connection
        return connection

    def _earlier(self) -> Contents:
        if self.inherited_id is None:
            return self._contents.read()
        return self.inventory.contents()

    def _take_over(
        self,
        found: Inventory,
        named: list[Dropped],
        earlier: Contents,
        is_damaged: bool,
    ) -> None:
        """Believe the file, and tell what is not in it any more."""
        if self.inherited_id is None:
            # Without a damage, what is missing was released in the last second.
            lost = [*named, *found.lost_since(earlier, named)] if is_damaged else []
            self.inherited_id = found.newest_id if found.entries or lost else 0
        else:
            lost = self.inventory.lost(found)
        self.inventory = found
        if lost:
            logger.critical(
                "spool.rows_lost entries_or_more=%d rows=%d",
                len(lost),
                sum(sum(each.rows.values()) for each in lost),
            )
            self._on_lost(lost)

    def _check(self, connection: sqlite3.Connection) -> None:
        found = pragma_number(connection, "user_version")
        if found > entries.VERSION:
            raise too_new(self.path, found, entries.VERSION)
        if found < entries.VERSION:  # there is no older one to upgrade
            raise FileDamaged(f"it has format {found}")

    def _give_up(self, reason: str) -> None:
        self.close()
        self._damage = reason
        with translated(self.path), suppress(FileNotFoundError):
            set_aside(self.path)


def _count(connection: sqlite3.Connection) -> Inventory:
    """Count the entries, which reads a page of each of them."""
    number, rows = entries.totals(connection)
    oldest_at = entries.oldest_receipt(connection)
    newest = entries.newest_facts(connection, MAX_KNOWN)
    return Inventory.found(number, rows, oldest_at, newest)


def _may_be_confused(exc: SpoolUnavailable) -> bool:
    """Return whether the connection may believe other things than the disk.

    Not after a write that found no room: it is rolled back, and a log that is open may
    have the room for deleting what a new one would not have.
    """
    cause = exc.__cause__
    if not isinstance(cause, sqlite3.Error):
        return False
    code = cause.sqlite_errorcode
    return code & 0xFF == sqlite3.SQLITE_IOERR and code != sqlite3.SQLITE_IOERR_WRITE
