"""Opening a damaged file as far as SQLite can be talked into it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from greeks_trio.spool.keepsakes import Keepsakes

PAGE_BYTES: Final = 4096

_MAGIC: Final = b"SQLite format 3\0"
# Of the header: the size in pages, which SQLite believes unless the two numbers of the
# last change differ, and the first page of the free list with the number of its pages.
# https://sqlite.org/fileformat2.html
_SIZE: Final = slice(28, 32)
_FREE_LIST: Final = slice(32, 40)


@contextmanager
def open_damaged(
    path: Path, template: bytes, keepsakes: Keepsakes
) -> Iterator[sqlite3.Connection]:
    """Open a damaged file for reading; whatever is read may raise `sqlite3.Error`.

    The template is the first page of an undamaged file, which says where the tables
    begin.  It takes the place of a first page that says something else.
    """
    _mend_first_page(path, template, keepsakes)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(connection):
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Errors of the schema and of the file's size do not matter then.
        connection.execute("PRAGMA writable_schema = ON")
        yield connection


def _mend_first_page(path: Path, template: bytes, keepsakes: Keepsakes) -> None:
    with path.open("r+b") as file:
        page = file.read(PAGE_BYTES)
        if not page.startswith(_MAGIC) or not _has_tables(page, template):
            keepsakes.keep("first-page", page)
            page = template
        pages = max(1, path.stat().st_size // PAGE_BYTES)
        header = bytearray(page)
        header[_SIZE] = pages.to_bytes(4, "big")
        header[_FREE_LIST] = bytes(8)
        file.seek(0)
        file.write(header)


def _has_tables(page: bytes, template: bytes) -> bool:
    """Return whether the page's list of tables is the one that we write."""
    return page[100:] == template[100:]
