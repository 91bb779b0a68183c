"""SQLite files: opened durable, changed in whole transactions, errors told by number."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from greeks_trio.config.directories import open_own_file
from greeks_trio.errors import ConfigError, SpoolUnavailable

logger = logging.getLogger(__name__)

# Other processes use the quarantine for milliseconds at a time.
_BUSY_S: Final = 2.0
# SQLite copies its log into the file after so many pages of 4 KiB.  It then keeps so many
# bytes of the log's file: deleting needs room there even when the disk is full.
_CHECKPOINT_PAGES: Final = 1000
_LOG_BYTES: Final = 4 * 2**20
# An empty file that is larger than this is made small again.
_SHRINK_FROM: Final = 16 * 2**20

# The highest id that an entry can have; SQLite's own limit is twice as high.  A thousand
# entries a second take 146 million years.
MAX_ID: Final = 2**62

# The second try has an undamaged file, the third is for damage that comes meanwhile.
_TRIES: Final = 3

_DAMAGE: Final = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    # Tables or columns are missing, or an id is there twice: our statements are right.
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}
_PLAIN: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not read or write",
    sqlite3.SQLITE_READONLY: "the disk is read-only",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_BUSY: "another process holds the file",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}

# Of rows by their ids.
Order: TypeAlias = Literal["ASC", "DESC"]

_T = TypeVar("_T")


class FileDamaged(Exception):
    """A file is not the database that it should be, or only in part."""


class Database:
    """A file that each use opens again if it has to, and that is replaced when damaged.

    Args:
        path: The file, named in errors.
        open_file: Opens the file and checks it.
        replace: Puts a good file in the place of a damaged one.  Its argument is the
            damage in words.
        rescue: Makes a deleted file again, with everything that its open connection still
            has.  Without it an empty file takes its place.

    Attributes:
        last_error: Why the last use failed; `None` if it did not.
    """

    def __init__(
        self,
        path: Path,
        *,
        open_file: Callable[[], sqlite3.Connection],
        replace: Callable[[str], None],
        rescue: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        self._path = path
        self._open_file = open_file
        self._replace = replace
        self._rescue = rescue
        self.last_error: str | None = None
        # The file and its log as they were opened, by path.
        self._opened: dict[Path, os.stat_result] = {}
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Return whether there is a connection."""
        return self._connection is not None

    def use(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Return the result of the work.  On a damaged file the work is done again.

        Raises:
            SpoolUnavailable: the disk refuses.
            ConfigError: a newer version of this program has written the file.
        """
        try:
            result = self._use(work)
        except SpoolUnavailable as exc:
            self.last_error = str(exc)
            raise
        self.last_error = None
        return result

    def _use(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        damage: str | None = None
        for _ in range(_TRIES):
            try:
                with translated(self._path):
                    if damage is not None:
                        self._replace(damage)
                        damage = None
                    self._rescue_deleted()
                    result = work(self._open())
                    self._remember_files()
                    return result
            except FileDamaged as exc:
                self.close()
                damage = str(exc)
            except SpoolUnavailable as exc:
                if _may_differ_from_disk(exc):
                    self.close()
                raise
        raise SpoolUnavailable(f"{self._path} is damaged again and again: {damage}")

    def close(self) -> None:
        """Close the file.  The next use opens it again."""
        connection, self._connection = self._connection, None
        self._opened.clear()
        if connection is not None:
            # Copies the log into the file, or leaves the log beside the file.
            with suppress(sqlite3.Error):
                connection.close()

    def _rescue_deleted(self) -> None:
        """Make the file again if it or its log was deleted while it is open.

        An open file can be written and read after that, but it ends with the process.
        """
        if self._connection is None:
            return
        if all(_is_there(path, opened) for path, opened in self._opened.items()):
            return
        if self._rescue is None:
            logger.critical("spool.file_deleted path=%s", self._path)
        else:
            self._rescue(self._connection)
        self.close()

    def _remember_files(self) -> None:
        for path in (self._path, self._path.with_name(f"{self._path.name}-wal")):
            if path not in self._opened:
                with suppress(FileNotFoundError):
                    self._opened[path] = path.stat()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open_file()
        return self._connection


def connect(
    path: Path, *, exclusive: bool, version: int | None = None
) -> sqlite3.Connection:
    """Open a file and sync each commit.  A new file is readable by its owner only.

    An exclusive connection has no shared memory beside the file: on a full disk, shared
    memory can end the process with SIGBUS.  If a version is given, the file must have
    this format, which is checked before anything is written.

    Raises:
        ConfigError: a newer version of this program has written the file.
        FileDamaged: the file has no format of ours.
        sqlite3.Error: use `translated`.
        OSError: the file cannot be made.
    """
    os.close(open_own_file(path, os.O_RDWR | os.O_CREAT))
    for suffix in ("-wal", "-shm", "-journal"):
        _refuse_link(path.with_name(path.name + suffix))
    with ExitStack() as stack:
        connection = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        stack.callback(connection.close)
        # A damaged text is one that the reader of the row refuses.
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        if exclusive:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        if version is not None:
            _check_version(connection, path, version)
        for pragma in (
            "journal_mode = WAL",
            # With NORMAL the log is synced at checkpoints only, not at each commit.
            "synchronous = FULL",
            f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
            f"journal_size_limit = {_LOG_BYTES}",
            # Some distributions switch it on.  It writes every page that becomes free.
            "secure_delete = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        stack.pop_all()
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit everything that the block does, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        # SQLite has rolled some failures back by itself, others not.
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite and of the file system into ours.

    Raises:
        FileDamaged: the file has to be replaced.
        SpoolUnavailable: the file may work again later.
    """
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", None)
        if code is None:  # wrong use of the module: a bug
            raise
        if code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ:
            raise FileDamaged(f"{exc} ({exc.sqlite_errorname})") from exc
        plain = _PLAIN.get(code & 0xFF, "SQLite failed")
        raise SpoolUnavailable(
            f"cannot use {path}: {plain} ({exc.sqlite_errorname})"
        ) from exc
    except OSError as exc:
        raise SpoolUnavailable(f"cannot use {path}: {exc.strerror or exc}") from exc


def empty_log(connection: sqlite3.Connection) -> None:
    """Copy the log into the file and cut it off."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of the pages in use."""
    free = pragma_number(connection, "freelist_count")
    pages = pragma_number(connection, "page_count")
    return (pages - free) * pragma_number(connection, "page_size")


def pragma_number(connection: sqlite3.Connection, name: str) -> int:
    """Return the value of a pragma."""
    [[number]] = connection.execute(f"PRAGMA {name}").fetchall()
    return int(number)


def shrink(connection: sqlite3.Connection) -> None:
    """Give the disk back the room that an empty spool does not need."""
    size = pragma_number(connection, "page_count")
    if size * pragma_number(connection, "page_size") < _SHRINK_FROM:
        return
    # If the disk has no room for it now, it is done the next time.
    with suppress(sqlite3.OperationalError):
        connection.execute("VACUUM")
        empty_log(connection)


def newest_id(connection: sqlite3.Connection, table: str) -> int:
    """Return the highest id that was ever given in a table of this file.

    Raises:
        FileDamaged: no spool gives such ids.  SQLite would find no higher one, and would
            report a full disk for ever.
    """
    [[newest]] = connection.execute(
        f"SELECT max(coalesce((SELECT max(id) FROM {table}), 0), coalesce("  # noqa: S608
        "(SELECT max(seq) FROM sqlite_sequence WHERE name = ?), 0))",
        (table,),
    ).fetchall()
    if not isinstance(newest, int) or not 0 <= newest <= MAX_ID:
        raise FileDamaged(f"the highest id of {table} is {newest!r}")
    return newest


def raise_newest_id(connection: sqlite3.Connection, table: str, at_least: int) -> None:
    """Let the ids of new rows in a table begin above the given one."""
    if newest_id(connection, table) >= at_least:
        return
    connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
    connection.execute("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, at_least))


def _is_there(path: Path, opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), opened)
    except FileNotFoundError:
        return False


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _may_differ_from_disk(exc: SpoolUnavailable) -> bool:
    """Return whether the connection may take the file for another than it is.

    Not after a write that found no room: SQLite rolls it back, and an open log may have
    the room for deleting that a new log would not have.
    """
    cause = exc.__cause__
    if not isinstance(cause, sqlite3.Error):
        return False
    code = cause.sqlite_errorcode
    return code & 0xFF == sqlite3.SQLITE_IOERR and code != sqlite3.SQLITE_IOERR_WRITE


def _check_version(connection: sqlite3.Connection, path: Path, known: int) -> None:
    found = pragma_number(connection, "user_version")
    if found > known:
        raise ConfigError(
            [
                f"{path} has format {found}, which a newer version of this program has "
                f"written. This version knows formats up to {known}: run the newer "
                "version, or set GREEKS_SPOOL_DIR to another directory"
            ]
        )
    if found < known:  # there is no older one to upgrade
        raise FileDamaged(f"it has format {found}")
