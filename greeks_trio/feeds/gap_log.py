"""The intervals without data of one feed, for the table `feed_gaps`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
import trio

from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import Broker, FeedGap
from greeks_trio.pipeline.journal import Journal
from greeks_trio.waiting import utc_now

_SECOND: Final = timedelta(seconds=1)
# A smaller difference between two clocks is normal: the system adjusts them all the time.
_SET_BACK: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class _OpenGap:
    """A gap that has not ended; ``began_s`` is its start by the monotonic clock."""

    gap: FeedGap
    began_s: float


class GapLog:
    """Records when data are missing: of the whole feed, or of single contracts.

    At most one gap of the feed and one gap of each contract are open at a time.
    """

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.now = now
        self.broker = broker
        self._journal = journal
        # By contract; the key `None` is the gap of the whole feed.
        self._open: dict[ContractKey | None, _OpenGap] = {}

    def started(
        self,
        reason: GapReason,
        contract_key: ContractKey | None = None,
        *,
        since: datetime | None = None,
        since_s: float | None = None,
    ) -> None:
        """Record the start of a gap, unless one is open already.

        Args:
            reason: Why there are no data.
            contract_key: The contract; `None` for the whole feed.
            since: When the gap began, by the wall clock; `None` for now.
            since_s: The same moment by the monotonic clock, if it is known.
        """
        if contract_key in self._open:
            return
        now = self.now()
        gap = FeedGap(
            broker=self.broker,
            contract_key=contract_key,
            started_at=since or now,
            reason=reason,
        )
        if since_s is None:
            age_s = (now - gap.started_at) / _SECOND
            since_s = trio.current_time() - max(0.0, age_s)
        self._open[contract_key] = _OpenGap(gap, since_s)
        self._journal.record(gap)

    def ended(self, contract_key: ContractKey | None = None) -> None:
        """Record the end of the gap, if one is open.

        If the wall clock was set back in the meantime, the gap is recorded by both
        clocks, because the ticks around it have the times of either.
        """
        open_gap = self._open.pop(contract_key, None)
        if open_gap is None:
            return
        gap = open_gap.gap
        lasted = (trio.current_time() - open_gap.began_s) * _SECOND
        now = self.now()
        self._journal.record(
            msgspec.structs.replace(gap, ended_at=max(now, gap.started_at + lasted))
        )
        if now - lasted < gap.started_at - _SET_BACK:
            self._journal.record(
                msgspec.structs.replace(gap, started_at=now - lasted, ended_at=now)
            )

    def tell_again(self) -> None:
        """Record the gaps that have not ended once more."""
        for each in self._open.values():
            self._journal.record(each.gap)

    def open_gaps(self) -> list[FeedGap]:
        """Return the gaps that have not ended."""
        return [each.gap for each in self._open.values()]

    def feed_gap(self) -> FeedGap | None:
        """Return the open gap of the whole feed, `None` if there is none."""
        open_gap = self._open.get(None)
        return None if open_gap is None else open_gap.gap
