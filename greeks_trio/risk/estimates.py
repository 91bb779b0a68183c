"""Greeks by a model, for contracts whose broker sends none or only old ones.

An estimate needs a fresh volatility, or a fresh price that gives one, and a fresh price of
the underlying.  They come from the contract's own tick; else the volatility comes from a tick
of the same contract from another broker or account, and the price of the underlying from
another contract on it.  Each answer names its inputs, or says why there is no estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Final, NamedTuple

import numpy as np

from greeks_trio.risk.estimate_records import (
    Candidate,
    Estimate,
    Quote,
    Terms,
    UnderlyingPrice,
)
from greeks_trio.risk.implied import REASON_WORDS, Reason
from greeks_trio.risk.pricing import (
    Model,
    implied_options,
    model_of,
    value_options,
    years_to,
)

GREEKS: Final = ("delta", "gamma", "theta", "vega", "rho")

# No broker's stream has dividends.
DIVIDEND_YIELD: Final = 0.0

# A price and a price of the underlying that are further apart give a wrong volatility.
MAX_APART_S: Final = 30.0


class Inputs(NamedTuple):
    """The inputs of one estimate.

    Attributes:
        at: The time of the oldest of them.
        volatility: `None`: the price gives it.
    """

    at: datetime
    volatility: float | None
    price: float | None
    volatility_broker: str
    underlying_price: float
    underlying_price_broker: str


def wanted_greeks(candidate: Candidate) -> Sequence[str]:
    """Return the Greeks without a fresh value of the broker."""
    if candidate.stale_reason is not None:
        return GREEKS
    return [name for name in GREEKS if getattr(candidate, name) is None]


def select_inputs(candidate: Candidate, terms: Terms) -> Inputs | str:
    """Return the inputs of an estimate, or the reason why there is none."""
    if (reason := _reason_of_contract(candidate, terms.as_of)) is not None:
        return reason
    own = candidate.own if candidate.stale_reason is None else None
    quotes = [each for each in (own, candidate.other) if each is not None]
    found: Inputs | str = _no_volatility(candidate)
    for gives in (_gives_volatility, _gives_price):
        for quote in filter(gives, quotes):
            found = _with_underlying(candidate, quote)
            if not isinstance(found, str):
                return found
    return found


def _reason_of_contract(candidate: Candidate, now: datetime) -> str | None:
    if candidate.expiration is None or candidate.strike is None:
        return "the expiration or the strike is not known"
    if candidate.option_type is None:
        return "call or put is not known"
    if candidate.strike <= 0.0:
        return "the model knows no strike below zero"
    if candidate.price_factor not in (None, 1.0):
        return "prices are not in units of the currency, and those of the strike are"
    if years_to(candidate.expiration, now) <= 0.0:
        return "the option has expired"
    return None


def _no_volatility(candidate: Candidate) -> str:
    if candidate.stale_reason is None:
        return "the broker sends neither a volatility nor a price"
    if candidate.stale_reason == "no tick":
        return "no tick has a volatility or a price"
    return f"volatility and price are stale: {candidate.stale_reason}"


def _gives_volatility(quote: Quote) -> bool:
    return quote.implied_volatility is not None and quote.implied_volatility > 0.0


def _gives_price(quote: Quote) -> bool:
    return quote.price is not None and quote.price > 0.0


def _with_underlying(candidate: Candidate, quote: Quote) -> Inputs | str:
    """Return the inputs from this quote and the nearest fresh price of the underlying."""
    price = _price_in(quote) or (candidate.own and _price_in(candidate.own))
    price = price or candidate.underlying
    if price is None:
        is_stale = candidate.own and candidate.own.is_underlying_price_stale
        return f"the price of the underlying is {'stale' if is_stale else 'missing'}"
    if price.price <= 0.0:
        return "the model knows no price of the underlying below zero"
    volatility = quote.implied_volatility if _gives_volatility(quote) else None
    apart_s = abs((quote.at - price.at).total_seconds())
    if volatility is None and apart_s > MAX_APART_S:
        return "the prices of option and underlying are too far apart in time"
    return Inputs(
        at=min(quote.at, price.at),
        volatility=volatility,
        price=quote.price,
        volatility_broker=quote.broker,
        underlying_price=price.price,
        underlying_price_broker=price.broker,
    )


def _price_in(quote: Quote) -> UnderlyingPrice | None:
    """Return the price of the underlying in a quote, if it is fresh."""
    price, at = quote.underlying_price, quote.underlying_price_at
    if price is None or at is None or quote.is_underlying_price_stale is not False:
        return None
    return UnderlyingPrice(quote.underlying_price_broker or quote.broker, price, at)


def estimate(terms: Terms, candidates: Sequence[Candidate]) -> Sequence[Estimate]:
    """Return an estimate, or the reason why there is none, for each candidate."""
    rows = []
    chosen: list[tuple[Candidate, Inputs, Estimate]] = []
    for candidate in candidates:
        row = Estimate(
            broker=candidate.broker,
            account_id=candidate.account_id,
            contract_key=candidate.contract_key,
            computed_at=terms.as_of,
        )
        rows.append(row)
        inputs = select_inputs(candidate, terms)
        if isinstance(inputs, str):
            row.no_estimate_reason = inputs
        else:
            chosen.append((candidate, inputs, row))
    if chosen:
        _value(terms, chosen)
    return rows


def _value(terms: Terms, chosen: Sequence[tuple[Candidate, Inputs, Estimate]]) -> None:
    """Fill the rows with the values of the model and with their inputs."""

    def numbers(
        of: Callable[[Candidate, Inputs], float | None],
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        values = (of(candidate, inputs) for candidate, inputs, _ in chosen)
        return np.array([math.nan if v is None else v for v in values], dtype=float)

    models = np.array([model_of(c.kind, c.contract_key) for c, _, _ in chosen], np.int8)
    is_call = np.array([c.option_type == "call" for c, _, _ in chosen], dtype=bool)
    spot = numbers(lambda _, inputs: inputs.underlying_price)
    strike = numbers(lambda candidate, _: candidate.strike)
    years = numbers(lambda c, _: years_to(c.expiration or date.max, terms.as_of))
    volatility = numbers(lambda _, inputs: inputs.volatility)
    reasons = np.zeros(len(chosen), dtype=np.int8)
    unknown = np.flatnonzero(np.isnan(volatility))
    if unknown.size:
        volatility[unknown], reasons[unknown] = implied_options(
            models[unknown],
            is_call[unknown],
            numbers(lambda _, inputs: inputs.price)[unknown],
            spot[unknown],
            strike[unknown],
            years[unknown],
            terms.rate,
            DIVIDEND_YIELD,
        )
    values = value_options(
        models, is_call, spot, strike, years, volatility, terms.rate, DIVIDEND_YIELD
    )
    for place, (candidate, inputs, row) in enumerate(chosen):
        if reasons[place] != Reason.KNOWN:
            words = REASON_WORDS[Reason(reasons[place])]
            row.no_estimate_reason = f"no implied volatility: {words}"
            continue
        for name in wanted_greeks(candidate):
            value = float(getattr(values, name)[place])
            setattr(row, name, value if math.isfinite(value) else None)
        row.inputs_at = inputs.at
        row.volatility = float(volatility[place])
        is_sent = inputs.volatility is not None
        row.volatility_source = "implied_volatility" if is_sent else "price"
        row.volatility_broker = inputs.volatility_broker
        row.underlying_price = inputs.underlying_price
        row.underlying_price_broker = inputs.underlying_price_broker
        row.model = Model(models[place]).name.lower()
        row.rate = terms.rate
        row.dividend_yield = DIVIDEND_YIELD
