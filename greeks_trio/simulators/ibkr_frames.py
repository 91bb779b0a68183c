"""The frames of one subscription, and what the ledger says of them.

Every frame that is returned counts as sent: its values are what the next one is
compared with.
"""

from __future__ import annotations

import time
from typing import Final

from greeks_trio.simulators.ibkr_quotes import (
    COLD_ROW,
    GREEK_FIELDS,
    Line,
    Values,
    availability,
    greek_values,
    nudge,
    option_quote,
    option_values,
    underlying_quote,
)
from greeks_trio.simulators.ibkr_state import IbkrState
from greeks_trio.simulators.ledger import LedgerTick
from greeks_trio.simulators.market import SimulatedOption

_QUOTE_SHARE: Final = 0.3  # of the ticks move prices as well
_BARE_SHARE: Final = 0.01  # of the ticks are followed by a frame without values


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
        if isinstance(target, SimulatedOption):
            return self.first(
                line,
                option_values(self._state.market, target, self._random)
                | availability(self._random),
            )
        values = underlying_quote(target, self._random) if target else dict(COLD_ROW)
        return self.first(line, values | availability(self._random))

    def first(self, line: Line, values: Values) -> list[bytes]:
        """Return the doubled first frame with what was asked of these values."""
        if "55" in values and values["55"] == COLD_ROW["55"]:
            asked = values  # comes whole, whatever was asked
        else:
            asked = line.take_asked(values)
        updated_ms = self._state.next_updated_ms(line.conid)
        if not GREEK_FIELDS.isdisjoint(asked):
            tick = self._ledger_tick(line, updated_ms)
            self._state.ledger.write([tick] if tick else [])
        return line.first_frames(asked, updated_ms)

    def tick(
        self, line: Line, option: SimulatedOption, ticks: list[LedgerTick]
    ) -> list[bytes]:
        """Move the market one step and return what it did to one option."""
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
        frames = self.delta(line, values, ticks)
        if luck > 1.0 - _BARE_SHARE:
            frames += self._bare(line)
        return frames

    def delta(self, line: Line, values: Values, ticks: list[LedgerTick]) -> list[bytes]:
        """Return a frame of what changed, if anything did; adds its tick to ``ticks``."""
        changed = line.take_changed(values)
        if not changed:
            return []
        updated_ms = self._state.next_updated_ms(line.conid)
        if not GREEK_FIELDS.isdisjoint(changed):
            tick = self._ledger_tick(line, updated_ms)
            if tick is not None:
                ticks.append(tick)
        return [line.delta_frame(changed, updated_ms, self._random)]

    def _bare(self, line: Line) -> list[bytes]:
        """Return a frame that says how good the data are, and nothing else."""
        changed = availability(self._random)
        line.sent.update(changed)
        updated_ms = self._state.next_updated_ms(line.conid)
        return [line.delta_frame(changed, updated_ms, self._random)]

    def _ledger_tick(self, line: Line, updated_ms: int) -> LedgerTick | None:
        option = self._state.find(line.conid)
        if not isinstance(option, SimulatedOption):
            return None
        return line.ledger_tick(
            self._state.account_of(line.conid),
            option.contract.contract_key,
            updated_ms,
            time.monotonic(),
        )
