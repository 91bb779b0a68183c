"""The model of each contract, and prices of contracts with different models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from enum import IntEnum
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greeks_trio.model.contracts import ContractKey, parse_occ
from greeks_trio.risk.american import value_american
from greeks_trio.risk.european import value_black, value_european
from greeks_trio.risk.implied import (
    ImpliedVolatility,
    implied_american,
    implied_european,
)
from greeks_trio.risk.valuation import DAYS_PER_YEAR, Valuation

_NEW_YORK: Final = ZoneInfo("America/New_York")
_CLOSE: Final = time(16, 0)
_SECONDS_PER_DAY: Final = 86_400.0

# Roots of the OCC whose options are exercised at the end only.
# Source: Cboe and Nasdaq, product specifications of index options.
EUROPEAN_ROOTS: Final = frozenset(
    [
        *("CBTX", "DJX", "MBTX", "MRUT", "MXEA", "MXEF", "NANOS", "NDX", "NDXP", "NQX"),
        *("RLG", "RLV", "RUI", "RUT", "RUTW", "SPX", "SPXW", "VIX", "VIXW", "XEO"),
        *("XND", "XSP"),
    ]
)


class Model(IntEnum):
    """How an option is priced."""

    AMERICAN = 0
    EUROPEAN = 1
    BLACK = 2


MODEL_WORDS: Final = {
    Model.AMERICAN: "american: exercise at any time, integral of Kim",
    Model.EUROPEAN: "european: Black-Scholes-Merton",
    Model.BLACK: "future options: Black 1976, without early exercise",
}


def model_of(kind: str, contract_key: str) -> Model:
    """Return the model of an option.

    Every option that is neither on a future nor on an index of `EUROPEAN_ROOTS` counts as
    American.
    """
    if kind == "future_option":
        return Model.BLACK
    try:
        root = parse_occ(ContractKey(contract_key)).root
    except ValueError:
        return Model.AMERICAN
    return Model.EUROPEAN if root in EUROPEAN_ROOTS else Model.AMERICAN


def years_to(expiration: date, now: datetime) -> float:
    """Return the years of 365 days until 16:00 in New York on the last day.

    Less than zero after it.  ``now`` is aware of its zone.
    """
    end = datetime.combine(expiration, _CLOSE, _NEW_YORK)
    return (end - now).total_seconds() / _SECONDS_PER_DAY / DAYS_PER_YEAR


def value_options(
    models: NDArray[np.int8],
    is_call: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    volatility: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
    *,
    second_order: bool = False,
) -> Valuation:
    """Return prices and Greeks of options, each by its model.

    Args:
        models: A `Model` for each option, along the first axis of the result.
        is_call: This and the following as for `value_european`; each is one number, or has
            the options along its first axis, and all have the same number of axes.
        spot: Of an option on a future: the price of the future.
        strike: The price at which the option is exercised.
        years: The time to the expiration.
        volatility: A fraction per year.
        rate: For money.
        dividend_yield: Of the underlying; no part of Black's model.
        second_order: Also vomma and charm of American options; without it they are NaN.
    """
    arguments = [
        np.asarray(each)
        for each in (is_call, spot, strike, years, volatility, rate, dividend_yield)
    ]
    shape = np.broadcast_shapes(*(each.shape for each in arguments))
    fields = {name: np.full(shape, np.nan) for name in Valuation.__slots__}

    def american(*terms: ArrayLike) -> Valuation:
        return value_american(*terms, second_order=second_order)

    def black(*terms: ArrayLike) -> Valuation:
        return value_black(*terms[:-1])

    for model, value in (
        (Model.AMERICAN, american),
        (Model.EUROPEAN, value_european),
        (Model.BLACK, black),
    ):
        rows = np.flatnonzero(models == model)
        if rows.size:
            found = value(*_rows(arguments, rows, len(models)))
            for name, field in fields.items():
                field[rows] = getattr(found, name)
    return Valuation(**fields)


def implied_options(
    models: NDArray[np.int8],
    is_call: ArrayLike,
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    years: ArrayLike,
    rate: ArrayLike = 0.0,
    dividend_yield: ArrayLike = 0.0,
) -> ImpliedVolatility:
    """Return the volatilities that give options these prices, each by its model.

    The arguments are those of `value_options`; each is one number or one for each option.
    """
    arguments = [
        np.asarray(each)
        for each in (is_call, price, spot, strike, years, rate, dividend_yield)
    ]
    volatility = np.full(len(models), np.nan)
    reason = np.zeros(len(models), dtype=np.int8)

    def black(*terms: ArrayLike) -> ImpliedVolatility:
        *others, rate, _ = terms
        return implied_european(*others, rate, rate)  # type: ignore[call-arg]

    imply: Sequence[tuple[Model, Callable[..., ImpliedVolatility]]] = (
        (Model.AMERICAN, implied_american),
        (Model.EUROPEAN, implied_european),
        (Model.BLACK, black),
    )
    for model, solve in imply:
        rows = np.flatnonzero(models == model)
        if rows.size:
            volatility[rows], reason[rows] = solve(*_rows(arguments, rows, len(models)))
    return ImpliedVolatility(volatility, reason)


def _rows(
    arguments: Sequence[NDArray[Any]], rows: NDArray[np.intp], count: int
) -> list[NDArray[Any]]:
    """Return these rows of each argument that has one for each option."""
    return [
        each[rows] if each.ndim and len(each) == count and count > 1 else each
        for each in arguments
    ]
