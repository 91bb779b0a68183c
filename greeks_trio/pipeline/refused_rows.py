"""Store a batch although PostgreSQL refuses some of its rows.

The batch is halved until the refused rows are found.  These rows go into quarantine.  If
the quarantine cannot take them, they go into the log with all their values and count as
lost.  They never hold back the other rows.

Before a row goes into quarantine, the database has to take a row that is certainly good.
If it does not, the whole server refuses, although the code of its error may be that of a
bad row: that is an outage, and no row is at fault.

A row without a partition is not refused.  It is postponed: the disk keeps it, and the
replayer offers it again.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
import trio

from greeks_trio.errors import (
    PartitionMissing,
    SpoolUnavailable,
    StoreRejected,
    StoreUnavailable,
)
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.stores import RowKeeper

logger = logging.getLogger(__name__)

# The spool may have to replace a damaged file first.
_QUARANTINE_LIMIT_S: Final = 30.0


# Many rows may violate the same constraint: the log names it once in this time.
_SAY_AGAIN_S: Final = 60.0
_MAX_SAID: Final = 100
# The SQLSTATE that does not tell a bad row from another fault.
_ANY_FAULT: Final = "XX000"


class TickSink(Protocol):
    """Stores ticks; in the product, ``greeks_trio.postgres.tick_store``."""

    async def write(
        self, ticks: Sequence[Tick], *, check_duplicates: bool = False
    ) -> int:
        """Store all the ticks durably, or none; return the rows that are new.

        Raises:
            StoreUnavailable: the connection cannot be used any more.  Offer the same
                ticks to another sink with ``check_duplicates``: they may be stored.
            StoreRejected: the database refuses at least one of them.
            PartitionMissing: some of them have no partition at present.
        """

    async def ping(self) -> None:
        """Return when the database has committed something.

        Raises:
            StoreUnavailable: the connection cannot be used any more.
        """

    async def probe(self) -> None:
        """Return if the database takes rows at all.

        Raises:
            StoreUnavailable: it takes none, or the connection cannot be used any more.
        """


@dataclass(slots=True)
class BatchOutcome:
    """The outcome of one batch.

    Attributes:
        ticks: The ticks that are in the table now.
        new: The number of them that were not there before.
        refused: The ticks that are in quarantine.
        not_quarantined: The ticks that the quarantine did not take: they are in the log.
        postponed: The ticks that have no partition at present.
    """

    ticks: list[Tick] = field(default_factory=list)
    new: int = 0
    refused: list[Tick] = field(default_factory=list)
    not_quarantined: list[Tick] = field(default_factory=list)
    postponed: list[Tick] = field(default_factory=list)


class RefusedRows:
    """Stores batches, and puts the rows that PostgreSQL refuses into quarantine.

    Args:
        quarantine: Keeps refused rows.
        conditions: Told of months without a partition.

    Attributes:
        failure: Why the last attempt to store rows failed, until rows are stored.  A
            database that answers and does not commit is no working database.
        quarantined: Rows put into quarantine since the start, by broker.
    """

    def __init__(
        self, quarantine: RowKeeper, conditions: Conditions | None = None
    ) -> None:
        self._quarantine = quarantine
        self._conditions = conditions or Conditions()
        # The names of the partitions that are missing.
        self._missing: set[str] = set()
        self.failure: str | None = None
        # By SQLSTATE and reason: the time of the last log line, and the rows since.
        self._said: dict[tuple[str | None, str], tuple[float, int]] = {}
        self.quarantined: Counter[Broker] = Counter()

    async def store(
        self, sink: TickSink, batch: Sequence[Tick], *, check_duplicates: bool
    ) -> BatchOutcome:
        """Store every row of the batch that PostgreSQL accepts.

        Raises:
            StoreUnavailable: the outcome of the rows is unknown; offer all of them again,
                with ``check_duplicates``.
        """
        try:
            stored = await self._store(sink, batch, check_duplicates=check_duplicates)
        except StoreUnavailable as exc:
            self.failure = str(exc)
            raise
        if stored.ticks:
            self.failure = None
        # Not earlier: after `StoreUnavailable` the same rows are offered and refused again.
        self.quarantined.update(tick.record.broker for tick in stored.refused)
        return stored

    def all_have_partitions(self) -> None:
        """Note that no postponed tick is left."""
        for name in self._missing:
            self._conditions.end(ConditionKind.PARTITION_MISSING, subject=name)
        self._missing.clear()

    async def _store(
        self, sink: TickSink, batch: Sequence[Tick], *, check_duplicates: bool
    ) -> BatchOutcome:
        stored = BatchOutcome()
        # The oldest rows last.
        parts = [list(batch)]
        is_probed = False
        doubted: list[Tick] = []
        while parts:
            if not (part := parts.pop()):
                continue
            try:
                stored.new += await sink.write(part, check_duplicates=check_duplicates)
            except PartitionMissing as exc:
                self._note_missing(exc)
                stored.postponed += (part[row] for row in sorted(exc.rows))
                parts.append([t for row, t in enumerate(part) if row not in exc.rows])
            except StoreRejected as exc:
                # One row, or the first refusal: the other halves would only repeat it.
                if len(part) == 1 or not is_probed:
                    await sink.probe()
                    is_probed = True
                if part != doubted and len(part) == 1 and exc.sqlstate == _ANY_FAULT:
                    # Perhaps a node was away, and is back.
                    doubted = part
                    parts.append(part)
                    continue
                refused, rest = _split(part)
                parts += rest
                for tick in refused:
                    is_kept = await self._put_aside(tick, exc)
                    (stored.refused if is_kept else stored.not_quarantined).append(tick)
            else:
                stored.ticks += part
        return stored

    def _note_missing(self, exc: PartitionMissing) -> None:
        for name, reason in exc.reasons.items():
            self._missing.add(name)
            self._conditions.begin(
                ConditionKind.PARTITION_MISSING,
                f"the partition {name} is missing and cannot be made: {reason}; its"
                " ticks wait in the spool",
                subject=name,
            )

    async def _put_aside(self, tick: Tick, exc: StoreRejected) -> bool:
        try:
            # A disk that hangs must not hold back rows that the database would take.
            with trio.fail_after(_QUARANTINE_LIMIT_S):
                await self._quarantine.add(tick, sqlstate=exc.sqlstate, reason=str(exc))
        except (SpoolUnavailable, trio.TooSlowError) as failure:
            logger.critical(
                "writer.row_refused sqlstate=%s reason=%s quarantine=%s row=%s",
                exc.sqlstate,
                exc,
                str(failure) or "no answer",
                _row_text(tick),
            )
            return False
        self._say(tick, exc)
        return True

    def _say(self, tick: Tick, exc: StoreRejected) -> None:
        """Log the refusal; the same one once a minute, with the number of its rows."""
        key, now = (exc.sqlstate, str(exc)), trio.current_time()
        said_at, rows = self._said.get(key, (-math.inf, 0))
        if now < said_at + _SAY_AGAIN_S:
            self._said[key] = said_at, rows + 1
            return
        if len(self._said) >= _MAX_SAID:
            self._said.clear()
        self._said[key] = now, 0
        logger.error(
            "writer.row_refused sqlstate=%s reason=%s broker=%s contract_key=%s"
            " others=%d",
            exc.sqlstate,
            exc,
            tick.record.broker,
            tick.record.contract_key,
            rows,
        )


def _split(part: list[Tick]) -> tuple[list[Tick], list[list[Tick]]]:
    """Return the row at fault, and the halves to offer again, the older one last."""
    if len(part) == 1:
        return part, []
    middle = len(part) // 2
    return [], [part[middle:], part[:middle]]


def _row_text(tick: Tick) -> str:
    """Return all values of a row as JSON, also values that PostgreSQL refuses."""
    values = msgspec.structs.asdict(tick.record)
    payload = tick.record.source_payload.decode("utf-8", "backslashreplace")
    values["source_payload"] = payload
    # Not msgspec: PostgreSQL may have refused a lone surrogate, and msgspec refuses it
    # too.
    return json.dumps(values, separators=(",", ":"), default=str)
