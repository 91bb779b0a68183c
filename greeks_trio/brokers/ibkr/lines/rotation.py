"""The turns of the contracts that share market-data lines.  Pure.

A turn lasts until the contract has brought Greeks and has had its line for `TURN_S`.  A
contract without Greeks gives its line back after `GREEKS_WAIT_S`.  A free line goes by
weight and waiting time, unless a contract has waited for longer than `patience_s`: then it
goes to the one that has waited the longest.  So for all weights there is a longest interval
between two turns: `longest_interval_s`.  Of the contracts that have had their time, the
lightest leaves first.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final, Literal

from greeks_trio.brokers.ibkr.lines.risk import RiskBook
from greeks_trio.model.contracts import Conid

# A contract has its line for at least this long.
TURN_S: Final = 10.0
# The first Greeks of a quiet strike come up to a minute after the request.
GREEKS_WAIT_S: Final = 60.0
# The first Greeks may come in several frames.
SETTLE_S: Final = 3.0
LONGEST_TURN_S: Final = GREEKS_WAIT_S + SETTLE_S
# One change of a line takes two messages; together they are at most ten a second.
CHANGE_S: Final = 0.2
# With weights a contract waits for this many times as long as without, if Greeks come soon.
_PATIENCE: Final = 1.5
# A request is answered with all fields; these frames are no ticks of the market.
_ANSWER_WINDOW_S: Final = 5.0
# A contract is missing if it was not seen for this many times the longest interval.
_OVERDUE_TIMES: Final = 2.0

# How the last turn of a contract went.
Outcome = Literal["no turn", "no answer", "no greeks", "greeks"]
Weigh = Callable[[], Mapping[Conid, float]]


def patience_s(contracts: int, lines: int) -> float:
    """Return for how many seconds weights may keep a contract waiting."""
    return _PATIENCE * (contracts - lines) * max(TURN_S / lines, CHANGE_S)


def longest_interval_s(contracts: int, lines: int, *, is_even: bool) -> float:
    """Return within how many seconds every contract brings Greeks again.

    It holds for a contract whose Greeks come within `GREEKS_WAIT_S`, from its last Greeks
    of one turn to its first of the next.  The other contracts may answer as late as they
    like, or never.

    Args:
        contracts: How many contracts share the lines.
        lines: How many lines they share.
        is_even: Whether no contract has more turns than another.
    """
    change_all_s = lines * CHANGE_S
    own_turn_s = 2 * TURN_S + change_all_s
    rounds = math.ceil((contracts - lines) / lines)
    waiting_s = rounds * max(LONGEST_TURN_S, change_all_s) + change_all_s
    if not is_even:
        waiting_s += patience_s(contracts, lines)
    return own_turn_s + waiting_s + GREEKS_WAIT_S


class _Shared:
    """One contract that shares a line."""

    __slots__ = ("interval_s", "joined_at", "left_at", "outcome", "seen_at")

    def __init__(self, now: float) -> None:
        self.joined_at = self.left_at = now
        self.seen_at: float | None = None
        self.interval_s = 0.0
        self.outcome: Outcome = "no turn"


class _Turn:
    """A contract's present time on a line."""

    __slots__ = ("answered", "first_greeks_at", "greeks_at", "since")

    def __init__(self, now: float) -> None:
        self.since = now
        self.answered = False
        self.first_greeks_at: float | None = None
        self.greeks_at = -math.inf

    @property
    def ends_at(self) -> float:
        if self.first_greeks_at is None:
            return self.since + GREEKS_WAIT_S
        return max(self.since + TURN_S, self.first_greeks_at + SETTLE_S)


class Rotation:
    """The turns of the contracts that share lines.  It outlives a connection.

    Attributes:
        risks: The newest risk of each contract.
    """

    def __init__(self) -> None:
        self.risks = RiskBook()
        self._lines = 0
        self._weigh: Weigh | None = None
        self._weights: Mapping[Conid, float] = {}
        self._weighed_at = -math.inf
        self._shared: dict[Conid, _Shared] = {}
        self._turns: dict[Conid, _Turn] = {}
        # The contract that has waited the longest comes first.
        self._waiting: dict[Conid, None] = {}
        self._change_at = -math.inf

    def __contains__(self, conid: object) -> bool:
        """Return whether the contract shares a line, in its turn or between two."""
        return conid in self._shared

    @property
    def in_turn(self) -> tuple[Conid, ...]:
        """The contracts that have a line now."""
        return tuple(self._turns)

    @property
    def promised_s(self) -> float:
        """Within how many seconds every contract brings Greeks again; 0 without any."""
        if not self._shared:
            return 0.0
        return longest_interval_s(
            len(self._shared), self._lines, is_even=self._weigh is None
        )

    @property
    def measured_s(self) -> float:
        """The longest of the contracts' last intervals without Greeks."""
        return max((each.interval_s for each in self._shared.values()), default=0.0)

    def connected(self, now: float) -> None:
        """Begin a connection: no contract has a line.

        The contracts whose turn was cut off before they brought Greeks come first.
        """
        cut_off = [
            conid for conid, turn in self._turns.items() if turn.first_greeks_at is None
        ]
        for conid in list(self._turns):
            self._end(conid, now)
        self._queue_first(cut_off)
        for each in self._shared.values():
            each.joined_at, each.seen_at = now, None
            each.interval_s, each.outcome = 0.0, "no turn"

    def assign(
        self,
        conids: Iterable[Conid],
        lines: int,
        now: float,
        *,
        weigh: Weigh | None = None,
        with_line: Container[Conid] = (),
    ) -> None:
        """Take the contracts that share lines, the most important one first.

        Args:
            conids: The contracts.  A new one comes before those that wait.
            lines: How many lines they share; at least 1 if there are contracts.
            now: The present time.
            weigh: Returns the weight of each contract, 0 or more; `None` if no contract
                has more turns than another.
            with_line: A new contract that has a line already begins with its turn.
        """
        wanted = dict.fromkeys(conids)
        self.drop([each for each in self._shared if each not in wanted])
        self._lines, self._weigh, self._weighed_at = lines, weigh, -math.inf
        added = [each for each in wanted if each not in self._shared]
        for conid in added:
            self._shared[conid] = _Shared(now)
            if conid in with_line:
                self._turns[conid] = _Turn(now)
        self._queue_first([each for each in added if each not in self._turns])
        surplus = sorted(self._turns, key=lambda each: self._turns[each].ends_at)
        for conid in surplus[: max(0, len(self._turns) - lines)]:
            self._end(conid, now)

    def drop(self, conids: Iterable[Conid]) -> None:
        """Forget contracts and their turns."""
        for conid in conids:
            self.risks.forget(conid)
            self._shared.pop(conid, None)
            self._turns.pop(conid, None)
            self._waiting.pop(conid, None)

    def advance(self, now: float) -> list[Conid]:
        """Begin and end the turns that are due; return the contracts that got a line."""
        begun: list[Conid] = []
        while self._waiting and len(self._turns) < self._lines:
            begun.append(self._begin(self._pick(now, None), now))
        # A wake-up that comes late is made up for, but only by one change.
        self._change_at = max(self._change_at, now - CHANGE_S)
        while self._waiting and self.next_at() <= now:
            leaving = self._first_to_leave(now)
            chosen = self._pick(now, leaving)
            if chosen == leaving:
                self._turns[leaving].since = now
                continue
            self._end(leaving, now)
            begun.append(self._begin(chosen, now))
            self._change_at += CHANGE_S
        return begun

    def next_at(self) -> float:
        """Return when `advance` has something to do; infinity if never."""
        if not self._waiting or not self._turns:
            return math.inf
        ends_at = self._turns[self._first_to_end()].ends_at
        return max(ends_at, self._change_at)

    def frame(self, conid: Conid, now: float, *, has_greeks: bool) -> tuple[bool, bool]:
        """Note a frame of a contract.

        Returns two facts: the end of its turn has changed; the frame is a tick of the
        market, not part of the answer to the request.
        """
        turn, shared = self._turns.get(conid), self._shared[conid]
        if has_greeks:
            begins = turn is not None and turn.first_greeks_at is None
            if begins and shared.seen_at is not None:
                shared.interval_s = now - shared.seen_at
            shared.seen_at = now
        if turn is None:  # it was on its way when the turn ended
            return False, False
        turn.answered = True
        if not has_greeks:
            return False, False
        turn.greeks_at = now
        if turn.first_greeks_at is None:
            turn.first_greeks_at = now
            return True, False
        return False, now > turn.first_greeks_at + _ANSWER_WINDOW_S

    def has_greeks(self, conid: Conid) -> bool:
        """Return whether the contract has brought Greeks on this connection."""
        shared = self._shared.get(conid)
        return shared is not None and shared.seen_at is not None

    def warming(self, now: float) -> int:
        """Return how many contracts have brought no Greeks so far and are not overdue."""
        limit_s = _OVERDUE_TIMES * self.promised_s
        return sum(
            each.seen_at is None and now - each.joined_at <= limit_s
            for each in self._shared.values()
        )

    def overdue(self, now: float) -> dict[Conid, tuple[Outcome, float]]:
        """Return the contracts without Greeks for much longer than promised.

        Each comes with how its last turn went, and for how many seconds it was not seen.
        """
        limit_s = _OVERDUE_TIMES * self.promised_s
        found = {}
        for conid, each in self._shared.items():
            since = each.joined_at if each.seen_at is None else each.seen_at
            if now - since > limit_s:
                found[conid] = (each.outcome, now - since)
        return found

    def _pick(self, now: float, leaving: Conid | None) -> Conid:
        """Return the contract that gets a line: one that waits, or the one that leaves."""
        first = next(iter(self._waiting))
        waited_s = now - self._shared[first].left_at
        limit_s = patience_s(len(self._shared), self._lines)
        if self._weigh is None or waited_s >= limit_s:
            return first
        weights = self._present_weights(self._weigh, now)
        best, best_score = first, 0.0
        for conid in self._waiting:
            score = weights.get(conid, 0.0) * (now - self._shared[conid].left_at)
            if score > best_score:
                best, best_score = conid, score
        if leaving is None:
            return best
        own_score = self._standing(leaving, now) * (now - self._turns[leaving].since)
        return leaving if own_score > best_score else best

    def _standing(self, conid: Conid, now: float) -> float:
        """Return the weight of a contract with a line, 0 if it brings nothing."""
        if self._weigh is None or now - self._turns[conid].greeks_at > TURN_S:
            return 0.0
        return self._present_weights(self._weigh, now).get(conid, 0.0)

    def _present_weights(self, weigh: Weigh, now: float) -> Mapping[Conid, float]:
        if now >= self._weighed_at + TURN_S:
            self._weights, self._weighed_at = weigh(), now
        return self._weights

    def _queue_first(self, conids: list[Conid]) -> None:
        """Let contracts wait in front, as if they had waited for as long as the first."""
        if self._waiting:
            first = self._shared[next(iter(self._waiting))]
            for conid in conids:
                self._shared[conid].left_at = first.left_at
        self._waiting = dict.fromkeys((*conids, *self._waiting))

    def _begin(self, conid: Conid, now: float) -> Conid:
        del self._waiting[conid]
        self._turns[conid] = _Turn(now)
        return conid

    def _end(self, conid: Conid, now: float) -> None:
        turn, shared = self._turns.pop(conid), self._shared[conid]
        shared.left_at = now
        shared.outcome = _outcome(turn)
        self._waiting[conid] = None

    def _first_to_end(self) -> Conid:
        return min(self._turns, key=lambda each: self._turns[each].ends_at)

    def _first_to_leave(self, now: float) -> Conid:
        """Return the lightest contract of those that have had their time."""
        due = [conid for conid, turn in self._turns.items() if turn.ends_at <= now]
        return min(
            due,
            key=lambda each: (self._standing(each, now), self._turns[each].ends_at),
        )


def _outcome(turn: _Turn) -> Outcome:
    if turn.first_greeks_at is not None:
        return "greeks"
    return "no greeks" if turn.answered else "no answer"
