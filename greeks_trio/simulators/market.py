"""One seeded market for both simulated brokers.  Pure: no clock, no I/O.

Prices move by geometric Brownian motion, one step a tick, and both brokers show the new
price at the next beat.  So a tick belongs to the price of the underlying that was sent
last.  Greeks follow by Black-Scholes, or by Bachelier for a strike below zero, in canonical
units (`greeks_trio.model.records`).
`greeks_trio.simulators.book` has the instruments of a market.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Final

from greeks_trio.model.contracts import Conid, OptionContract, OptionTerms, OptionType
from greeks_trio.model.records import Greeks
from greeks_trio.simulators.book.listings import IbkrListing, TastytradeListing

RISK_FREE_RATE: Final = 0.04
# Typical move of an underlying in a second of a busy day, as a fraction.
_STEP: Final = 0.0002
# Prices of underlyings change once in this time: the IBKR gateway sends them twice a
# second, and the client asks Tastytrade for the same.
BEAT_S: Final = 0.5


def next_beat(now: float) -> float:
    """Return the time of the next beat, on the same clock as ``now``."""
    return (now // BEAT_S + 1.0) * BEAT_S


class Underlying:
    """An instrument that is no option: a share, an index, a future.  Its price moves.

    Attributes:
        price: The price that the brokers show.
        unshown: The factor of the steps since then.
    """

    def __init__(
        self,
        symbol: str,
        root: str,
        conid: int,
        price: float,
        *,
        ibkr: IbkrListing | None = None,
        tastytrade: TastytradeListing | None = None,
    ) -> None:
        self.symbol = symbol
        self.root = root
        self.conid = Conid(conid)
        self.price = price
        self.unshown = 1.0
        self.ibkr = ibkr
        self.tastytrade = tastytrade


@dataclass(frozen=True, slots=True)
class SimulatedOption:
    """One option of the market and IBKR's number for it.

    Without a listing a broker describes it as a US option on a share.
    """

    terms: OptionTerms
    contract: OptionContract
    conid: Conid
    underlying: Underlying
    volatility: float
    ibkr: IbkrListing | None = None
    tastytrade: TastytradeListing | None = None


class Market:
    """A set of options on moving underlyings; the same seed gives the same walk.

    Attributes:
        underlyings: Everything that is no option, also instruments without options.
    """

    def __init__(
        self,
        underlyings: Sequence[Underlying],
        options: Sequence[SimulatedOption],
        *,
        random: Random,
        today: date,
    ) -> None:
        self.underlyings = tuple(underlyings)
        self.options = tuple(options)
        self._random = random
        self._today = today
        self._split: set[Conid] = set()
        self._shown_at: float | None = None

    def split(self, shares: Underlying, basket: Underlying, ratio: float) -> None:
        """Split shares; the basket has the value of one of them.  Only once."""
        if shares.conid not in self._split:
            self._split.add(shares.conid)
            basket.price = shares.price
            shares.price /= ratio

    def move(self, underlying: Underlying) -> None:
        """Take one step of the underlying's walk; `show` makes it the price."""
        underlying.unshown *= math.exp(self._random.gauss(0.0, _STEP))

    def show(self, now: float) -> None:
        """Show the moved prices if a beat has passed since the last time.

        Args:
            now: Seconds; both brokers use the same clock.
        """
        if self._shown_at is None:
            self._shown_at = now // BEAT_S * BEAT_S
        if now < self._shown_at + BEAT_S:
            return
        self._shown_at = now // BEAT_S * BEAT_S
        for each in self.underlyings:
            each.price *= each.unshown
            each.unshown = 1.0

    def greeks(self, option: SimulatedOption) -> Greeks:
        """Return the option's Greeks at the underlying's present price."""
        strike = float(option.terms.strike)
        model = black_scholes_greeks if strike > 0.0 else bachelier_greeks
        return model(
            option.terms.option_type,
            spot=option.underlying.price,
            strike=strike,
            years=self._years(option),
            volatility=option.volatility,
        )

    def price(self, option: SimulatedOption, greeks: Greeks) -> float:
        """Return the option's value per unit of the underlying, from its own Greeks.

        The Black-Scholes value is spot x delta less a term that follows from rho.
        """
        delta, rho = greeks.delta or 0.0, greeks.rho or 0.0
        return option.underlying.price * delta - rho * 100.0 / self._years(option)

    def price_of(self, instrument: SimulatedOption | Underlying) -> float:
        """Return the present price of one share or option, per unit; a cent at least."""
        if isinstance(instrument, Underlying):
            return instrument.price
        return max(self.price(instrument, self.greeks(instrument)), 0.01)

    def _years(self, option: SimulatedOption) -> float:
        # Half a day is added, so that no option expires at once.
        return ((option.terms.expiration - self._today).days + 0.5) / 365.0


def black_scholes_greeks(
    option_type: OptionType,
    *,
    spot: float,
    strike: float,
    years: float,
    volatility: float,
    rate: float = RISK_FREE_RATE,
) -> Greeks:
    """Return European Greeks in canonical units; no dividends."""
    root_years = math.sqrt(years)
    d1 = (math.log(spot / strike) + (rate + volatility**2 / 2.0) * years) / (
        volatility * root_years
    )
    d2 = d1 - volatility * root_years
    density = math.exp(-d1 * d1 / 2.0) / math.sqrt(2.0 * math.pi)
    discounted = strike * math.exp(-rate * years)
    sign = 1.0 if option_type == "call" else -1.0
    decay = -spot * density * volatility / (2.0 * root_years)
    carry = -sign * rate * discounted * _normal(sign * d2)
    return Greeks(
        delta=sign * _normal(sign * d1),
        gamma=density / (spot * volatility * root_years),
        theta=(decay + carry) / 365.0,
        vega=spot * density * root_years / 100.0,
        rho=sign * discounted * years * _normal(sign * d2) / 100.0,
        implied_volatility=volatility,
    )


def bachelier_greeks(
    option_type: OptionType,
    *,
    spot: float,
    strike: float,
    years: float,
    volatility: float,
) -> Greeks:
    """Return Greeks for prices that may fall below zero; ``volatility`` is a fraction.

    Rho is such that `Market.price` gives the value of this model too.
    """
    root_years = math.sqrt(years)
    spread = volatility * abs(spot) * root_years
    d = (spot - strike) / spread
    density = math.exp(-d * d / 2.0) / math.sqrt(2.0 * math.pi)
    sign = 1.0 if option_type == "call" else -1.0
    delta = sign * _normal(sign * d)
    price = (spot - strike) * delta + spread * density
    return Greeks(
        delta=delta,
        gamma=density / spread,
        theta=-spread * density / (2.0 * years) / 365.0,
        vega=abs(spot) * root_years * density / 100.0,
        rho=(spot * delta - price) * years / 100.0,
        implied_volatility=volatility,
    )


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
