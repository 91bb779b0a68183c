"""Reads the values of the accounts beside a running stream.

A broker that refuses them costs no tick: the state of the feed names the accounts and the
reasons, and the next reading follows.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn

import trio

from greeks_trio.errors import BrokerError, FeedInterrupted
from greeks_trio.feeds.account_values import AccountValuesLog, ValuesReading
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls, in_short
from greeks_trio.foreign_text import clean
from greeks_trio.model.account_values import SentValues

# Without an answer, or with one of these, a request for another account fails, too.
_OF_ALL_ACCOUNTS: Final = (None, 401, 429, 502, 503, 504)
# A broker may ask for a pause, up to this.
LONGEST_PAUSE_S: Final = 3_600.0
_LONGEST_REASON: Final = 200
_SHORTFALL: Final = "account values"

# Returns the values of one account; `None` if the answer has another form.
ReadAccount = Callable[[str], Awaitable[SentValues | None]]


class AccountValuesWatch:
    """Reads the values of all accounts at an interval, one account after the other.

    Args:
        health: Has the log of the values.
        shortfalls: Those of this connection.
        account_ids: Returns the accounts that the feed follows.
        interval_s: Returns the time between two readings; 0 for none.
        read: Reads one account.
    """

    def __init__(
        self,
        health: FeedHealth,
        shortfalls: Shortfalls,
        *,
        account_ids: Callable[[], Sequence[str]],
        interval_s: Callable[[], float],
        read: ReadAccount,
    ) -> None:
        self._health = health
        self._log: AccountValuesLog = health.account_values
        self._shortfalls = shortfalls
        self._account_ids = account_ids
        self._interval_s = interval_s
        self._read = read

    async def run(self) -> NoReturn:
        """Read whenever it is due; runs until cancelled."""
        while True:
            interval_s = self._interval_s()
            if not interval_s:
                self._log.turn_off()
            # The connection before this one may have read them a moment ago.
            self._show()
            due_at = self._log.due_at(interval_s) if interval_s else math.inf
            if due_at > trio.current_time():
                with trio.move_on_at(due_at):
                    await self._log.changed.wait()
            else:
                await self._read_all()

    async def _read_all(self) -> None:
        """Read every account; a cancellation keeps the rows that were read."""
        self._log.begin()
        reading = ValuesReading()
        try:
            await self._read_into(reading)
        finally:
            self._log.record(reading)
        if reading.unread:
            self._health.count("values.unread", len(reading.unread))
        if reading.odd:
            self._health.count("values.unreadable", len(reading.odd))

    async def _read_into(self, reading: ValuesReading) -> None:
        accounts = list(self._account_ids())
        await trio.lowlevel.checkpoint()
        for number, account_id in enumerate(accounts):
            try:
                sent = await self._read(account_id)
            except BrokerError as exc:
                reason = clean(str(exc), limit=_LONGEST_REASON)
                if _is_of_all(exc, reading):
                    reading.unread |= dict.fromkeys(accounts[number:], reason)
                    return
                reading.unread[account_id] = reason
            else:
                self._take(account_id, sent, reading)

    def _take(
        self, account_id: str, sent: SentValues | None, reading: ValuesReading
    ) -> None:
        if sent is None:
            reading.unread[account_id] = "the answer is not understood"
        elif sent.is_empty:
            reading.unread[account_id] = "the broker sends none"
        else:
            reading.odd += [f"{name} of {account_id}" for name in sent.odd]
            log = self._log
            reading.rows.append(sent.row(log.broker, account_id, log.now()))

    def _show(self) -> None:
        """Show the missing accounts and amounts of the last reading in the state."""
        words = []
        if unread := self._log.last.unread:
            [reason, *_] = unread.values()
            words.append(f"{in_short('accounts without values', unread)}: {reason}")
        if odd := self._log.last.odd:
            words.append(in_short("account values that cannot be read", odd))
        if words:
            self._shortfalls.add(_SHORTFALL, "; ".join(words))
        else:
            self._shortfalls.clear(_SHORTFALL)


def _is_of_all(exc: BrokerError, reading: ValuesReading) -> bool:
    """Return whether the failure is one of the broker, and not of one account."""
    if not isinstance(exc, FeedInterrupted):
        return True  # the login was refused
    reading.retry_after_s = min(exc.retry_after or 0.0, LONGEST_PAUSE_S)
    return exc.http_status in _OF_ALL_ACCOUNTS
