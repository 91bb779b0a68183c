"""Write the rows of one month to files, and compare each file with the table.

A file is complete under its final name.  It was read back row by row, and PostgreSQL computed
the same number and the same checksum of these rows as of the rows of the table.  Only then
is it recorded in ``archived_months``.  A kill at any moment leaves a partial file at most;
the next run removes it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from psycopg import sql

from greeks_trio.archive.names import (
    FORMAT,
    FileFacts,
    Origin,
    file_name,
    month_text,
)
from greeks_trio.archive.records import ArchivedPart, read_parts, write_part
from greeks_trio.archive.rows import (
    STAGED,
    Connection,
    Summary,
    one_snapshot,
    read_rows,
    stage,
    staging,
    summaries,
)
from greeks_trio.errors import ArchiveFailed

if TYPE_CHECKING:
    from greeks_trio.archive.files import FileWriter

logger = logging.getLogger(__name__)

PARTIAL: Final = ".partial"


@dataclass(frozen=True, slots=True)
class Month:
    """The rows to archive, and where their files go."""

    month: date
    table: sql.Identifier
    directory: Path
    origin: Origin


async def archive_rows(
    connection: Connection, month: Month, compared: Collection[ArchivedPart] = ()
) -> Sequence[ArchivedPart]:
    """Write, compare and record the files of a month; return them.

    A file that an interrupted run has written is compared again, and is written again only
    if the rows have changed since.

    Args:
        connection: In autocommit.
        month: The rows.
        compared: Files that this process has compared; they are not read again.

    Raises:
        ArchiveFailed: a file cannot be written or does not have the rows of the table.
    """
    remove_partial_files(month.directory)
    known = await read_parts(connection, month.month)
    parts = []
    async with one_snapshot(connection):
        found = await summaries(connection, month.table)
        for broker, summary in found.items():
            part = await _matching_part(month, known, broker, summary)
            if part is None:
                part = await _next_part(month, known, broker, summary)
                await _write_file(connection, month, part)
            parts.append(part)
    checked = []
    for part in parts:
        path = month.directory / _name(part)
        complete = replace(part, file_bytes=path.stat().st_size)
        if complete not in compared:
            await verify_file(connection, path, part.summary)
        checked.append(complete)
    async with connection.transaction():
        for part in checked:
            await write_part(connection, month.month, part)
    for part in checked:
        logger.info(
            "archive.verified file=%s rows=%d bytes=%d",
            part.file,
            part.summary.rows,
            part.file_bytes,
        )
    return checked


async def verify_file(
    connection: Connection, path: Path, expected: Summary
) -> FileFacts:
    """Return the facts about a file, after a comparison of all of its rows.

    Raises:
        ArchiveFailed: the file is damaged, or its rows are not the expected ones.
    """
    from greeks_trio.archive.files import group_lines, open_file, read_facts

    facts = await trio.to_thread.run_sync(read_facts, path)
    total = Summary()
    with open_file(path) as reader:
        async with staging(connection):
            for group in range(reader.num_row_groups):
                lines = await trio.to_thread.run_sync(group_lines, reader, group, path)
                await stage(connection, lines)
                found = await summaries(connection, STAGED)
                if found.keys() - {facts.broker}:
                    raise ArchiveFailed(f"{path} has rows of another broker")
                total = sum(found.values(), start=total)
    if total != expected or facts.summary != expected:
        raise ArchiveFailed(
            f"{path} does not have the rows that it must have: {total.rows} rows with "
            f"checksum {total.checksum}, expected {expected.rows} with "
            f"{expected.checksum}. The database was not changed. Move the file away; another "
            "copy of it may be whole"
        )
    return facts


def remove_partial_files(directory: Path) -> None:
    """Remove the files that an interrupted run has left."""
    for path in directory.glob(f".greek_snapshots-*{PARTIAL}"):
        path.unlink(missing_ok=True)
        logger.info("archive.removed_partial file=%s", path.name)


async def _matching_part(
    month: Month, known: Sequence[ArchivedPart], broker: str, summary: Summary
) -> ArchivedPart | None:
    """Return the file that has exactly these rows: of an interrupted run, or loaded."""
    from greeks_trio.archive.files import read_facts

    for number in range(1, len(known) + 2):
        name = file_name(month.month, broker, number)
        path = month.directory / name
        if not path.is_file():
            continue
        facts = await trio.to_thread.run_sync(read_facts, path)
        if facts.summary == summary and facts.database == month.origin.database:
            return ArchivedPart(broker, number, summary, name, 0, is_dropped=False)
    return None


async def _next_part(
    month: Month, known: Sequence[ArchivedPart], broker: str, summary: Summary
) -> ArchivedPart:
    """Return the part for a new file.

    A file of this database whose rows are recorded and still in it is written again.  No
    other file is overwritten: it may have the only copy of its rows.
    """
    number = 1
    while _is_final(known, broker, number) or (
        (path := month.directory / file_name(month.month, broker, number)).exists()
        and not (
            _is_unfinished(known, broker, number)
            and await trio.to_thread.run_sync(_is_from, path, month.origin)
        )
    ):
        number += 1
    name = file_name(month.month, broker, number)
    return ArchivedPart(broker, number, summary, name, 0, is_dropped=False)


def _is_from(path: Path, origin: Origin) -> bool:
    from greeks_trio.archive.files import read_facts

    try:
        return read_facts(path).database == origin.database
    except ArchiveFailed:
        return False  # perhaps a person can still read some of it


def _is_final(known: Sequence[ArchivedPart], broker: str, number: int) -> bool:
    return any(
        (k.broker, k.part, k.is_dropped) == (broker, number, True) for k in known
    )


def _is_unfinished(known: Sequence[ArchivedPart], broker: str, number: int) -> bool:
    return any(
        (k.broker, k.part, k.is_dropped) == (broker, number, False) for k in known
    )


def _name(part: ArchivedPart) -> str:
    if part.file is None:
        raise ArchiveFailed("these rows have no file")
    return part.file


async def _write_file(connection: Connection, month: Month, part: ArchivedPart) -> None:
    from greeks_trio.archive.files import new_file, put_in_place

    final = month.directory / _name(part)
    partial = final.with_name(f".{final.name}{PARTIAL}")
    with new_file(partial) as writer:
        rows = await _copy_rows(connection, month, part.broker, writer)
        if rows != part.summary.rows:
            raise ArchiveFailed(
                f"PostgreSQL sent {rows} rows and counted {part.summary.rows}"
            )
        await trio.to_thread.run_sync(writer.finish, _facts(month, part))
    await trio.to_thread.run_sync(put_in_place, partial, final)
    logger.info("archive.written file=%s rows=%d", final.name, rows)


async def _copy_rows(
    connection: Connection, month: Month, broker: str, writer: FileWriter
) -> int:
    from greeks_trio.archive.files import GROUP_BYTES, GROUP_ROWS

    rows, size, lines = 0, 0, list[bytes]()
    async with aclosing(read_rows(connection, month.table, broker)) as all_lines:
        async for line in all_lines:
            lines.append(line)
            size += len(line)
            if len(lines) == GROUP_ROWS or size >= GROUP_BYTES:
                await trio.to_thread.run_sync(writer.write, lines)
                rows, size, lines = rows + len(lines), 0, []
    if lines:
        await trio.to_thread.run_sync(writer.write, lines)
    return rows + len(lines)


def _facts(month: Month, part: ArchivedPart) -> FileFacts:
    return FileFacts(
        format=FORMAT,
        month=month_text(month.month),
        broker=part.broker,
        part=part.part,
        rows=part.summary.rows,
        checksum=str(part.summary.checksum),
        database=month.origin.database,
        migration=month.origin.migration,
        program_version=month.origin.program_version,
    )
