"""The textbook: US options near the money, as many as are wanted, on eight underlyings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import count, cycle, islice
from random import Random
from typing import Final

from greeks_trio.model.contracts import (
    Conid,
    ContractKey,
    OptionContract,
    OptionTerms,
)
from greeks_trio.simulators.book.book import Book, Plan
from greeks_trio.simulators.book.keys import occ_key
from greeks_trio.simulators.book.smile import smile_volatility
from greeks_trio.simulators.market import Market, SimulatedOption, Underlying

# One in this many of a broker's contracts is held at the next broker too.
_SHARED_EVERY: Final = 10
_FIRST_OPTION_CONID: Final = 700_000_001

# symbol, option root, IBKR conid, price, distance of strikes, volatility
_UNDERLYINGS: Final = (
    ("SPY", "SPY", 756733, 668.0, "1", 0.16),
    ("SPX", "SPXW", 416904, 6690.0, "5", 0.155),
    ("AAPL", "AAPL", 265598, 271.5, "2.5", 0.27),
    ("NVDA", "NVDA", 4815747, 225.5, "2.5", 0.44),
    ("BRK/B", "BRKB", 72063691, 489.0, "5", 0.18),
    ("F", "F", 9599491, 12.6, "0.5", 0.38),
    ("TSLA", "TSLA", 76792991, 410.0, "5", 0.52),
    ("QQQ", "QQQ", 320227571, 602.0, "1", 0.2),
)
_LEVELS: Final = {symbol: level for symbol, *_, level in _UNDERLYINGS}


def make_textbook(plan: Plan) -> Book:
    """Return the book: the brokers get equal parts of the options.

    The next broker also holds a few options of each broker, so that some contracts
    have ticks of two brokers.
    """
    ranges = split_contracts(plan.contracts, len(plan.brokers))
    market = textbook_market(
        contracts=ranges[-1].stop, seed=plan.seed, today=plan.today
    )
    options = {
        broker: market.options[held.start : held.stop]
        for broker, held in zip(plan.brokers, ranges, strict=True)
    }
    return Book(market=market, options=options)


def split_contracts(contracts: int, brokers: int) -> list[range]:
    """Return the contracts that each broker's accounts hold, by their numbers.

    Each broker holds at least one contract.  A broker and the next one share a tenth of
    the smaller one's contracts, at least one.
    """
    ranges: list[range] = []
    for number in range(brokers):
        size = max(1, (contracts + number) // brokers)
        start = 0
        if ranges:
            before = ranges[-1]
            start = before.stop - -(-min(len(before), size) // _SHARED_EVERY)
        ranges.append(range(start, start + size))
    return ranges


def textbook_market(*, contracts: int, seed: int, today: date) -> Market:
    """Return a market of this many options; the same seed gives the same one."""
    random = Random(seed)
    underlyings = tuple(
        Underlying(symbol, root, conid, price)
        for symbol, root, conid, price, *_ in _UNDERLYINGS
    )
    chain = islice(_chain(underlyings, today), contracts)
    options = tuple(
        _option(number, underlying, terms, today, random)
        for number, (underlying, terms) in enumerate(chain)
    )
    return Market(underlyings, options, random=random, today=today)


def _option(
    number: int,
    underlying: Underlying,
    terms: OptionTerms,
    today: date,
    random: Random,
) -> SimulatedOption:
    right: Final = "C" if terms.option_type == "call" else "P"
    contract = OptionContract(
        contract_key=ContractKey(
            occ_key(terms.root, terms.expiration, right, terms.strike)
        ),
        underlying=underlying.symbol,
        expiration=terms.expiration,
        strike=terms.strike,
        option_type=terms.option_type,
    )
    volatility = smile_volatility(
        _LEVELS[underlying.symbol],
        underlying.price,
        float(terms.strike),
        (terms.expiration - today).days,
    )
    # No two quotes lie on one smooth line.
    volatility *= random.uniform(0.99, 1.01)
    conid = Conid(_FIRST_OPTION_CONID + number)
    return SimulatedOption(terms, contract, conid, underlying, volatility)


def _chain(
    underlyings: tuple[Underlying, ...], today: date
) -> Iterator[tuple[Underlying, OptionTerms]]:
    """Yield different options without end; the underlyings take turns."""
    series = [
        _series(underlying, Decimal(step), today)
        for underlying, (*_, step, _level) in zip(
            underlyings, _UNDERLYINGS, strict=True
        )
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
