"""The frames of one subscription, and what the ledger says of them.

Every frame that is returned counts as sent: its values are what the next one is
compared with.
"""

from __future__ import annotations

import time
from typing import Final

from greeks_trio.simulators.ibkr.client_memory import (
    DELTA,
    GAMMA,
    GREEK_FIELDS,
    IMPLIED_VOLATILITY,
    THETA,
    VEGA,
    Values,
)
from greeks_trio.simulators.ibkr.quotes import (
    COLD_ROW,
    Line,
    availability,
    blank,
    greek_values,
    nudge,
    option_quote,
    option_values,
    underlying_quote,
)
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.ledger import LedgerTick
from greeks_trio.simulators.market import SimulatedOption

_QUOTE_SHARE: Final = 0.3  # of the ticks move prices as well
_BARE_SHARE: Final = 0.01  # of the ticks are followed by a frame without values
_BLANK_SHARE: Final = 0.3  # of the ticks lose a Greek while some are unknown


class IbkrFrames:
    """Makes frames from the market as it is now.

    `answer` and `first` write the ledger; `tick` and `delta` leave it to the caller,
    who writes a batch at once.
    """

    def __init__(self, state: IbkrState) -> None:
        self._state = state
        self._random = state.random

    def answer(self, line: Line) -> list[bytes]:
        """Return everything that is known, twice, as the gateway does."""
        target = self._state.find(line.conid)
        if target is not None and self._state.conditions.holds("not-subscribed"):
            values: Values = {}
        elif isinstance(target, SimulatedOption):
            if self._state.conditions.holds("cold"):
                return self.first(line, dict(COLD_ROW))
            values = self._option_values(target)
        elif target is not None:
            values = underlying_quote(target, self._random)
        else:
            values = dict(COLD_ROW)
        return self.first(line, values | self.availability(line.conid))

    def availability(self, conid: int) -> Values:
        """Return the field that says how good the contract's data are."""
        return availability(self._state.grade(conid), self._random)

    def first(self, line: Line, values: Values) -> list[bytes]:
        """Return the doubled first frame with what was asked of these values."""
        if values.get("55") == COLD_ROW["55"]:
            asked = values  # comes whole, whatever was asked
        else:
            asked = line.take_asked(values)
        updated_ms = self._state.next_updated_ms(line.conid)
        self._state.ledger.write(self._ledger_ticks(line, asked, updated_ms))
        return line.first_frames(asked, updated_ms)

    def tick(
        self, line: Line, option: SimulatedOption, ticks: list[LedgerTick]
    ) -> list[bytes]:
        """Move the market one step and return what it did to one option."""
        values, luck = self._step(line, option)
        frames = self.delta(line, values, ticks)
        if luck > 1.0 - _BARE_SHARE:
            frames += self.bare(line)
        return frames

    def late_pair(
        self, line: Line, option: SimulatedOption, ticks: list[LedgerTick]
    ) -> list[bytes]:
        """Move the market two steps and return the second one's frame first."""
        steps = []
        for _ in range(2):
            changed = line.take_changed(self._step(line, option)[0])
            steps.append((changed, self._state.next_updated_ms(line.conid)))
        return [
            self._send(line, changed, updated_ms, ticks)
            for changed, updated_ms in reversed(steps)
            if changed
        ]

    def delta(self, line: Line, values: Values, ticks: list[LedgerTick]) -> list[bytes]:
        """Return a frame of what changed, if anything did; adds its tick to ``ticks``."""
        changed = line.take_changed(values)
        if not changed:
            return []
        updated_ms = self._state.next_updated_ms(line.conid)
        return [self._send(line, changed, updated_ms, ticks)]

    def bare(self, line: Line) -> list[bytes]:
        """Return a frame that says how good the data are, and nothing else."""
        changed = self.availability(line.conid)
        line.sent.update(changed)
        updated_ms = self._state.next_updated_ms(line.conid)
        return [line.delta_frame(changed, updated_ms, self._random)]

    def _step(self, line: Line, option: SimulatedOption) -> tuple[Values, float]:
        """Move the market one step; return an option's values and a random number."""
        market, random = self._state.market, self._random
        market.move(option.underlying)
        greeks = market.greeks(option)
        values = greek_values(greeks)
        sent = line.sent
        if all(
            sent.get(name) == text
            for name, text in values.items()
            if name in line.fields
        ):
            values = nudge(line, values, random)
        luck = random.random()
        if luck < _QUOTE_SHARE:
            values |= option_quote(market, option, greeks, random)
        if self._state.conditions.holds("nan") and random.random() < _BLANK_SHARE:
            values = blank(line, values, random)
        return values, luck

    def _option_values(self, option: SimulatedOption) -> Values:
        """Return what is known of an option; it stands still in a closed market."""
        closing = self._state.closing
        if not self._state.is_closed:
            return option_values(self._state.market, option, self._random)
        if option.conid not in closing:
            closing[option.conid] = option_values(
                self._state.market, option, self._random
            )
        return dict(closing[option.conid])

    def _send(
        self, line: Line, changed: Values, updated_ms: int, ticks: list[LedgerTick]
    ) -> bytes:
        ticks += self._ledger_ticks(line, changed, updated_ms)
        return line.delta_frame(changed, updated_ms, self._random)

    def _ledger_ticks(
        self, line: Line, frame: Values, updated_ms: int
    ) -> list[LedgerTick]:
        """Return what must be stored after a frame, for each account that holds it."""
        option = self._state.find(line.conid)
        if GREEK_FIELDS.isdisjoint(frame) or not isinstance(option, SimulatedOption):
            return []
        row = line.reader.receive(frame, updated_ms)
        if row is None:
            return []
        now = time.monotonic()
        return [
            LedgerTick(
                broker="ibkr",
                account_id=account_id,
                contract_key=option.contract.contract_key,
                event_time_ms=updated_ms,
                delta=row[DELTA],
                gamma=row[GAMMA],
                theta=row[THETA],
                vega=row[VEGA],
                rho=None,
                implied_volatility=row[IMPLIED_VOLATILITY],
                sent_monotonic=now,
            )
            for account_id in self._state.account_positions.holders(line.conid)
        ]
