"""The state that the REST interfaces and the streams of all gateways share."""

from __future__ import annotations

import time
from collections.abc import Iterable
from random import Random
from typing import Final

import msgspec

from greeks_trio.model.contracts import Conid
from greeks_trio.simulators.book.book import FLAWLESS, Holdings, Imperfections, Split
from greeks_trio.simulators.conditions import Conditions
from greeks_trio.simulators.ibkr.client_memory import Values
from greeks_trio.simulators.ibkr.positions import (
    Quantities,
    SimulatedPositions,
    make_positions,
)
from greeks_trio.simulators.ibkr.quotes import Grade
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.market import Market, SimulatedOption, Underlying

# A contract has no ticks for this long after a client has read that its position is
# opened or closed.  The client needs this time to change its subscriptions.
_SETTLE_S: Final = 2.0

# Two frames of a contract never have the same time.  With more than one frame in a
# millisecond their times are later than the clock, but at most by this much.
_MAX_AHEAD_MS: Final = 2_000
# The same after a client has read that an instrument is another one from now on.
_ADJUST_S: Final = 3.0


class IbkrSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the gateway.

    Attributes:
        rate: Ticks a second on each connection, over all its subscribed options.
        stream_end_s: Seconds from the request of a subscription to the end of its data.
        line_limit: Subscriptions beyond this many stay empty; `None` for no limit.
        accounts: How many accounts the login has.
        session_timeout_s: Seconds without a REST request after which the brokerage
            session is lost; WebSocket messages do not count.
        imperfections: Those of the book.
    """

    rate: float
    stream_end_s: float = 900.0
    line_limit: int | None = None
    accounts: int = 1
    session_timeout_s: float = 360.0
    imperfections: Imperfections = FLAWLESS


class IbkrState:
    """The accounts of the user and the market data.

    Attributes:
        account_positions: The positions of the accounts.
        conditions: The faults at present.
        line_limit: The present limit; at first the one of the settings.
        lines: When each market-data line is free again, by conid, on the monotonic
            clock.  All clients share the lines.  A line stays in use after its client
            has left.
        closing: The values of options while the market is closed, by conid.
    """

    def __init__(
        self,
        market: Market,
        options: Iterable[SimulatedOption],
        ledger: Ledger,
        settings: IbkrSettings,
        random: Random,
        holdings: Holdings | None = None,
    ) -> None:
        self.market = market
        self.ledger = ledger
        self.settings = settings
        self.random = random
        self.options = {each.conid: each for each in market.options}
        self.underlyings = {each.conid: each for each in market.underlyings}
        self.account_positions = (
            make_positions(market, options, random, settings.accounts)
            if holdings is None
            else SimulatedPositions(
                {name: dict(held) for name, held in holdings.accounts.items()},
                master=holdings.master,
            )
        )
        self.conditions = Conditions()
        self.line_limit = settings.line_limit
        self.lines: dict[int, float] = {}
        self.closing: dict[int, Values] = {}
        self._settling: dict[int, float] = {}
        # Options that become others when a client next reads the positions.
        self._adjusting: dict[Conid, SimulatedOption] = {}
        self._halted: dict[int, float] = {}
        self._updated_ms: dict[int, int] = {}

    @property
    def positions(self) -> Quantities:
        """The present positions of the first account."""
        return self.account_positions.first

    @property
    def is_closed(self) -> bool:
        """Whether the market is closed."""
        return self.conditions.holds("market-closed")

    @property
    def is_still(self) -> bool:
        """Whether no price changes."""
        return self.conditions.holds("market-closed", "not-subscribed")

    def grade(self, conid: int) -> Grade:
        """Return the present grade of a contract's data."""
        if self.conditions.holds("not-subscribed"):
            return "N"
        if self.is_closed:
            return "Z"
        every = self.settings.imperfections.delayed_every
        is_unpaid = every is not None and conid % every == every - 1
        is_unpaid = is_unpaid and conid in self.options
        return "D" if is_unpaid or self.conditions.holds("delayed") else "R"

    def find(self, conid: int) -> SimulatedOption | Underlying | None:
        """Return the contract of a conid, `None` for an unknown one."""
        known = Conid(conid)
        return self.options.get(known) or self.underlyings.get(known)

    def present(self, option: SimulatedOption) -> SimulatedOption:
        """Return the option that has this conid now: usually the same one."""
        return self.options.get(option.conid, option)

    def read_positions(self, account_id: str, now: float) -> None:
        """Give clients the present positions of an account."""
        for conid in self.account_positions.read(account_id):
            self._settling[conid] = now + _SETTLE_S
        held = self.account_positions.positions[account_id]
        for adjusted in self._adjusting.keys() & held.keys():
            self.options[adjusted] = self._adjusting.pop(adjusted)
            self._halted[adjusted] = now + _ADJUST_S

    def adjust(self, split: Split) -> None:
        """Make an option another one, under the same conid, and split its shares.

        The option has no ticks until a client has read this in the positions.
        """
        self._adjusting[split.after.conid] = split.after
        shares = split.before.underlying
        self.market.split(shares, split.after.underlying, split.ratio)
        for held in self.account_positions.positions.values():
            if shares.conid in held:
                held[shares.conid] *= split.ratio

    def is_halted(self, conid: int, now: float) -> bool:
        """Whether the option is becoming another one at present."""
        return Conid(conid) in self._adjusting or now < self._halted.get(conid, now)

    def held(self, account_id: str) -> list[tuple[SimulatedOption | Underlying, float]]:
        """Return the positions of an account that clients know, as signed quantities."""
        known = self.account_positions.known(account_id)
        found = ((self.find(conid), each) for conid, each in known.items())
        return [(each, quantity) for each, quantity in found if each is not None]

    def price_of(self, instrument: SimulatedOption | Underlying) -> float:
        """Return the present price of one share or option, per unit."""
        return self.market.price_of(instrument)

    def may_tick(self, conid: int, now: float) -> bool:
        """Whether the contract may have a tick now."""
        if self._settling and now < self._settling.get(conid, now):
            return False
        if self.is_halted(conid, now):
            return False
        ahead_ms = self._updated_ms.get(conid, 0) - time.time_ns() // 1_000_000
        return ahead_ms < _MAX_AHEAD_MS

    def take_line(self, conid: int, now: float) -> bool:
        """Take or renew a market-data line; return false when no line is free."""
        limit = self.line_limit
        if limit is not None and conid not in self.lines:
            if len(self.lines) >= limit:
                self.lines = {each: at for each, at in self.lines.items() if at > now}
            if len(self.lines) >= limit:
                return False
        self.lines[conid] = now + self.settings.stream_end_s
        return True

    def next_updated_ms(self, conid: int) -> int:
        """Return the time of the contract's next frame, later than that of the last.

        It is the real clock, in milliseconds.  All connections share it: frames of one
        contract on two connections have different times.
        """
        updated = max(time.time_ns() // 1_000_000, self._updated_ms.get(conid, 0) + 1)
        self._updated_ms[conid] = updated
        return updated
