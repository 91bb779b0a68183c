"""Speed and accuracy of what could price options: ``python -m tests.pricing_candidates``.

Packages that are not installed are left out with a line.  The times are processor time for
one option, and each candidate runs in turn, so only the ratios count.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial

import msgspec
import numpy as np
import QuantLib as ql  # noqa: N813 - as its documents do

from greeks_trio.risk.american import price_american, value_american
from greeks_trio.risk.european import price_european, value_european
from greeks_trio.risk.implied import implied_american, implied_european
from greeks_trio.risk.scenario_records import Holding, Holdings, ScenarioRequest
from greeks_trio.risk.scenarios import run_scenarios
from tests.formula_errors import AmericanPricer, closed_form

COUNT = 2_000
_random = np.random.default_rng(1)
S = np.full(COUNT, 100.0)
K = 100.0 * np.exp(_random.normal(0.0, 0.15, COUNT))
T = _random.uniform(0.01, 1.5, COUNT)
V = _random.uniform(0.1, 0.8, COUNT)
R, Q = 0.04, 0.01
IS_CALL = _random.random(COUNT) < 0.5


FLAGS = np.where(IS_CALL, "c", "p")
# The prices, and the Greeks with them, as each package gives them.
PACKAGES: dict[str, Callable] = {
    "opengreeks": lambda module: module,
    "pyvolr.bs": lambda bs: (
        bs.greeks(FLAGS, S, K, T, R, V, Q) and bs.price(FLAGS, S, K, T, R, V, Q)
    ),
    "fast_vollib": lambda package: (
        package.get_all_greeks(
            FLAGS, S, K, T, R, V, Q, model="black_scholes_merton", return_as="numpy"
        )
        and package.fast_black_scholes_merton(
            FLAGS, S, K, T, R, V, Q, return_as="numpy"
        )
    ),
    "vollib.black_scholes_merton": lambda vollib: [
        vollib.black_scholes_merton(*row[:5], row[5], Q)
        for row in zip(FLAGS, S, K, T, np.full(COUNT, R), V, strict=True)
    ],
}


def main() -> None:
    """Print a line for each candidate."""
    european = price_european(IS_CALL, S, K, T, V, R, Q)
    _say("European, price and Greeks")
    _measure(
        "own closed form",
        lambda: value_european(IS_CALL, S, K, T, V, R, Q).price,
        european,
    )
    contract = np.array([IS_CALL, S, K, T, V, np.full(COUNT, R), np.full(COUNT, Q), S])
    _measure(
        "QuantLib BlackCalculator", lambda: closed_form(contract)["price"], european
    )
    for package, prices in PACKAGES.items():
        try:
            module = importlib.import_module(package)
        except ImportError as exc:
            _say(f"  {package:42}{str(exc)[-70:]}")
            continue
        _measure(package, partial(prices, module), european)
    _say("Implied volatility, European")
    _measure(
        "own", lambda: implied_european(IS_CALL, european, S, K, T, R, Q).volatility, V
    )
    _say("American, price")
    pricer = AmericanPricer()
    exact = np.array(
        [pricer.price(*row, R, Q) for row in zip(IS_CALL, S, K, T, V, strict=True)]
    )
    _measure("own spectral", lambda: price_american(IS_CALL, S, K, T, V, R, Q), exact)
    _measure(
        "own spectral, with Greeks",
        lambda: value_american(IS_CALL, S, K, T, V, R, Q).price,
        exact,
    )
    for name, make in _engines().items():
        _measure(
            f"QuantLib {name}", lambda make=make: _by_engine(make, 200), exact[:200]
        )
    _measure_scenarios()
    _say("Implied volatility, American")
    _measure(
        "own", lambda: implied_american(IS_CALL, exact, S, K, T, R, Q).volatility, V
    )


def _scenarios() -> Holdings:
    """Return 200 options on 20 underlyings, half of them puts."""
    return Holdings(
        datetime(2026, 11, 20, 15, 30, tzinfo=UTC),
        tuple(
            Holding(
                broker="ibkr",
                account_id="U1",
                contract_key=f"X{place % 20:04} 270115C{place:08}",
                kind="option",
                underlying=f"X{place % 20}",
                expiration=date(2026, 12, 18) + timedelta(days=7 * (place % 50)),
                strike=float(K[place]),
                option_type="call" if place % 2 else "put",
                currency="USD",
                units=100.0,
                money=100.0,
                premium=100.0,
                implied_volatility=float(V[place]),
                price=5.0,
                underlying_price=100.0,
                is_underlying_price_stale=False,
            )
            for place in range(200)
        ),
    )


def _measure_scenarios() -> None:
    """Print the time of 200 options in 11 x 7 cells, as the worker computes them."""
    request = ScenarioRequest(
        moves=tuple(range(-15, 16, 3)), vols=tuple(range(-15, 16, 5)), days=(0,), rate=R
    )
    positions = msgspec.json.encode(_scenarios())
    times = []
    for _ in range(10):
        start = time.process_time()
        holdings = msgspec.json.decode(positions, type=Holdings)
        msgspec.json.encode(run_scenarios(request, holdings))
        times.append(time.process_time() - start)
    _say(f"Scenarios, 200 options in 11 x 7 cells: {sorted(times)[5] * 1e3:.0f} ms")


def _engines() -> dict[str, Callable]:
    scheme = ql.QdFpAmericanEngine
    return {
        "QdFp, fast": lambda p: scheme(p, scheme.fastScheme()),
        "QdFp, accurate": lambda p: scheme(p, scheme.accurateScheme()),
        "Bjerksund-Stensland": ql.BjerksundStenslandApproximationEngine,
        "Barone-Adesi-Whaley": ql.BaroneAdesiWhaleyApproximationEngine,
        "Leisen-Reimer tree, 101 steps": lambda p: ql.BinomialVanillaEngine(
            p, "lr", 101
        ),
        "Cox-Ross-Rubinstein tree, 101 steps": lambda p: ql.BinomialVanillaEngine(
            p, "crr", 101
        ),
        "finite differences, 100 x 100": lambda p: ql.FdBlackScholesVanillaEngine(
            p, 100, 100
        ),
    }


def _by_engine(make: Callable, count: int) -> np.ndarray:
    pricer = AmericanPricer(make)
    rows = zip(IS_CALL[:count], S, K, T, V, strict=False)
    return np.array([pricer.price(*row, R, Q) for row in rows])


def _measure(name: str, run: Callable[[], np.ndarray], exact: np.ndarray) -> None:
    run()
    start, rounds = time.process_time(), 0
    while time.process_time() - start < 0.3:
        found = run()
        rounds += 1
    took = (time.process_time() - start) / rounds / len(exact)
    error = np.nanmax(np.abs(found - exact))
    _say(f"  {name:42}{took * 1e6:10.2f} us  largest difference {error:8.1e}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
