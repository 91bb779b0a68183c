"""The positions of the accounts of one feed, for the table `positions`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final

import msgspec
import trio

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
# Clocks that agree differ by less, and are adjusted all the time.
_CORRECTED: Final = timedelta(seconds=1)


class PositionLog:
    """Records the positions whenever they have changed.

    Attributes:
        account_ids: The open accounts of the last reading.
    """

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
        # By accounts: the last reading, and when it was by the monotonic clock.
        self._last: dict[tuple[str, ...], tuple[PositionsSnapshot, float]] = {}
        self.account_ids: tuple[str, ...] = ()
        # Accounts whose next reading is recorded, also if nothing has changed.
        self._overtaken: set[tuple[str, ...]] = set()

    @property
    def is_read(self) -> bool:
        """Whether the positions of any account were read in this run."""
        return bool(self._last)

    def read(
        self,
        account_ids: Sequence[str],
        positions: Sequence[Position],
        *,
        incomplete: Iterable[str] = (),
        closed: Iterable[str] = (),
    ) -> None:
        """Record the positions if they differ from the last reading.

        Args:
            account_ids: The accounts that were read.
            positions: Their positions.  A position that is certainly closed is among
                them with the quantity 0.
            incomplete: The accounts with a position that could not be read.  It may be
                any position that is stored already, so a position of such an account
                counts as closed only if ``positions`` says so.
            closed: Those of the accounts that the broker has closed.
        """
        accounts, held = tuple(account_ids), tuple(map(_clean, positions))
        snapshot = PositionsSnapshot(
            broker=self._broker,
            account_ids=accounts,
            positions=held,
            observed_at=self._now(),
            incomplete_account_ids=tuple(sorted(incomplete)),
        )
        self.account_ids = tuple(sorted(set(accounts).difference(closed)))
        last = self._last.get(accounts)
        is_overtaken = accounts in self._overtaken
        self._overtaken.discard(accounts)
        if last and not is_overtaken and _says_the_same(last[0], snapshot):
            return
        # A reading of these and other accounts replaces one of these alone.
        for earlier in [each for each in self._last if set(each) <= set(accounts)]:
            del self._last[earlier]
            self._overtaken.discard(earlier)
        self._last[accounts] = snapshot, trio.current_time()
        self._journal.record(snapshot)
        held_now = sum(position.quantity != 0 for position in held)
        logger.info("feed.positions broker=%s positions=%d", self._broker, held_now)

    def overtaken(self) -> None:
        """Record the next readings in any case: another service has recorded later ones."""
        self._overtaken.update(self._last)

    def tell_again(self) -> None:
        """Record the last readings once more, oldest first.

        They change nothing in a database that has them.  Each keeps its time, unless the
        clock was corrected since.
        """
        now, now_s = self._now(), trio.current_time()
        for accounts, (snapshot, read_s) in self._last.items():
            at = now - timedelta(seconds=now_s - read_s)
            if abs(at - snapshot.observed_at) > _CORRECTED:
                snapshot = msgspec.structs.replace(snapshot, observed_at=at)
                self._last[accounts] = snapshot, read_s
        for snapshot, _ in sorted(self._last.values(), key=itemgetter(1)):
            self._journal.record(snapshot)


def _says_the_same(one: PositionsSnapshot, other: PositionsSnapshot) -> bool:
    return one == msgspec.structs.replace(other, observed_at=one.observed_at)


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
