"""Which contracts have an open gap, across the connections of one feed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from greeks_trio.feeds.gap_log import GapLog
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.gap_reasons import GapReason

logger = logging.getLogger(__name__)

# Enough contracts in a line of the log to see what they have in common.
_NAMED: Final = 10

# Why a contract has no data, and for how many seconds.
Missing = tuple[GapReason, float]


class ContractGaps:
    """The open gaps of single contracts, across connections."""

    def __init__(self, gaps: GapLog) -> None:
        self._gaps = gaps
        self._open: dict[ContractKey, GapReason] = {}

    def update(self, missing: Mapping[ContractKey, Missing]) -> None:
        """Open and close gaps so that they are those of these contracts."""
        for key, reason in list(self._open.items()):
            if key not in missing or missing[key][0] != reason:
                del self._open[key]
                self._gaps.ended(key)
        opened: dict[GapReason, list[ContractKey]] = {}
        for key, (reason, age_s) in missing.items():
            if key not in self._open:
                self._open[key] = reason
                since = self._gaps.now() - timedelta(seconds=age_s)
                self._gaps.started(reason, key, since=since)
                opened.setdefault(reason, []).append(key)
        for reason, keys in opened.items():
            logger.warning(
                "ibkr.contracts_missing reason=%r contracts=%d first=%s",
                reason.value,
                len(keys),
                ",".join(keys[:_NAMED]),
            )
