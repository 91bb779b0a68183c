"""What the REST side and the streams of one simulated gateway share."""

from __future__ import annotations

import time
from collections.abc import Iterable
from random import Random
from typing import Final

import msgspec

from greeks_trio.model.contracts import Conid
from greeks_trio.model.records import WATCHLIST_ACCOUNT
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.market import Market, SimulatedOption, Underlying

ACCOUNT_ID: Final = "DU7654321"


class IbkrSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway behaves.

    Attributes:
        rate: Ticks a second on each connection, over its subscribed options.
        stream_end_s: Seconds after its request at which a subscription falls silent.
        line_limit: Subscriptions beyond this many stay empty; `None` for no limit.
    """

    rate: float
    stream_end_s: float = 900.0
    line_limit: int | None = None


class IbkrState:
    """The account behind the gateway, its login and its market data.

    The gateway holds one login for all its clients, as the real one does.

    Attributes:
        positions: Signed quantity by conid; shares among them.
        session_id: What `/tickle` calls the session; another after each login.
        is_logged_in: Whether there is a brokerage session.
        lines: When each market-data line is free again, by conid, on the monotonic
            clock; whoever asked for it, and also after they have gone.
    """

    def __init__(
        self,
        market: Market,
        options: Iterable[SimulatedOption],
        ledger: Ledger,
        settings: IbkrSettings,
        random: Random,
    ) -> None:
        self.market = market
        self.ledger = ledger
        self.settings = settings
        self.random = random
        self.options = {each.conid: each for each in market.options}
        self.underlyings = {each.conid: each for each in market.underlyings}
        self.positions = _positions(market, options, random)
        self.is_logged_in = False
        self.session_id = ""
        self.lines: dict[int, float] = {}
        self._updated_ms: dict[int, int] = {}
        self.log_in()

    def log_in(self) -> None:
        """Begin a session, as a person does in the browser."""
        self.is_logged_in = True
        self.session_id = f"{self.random.getrandbits(128):032x}"

    def find(self, conid: int) -> SimulatedOption | Underlying | None:
        """Return what a conid stands for, `None` when it stands for nothing."""
        known = Conid(conid)
        return self.options.get(known) or self.underlyings.get(known)

    def held(self) -> list[tuple[SimulatedOption | Underlying, float]]:
        """Return what the account holds, shares first, with signed quantities."""
        found = ((self.find(conid), each) for conid, each in self.positions.items())
        return [(each, quantity) for each, quantity in found if each is not None]

    def price_of(self, instrument: SimulatedOption | Underlying) -> float:
        """Return the present price of one share or option, per unit."""
        if isinstance(instrument, Underlying):
            return instrument.price
        greeks = self.market.greeks(instrument)
        return max(self.market.price(instrument, greeks), 0.01)

    def account_of(self, conid: int) -> str:
        """Return the account that a tick of this contract belongs to."""
        return ACCOUNT_ID if self.positions.get(Conid(conid)) else WATCHLIST_ACCOUNT

    def take_line(self, conid: int, now: float) -> bool:
        """Return whether the contract has a market-data line, taking a free one."""
        limit = self.settings.line_limit
        if limit is not None and conid not in self.lines:
            if len(self.lines) >= limit:
                self.lines = {each: at for each, at in self.lines.items() if at > now}
            if len(self.lines) >= limit:
                return False
        self.lines[conid] = now + self.settings.stream_end_s
        return True

    def next_updated_ms(self, conid: int) -> int:
        """Return the time of the contract's next frame, later than that of the last.

        The real clock, in milliseconds.  It runs over connections: what two of them
        get of one contract is two events.
        """
        updated = max(time.time_ns() // 1_000_000, self._updated_ms.get(conid, 0) + 1)
        self._updated_ms[conid] = updated
        return updated


def _positions(
    market: Market, options: Iterable[SimulatedOption], random: Random
) -> dict[Conid, float]:
    """Return some shares, one of them a fraction, and some of each option."""
    shares = {"AAPL": 100.0, "F": 512.5, "SPY": -20.0}
    held = {
        each.conid: shares[each.symbol]
        for each in market.underlyings
        if each.symbol in shares
    }
    for option in options:
        held[option.conid] = float(random.choice((-10, -3, -2, -1, 1, 2, 5, 10)))
    return held
