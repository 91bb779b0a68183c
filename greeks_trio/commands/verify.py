"""``verify``: compares the database with the rows that it has acknowledged.

The log of acknowledged rows has everything that was committed in the last minute before
the service stopped, or until now.  After a restored backup or a failover it shows the
missing rows.  Rows from before the log are compared with nothing: then ``feed_gaps`` gets
the interval from the newest row that is left to the beginning of the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from greeks_trio.commands.outcome import FAILED, OK
from greeks_trio.commands.target import open_target, target_options
from greeks_trio.config.settings import Config, DatabaseConfig
from greeks_trio.model.records import Broker, FeedGap, LeftoverGaps, Tick
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.stores import JournalEntry
from greeks_trio.postgres.acknowledged_rows import AcknowledgedRows, KnownGap
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.program import program_name
from greeks_trio.spool.acknowledged import read_acknowledged, segments_in
from greeks_trio.spool.directory import QUARANTINE_FILE, SPOOL_FILE
from greeks_trio.spool.location import spool_directory
from greeks_trio.spool.offer_again import lost_for_good, note_oldest
from greeks_trio.spool.quarantine import QuarantineFile
from greeks_trio.spool.quarantine_on_disk import QuarantineOnDisk
from greeks_trio.spool.totals import TotalsFile
from greeks_trio.spool.worker import DiskWorker

_BATCH: Final = 5_000
# So many gaps and minutes are printed; ``--json`` has all of them.
_SHOWN: Final = 10


@dataclass(slots=True)
class Comparison:
    """The result.

    Attributes:
        first_at: When the oldest row of the log was acknowledged; `None` without rows.
        last_at: The same of the newest row.
        acknowledged: Ticks of the log.
        missing: Ticks of the log that the table lacks.
        by_minute: The missing ticks by the minute of their receipt and by broker.
        entries: Positions and gaps of the log.
        lost: Intervals whose rows neither the table nor the log has.
        gaps: The rows of ``feed_gaps`` since the beginning of the log.
        waiting: Ticks in the spool, which the service stores when it runs.
        stored_again: Missing ticks that are stored now.
    """

    first_at: datetime | None = None
    last_at: datetime | None = None
    acknowledged: int = 0
    missing: int = 0
    by_minute: Counter[tuple[datetime, Broker]] = field(default_factory=Counter)
    entries: list[JournalEntry] = field(default_factory=list)
    lost: Sequence[FeedGap] = ()
    gaps: Sequence[KnownGap] = ()
    waiting: int = 0
    stored_again: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether rows were compared and nothing that was acknowledged is missing."""
        is_compared = self.first_at is not None
        return is_compared and self.stored_again == self.missing and not self.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyOptions:
    """The options of the command."""

    embedded: bool = False
    data_dir: Path | None = None
    repair: bool = False
    as_json: bool = False


async def run_verify(config: Config, options: VerifyOptions) -> int:
    """Compare, print the result and return the exit status.

    Raises:
        StoreUnavailable: the database cannot be asked.
    """
    async with open_target(
        config, embedded=options.embedded, data_dir=options.data_dir, must_exist=True
    ) as target:
        result = await compare(
            spool_directory(target), target.database, repair=options.repair
        )
    if options.as_json:
        click.echo(msgspec.json.encode(_in_json(result)).decode())
    else:
        here = target_options(embedded=options.embedded, data_dir=options.data_dir)
        for line in in_words(result, repair=options.repair, options=here):
            click.echo(line)
    is_repaired = options.repair and result.first_at is not None
    return OK if result.is_whole or is_repaired else FAILED


async def compare(
    spool_dir: Path, database: DatabaseConfig, *, repair: bool
) -> Comparison:
    """Compare the log of a spool's directory with the database.

    Args:
        spool_dir: The directory; the service may use it.
        database: The database, restored perhaps.
        repair: Whether to store the missing rows, and the gaps of lost rows.

    Raises:
        StoreUnavailable: the database cannot be asked, or ends the connection.
    """
    rows = AcknowledgedRows(lambda: database)
    result, oldest = Comparison(), dict[Broker, list[Tick]]()
    result.waiting = _waiting(spool_dir)
    # The beginning is looked at before anything is stored again.
    for ticks in _batches(spool_dir, result):
        note_oldest(oldest, ticks)
    result.lost = await lost_for_good(oldest, rows.missing, rows.newest_before)
    for ticks in _batches(spool_dir, Comparison()):
        missing = await rows.missing(ticks)
        result.missing += len(missing)
        result.by_minute.update(map(_minute, missing))
        if repair and missing:
            result.stored_again += await _store(spool_dir, database, missing)
    if repair:
        await _write_journal(database, result)
    if result.first_at is not None:
        result.gaps = await rows.gaps_since(result.first_at)
    return result


def in_words(result: Comparison, *, repair: bool, options: str = "") -> list[str]:
    """Return the lines for a person; ``options`` name the same database and spool."""
    if result.first_at is None or result.last_at is None:
        return [
            "verify: the spool's directory has no acknowledged rows, so nothing can be "
            "compared. GREEKS_SPOOL_KEEP_S says for how long the service keeps them."
        ]
    lines = [
        f"verify: {result.acknowledged:,} ticks were acknowledged from "
        f"{_shown(result.first_at)} to {_shown(result.last_at)}; "
        f"{result.missing:,} of them are not in the table."
    ]
    lines += [
        f"  {minute:%Y-%m-%d %H:%M} {broker}: {number:,} ticks missing"
        for (minute, broker), number in sorted(result.by_minute.items())[:_SHOWN]
    ]
    lines += [
        f"lost: {gap.broker}: rows between {_shown(gap.started_at)} and "
        f"{_shown(gap.ended_at)} may be missing; no log has them."
        for gap in result.lost
    ]
    lines += [
        f"known gap: {gap.broker} {gap.reason} from {_shown(gap.started_at)} to "
        f"{_shown(gap.ended_at)}"
        for gap in result.gaps[:_SHOWN]
    ]
    if result.waiting:
        lines.append(f"{result.waiting:,} ticks wait in the spool for the service.")
    if repair:
        lines.append(
            f"Stored again: {result.stored_again:,} ticks. feed_gaps has the "
            f"{len(result.lost)} lost intervals as 'restored backup'."
        )
    elif not result.is_whole:
        lines.append(
            f"To store them again, run: {program_name()} verify{options} --repair"
        )
    return lines


def _batches(spool_dir: Path, result: Comparison) -> Iterator[list[Tick]]:
    """Yield the ticks of the log in batches, and count them in ``result``."""
    waiting: list[Tick] = []
    for commit in read_acknowledged(segments_in(spool_dir)):
        result.first_at = result.first_at or commit.at
        result.last_at = commit.at
        result.acknowledged += len(commit.ticks)
        if commit.entry is not None:
            result.entries.append(commit.entry)
        waiting += commit.ticks
        if len(waiting) >= _BATCH:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


async def _store(
    spool_dir: Path, database: DatabaseConfig, ticks: Sequence[Tick]
) -> int:
    with QuarantineFile(spool_dir / QUARANTINE_FILE) as file:
        refused_rows = RefusedRows(QuarantineOnDisk(file, DiskWorker()))
        async with TickStore(database).open() as sink:
            outcome = await refused_rows.store(sink, ticks, check_duplicates=True)
    return len(outcome.ticks)


async def _write_journal(database: DatabaseConfig, result: Comparison) -> None:
    # The end of all earlier gaps would also end one that is open now.
    entries = [each for each in result.entries if not isinstance(each, LeftoverGaps)]
    async with JournalStore(database).open() as sink:
        for entry in (*entries, *result.lost):
            await sink.write(entry)


def _waiting(spool_dir: Path) -> int:
    totals = TotalsFile(spool_dir / f"{SPOOL_FILE}.contents").read()
    return sum(totals.rows.values()) if totals else 0


def _minute(tick: Tick) -> tuple[datetime, Broker]:
    received_at = tick.record.received_at
    return received_at.replace(second=0, microsecond=0), tick.record.broker


def _shown(moment: datetime | None) -> str:
    return "now" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _in_json(result: Comparison) -> dict[str, Any]:
    return {
        "from": result.first_at,
        "to": result.last_at,
        "acknowledged": result.acknowledged,
        "missing": result.missing,
        "minutes": [
            {"minute": minute, "broker": broker, "missing": number}
            for (minute, broker), number in sorted(result.by_minute.items())
        ],
        "lost": [
            {"broker": gap.broker, "from": gap.started_at, "to": gap.ended_at}
            for gap in result.lost
        ],
        "gaps": msgspec.to_builtins(result.gaps),
        "waiting": result.waiting,
        "stored_again": result.stored_again,
        "ok": result.is_whole,
    }
