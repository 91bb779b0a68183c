"""Reads the market metrics of the underlyings beside a running stream.

Tastytrade that refuses them costs no tick: a note beside the state of the feed says why, and
the next reading follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

import trio

from greeks_trio.brokers.tastytrade.positions.market_metrics import symbols_to_ask
from greeks_trio.brokers.tastytrade.session import TastytradeSession
from greeks_trio.errors import BrokerError, FeedInterrupted
from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import Shortfalls, in_short
from greeks_trio.foreign_text import clean

# So many symbols in one request keep its address short.
_SYMBOLS: Final = 50
# After a failure the next reading comes so soon at the earliest.
RETRY_S: Final = 300.0
LONGEST_PAUSE_S: Final = 3_600.0
_LONGEST_REASON: Final = 200
_NOTE: Final = "market metrics"


class MarketMetricsWatch:
    """Reads the metrics of all underlyings at an interval, and of new ones at once.

    Args:
        health: Has the board with the underlyings of both brokers.
        shortfalls: Those of this connection.
        session: Reads them.
        interval_s: Returns the time between two readings; 0 for none.
    """

    def __init__(
        self,
        health: FeedHealth,
        shortfalls: Shortfalls,
        session: TastytradeSession,
        *,
        interval_s: Callable[[], float],
    ) -> None:
        self._health = health
        self._board = health.market_metrics
        self._shortfalls = shortfalls
        self._session = session
        self._interval_s = interval_s

    async def run(self) -> NoReturn:
        """Read whenever it is due; runs until cancelled."""
        plan = self._board.plan
        while True:
            # The connection before this one may have read them a moment ago.
            self._show()
            seen = self._board.wanted_changed.calls
            interval_s, asked = self._interval_s(), self._asked()
            due_at = plan.due_at if asked.keys() <= plan.read else -math.inf
            until = max(due_at, plan.barred_until)
            if not (interval_s and asked):
                until = math.inf
            if until > trio.current_time():
                with trio.move_on_at(until):
                    await self._board.wanted_changed.wait_beyond(seen)
            else:
                await self._read_all(asked, interval_s)

    def _asked(self) -> dict[str, list[str]]:
        """Return the symbols to ask for; none before the underlyings are known."""
        return symbols_to_ask(self._board.wanted or ())

    async def _read_all(
        self, asked: Mapping[str, list[str]], interval_s: float
    ) -> None:
        """Read every symbol; rows that were read before a failure are kept."""
        plan, names = self._board.plan, list(asked)
        plan.due_at = trio.current_time() + interval_s
        problems: list[str] = []
        found: set[str] = set()
        try:
            for start in range(0, len(names), _SYMBOLS):
                part = {each: asked[each] for each in names[start : start + _SYMBOLS]}
                rows, odd = await self._session.read_metrics(part, self._health.now())
                self._board.record(rows)
                found.update(each.symbol for each in rows)
                problems += odd
        except BrokerError as exc:
            self._failed(exc, interval_s)
            return
        plan.read = frozenset(asked)
        if problems:
            self._health.count("metrics.unreadable", len(problems))
        lacking = [key for keys in asked.values() for key in keys if key not in found]
        plan.note = _in_words(problems, lacking)

    def _failed(self, exc: BrokerError, interval_s: float) -> None:
        """Note the reason, and keep away from the broker for a time."""
        self._health.count("metrics.failed")
        asked_for = exc.retry_after if isinstance(exc, FeedInterrupted) else None
        pause_s = max(asked_for or 0.0, min(RETRY_S, interval_s))
        plan = self._board.plan
        plan.barred_until = trio.current_time() + min(pause_s, LONGEST_PAUSE_S)
        plan.due_at = plan.barred_until
        reason = clean(str(exc), limit=_LONGEST_REASON)
        plan.note = f"market metrics cannot be read: {reason}"

    def _show(self) -> None:
        if note := self._board.plan.note:
            self._shortfalls.note(_NOTE, note)
        else:
            self._shortfalls.clear(_NOTE)


def _in_words(problems: list[str], lacking: list[str]) -> str:
    words = []
    if lacking:
        words.append(in_short("underlyings without market metrics", lacking))
    if problems:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        words.append(f"market metrics that cannot be read: {problems[0]}{more}")
    return "; ".join(words)
