"""The largest errors of `greeks_trio.risk` against QuantLib, by region.

``python -m tests.formula_errors`` prints the tables; `tests.unit.test_risk_formulas` holds
them to limits.

The error of a price is a part of the underlying's price or of the strike, whichever is
higher.  The error of a Greek is a part of its natural size: the size that it has at the
money, which is 1 for delta.

QuantLib counts time in days.  A contract with another time, rates and variance that give
the same products has the same price, so everything is priced over 365 days there.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import QuantLib as ql  # noqa: N813 - as its documents do

from greeks_trio.risk.american import value_american
from greeks_trio.risk.european import value_black, value_european
from greeks_trio.risk.implied import Reason, implied_american, implied_european
from greeks_trio.risk.valuation import Valuation

HOUR = 1.0 / 24.0 / 365.0
DAY = 1.0 / 365.0
SPOT = 100.0
FIGURES = Valuation.__slots__
FIRST_ORDER = FIGURES[:6]
_CALL, _PUT = ql.Option.Call, ql.Option.Put


def contracts(
    times: Iterable[float],
    rates: Iterable[float],
    yields: Iterable[float],
    volatilities: Iterable[float],
    deviations: Iterable[float],
) -> np.ndarray:
    """Return one column for each contract: is_call, spot, strike, years, volatility, ...

    Args:
        deviations: The distance of the strike from the forward, in standard deviations.
    """
    rows = [
        (call, SPOT, SPOT * math.exp((r - q) * t + x * v * math.sqrt(t)), t, v, r, q, x)
        for call, t, r, q, v, x in itertools.product(
            (True, False), times, rates, yields, volatilities, deviations
        )
    ]
    return np.array(rows).T


EUROPEAN = contracts(
    (0.1 * HOUR, HOUR, 6 * HOUR, DAY, 7 * DAY, 30 * DAY, 91 * DAY, 1.0, 3.0),
    (-0.02, 0.0, 0.01, 0.05, 0.12),
    (0.0, 0.02, 0.08),
    (0.03, 0.15, 0.4, 1.0, 3.0),
    (-8.0, -4.0, -2.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0, 4.0, 8.0),
)
AMERICAN = contracts(
    (HOUR, DAY, 7 * DAY, 91 * DAY, 1.0, 3.0),
    (-0.01, 0.0, 0.01, 0.05),
    (0.0, 0.015, 0.06),
    (0.08, 0.25, 0.7),
    (-4.0, -1.5, -0.5, 0.0, 0.5, 1.5, 4.0),
)

REGIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "last hours": lambda c: c[3] < DAY,
    "a day to a week": lambda c: (c[3] >= DAY) & (c[3] <= 7 * DAY),
    "months": lambda c: (c[3] > 7 * DAY) & (c[3] < 1.0),
    "years": lambda c: c[3] >= 1.0,
    "deep wings": lambda c: np.abs(c[7]) >= 4.0,
    "zero rate": lambda c: c[5] == 0.0,
    "negative rate": lambda c: c[5] < 0.0,
    "yield above rate": lambda c: c[6] > c[5],
}


def sizes(contract: np.ndarray) -> dict[str, np.ndarray]:
    """Return the natural size of each figure."""
    _, s, k, t, v, r, q, __ = contract
    root, larger = np.sqrt(t), np.maximum(s, k)
    return {
        "price": larger,
        "delta": np.ones_like(s),
        "gamma": 1.0 / (s * v * root),
        "theta": (s * v / root / 2.0 + (np.abs(r) + np.abs(q)) * larger) / 365.0,
        "vega": s * root / 100.0,
        "rho": larger * t / 100.0,
        "vanna": 1.0 / v / 100.0,
        "vomma": s * root / v / 1e4,
        "charm": 1.0 / t / 365.0,
    }


def errors(ours: Valuation, theirs: dict, contract: np.ndarray) -> dict:
    """Return the error of each contract and figure, in natural sizes."""
    return {
        name: np.abs(getattr(ours, name) - theirs[name]) / size
        for name, size in sizes(contract).items()
        if name in theirs
    }


def european_errors(contract: np.ndarray) -> dict[str, np.ndarray]:
    """Return the errors of European options and their Greeks."""
    return errors(value_european(*contract[:7]), closed_form(contract), contract)


def black_errors(contract: np.ndarray) -> dict[str, np.ndarray]:
    """Return the errors of options on futures."""
    contract = contract.copy()
    contract[6] = contract[5]
    ours = value_black(*contract[:6])
    return errors(ours, closed_form(contract, is_future=True), contract)


def closed_form(contract: np.ndarray, *, is_future: bool = False) -> dict:
    """Return QuantLib's values of European options, in our units."""
    found = {name: np.empty(contract.shape[1]) for name in FIGURES}
    for place, (call, s, k, t, v, r, q, _) in enumerate(contract.T):
        payoff = ql.PlainVanillaPayoff(_CALL if call else _PUT, k)

        def at(time, payoff=payoff, s=s, v=v, r=r, q=q):
            return ql.BlackCalculator(
                payoff,
                s * math.exp((r - q) * time),
                v * math.sqrt(time),
                math.exp(-r * time),
            )

        model, step = at(t), t * 1e-5
        value = model.value()
        found["price"][place] = value
        found["delta"][place] = model.delta(s)
        found["gamma"][place] = model.gamma(s)
        found["theta"][place] = model.theta(s, t) / 365.0
        found["vega"][place] = model.vega(t) / 100.0
        found["rho"][place] = (-t * value if is_future else model.rho(t)) / 100.0
        found["vanna"][place] = model.vanna(s, t) / 100.0
        # QuantLib has no charm, and its volga has a root of time too much.
        found["vomma"][place] = model.volga(t) * math.sqrt(t) / 1e4
        fall = at(t - step).delta(s) - at(t + step).delta(s)
        found["charm"][place] = fall / (2.0 * step) / 365.0
    return found


class AmericanPricer:
    """An engine of QuantLib, by default its spectral one, for any time."""

    _DAY = ql.Date(15, 6, 2026)

    def __init__(self, make_engine: Callable | None = None) -> None:
        ql.Settings.instance().evaluationDate = self._DAY
        count = ql.Actual365Fixed()
        self._quotes = [ql.SimpleQuote(value) for value in (1.0, 0.0, 0.0, 0.2)]
        spot, rate, dividends, volatility = map(ql.QuoteHandle, self._quotes)
        process = ql.BlackScholesMertonProcess(
            spot,
            ql.YieldTermStructureHandle(ql.FlatForward(self._DAY, dividends, count)),
            ql.YieldTermStructureHandle(ql.FlatForward(self._DAY, rate, count)),
            ql.BlackVolTermStructureHandle(
                ql.BlackConstantVol(self._DAY, ql.NullCalendar(), volatility, count)
            ),
        )
        exercise = ql.AmericanExercise(self._DAY, self._DAY + 365)
        spectral = ql.QdFpAmericanEngine
        if make_engine is None:
            engine = spectral(process, spectral.accurateScheme())
        else:
            engine = make_engine(process)
        self._options = []
        for kind in (_PUT, _CALL):
            option = ql.VanillaOption(ql.PlainVanillaPayoff(kind, 1.0), exercise)
            option.setPricingEngine(engine)
            self._options.append(option)

    def price(
        self, call: bool, s: float, k: float, t: float, v: float, r: float, q: float
    ) -> float:
        """Return the price; NaN where QuantLib has none."""
        values = s / k, r * t, q * t, v * math.sqrt(t)
        for quote, value in zip(self._quotes, values, strict=True):
            quote.setValue(value)
        try:
            return float(self._options[bool(call)].NPV() * k)
        except RuntimeError:
            return math.nan


def american_values(contract: np.ndarray) -> dict[str, np.ndarray]:
    """Return QuantLib's prices, and differences between its prices as Greeks."""
    pricer = AmericanPricer()
    found = {name: np.empty(contract.shape[1]) for name in FIRST_ORDER}
    for place, (call, s, k, t, v, r, q, _) in enumerate(contract.T):
        arguments = np.array([s, k, t, v, r, q])

        def at(index, step, call=call, arguments=arguments):
            moved = arguments.copy()
            moved[index] += step
            return pricer.price(call, *moved)

        price, wide = at(0, 0.0), s * v * math.sqrt(t) * 1e-2
        found["price"][place] = price
        found["gamma"][place] = (at(0, wide) - 2 * price + at(0, -wide)) / wide**2
        for name, index, step, unit in (
            ("delta", 0, wide / 10.0, 1.0),
            ("theta", 2, -t * 1e-3, 365.0),
            ("vega", 3, v * 1e-3, 100.0),
            ("rho", 4, 1e-5, 100.0),
        ):
            rise = at(index, step) - at(index, -step)
            found[name][place] = rise / (2 * abs(step)) / unit
    return found


def american_errors(contract: np.ndarray) -> dict[str, np.ndarray]:
    """Return the errors of American options.

    Near the boundary of exercise the price has a bend, where a difference between prices
    says nothing about gamma and the others.  There only the price and delta count.  At a
    rate of zero the price has a bend too: rho has two values there.
    """
    ours = value_american(*contract[:7])
    found = errors(ours, american_values(contract), contract)
    call, s, k, t, v, r, q, _ = contract
    sides = [
        value_american(call, s * (1.0 + 0.03 * side * v * np.sqrt(t)), k, t, v, r, q)
        for side in (-1.0, 1.0)
    ]
    is_near = np.logical_xor(*(np.abs(side.delta) == 1.0 for side in sides))
    for name in ("gamma", "theta", "vega", "rho"):
        found[name][is_near] = 0.0
    found["rho"][r == 0.0] = 0.0
    return found


def implied_errors(contract: np.ndarray, *, is_american: bool) -> dict[str, np.ndarray]:
    """Return the errors of volatilities that are implied from QuantLib's prices.

    ``volatility`` is the error of those that would move the price by 1e-3 of the underlying's
    price or the strike if they doubled.  ``price`` is the error of the price that each of
    them gives.  ``unknown`` is 1 for a price with a time value above 1e-9 and no volatility.
    ``wings`` is the error of the volatility of each European option out of the money.  It is
    implied from our own price, because QuantLib's is not exact below 1e-14.
    """
    call, s, k, t, v, r, q, _ = contract
    if is_american:
        pricer = AmericanPricer()
        price = np.array([pricer.price(*each[:7]) for each in contract.T])
        implied = implied_american(call, price, s, k, t, r, q)
        value, worth = value_american, np.where(call > 0, s - k, k - s)
    else:
        price = closed_form(contract)["price"]
        implied = implied_european(call, price, s, k, t, r, q)
        forward, discounted = s * np.exp(-q * t), k * np.exp(-r * t)
        value = value_european
        worth = np.where(call > 0, forward - discounted, discounted - forward)
    known = implied.reason == Reason.KNOWN
    model = value(call, s, k, t, v, r, q)
    larger = np.maximum(s, k)
    matters = known & (np.abs(model.vega) * 100.0 * v > 1e-3 * larger)
    again = value(call, s, k, t, np.where(known, implied.volatility, v), r, q).price
    time_value = price - np.maximum(worth, 0.0)
    error = np.abs(implied.volatility / v - 1.0)
    wings = implied_european(call, model.price, s, k, t, r, q).volatility
    is_wing = (worth < 0.0) & (not is_american)
    return {
        "volatility": np.where(matters, error, 0.0),
        "wings": np.where(is_wing, np.abs(wings / v - 1.0), 0.0),
        "price": np.where(known, np.abs(again - price) / larger, 0.0),
        "unknown": (~known & (time_value > 1e-9 * larger)).astype(float),
    }


Measure = Callable[[np.ndarray], dict[str, np.ndarray]]
TABLES: dict[str, tuple[np.ndarray, Measure]] = {
    "European, Black-Scholes-Merton": (EUROPEAN, european_errors),
    "On futures, Black 1976": (EUROPEAN, black_errors),
    "American": (AMERICAN, american_errors),
    "Implied volatility, European": (
        EUROPEAN,
        partial(implied_errors, is_american=False),
    ),
    "Implied volatility, American": (
        AMERICAN,
        partial(implied_errors, is_american=True),
    ),
}


def by_region(
    contract: np.ndarray, found: dict[str, np.ndarray]
) -> dict[str, tuple[int, dict[str, float]]]:
    """Return for each region the number of contracts and the largest errors."""
    regions = {"all": np.ones(contract.shape[1], dtype=bool)}
    regions |= {name: region(contract) for name, region in REGIONS.items()}
    return {
        name: (
            int(inside.sum()),
            {figure: float(np.max(error[inside])) for figure, error in found.items()},
        )
        for name, inside in regions.items()
    }


def main() -> None:
    """Print a table for each model."""
    for title, (contract, measure) in TABLES.items():
        found = measure(contract)
        sys.stdout.write(f"\n{title}\n{'':18}{'contracts':>10}")
        sys.stdout.write("".join(f"{name:>11}" for name in found) + "\n")
        for region, (count, largest) in by_region(contract, found).items():
            cells = "".join(f"{error:11.1e}" for error in largest.values())
            sys.stdout.write(f"{region:18}{count:10}{cells}\n")


if __name__ == "__main__":
    main()
