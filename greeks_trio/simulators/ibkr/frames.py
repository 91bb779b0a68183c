"""The frames of one subscription, and their ticks in the ledger.

Every returned frame counts as sent: the next frame has only the values that differ from
it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from greeks_trio.model.records import Greeks
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
    nudge_mark,
    option_prices,
    option_quote,
    option_values,
    underlying_quote,
    unset,
)
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.ledger import LedgerTick
from greeks_trio.simulators.market import SimulatedOption, Underlying

_QUOTE_SHARE: Final = 0.3  # of the ticks change the last price and the sizes too
_BARE_SHARE: Final = 0.01  # of the ticks are followed by a frame without values
# Of the ticks, those that are followed by a frame with prices or without values.
_PRICE_SHARE: Final = 0.1
_BLANK_SHARE: Final = 0.3  # of the ticks lose a Greek during the fault `nan`


class _Modelled(NamedTuple):
    """The values of an option at a price of its underlying."""

    option: SimulatedOption
    spot: float
    greeks: Greeks
    values: Values
    prices: Values


class IbkrFrames:
    """Makes frames from the present values of the market.

    `answer` and `first` write to the ledger, by the function ``write``.  `tick`,
    `late_pair` and `delta` add their ticks to a list, and the caller writes the whole list
    to the ledger at once.
    """

    def __init__(
        self, state: IbkrState, write: Callable[[list[LedgerTick]], None]
    ) -> None:
        self._state = state
        self._write = write
        self._random = state.random
        self._modelled: dict[int, _Modelled] = {}

    def answer(self, line: Line) -> list[bytes]:
        """Return all known values in two frames, as the real gateway does."""
        target = self._state.find(line.conid)
        if target is not None and self._state.conditions.holds("not-subscribed"):
            values: Values = {}
        elif isinstance(target, SimulatedOption):
            if self._state.conditions.holds("cold"):
                return self.first(line, dict(COLD_ROW))
            values = self._option_values(target)
        elif target is not None:
            values = self.underlying_values(target)
        else:
            values = dict(COLD_ROW)
        return self.first(line, values | self.availability(line.conid))

    def underlying_values(self, underlying: Underlying) -> Values:
        """Return the present prices of an underlying."""
        unset_share = self._state.settings.imperfections.unset_share
        return underlying_quote(underlying, self._random, unset_share=unset_share)

    def availability(self, conid: int) -> Values:
        """Return the field that says whether the contract's data are live or delayed."""
        return availability(self._state.grade(conid), self._random)

    def first(self, line: Line, values: Values) -> list[bytes]:
        """Return the first frame, twice, with the requested ones of these values."""
        if values.get("55") == COLD_ROW["55"]:
            asked = values  # always complete, with any requested fields
        else:
            asked = line.take_asked(values)
        updated_ms = self._state.next_updated_ms(line.conid)
        self._write(self._ledger_ticks(line, asked, updated_ms))
        return line.first_frames(asked, updated_ms)

    def tick(
        self, line: Line, option: SimulatedOption, ticks: list[LedgerTick]
    ) -> list[bytes]:
        """Move the market one step and return the frames of one option."""
        values, luck = self._step(line, option)
        frames = self.delta(line, values, ticks)
        if luck > 1.0 - _BARE_SHARE:
            frames += self.bare(line)
        elif luck > 1.0 - _PRICE_SHARE:
            frames += self.prices(line, option, ticks)
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
        """Return a frame of the changed values, if any; add its tick to ``ticks``."""
        changed = line.take_changed(values)
        if not changed:
            return []
        updated_ms = self._state.next_updated_ms(line.conid)
        return [self._send(line, changed, updated_ms, ticks)]

    def prices(
        self, line: Line, option: SimulatedOption, ticks: list[LedgerTick]
    ) -> list[bytes]:
        """Return a frame with changed prices of an option, and no Greek; it is no tick."""
        market = self._state.market
        quote = option_quote(market, option, market.greeks(option), self._random)
        return self.delta(line, nudge_mark(option, quote), ticks)

    def bare(self, line: Line) -> list[bytes]:
        """Return a frame that has only the field of `availability`."""
        changed = self.availability(line.conid)
        line.sent.update(changed)
        updated_ms = self._state.next_updated_ms(line.conid)
        return [line.delta_frame(changed, updated_ms, self._random)]

    def _step(self, line: Line, option: SimulatedOption) -> tuple[Values, float]:
        """Move the market one step; return an option's values and a random number."""
        market, random = self._state.market, self._random
        market.move(option.underlying)
        greeks, values, prices = self._model_values(option)
        sent = line.sent
        if all(
            sent.get(name) == text
            for name, text in values.items()
            if name in line.fields
        ):
            values = nudge(line, values, random)
        luck = random.random()
        if luck < _QUOTE_SHARE:
            prices = option_quote(market, option, greeks, random)
        values = values | prices
        if self._state.conditions.holds("nan") and random.random() < _BLANK_SHARE:
            values = blank(line, values, random)
        unset_share = self._state.settings.imperfections.unset_share
        if unset_share and random.random() < unset_share:
            values = unset(line, values, random)
        return values, luck

    def _model_values(self, option: SimulatedOption) -> tuple[Greeks, Values, Values]:
        """Return the Greeks, also as texts, and the prices; they last until a beat."""
        spot = option.underlying.price
        known = self._modelled.get(option.conid)
        if known is None or known.option is not option or known.spot != spot:
            greeks = self._state.market.greeks(option)
            prices = option_prices(self._state.market, option, greeks)
            known = _Modelled(option, spot, greeks, greek_values(greeks), prices)
            self._modelled[option.conid] = known
        return known.greeks, known.values, known.prices

    def _option_values(self, option: SimulatedOption) -> Values:
        """Return the values of an option; they do not change in a closed market."""
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
        """Return the ticks to store after a frame, one for each account that holds it."""
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
