"""The lines of one connection, and when to request each again.  Pure.

IBKR ends a subscription without a message some minutes after the request.  So each is
requested again in time, at moments that drift apart.  A request is not acknowledged: the first
frame of its conid is the answer, and a request without one is repeated.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import Final

from greeks_trio.model.contracts import Conid

# IBKR ends subscriptions after 15 minutes, announced to become 10; 9 is its advice.
RENEW_LATEST_S: Final = 530.0
# Renewals of one burst of subscriptions come spread over this much time.
RENEW_SPREAD_S: Final = 180.0
# The first frame usually comes within a second.
ANSWER_LIMIT_S: Final = 20.0
# After this many requests without an answer only the renewals go on.
_MAX_REQUESTS: Final = 3


class _Line:
    """One subscription on this connection."""

    __slots__ = ("answered", "due", "requests", "sent_at", "since")

    def __init__(self, due: float) -> None:
        self.due = due
        self.since: float | None = None
        self.sent_at: float | None = None
        self.requests = 0
        self.answered = False


class LineSchedule:
    """The subscriptions of one connection and their times."""

    def __init__(self, *, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._lines: dict[Conid, _Line] = {}
        # Those whose next frame is an answer: nearly every frame is none, and looks no
        # further than here.
        self._awaited: set[Conid] = set()
        # (due, number to break ties, conid); an entry whose time is not its line's own is
        # out of date.
        self._queue: list[tuple[float, int, Conid]] = []
        self._numbers = itertools.count()

    def __contains__(self, conid: object) -> bool:
        """Return whether the conid is wanted, requested or not yet."""
        return conid in self._lines

    def sent(self) -> set[Conid]:
        """Return the conids that have been requested."""
        return {conid for conid, line in self._lines.items() if line.requests}

    def unanswered(self) -> set[Conid]:
        """Return the conids with an earlier request without an answer."""
        return set(filter(self.is_unanswered, self._lines))

    def is_unanswered(self, conid: Conid) -> bool:
        """Return whether an earlier request for the conid went unanswered."""
        line = self._lines[conid]
        return line.requests > 1 and not line.answered

    def is_answered(self, conid: Conid) -> bool:
        """Return whether a frame has answered a request for the conid."""
        return self._lines[conid].answered

    def held_s(self, conid: Conid, now: float) -> float:
        """Return for how long the conid has had its line."""
        since = self._lines[conid].since
        return 0.0 if since is None else now - since

    def request_again(self, conid: Conid, now: float) -> None:
        """Make the conid due now; its renewals go on from there."""
        line = self._lines.get(conid)
        if line is not None:
            self._plan(conid, line, now)

    def request_anew(self, conid: Conid, now: float) -> None:
        """Make the conid due now, as if it had not been requested before."""
        line = self._lines[conid]
        line.requests, line.answered, line.sent_at = 0, False, None
        self._awaited.discard(conid)
        self._plan(conid, line, now)

    def request_all_anew(self, now: float) -> None:
        """Make everything due now: IBKR has forgotten all requests."""
        for conid in self._lines:
            self.request_anew(conid, now)

    def want(self, conids: Iterable[Conid], now: float) -> list[Conid]:
        """Take the wanted conids; return those to unsubscribe.

        New ones become due, in their order.
        """
        wanted = dict.fromkeys(conids)
        dropped = [conid for conid in self._lines if conid not in wanted]
        for conid in dropped:
            del self._lines[conid]
            self._awaited.discard(conid)
        for conid in wanted:
            if conid not in self._lines:
                line = self._lines[conid] = _Line(now)
                self._plan(conid, line, now)
        return dropped

    def next_due(self) -> float:
        """Return the time of the next due request; infinity if there is none."""
        while self._queue:
            due, _, conid = self._queue[0]
            line = self._lines.get(conid)
            if line is not None and line.due == due:
                return due
            heapq.heappop(self._queue)
        return float("inf")

    def take_due(self, now: float) -> Conid | None:
        """Return a conid to request now, `None` if there is none; counts it as sent."""
        if self.next_due() > now:
            return None
        _, _, conid = heapq.heappop(self._queue)
        line = self._lines[conid]
        line.sent_at = now
        line.since = now if line.since is None else line.since
        line.requests += 1
        if not line.answered:
            self._awaited.add(conid)
        waits = not line.answered and line.requests <= _MAX_REQUESTS
        self._plan(conid, line, now + ANSWER_LIMIT_S if waits else self._renewal(now))
        return conid

    def answer(self, conid: Conid) -> bool:
        """Note a frame of the conid; return whether it answers a repeated request."""
        line = self._lines[conid] if conid in self._awaited else None
        if line is None or line.sent_at is None:
            return False
        self._awaited.remove(conid)
        line.answered = True
        self._plan(conid, line, self._renewal(line.sent_at))
        return line.requests > 1

    def _plan(self, conid: Conid, line: _Line, due: float) -> None:
        line.due = due
        heapq.heappush(self._queue, (due, next(self._numbers), conid))

    def _renewal(self, sent_at: float) -> float:
        return sent_at + RENEW_LATEST_S - RENEW_SPREAD_S * self._jitter()
