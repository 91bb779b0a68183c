"""The positions of the accounts of one feed, for the table `positions`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from greeks_trio.foreign_text import clean
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker, Position, PositionsSnapshot
from greeks_trio.pipeline.journal import Journal
from greeks_trio.waiting import utc_now

logger = logging.getLogger(__name__)

# The texts of a position that are in the broker's words.
_TEXTS: Final = (
    "contract_key",
    "currency",
    "underlying",
    "instrument_id",
    "exchange",
    "underlying_id",
    "description",
    "problem",
)


class PositionLog:
    """Records the positions whenever they have changed."""

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._broker = broker
        self._journal = journal
        self._now = now
        # By accounts: the positions of the last reading, and the incomplete accounts.
        self._last: dict[
            tuple[str, ...], tuple[tuple[Position, ...], tuple[str, ...]]
        ] = {}

    def read(
        self,
        account_ids: Sequence[str],
        positions: Sequence[Position],
        *,
        incomplete: Iterable[str] = (),
    ) -> None:
        """Record the positions if they differ from the last reading.

        Args:
            account_ids: The accounts that were read.
            positions: Their positions.  A position that is certainly closed is among
                them with the quantity 0.
            incomplete: The accounts with a position that could not be read.  It may be
                any position that is stored already, so a position of such an account
                counts as closed only if ``positions`` says so.
        """
        accounts, held = tuple(account_ids), tuple(map(_clean, positions))
        reading = (held, tuple(sorted(incomplete)))
        if self._last.get(accounts) == reading:
            return
        self._last[accounts] = reading
        self._journal.record(
            PositionsSnapshot(
                broker=self._broker,
                account_ids=accounts,
                positions=held,
                observed_at=self._now(),
                incomplete_account_ids=reading[1],
            )
        )
        held_now = sum(position.quantity != 0 for position in held)
        logger.info("feed.positions broker=%s positions=%d", self._broker, held_now)


def _clean(position: Position) -> Position:
    """Return the position without the control characters that its texts may have."""
    odd: dict[str, Any] = {
        name: clean(text)
        for name in _TEXTS
        if (text := getattr(position, name)) is not None and not text.isprintable()
    }
    if "contract_key" in odd:
        odd["contract_key"] = ContractKey(odd["contract_key"])
    return msgspec.structs.replace(position, **odd) if odd else position
