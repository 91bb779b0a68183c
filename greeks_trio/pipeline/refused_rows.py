"""Storing a batch although PostgreSQL refuses some of its rows.

A refusal that does not say whose fault it is halves the batch until it does.  The rows at
fault go into quarantine, and if that cannot take them, into the log with all their values
and count as lost: they are never in the way of the others.
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

from greeks_trio.errors import SpoolUnavailable, StoreRejected
from greeks_trio.model.records import Broker, Tick
from greeks_trio.pipeline.stores import Quarantine

logger = logging.getLogger(__name__)

# The disk may have to mend its files before.
_QUARANTINE_LIMIT_S: Final = 30.0


# A constraint that many rows violate is one piece of news.
_SAY_AGAIN_S: Final = 60.0
_MAX_SAID: Final = 100


class TickSink(Protocol):
    """Where ticks go; ``greeks_trio.postgres.tick_store`` in the product."""

    async def write(
        self, ticks: Sequence[Tick], *, check_duplicates: bool = False
    ) -> int:
        """Store all the ticks durably, or none; return the rows that are new.

        Raises:
            StoreUnavailable: the connection is spent; offer the same ticks to another
                with ``check_duplicates``, because they may have been stored.
            StoreRejected: the database refuses at least one of them.
        """

    async def ping(self) -> None:
        """Return when the database has given a sign of life.

        Raises:
            StoreUnavailable: the connection is spent.
        """


@dataclass(slots=True)
class BatchOutcome:
    """What became of a batch.

    Attributes:
        ticks: Those that are in the table now.
        new: How many of them were not there before.
        refused: Those that are in quarantine.
        not_quarantined: Those that the quarantine did not take either: they are in the log.
    """

    ticks: list[Tick] = field(default_factory=list)
    new: int = 0
    refused: list[Tick] = field(default_factory=list)
    not_quarantined: list[Tick] = field(default_factory=list)


class RefusedRows:
    """Stores batches, and puts aside what PostgreSQL refuses.

    Attributes:
        quarantined: Rows put aside since the start, by broker.
    """

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine
        # By SQLSTATE and reason: when it was said, and how often since.
        self._said: dict[tuple[str | None, str], tuple[float, int]] = {}
        self.quarantined: Counter[Broker] = Counter()

    async def store(
        self, sink: TickSink, batch: Sequence[Tick], *, check_duplicates: bool
    ) -> BatchOutcome:
        """Store the batch, whatever is wrong with some of its rows.

        Raises:
            StoreUnavailable: nobody knows what became of which row; offer all of them
                again, with ``check_duplicates``.
        """
        stored = BatchOutcome()
        # The oldest rows last.
        parts = [list(batch)]
        while parts:
            part = parts.pop()
            try:
                stored.new += await sink.write(part, check_duplicates=check_duplicates)
            except StoreRejected as exc:
                refused, rest = _split(part, exc)
                parts += rest
                for tick in refused:
                    is_kept = await self._put_aside(tick, exc)
                    (stored.refused if is_kept else stored.not_quarantined).append(tick)
            else:
                stored.ticks += part
        # Not before: what is offered again is refused again.
        self.quarantined.update(tick.record.broker for tick in stored.refused)
        return stored

    async def _put_aside(self, tick: Tick, exc: StoreRejected) -> bool:
        try:
            # A disk that hangs must not hold up what the database would take.
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
        """Log the refusal, the same one only once a minute with how many there were."""
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


def _split(part: list[Tick], exc: StoreRejected) -> tuple[list[Tick], list[list[Tick]]]:
    """Return the rows at fault, and what is to be offered again, the oldest last."""
    if exc.rows:
        refused = [tick for row, tick in enumerate(part) if row in exc.rows]
        rest = [tick for row, tick in enumerate(part) if row not in exc.rows]
        return refused, [rest] if rest else []
    if len(part) == 1:
        return part, []
    middle = len(part) // 2
    return [], [part[middle:], part[:middle]]


def _row_text(tick: Tick) -> str:
    """Return all values of a row as JSON, whatever is wrong with them."""
    values = msgspec.structs.asdict(tick.record)
    payload = tick.record.source_payload.decode("utf-8", "backslashreplace")
    values["source_payload"] = payload
    # Not msgspec: a lone surrogate may be what was refused, and it refuses it too.
    return json.dumps(values, separators=(",", ":"), default=str)
