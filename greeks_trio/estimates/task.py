"""Estimates while the service runs: every few seconds, computed by the worker.

PostgreSQL selects the contracts and their inputs, the worker computes, PostgreSQL keeps the
rows.  The event loop only passes the text on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final, NoReturn

import msgspec
import trio
from psycopg.rows import TupleRow

from greeks_trio.config.settings import Config
from greeks_trio.errors import (
    StoreError,
    StoreUnavailable,
    WorkerBusy,
    WorkerError,
    leaves,
    plain_reason,
)
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.estimates_store import (
    EstimateCounts,
    count_estimates,
    drop_estimates,
    keep_estimates,
    read_candidates,
)
from greeks_trio.postgres.failures import translated
from greeks_trio.risk.estimate_records import Terms
from greeks_trio.waiting import Backoff, WakeUp
from greeks_trio.worker.process import Worker

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 5.0
# Times the duration of a round: many contracts take a small part of a processor.
_PAUSE_FACTOR: Final = 20.0
# Of the age from which inputs are stale: a longer pause would leave holes.
_MAX_PAUSE_PART: Final = 0.25
_ROUND_LIMIT_S: Final = 120.0
# The tables may just be in the making, and one worker that ends is no fault yet.
_QUIET_FAILURES: Final = 3


class Estimator:
    """Keeps ``estimated_greeks`` a few seconds behind the ticks, or empty.

    Attributes:
        changed: Woken when the configuration has changed.
        counts: After the last round.

    Args:
        config: Returns the present configuration.
        worker: Computes the estimates.
        conditions: Gets the fault ``estimates failed``.
        stale_after_s: The age from which ticks are stale.
        interval_s: The shortest pause between two rounds.
        pause_factor: The pause after a round is at least so many times its duration.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        worker: Worker,
        conditions: Conditions,
        *,
        stale_after_s: float,
        interval_s: float = _INTERVAL_S,
        pause_factor: float = _PAUSE_FACTOR,
    ) -> None:
        self._config = config
        self._worker = worker
        self._conditions = conditions
        self._stale_after_s = stale_after_s
        self._interval_s = interval_s
        self._pause_factor = pause_factor
        self.changed = WakeUp()
        self.counts = EstimateCounts()

    async def run(self) -> NoReturn:
        """Estimate while GREEKS_ESTIMATES is on, until cancelled.

        Each change of the configuration ends the round under way.  If the setting is off
        then, all estimates are deleted.
        """
        backoff = Backoff(min_delay_s=1.0, max_delay_s=30.0)
        while True:
            seen = self.changed.calls
            is_on = self._config().estimates
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._cancel_at_change, seen, nursery)
                    await (self._run_on(backoff) if is_on else self._run_off())
            except* (StoreError, WorkerError) as group:
                reason = plain_reason(group)
                delay_s = backoff.next_delay()
                logger.debug("estimates.failed reason=%s", reason)
                is_fault = any(map(_is_fault, leaves(group)))
                if is_on and is_fault and backoff.attempts >= _QUIET_FAILURES:
                    self._conditions.begin(
                        ConditionKind.ESTIMATES_FAILED,
                        f"estimates: {reason}; the next try follows within a minute",
                    )
                if not is_on and any(map(_needs_person, leaves(group))):
                    # Old rows leave the views by their age.
                    delay_s = math.inf
                with trio.move_on_after(delay_s):
                    await self.changed.wait_beyond(seen)

    async def _cancel_at_change(self, seen: int, nursery: trio.Nursery) -> None:
        await self.changed.wait_beyond(seen)
        nursery.cancel_scope.cancel()

    async def _run_off(self) -> NoReturn:
        async with open_connection(self._config().database, autocommit=True) as store:
            await drop_estimates(store)
        self.counts = EstimateCounts()
        self._conditions.end(ConditionKind.ESTIMATES_FAILED)
        await trio.sleep_forever()

    async def _run_on(self, backoff: Backoff) -> NoReturn:
        async with open_connection(self._config().database, autocommit=True) as store:
            is_first = True
            while True:
                began = trio.current_time()
                try:
                    with translated(store), trio.fail_after(_ROUND_LIMIT_S):
                        await self._round(store)
                except WorkerBusy:
                    # People's requests come first; the estimates there are have their age.
                    logger.debug("estimates.waiting")
                else:
                    backoff.reset()
                    self._conditions.end(ConditionKind.ESTIMATES_FAILED)
                # The first round also starts the worker.
                took_s = 0.0 if is_first else trio.current_time() - began
                is_first = False
                await trio.sleep(self._pause_after(took_s))

    def _pause_after(self, took_s: float) -> float:
        longest = _MAX_PAUSE_PART * self._stale_after_s
        return max(self._interval_s, min(self._pause_factor * took_s, longest))

    async def _round(self, store: TrioConnection[TupleRow]) -> None:
        """Estimate each contract that needs it, and delete the estimates of others."""
        candidates = await read_candidates(store, self._stale_after_s)
        if candidates.as_of is not None:
            terms = msgspec.json.encode(
                Terms(candidates.as_of, self._config().risk_free_rate)
            )
            for part in candidates.parts:
                rows = await self._worker.call("estimates", terms, part)
                await keep_estimates(store, rows)
        await drop_estimates(store, candidates.as_of)
        self.counts = await count_estimates(store)


def _is_fault(exc: BaseException) -> bool:
    """Return whether it is more than a database that is away, which has its own words."""
    return isinstance(exc, WorkerError) or _needs_person(exc)


def _needs_person(exc: BaseException) -> bool:
    return isinstance(exc, StoreUnavailable) and exc.needs_person
