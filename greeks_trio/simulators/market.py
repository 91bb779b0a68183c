"""One seeded market for both simulated brokers.  Pure: no clock, no I/O.

Underlyings move by geometric Brownian motion, one step a tick; Greeks follow by
Black-Scholes in canonical units (`greeks_trio.model.records`), so that any tick can be
checked in the database.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import count, cycle, islice
from typing import Final

from greeks_trio.model.contracts import (
    Conid,
    OptionContract,
    OptionTerms,
    OptionType,
    format_occ,
)
from greeks_trio.model.records import Greeks

RISK_FREE_RATE: Final = 0.04
# Typical move of an underlying in a second of a busy day, as a fraction.
_STEP: Final = 0.0002
_FIRST_OPTION_CONID: Final = 700_000_001

# symbol, option root, IBKR conid, price, distance of strikes
_UNDERLYINGS: Final = (
    ("SPY", "SPY", 756733, 668.0, "1"),
    ("SPX", "SPXW", 416904, 6690.0, "5"),
    ("AAPL", "AAPL", 265598, 271.5, "2.5"),
    ("NVDA", "NVDA", 4815747, 225.5, "2.5"),
    ("BRK/B", "BRKB", 72063691, 489.0, "5"),
    ("F", "F", 9599491, 12.6, "0.5"),
    ("TSLA", "TSLA", 76792991, 410.0, "5"),
    ("QQQ", "QQQ", 320227571, 602.0, "1"),
)


class Underlying:
    """A share or an index whose price moves."""

    def __init__(self, symbol: str, root: str, conid: int, price: float) -> None:
        self.symbol = symbol
        self.root = root
        self.conid = Conid(conid)
        self.price = price


@dataclass(frozen=True, slots=True)
class SimulatedOption:
    """One option of the market and IBKR's number for it."""

    terms: OptionTerms
    contract: OptionContract
    conid: Conid
    underlying: Underlying
    volatility: float


class Market:
    """A set of options on moving underlyings; the same seed gives the same walk."""

    def __init__(self, *, contracts: int, seed: int, today: date) -> None:
        self._today = today
        self._random = random.Random(seed)
        self.underlyings = tuple(
            Underlying(symbol, root, conid, price)
            for symbol, root, conid, price, _ in _UNDERLYINGS
        )
        terms = islice(_chain(self.underlyings, today), contracts)
        self.options = tuple(
            self._option(number, underlying, each)
            for number, (underlying, each) in enumerate(terms)
        )

    def move(self, underlying: Underlying) -> float:
        """Take one step of the underlying's walk and return its new price."""
        underlying.price *= math.exp(self._random.gauss(0.0, _STEP))
        return underlying.price

    def greeks(self, option: SimulatedOption) -> Greeks:
        """Return the option's Greeks at the underlying's present price."""
        return black_scholes_greeks(
            option.terms.option_type,
            spot=option.underlying.price,
            strike=float(option.terms.strike),
            years=self._years(option),
            volatility=option.volatility,
        )

    def price(self, option: SimulatedOption, greeks: Greeks) -> float:
        """Return the option's value per unit of the underlying, from its own Greeks.

        The Black-Scholes value is spot x delta less a term that follows from rho.
        """
        delta, rho = greeks.delta or 0.0, greeks.rho or 0.0
        return option.underlying.price * delta - rho * 100.0 / self._years(option)

    def _years(self, option: SimulatedOption) -> float:
        # Half a day is added, so that no option expires at once.
        return ((option.terms.expiration - self._today).days + 0.5) / 365.0

    def _option(
        self, number: int, underlying: Underlying, terms: OptionTerms
    ) -> SimulatedOption:
        contract = OptionContract(
            contract_key=format_occ(terms),
            underlying=underlying.symbol,
            expiration=terms.expiration,
            strike=terms.strike,
            option_type=terms.option_type,
        )
        conid = Conid(_FIRST_OPTION_CONID + number)
        moneyness = float(terms.strike) / underlying.price - 1.0
        volatility = 0.2 + 0.4 * moneyness**2 + self._random.uniform(0.0, 0.15)
        return SimulatedOption(terms, contract, conid, underlying, volatility)


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


def _normal(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


def _chain(
    underlyings: tuple[Underlying, ...], today: date
) -> Iterator[tuple[Underlying, OptionTerms]]:
    """Yield different options without end; the underlyings take turns."""
    series = [
        _series(underlying, Decimal(step), today)
        for underlying, (*_, step) in zip(underlyings, _UNDERLYINGS, strict=True)
    ]
    yield from zip(cycle(underlyings), _take_turns(series), strict=False)


def _take_turns(series: list[Iterator[OptionTerms]]) -> Iterator[OptionTerms]:
    for each in cycle(series):
        yield next(each)


def _series(
    underlying: Underlying, step: Decimal, today: date
) -> Iterator[OptionTerms]:
    """Yield one underlying's options: near the money first, week after week."""
    middle = round(Decimal(underlying.price) / step)
    friday = today + timedelta(days=(4 - today.weekday()) % 7 + 7)
    for week in count():
        expiration = friday + timedelta(weeks=week)
        for distance in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5):
            strike = step * (middle + distance)
            yield OptionTerms(underlying.root, expiration, "call", strike)
            yield OptionTerms(underlying.root, expiration, "put", strike)
