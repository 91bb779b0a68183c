"""SQLite files: opened durable, changed in whole transactions, errors told by number."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from greeks_trio.errors import ConfigError, SpoolUnavailable

# Other processes look into the quarantine for milliseconds.
_BUSY_S: Final = 2.0
# Pages of 4 KiB after which the log is copied into the file, and what is kept of the
# log's file then: deleting needs room in it even when the disk is full.
_CHECKPOINT_PAGES: Final = 1000
_LOG_BYTES: Final = 4 * 2**20

# Where the format version lies in the file's header: https://sqlite.org/fileformat2.html
_USER_VERSION: Final = slice(60, 64)

_FULL_ERRNOS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DAMAGE: Final = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    # Tables or columns are missing, or ids are there twice: our statements are right.
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


class FileDamaged(Exception):
    """A file is not, or not entirely, the database that it should be."""


def connect(path: Path, *, exclusive: bool) -> sqlite3.Connection:
    """Open a file, made if need be for its owner's eyes only, each commit synced.

    An exclusive connection has no shared memory beside the file, which on a full disk
    would be a way to be killed by SIGBUS.

    Raises:
        sqlite3.Error: use `translated`.
        OSError: the file cannot be made.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with ExitStack() as stack:
        connection = sqlite3.connect(
            path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        stack.callback(connection.close)
        if exclusive:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        for pragma in (
            "journal_mode = WAL",
            # With NORMAL the log is synced at checkpoints only, not at each commit.
            "synchronous = FULL",
            f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
            f"journal_size_limit = {_LOG_BYTES}",
            # Distributors switch it on; it writes every page that becomes free.
            "secure_delete = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        stack.pop_all()
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
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
        FileDamaged: it has to be replaced.
        SpoolUnavailable: it may work again later.
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


def check_version(path: Path, known: int) -> None:
    """Look at a file's header, touching nothing.

    Raises:
        ConfigError: a newer version of this program has written the file.
        FileDamaged: it is there and empty, which we never leave behind.
    """
    try:
        header = path.read_bytes() if path.stat().st_size < 100 else _header(path)
    except FileNotFoundError:
        return
    if not header:
        raise FileDamaged("it is empty")
    found = int.from_bytes(header[_USER_VERSION], "big")
    if header.startswith(b"SQLite format 3\0") and found > known:
        raise too_new(path, found, known)


def too_new(path: Path, found: int, known: int) -> ConfigError:
    """Return the refusal of a file whose format we do not know yet."""
    return ConfigError(
        [
            f"{path} has format {found}, written by a newer version of this program, "
            f"which knows formats up to {known}: run that version, or choose another "
            "GREEKS_SPOOL_DIR"
        ]
    )


def empty_log(connection: sqlite3.Connection) -> None:
    """Copy the log into the file and cut it off."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def used_bytes(connection: sqlite3.Connection) -> int:
    """Return the size of the pages in use."""
    free = pragma_number(connection, "freelist_count")
    pages = pragma_number(connection, "page_count")
    return (pages - free) * pragma_number(connection, "page_size")


def pragma_number(connection: sqlite3.Connection, name: str) -> int:
    """Return a pragma's value."""
    [[number]] = connection.execute(f"PRAGMA {name}").fetchall()
    return int(number)


def is_full(exc: OSError) -> bool:
    """Return whether it is about room, which may come back."""
    return exc.errno in _FULL_ERRNOS


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(100)
