"""``quarantine``: shows rows and journal entries that PostgreSQL refused; offers them again.

It also works while the service runs: several processes may use the file at a time.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from greeks_trio.commands.foreign import plain
from greeks_trio.commands.outcome import FAILED, OK
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreRejected
from greeks_trio.foreign_text import clean
from greeks_trio.model.records import LeftoverGaps, Tick
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.program import program_name
from greeks_trio.spool.directory import QUARANTINE_FILE
from greeks_trio.spool.quarantine import (
    QuarantinedEntry,
    QuarantinedTick,
    QuarantineFile,
)

# The table's primary key.
_Key: TypeAlias = tuple[str, str, str, datetime, int]

_BATCH_ROWS: Final = 500
# The rows in the table.  `--json` prints all rows.
_SHOWN: Final = 20


class _StillRefused:
    """A quarantine that only keeps the reason of each row that is refused again."""

    def __init__(self) -> None:
        self.reasons: dict[_Key, str] = {}

    async def add(self, tick: Tick, *, sqlstate: str | None, reason: str) -> None:
        self.reasons[_key(tick)] = reason


def show_quarantine(spool_dir: Path, *, as_json: bool) -> int:
    """Print the rows in quarantine and return `OK`.

    Raises:
        SpoolUnavailable: the file cannot be read.
    """
    with (
        QuarantineFile(spool_dir / QUARANTINE_FILE) as quarantine,
        _until_the_reader_leaves(),
    ):
        if as_json:
            for row in _rows(quarantine):
                click.echo(_json_line(row))
            for entry in quarantine.entries():
                click.echo(_entry_line(entry))
            return OK
        total = quarantine.count()
        if not total:
            click.echo(f"quarantine: empty ({spool_dir})")
            return OK
        console = Console()
        console.print(_reasons_table(quarantine))
        entries = quarantine.entries()
        if rows := quarantine.list(_SHOWN):
            console.print(_rows_table(rows, total - len(entries)))
        if entries:
            console.print(_entries_table(entries[:_SHOWN], len(entries)))
        click.echo(
            f"Fix the cause shown above, then run: {program_name()} quarantine --retry"
        )
    return OK


async def retry_quarantine(spool_dir: Path, database: DatabaseConfig) -> int:
    """Offer every row and journal entry again.  One that is stored leaves the quarantine.

    Returns:
        `OK`, or `FAILED` if some remain.

    Raises:
        StoreUnavailable: the database ended the connection.  The rows that were stored
            before have left the quarantine.
        SpoolUnavailable: the file cannot be read or written.
    """
    still_refused = _StillRefused()
    refused_rows = RefusedRows(still_refused)
    stored = 0
    with QuarantineFile(spool_dir / QUARANTINE_FILE) as quarantine:
        if not quarantine.count():
            click.echo(f"quarantine: empty ({spool_dir})")
            return OK
        async with TickStore(database).open() as sink:
            for batch in _batches(quarantine):
                outcome = await refused_rows.store(
                    sink, [row.tick for row in batch], check_duplicates=True
                )
                refused = {_key(t) for t in (*outcome.refused, *outcome.postponed)}
                for tick in outcome.postponed:
                    still_refused.reasons[_key(tick)] = "its partition is missing"
                quarantine.remove(
                    row.id for row in batch if _key(row.tick) not in refused
                )
                stored += len(outcome.ticks)
        entries = quarantine.entries()
        reasons = [
            *still_refused.reasons.values(),
            *await _retry_entries(quarantine, entries, database),
        ]
        stored += len(entries) + len(still_refused.reasons) - len(reasons)
    for reason, number in Counter(reasons).most_common():
        click.echo(f"still refused: {number}: {clean(reason)}")
    click.echo(f"quarantine: stored {stored}, {len(reasons)} remain")
    return FAILED if reasons else OK


async def _retry_entries(
    quarantine: QuarantineFile,
    entries: Sequence[QuarantinedEntry],
    database: DatabaseConfig,
) -> list[str]:
    """Offer the journal entries again; return the reasons of those that stay."""
    if not entries:
        return []
    reasons: list[str] = []
    async with JournalStore(database).open() as sink:
        for entry in entries:
            try:
                # Each start of the service ends the gaps of earlier runs by itself.  An
                # old entry of this kind would end gaps of the present run.
                if not isinstance(entry.entry, LeftoverGaps):
                    refused = await sink.write(entry.entry)
                    reasons += (str(part.failure) for part in refused)
                    if refused:
                        continue
            except StoreRejected as exc:
                reasons.append(str(exc))
            else:
                quarantine.remove_entries([entry.id])
    return reasons


def _batches(quarantine: QuarantineFile) -> Iterator[Sequence[QuarantinedTick]]:
    after = 0
    while batch := quarantine.list(_BATCH_ROWS, after=after):
        after = batch[-1].id
        yield batch


def _rows(quarantine: QuarantineFile) -> Iterator[QuarantinedTick]:
    for batch in _batches(quarantine):
        yield from batch


@contextmanager
def _until_the_reader_leaves() -> Iterator[None]:
    """Stop printing without an error if the reader, such as `head`, leaves."""
    try:
        yield
    except BrokenPipeError:
        # Otherwise the interpreter reports an error when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _json_line(row: QuarantinedTick) -> str:
    record = msgspec.structs.asdict(row.tick.record)
    record["source_payload"] = row.tick.record.source_payload.decode("utf-8", "replace")
    values: dict[str, Any] = {
        "id": row.id,
        "added_at": row.added_at,
        "sqlstate": row.sqlstate,
        "reason": row.reason,
        **{name: _clean(value) for name, value in record.items()},
    }
    return msgspec.json.encode(values).decode()


def _clean(value: object) -> object:
    # The reason for the refusal may be a text that UTF-8 cannot encode.
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return value


def _reasons_table(quarantine: QuarantineFile) -> Table:
    table = Table("rows", "SQLSTATE", "reason", title="Reasons", title_justify="left")
    for count in quarantine.counts():
        table.add_row(f"{count.rows:,}", count.sqlstate or "", plain(count.reason))
    return table


def _rows_table(rows: Sequence[QuarantinedTick], total: int) -> Table:
    title = f"The oldest {len(rows)} of {total:,} rows (all of them with --json)"
    # Narrow enough to show the key of a contract whole in 80 columns.
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=0)
    for heading in ("id", "broker", "account", "contract", "event time (UTC)"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        record = row.tick.record
        table.add_row(
            str(row.id),
            plain(record.broker),
            plain(str(_clean(record.account_id))),
            plain(str(_clean(record.contract_key))),
            f"{record.event_time:%Y-%m-%d %H:%M:%S}",
        )
    return table


def _entries_table(entries: Sequence[QuarantinedEntry], total: int) -> Table:
    title = f"The oldest {len(entries)} of {total:,} gaps, positions and account values"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=0)
    for heading in ("id", "kind", "broker", "refused at (UTC)"):
        table.add_column(heading, no_wrap=True)
    for each in entries:
        table.add_row(
            str(each.id),
            type(each.entry).__name__,
            plain(each.entry.broker),
            f"{each.added_at:%Y-%m-%d %H:%M:%S}",
        )
    return table


def _entry_line(entry: QuarantinedEntry) -> str:
    values = {
        "entry_id": entry.id,
        "added_at": entry.added_at,
        "sqlstate": entry.sqlstate,
        "reason": clean(entry.reason, limit=2_000),
        "kind": type(entry.entry).__name__,
        "entry": json.loads(json.dumps(msgspec.to_builtins(entry.entry))),
    }
    return msgspec.json.encode(values).decode()


def _key(tick: Tick) -> _Key:
    record = tick.record
    return (
        record.broker,
        record.account_id,
        record.contract_key,
        record.event_time,
        tick.fingerprint,
    )
