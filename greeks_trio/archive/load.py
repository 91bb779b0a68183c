"""Bring the rows of archive files back into ``greek_snapshots``.

A file is compared with its own checksum before anything of it is loaded.  The files are read
one row group at a time.  A row that is in the table already stays as it
is, so a load that was interrupted can be run again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from greeks_trio.archive.export import verify_file
from greeks_trio.archive.months import read_months
from greeks_trio.archive.names import FileFacts, parse_month
from greeks_trio.archive.records import mark_loaded
from greeks_trio.archive.rows import (
    Connection,
    count_present,
    insert_staged,
    stage,
    staging,
)
from greeks_trio.errors import ArchiveFailed
from greeks_trio.postgres.schema.partitions import ensure_partition

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that was loaded.

    Attributes:
        inserted: The rows that the table lacked.
        present: The rows of the file that are in the table now: all of them.
    """

    path: Path
    facts: FileFacts
    inserted: int
    present: int


async def load_files(
    connection: Connection, paths: Sequence[Path], told: Callable[[Loaded], None]
) -> None:
    """Load files, and make the partitions of their months.

    Args:
        connection: In autocommit.
        paths: The files.
        told: Called after each file.

    Raises:
        ArchiveFailed: a file is missing, damaged or of another program, or the table does
            not have all of its rows afterwards.  Files before it are loaded.
        psycopg.Error: any error of the database.
    """
    from greeks_trio.archive.files import read_facts

    await read_months(connection)  # refuses a table that we do not manage
    # All of them first: nothing is loaded if one is no archive file.
    found = [(path, await trio.to_thread.run_sync(read_facts, path)) for path in paths]
    for path, facts in found:
        told(await _load(connection, path, facts))


async def _load(connection: Connection, path: Path, facts: FileFacts) -> Loaded:
    try:
        month = parse_month(facts.month)
    except ValueError as exc:
        raise ArchiveFailed(f"{path}: {exc}") from exc
    await verify_file(connection, path, facts.summary)
    await ensure_partition(connection, month)
    inserted, present = await _insert_groups(connection, path)
    if present != facts.rows:
        raise ArchiveFailed(
            f"only {present} of {facts.rows} rows of {path} are in the table: another "
            "program removes them"
        )
    size = (await trio.Path(path).stat()).st_size
    async with connection.transaction():
        await mark_loaded(connection, month, facts, path.name, size)
    logger.info("archive.loaded file=%s inserted=%d", path.name, inserted)
    return Loaded(path, facts, inserted, present)


async def _insert_groups(connection: Connection, path: Path) -> tuple[int, int]:
    """Insert the missing rows; return their number and that of all rows in the table.

    Each row group is a transaction of its own.
    """
    from greeks_trio.archive.files import group_lines, open_file

    inserted, present = 0, 0
    with open_file(path) as reader:
        for group in range(reader.num_row_groups):
            lines = await trio.to_thread.run_sync(group_lines, reader, group, path)
            async with staging(connection):
                await stage(connection, lines)
                inserted += await insert_staged(connection)
                present += await count_present(connection)
    return inserted, present
