"""The names of archive files, and the facts in its metadata.  No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

import msgspec

from greeks_trio.archive.rows import Summary
from greeks_trio.errors import ArchiveFailed

# Counts up when a program that knows the number before could not read the file.
FORMAT: Final = 1
METADATA_KEY: Final = b"greeks_trio"

_MONTH: Final = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about an archive file, in the metadata of Parquet.

    Attributes:
        format: The version of the file's schema, see `FORMAT`.
        month: The month of its rows, such as ``2025-01``.
        part: Counts the files of one month and broker from 1.
        checksum: See `greeks_trio.archive.columns`, in decimal digits.
        database: The identity of the database that the rows are from.
        migration: The newest migration of that database.
        program_version: The version of the program that wrote it.
    """

    format: int
    month: str
    broker: str
    part: int
    rows: int
    checksum: str
    database: str
    migration: str
    program_version: str

    @property
    def summary(self) -> Summary:
        """Return its number of rows and its checksum."""
        return Summary(self.rows, int(self.checksum))


@dataclass(frozen=True, slots=True)
class Origin:
    """The database and the program that a file is from; see `FileFacts`."""

    database: str
    migration: str
    program_version: str


def file_name(month: date, broker: str, part: int) -> str:
    """Return the name of an archive file."""
    return f"greek_snapshots-{month_text(month)}-{broker}-{part}.parquet"


def month_text(month: date) -> str:
    """Return the month as people write it, such as ``2025-01``."""
    return f"{month.year:04d}-{month.month:02d}"


def parse_month(text: str) -> date:
    """Return the first day of a month that is written as ``2025-01``.

    Raises:
        ValueError: it is no month.
    """
    found = _MONTH.fullmatch(text)
    if found is None or found[1] == "0000":
        raise ValueError(f"{text!r} is no month: write it as 2025-01")
    return date(int(found[1]), int(found[2]), 1)


def decode_facts(data: bytes | None, name: str) -> FileFacts:
    """Return the facts in the metadata of a file.

    Raises:
        ArchiveFailed: it is no archive file, or one of a newer program.
    """
    if data is None:
        raise ArchiveFailed(f"{name} is no file of the command archive")
    try:
        facts = msgspec.json.decode(data, type=FileFacts)
    except msgspec.MsgspecError as exc:
        raise ArchiveFailed(f"{name} has unreadable metadata: {exc}") from exc
    if facts.format > FORMAT:
        raise ArchiveFailed(
            f"{name} has format {facts.format}, and this program knows up to {FORMAT}: "
            "install the newer version of the program"
        )
    return facts
