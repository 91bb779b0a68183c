"""Which conids have a market-data line on one connection, and when to ask again.  Pure.

IBKR ends a subscription silently some minutes after the request, so each is requested
again in time, at moments that drift apart.  A request is not acknowledged: the first
frame of its conid is the answer, and a request without one is repeated.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from greeks_trio.brokers.ibkr.positions import Listing
from greeks_trio.model.contracts import Conid, ContractKey, OptionContract
from greeks_trio.model.positions import Holder

# IBKR ends subscriptions after 15 minutes, announced to become 10; 9 is its advice.
RENEW_LATEST_S: Final = 530.0
# Renewals of one burst of subscriptions come spread over this much time.
RENEW_SPREAD_S: Final = 180.0
# The first frame usually comes within a second.
ANSWER_LIMIT_S: Final = 20.0
# After this many requests without an answer only the renewals go on.
_MAX_REQUESTS: Final = 3


class Wanted(msgspec.Struct, frozen=True):
    """An option to stream and who gets its ticks."""

    contract: OptionContract
    holders: tuple[Holder, ...]
    underlying_conid: Conid | None


class Plan(msgspec.Struct, frozen=True):
    """What should be subscribed.

    Attributes:
        options: By conid; those with a line come first.
        lines: Conids to subscribe, options before underlyings.
        without_line: Options beyond the limit.
        underlyings_without_line: Underlyings beyond it; their price stays unknown.
    """

    options: dict[Conid, Wanted]
    lines: tuple[Conid, ...]
    without_line: int
    underlyings_without_line: int


NOTHING: Final = Plan({}, (), 0, 0)


def make_plan(
    holders: Mapping[ContractKey, tuple[Holder, ...]],
    listings: Mapping[ContractKey, Listing],
    *,
    max_lines: int,
    before: Plan = NOTHING,
) -> Plan:
    """Return which of the wanted contracts get a line.

    Options come first, then one line for each underlying that they share.  What has
    a line keeps it, so that a new contract never takes a line from an unchanged one.
    """
    options = {
        listings[key].conid: Wanted(
            listings[key].contract, who, listings[key].underlying_conid
        )
        for key, who in holders.items()
        if key in listings
    }
    ordered = _lines_first(options, before)
    streamed = ordered[:max_lines]
    shared = dict.fromkeys(
        underlying
        for conid in streamed
        if (underlying := options[conid].underlying_conid) and underlying not in options
    )
    underlyings = _lines_first(shared, before)[: max_lines - len(streamed)]
    return Plan(
        {conid: options[conid] for conid in ordered},
        (*streamed, *underlyings),
        len(ordered) - len(streamed),
        len(shared) - len(underlyings),
    )


def _lines_first(conids: Iterable[Conid], before: Plan) -> list[Conid]:
    had = set(before.lines)
    return sorted(conids, key=lambda conid: conid not in had)


class _Line:
    """One subscription on this connection."""

    __slots__ = ("answered", "due", "requests", "sent_at")

    def __init__(self, due: float) -> None:
        self.due = due
        self.sent_at: float | None = None
        self.requests = 0
        self.answered = False


class Lines:
    """The subscriptions of one connection: what to send, and when."""

    def __init__(self, *, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._lines: dict[Conid, _Line] = {}
        # (due, conid); an entry whose time is not its line's own is out of date.
        self._queue: list[tuple[float, Conid]] = []

    def sent(self) -> set[Conid]:
        """Return the conids that have been requested."""
        return {conid for conid, line in self._lines.items() if line.requests}

    def is_repeated(self, conid: Conid) -> bool:
        """Return whether an earlier request for the conid went unanswered."""
        line = self._lines[conid]
        return line.requests > 1 and not line.answered

    def want(self, conids: Iterable[Conid], now: float) -> list[Conid]:
        """Take what is wanted; return what to unsubscribe.  New ones become due."""
        wanted = dict.fromkeys(conids)
        dropped = [conid for conid in self._lines if conid not in wanted]
        for conid in dropped:
            del self._lines[conid]
        for conid in wanted:
            if conid not in self._lines:
                self._lines[conid] = _Line(now)
                heapq.heappush(self._queue, (now, conid))
        return dropped

    def next_due(self) -> float:
        """Return when the next request is due; infinity when nothing is wanted."""
        while self._queue:
            due, conid = self._queue[0]
            line = self._lines.get(conid)
            if line is not None and line.due == due:
                return due
            heapq.heappop(self._queue)
        return float("inf")

    def take_due(self, now: float) -> Conid | None:
        """Return a conid to request now, `None` if there is none; counts it as sent."""
        if self.next_due() > now:
            return None
        _, conid = heapq.heappop(self._queue)
        line = self._lines[conid]
        line.sent_at = now
        line.requests += 1
        waits = not line.answered and line.requests <= _MAX_REQUESTS
        self._plan(conid, line, now + ANSWER_LIMIT_S if waits else self._renewal(now))
        return conid

    def answer(self, conid: Conid) -> bool:
        """Note a frame of the conid; return whether it is the first one."""
        line = self._lines.get(conid)
        if line is None or line.answered or line.sent_at is None:
            return False
        line.answered = True
        self._plan(conid, line, self._renewal(line.sent_at))
        return True

    def _plan(self, conid: Conid, line: _Line, due: float) -> None:
        line.due = due
        heapq.heappush(self._queue, (due, conid))

    def _renewal(self, sent_at: float) -> float:
        return sent_at + RENEW_LATEST_S - RENEW_SPREAD_S * self._jitter()
