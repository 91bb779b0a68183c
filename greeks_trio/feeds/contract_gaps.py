"""The gaps of single contracts of one feed."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Mapping
from datetime import timedelta
from typing import Final

import trio

from greeks_trio.feeds.gap_log import GapLog
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.gap_reasons import GapReason

logger = logging.getLogger(__name__)

# The log names only this many contracts of one kind.
_NAMED: Final = 10

# Why a contract has no data, and for how many seconds.
Missing = tuple[GapReason, float]


class ContractGaps:
    """Starts and ends the gaps of contracts, and knows which are open."""

    def __init__(self, gaps: GapLog) -> None:
        self._gaps = gaps
        self._open: dict[ContractKey, GapReason] = {}

    def update(
        self,
        missing: Mapping[ContractKey, Missing],
        *,
        awaited: Container[ContractKey] = (),
        now: float | None = None,
    ) -> None:
        """Start and end gaps so that these contracts, and no others, have one.

        Args:
            missing: The contracts without data.
            awaited: Contracts that have brought no data on this connection so far.  A
                gap of theirs stays open, for example that of the last connection.
            now: The moment of the ages by the monotonic clock; `None` for the present.
        """
        self.end(
            key
            for key, reason in list(self._open.items())
            if (missing[key][0] != reason if key in missing else key not in awaited)
        )
        self._start(missing, trio.current_time() if now is None else now)

    def _start(self, missing: Mapping[ContractKey, Missing], now: float) -> None:
        started: dict[GapReason, list[ContractKey]] = {}
        for key, (reason, age_s) in missing.items():
            if key not in self._open:
                self._open[key] = reason
                # A gap of this run must touch that of an earlier one, to the moment.
                age_s += trio.current_time() - now
                since = self._gaps.now() - timedelta(seconds=age_s)
                self._gaps.started(reason, key, since=since)
                started.setdefault(reason, []).append(key)
        for reason, keys in started.items():
            logger.warning(
                "%s.contracts_missing reason=%r contracts=%d first=%s",
                self._gaps.broker,
                reason.value,
                len(keys),
                ",".join(keys[:_NAMED]),
            )

    def end(self, keys: Iterable[ContractKey]) -> None:
        """End the gaps of these contracts that have one."""
        for key in keys:
            if self._open.pop(key, None) is not None:
                self._gaps.ended(key)
