"""The values of the accounts of one feed, for the table `account_values`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import trio

from greeks_trio.model.account_values import AccountValues, AccountValuesSnapshot
from greeks_trio.model.records import Broker
from greeks_trio.pipeline.journal import Journal
from greeks_trio.waiting import WakeUp, utc_now

# After a failure the next reading comes this soon, once: a session that has just begun
# answers without values.
RETRY_S: Final = 10.0


@dataclass(slots=True, kw_only=True)
class ValuesReading:
    """The outcome of one reading of the accounts.

    Attributes:
        rows: The values of the accounts that were read.
        unread: The accounts without values, with the reasons.
        odd: The amounts that cannot be read, such as ``cash of DU1``.
        retry_after_s: For so long the broker wants no request.
    """

    rows: list[AccountValues] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    retry_after_s: float = 0.0


class AccountValuesLog:
    """Records the account values of one broker, across its connections.

    Attributes:
        newest_at: When the last recorded values were read; `None` before the first, and
            while nothing is read.
        last: The last reading.
        changed: Woken when the interval may be another one.
    """

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.broker = broker
        self.now = now
        self._journal = journal
        self.newest_at: datetime | None = None
        self.last = ValuesReading()
        self.changed = WakeUp()
        # On the monotonic clock.
        self._began_at = -math.inf
        self._barred_until = -math.inf
        # Readings in a row that lacked an account.
        self._failures = 0

    def begin(self) -> None:
        """Note that a reading begins."""
        self._began_at = trio.current_time()

    def record(self, reading: ValuesReading) -> None:
        """Record the rows of a reading."""
        self.last = reading
        self._failures = self._failures + 1 if reading.unread else 0
        self._barred_until = trio.current_time() + reading.retry_after_s
        if reading.rows:
            self.newest_at = max(each.observed_at for each in reading.rows)
            rows = tuple(reading.rows)
            self._journal.record(AccountValuesSnapshot(broker=self.broker, rows=rows))

    def turn_off(self) -> None:
        """Note that nothing is read."""
        self.newest_at, self.last = None, ValuesReading()

    def age_s(self) -> float | None:
        """Return the age of the newest values in seconds, `None` without any."""
        if self.newest_at is None:
            return None
        return max(0.0, (self.now() - self.newest_at).total_seconds())

    def due_at(self, interval_s: float) -> float:
        """Return when the next reading is due, on the monotonic clock."""
        pause_s = min(RETRY_S, interval_s) if self._failures == 1 else interval_s
        return max(self._began_at + pause_s, self._barred_until)
