"""The subscriptions of one connection, and their frames.

Each method writes its ticks to the ledger, then returns the frames to send.  There is no
other I/O.  The argument ``now`` is the time of the monotonic clock, in seconds.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Final

from greeks_trio.simulators.deliveries import ClientDeliveries
from greeks_trio.simulators.ibkr.client_memory import THETA, VEGA, Values
from greeks_trio.simulators.ibkr.frames import IbkrFrames
from greeks_trio.simulators.ibkr.quotes import (
    COLD_ROW,
    Line,
    Sent,
    close_quote,
    option_quote,
    option_values,
)
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.ledger import LedgerTick
from greeks_trio.simulators.market import SimulatedOption, Underlying, next_beat

# Limits of one random number: below the first one, the first answer is empty; below the
# second one, the Greeks come later than the prices.
_COLD, _LATE = 0.15, 0.4
# Seconds until the Greeks come.  It takes up to a minute at IBKR; here it is shorter.
_WARM_UP_S: Final = (0.2, 2.0)


class IbkrLines:
    """The subscriptions of one connection."""

    def __init__(self, state: IbkrState, deliveries: ClientDeliveries) -> None:
        self._state = state
        self._random = state.random
        self._deliveries = deliveries
        self._frames = IbkrFrames(state, self._write)
        self._lines: dict[str, Line] = {}
        self._sent: dict[int, Sent] = {}
        self._graded = self._grading()
        self._requests = 0
        self._ticking: deque[tuple[Line, SimulatedOption]] = deque()
        self._quoting: list[tuple[Line, Callable[[], Values]]] = []
        # (time, number of the request to break ties, action)
        self._later: list[tuple[float, int, Callable[[float], list[bytes]]]] = []
        self._next_quotes_at = 0.0

    @property
    def conids(self) -> set[int]:
        """The subscribed contracts, also those that get no data any more."""
        return {line.conid for line in self._lines.values()}

    @property
    def has_ticking(self) -> bool:
        """Whether at least one subscription can have ticks."""
        return bool(self._ticking)

    @property
    def next_at(self) -> float:
        """The time of the next frame that `due` returns."""
        if self._state.is_still:
            return float("inf")
        is_warming = self._later and not self._state.conditions.holds("cold")
        first = self._later[0][0] if is_warming else float("inf")
        return min(first, self._next_quotes_at) if self._quoting else first

    def subscribe(self, key: str, fields: set[str], now: float) -> list[bytes]:
        """Return the first answer to a request; renew a subscription that is open."""
        conid = int(key.partition("@")[0])
        line = self._lines.get(key)
        if line is not None and not line.is_closed and now < line.ends_at:
            line.ask(fields)
            line.ends_at = now + self._state.settings.stream_end_s
            self._state.take_line(conid, now)
            if self._state.is_halted(conid, now):
                return self._frames.first(line, dict(COLD_ROW))
            return self._frames.answer(line)
        if line is not None:
            line.is_closed = True
        self._requests += 1
        sent = self._sent.setdefault(conid, Sent())
        line = Line(key, conid, fields, sent, number=self._requests)
        line.ends_at = now + self._state.settings.stream_end_s
        self._lines[key] = line
        if not self._state.take_line(conid, now):
            line.is_closed = True
            return []
        return self._open(line, now)

    def unsubscribe(self, key: str) -> None:
        """Close one subscription; a subscription that is not open is ignored.

        After the last subscription to a contract its sent values are forgotten, so the
        next request starts without them.
        """
        line = self._lines.pop(key, None)
        if line is not None:
            self._close(line)
            if line.conid not in self.conids:
                self._sent.pop(line.conid, None)

    def unsubscribe_all(self) -> None:
        """Close every subscription without a request of the client."""
        self.end_all()
        self._lines.clear()

    def end_all(self) -> None:
        """Stop the data of every subscription; a new request starts them again."""
        for line in self._lines.values():
            self._close(line)

    def end_unlined(self) -> None:
        """Stop the data of subscriptions that have no market-data line any more."""
        for line in self._lines.values():
            if line.conid not in self._state.lines:
                self._close(line)

    def ticks(self, count: int, now: float) -> list[bytes]:
        """Return frames with ``count`` ticks; the contracts take turns."""
        frames: list[bytes] = []
        ticks: list[LedgerTick] = []
        is_late = self._state.conditions.holds("reorder")
        self._state.market.show(now)
        while count > 0 and self._ticking:
            line, before = self._ticking[0]
            option = self._state.present(before)
            if line.is_closed or now >= line.ends_at:
                self._ticking.popleft()
                self._close(line)
                continue
            self._ticking.rotate(-1)
            count -= 2 if is_late else 1
            if not self._state.may_tick(line.conid, now):
                continue
            if option is not before:
                # It has become another option: everything is sent anew.
                self._ticking[-1] = (line, option)
                line.sent.clear()
                frames += self._frames.bare(line)
            make = self._frames.late_pair if is_late else self._frames.tick
            frames += make(line, option, ticks)
        self._write(ticks)
        return frames

    def due(self, now: float) -> list[bytes]:
        """Return the frames that are due now, without the regular ticks."""
        frames = self._regrade()
        if self._state.is_still:
            return frames
        is_cold = self._state.conditions.holds("cold")
        while self._later and self._later[0][0] <= now and not is_cold:
            frames += heapq.heappop(self._later)[2](now)
        if self._quoting and now >= self._next_quotes_at:
            self._next_quotes_at = next_beat(now)
            frames += self._quotes(now)
        return frames

    def _open(self, line: Line, now: float) -> list[bytes]:
        target = self._state.find(line.conid)
        if target is None:
            self._close(line)
            return self._frames.first(line, dict(COLD_ROW))
        if isinstance(target, Underlying):
            return self._open_underlying(line, target)
        if not line.has_greeks:
            self._quoting.append(
                (line, lambda: option_values(self._state.market, target, self._random))
            )
            return self._frames.answer(line)
        is_cold = self._state.conditions.holds("cold")
        luck = 0.0 if is_cold else self._random.random()
        is_halted = self._state.is_halted(line.conid, now)
        is_prompt = luck >= _LATE and not is_halted
        if is_prompt or (self._state.is_still and not is_cold):
            self._ticking.append((line, target))
            return self._frames.answer(line)

        self._warm_up_later(line, target, now)
        if luck < _COLD or is_halted:
            return self._frames.first(line, dict(COLD_ROW))
        values = option_quote(
            self._state.market, target, self._state.market.greeks(target), self._random
        )
        return self._frames.first(line, values | self._frames.availability(line.conid))

    def _open_underlying(self, line: Line, underlying: Underlying) -> list[bytes]:
        """Start with the last close, as for a quiet contract, or with all values."""
        self._quoting.append((line, lambda: self._frames.underlying_values(underlying)))
        if self._random.random() < 0.5 or self._state.is_still:
            return self._frames.answer(line)
        close = close_quote(underlying)
        return self._frames.first(line, close | self._frames.availability(line.conid))

    def _warm_up_later(self, line: Line, option: SimulatedOption, now: float) -> None:
        def warm_up(now: float) -> list[bytes]:
            if line.is_closed or now >= line.ends_at:
                return []
            if self._state.is_halted(line.conid, now):
                self._warm_up_later(line, option, now)
                return []
            return self._warm_up(line, self._state.present(option))

        self._run_later(now + self._random.uniform(*_WARM_UP_S), warm_up)

    def _warm_up(self, line: Line, option: SimulatedOption) -> list[bytes]:
        """Return the first Greeks: all of them, or those that are computed so far."""
        values = option_values(self._state.market, option, self._random)
        if self._random.random() < 0.3:
            values = {k: v for k, v in values.items() if k not in (THETA, VEGA)}
        # The first answer may have been empty, so this is told with the first values.
        values |= self._frames.availability(line.conid)
        ticks: list[LedgerTick] = []
        frames = self._frames.delta(line, values, ticks)
        self._write(ticks)
        self._ticking.append((line, option))
        return frames

    def _quotes(self, now: float) -> list[bytes]:
        frames: list[bytes] = []
        ticks: list[LedgerTick] = []
        self._state.market.show(now)
        for line, _ in self._quoting:
            if now >= line.ends_at:
                self._close(line)
        self._quoting = [each for each in self._quoting if not each[0].is_closed]
        for line, quote in self._quoting:
            frames += self._frames.delta(line, quote(), ticks)
        self._write(ticks)
        return frames

    def _grading(self) -> tuple[bool, ...]:
        names = ("market-closed", "delayed", "not-subscribed")
        return tuple(self._state.conditions.holds(each) for each in names)

    def _regrade(self) -> list[bytes]:
        """Return frames that tell of a change between live, delayed and closed."""
        grading = self._grading()
        if grading == self._graded:
            return []
        was_closed, self._graded = self._graded[0], grading
        if not self._state.is_closed:
            self._state.closing.clear()
        frames: list[bytes] = []
        for line in self._lines.values():
            if line.is_closed:
                continue
            if self._state.is_closed and not was_closed and line.has_greeks:
                self._state.closing.setdefault(line.conid, dict(line.sent))
            frames += self._frames.bare(line)
        return frames

    def _write(self, ticks: list[LedgerTick]) -> None:
        """Write ticks to the ledger, and note that they are sent to this client."""
        self._state.ledger.write(ticks)
        self._deliveries.sent((each.contract_key, each.event_time_ms) for each in ticks)

    def _close(self, line: Line) -> None:
        if not line.is_closed:
            line.is_closed = True
            self._state.lines.pop(line.conid, None)

    def _run_later(self, at: float, action: Callable[[float], list[bytes]]) -> None:
        heapq.heappush(self._later, (at, self._requests, action))
