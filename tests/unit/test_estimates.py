"""Which Greek gets an estimate, and its value, against the simulated market."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from greeks_trio.risk.estimate_records import (
    Candidate,
    Quote,
    Terms,
    UnderlyingPrice,
)
from greeks_trio.risk.estimates import (
    GREEKS,
    estimate,
    select_inputs,
    wanted_greeks,
)
from greeks_trio.risk.pricing import Model, model_of
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.market import RISK_FREE_RATE, SimulatedOption

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
SOON = NOW - timedelta(seconds=2)
TERMS = Terms(as_of=NOW, rate=RISK_FREE_RATE)
OWN = Quote(
    broker="ibkr",
    at=SOON,
    implied_volatility=0.2,
    price=11.0,
    underlying_price=600.0,
    underlying_price_at=SOON,
    is_underlying_price_stale=False,
)
FRESH = Candidate(
    broker="ibkr",
    account_id="U1",
    contract_key="SPY   260619C00600000",
    kind="option",
    expiration=date(2026, 6, 19),
    strike=600.0,
    option_type="call",
    delta=0.5,
    gamma=0.01,
    theta=-0.2,
    vega=0.9,
    own=OWN,
)
STALE = replace(
    FRESH, stale_reason="old", own=replace(OWN, is_underlying_price_stale=True)
)
OTHER = replace(OWN, broker="tastytrade", implied_volatility=0.21)
LENT = UnderlyingPrice("tastytrade", 601.0, NOW - timedelta(seconds=40))


@pytest.mark.parametrize(
    ("candidate", "names"),
    [
        (FRESH, ["rho"]),
        (replace(FRESH, rho=0.1, gamma=None), ["gamma"]),
        (replace(FRESH, rho=0.1, stale_reason="delayed"), list(GREEKS)),
    ],
)
def test_a_fresh_value_of_the_broker_gets_no_estimate(candidate, names):
    assert list(wanted_greeks(candidate)) == names


def test_the_own_tick_gives_volatility_and_underlying_price():
    inputs = select_inputs(replace(FRESH, other=OTHER, underlying=LENT), TERMS)

    assert inputs == (SOON, 0.2, 11.0, "ibkr", 600.0, "ibkr")


def test_a_stale_tick_gives_nothing_and_another_one_of_the_contract_does():
    inputs = select_inputs(replace(STALE, other=OTHER), TERMS)

    assert inputs == (SOON, 0.21, 11.0, "tastytrade", 600.0, "tastytrade")


def test_a_fresh_price_of_the_underlying_comes_from_another_contract():
    own = replace(OWN, is_underlying_price_stale=True)
    inputs = select_inputs(replace(FRESH, own=own, underlying=LENT), TERMS)

    # The oldest input counts.
    assert inputs == (LENT.at, 0.2, 11.0, "ibkr", 601.0, "tastytrade")


def test_a_volatility_comes_before_a_price():
    own = replace(OWN, implied_volatility=None)

    assert select_inputs(replace(FRESH, own=own, other=OTHER), TERMS)[1] == 0.21
    assert select_inputs(replace(FRESH, own=own), TERMS)[1] is None


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (STALE, "volatility and price are stale: old"),
        (
            replace(STALE, stale_reason="no tick", own=None),
            "no tick has a volatility or a",
        ),
        (
            replace(FRESH, own=replace(OWN, implied_volatility=None, price=None)),
            "neither a volatility nor a price",
        ),
        (
            replace(FRESH, own=replace(OWN, underlying_price=None)),
            "underlying is missing",
        ),
        (
            replace(FRESH, own=replace(OWN, is_underlying_price_stale=True)),
            "underlying is stale",
        ),
        (
            replace(
                FRESH,
                own=replace(OWN, implied_volatility=None, underlying_price=None),
                underlying=LENT,
            ),
            "too far apart in time",
        ),
        (replace(FRESH, own=replace(OWN, underlying_price=-3.0)), "below zero"),
        (replace(FRESH, strike=-5.0), "no strike below zero"),
        (replace(FRESH, strike=None), "strike is not known"),
        (replace(FRESH, option_type=None), "call or put is not known"),
        (replace(FRESH, price_factor=0.01), "not in units of the currency"),
        (replace(FRESH, expiration=date(2026, 3, 1)), "has expired"),
        (
            replace(FRESH, own=replace(OWN, implied_volatility=None, price=900.0)),
            "no implied volatility: the price is higher",
        ),
    ],
)
def test_without_its_inputs_there_is_no_estimate_and_a_reason(candidate, reason):
    [row] = estimate(TERMS, [candidate])

    assert reason in row.no_estimate_reason
    assert {getattr(row, name) for name in GREEKS} == {None}
    assert row.inputs_at is None


# The clocks of New York do not change until the last expiration.
TODAY = date(2026, 3, 9)
# The market takes half a day more than the days to the expiration, the product the time to
# 16:00: here they agree.
MARKET_NOW = datetime(2026, 3, 9, 4, 0, tzinfo=ZoneInfo("America/New_York"))


def candidate_of(option: SimulatedOption, own: Quote, **changes) -> Candidate:
    contract = option.contract
    return Candidate(
        broker="ibkr",
        account_id="U1",
        contract_key=contract.contract_key,
        kind=contract.kind,
        expiration=contract.expiration,
        strike=float(contract.strike),
        option_type=contract.option_type,
        own=own,
        **changes,
    )


def is_priced_as_in_the_market(candidate: Candidate) -> bool:
    """Tell the options apart that can be worth more by early exercise."""
    is_american = model_of(candidate.kind, candidate.contract_key) is Model.AMERICAN
    return not is_american or candidate.option_type == "call"


def market_cases(**quote_changes):
    """Return candidates without any Greek, and the true Greeks of the market."""
    market = textbook_market(contracts=400, seed=5, today=TODAY)
    terms = Terms(as_of=MARKET_NOW.astimezone(UTC), rate=RISK_FREE_RATE)
    cases = []
    for option in market.options:
        truth = market.greeks(option)
        own = Quote(
            broker="ibkr",
            at=terms.as_of,
            implied_volatility=option.volatility,
            price=market.price(option, truth),
            underlying_price=option.underlying.price,
            underlying_price_at=terms.as_of,
            is_underlying_price_stale=False,
        )
        candidate = candidate_of(option, replace(own, **quote_changes))
        if is_priced_as_in_the_market(candidate):
            cases.append((candidate, truth))
    return terms, cases


def test_estimates_are_the_true_greeks_of_the_simulated_market():
    terms, cases = market_cases()
    rows = estimate(terms, [candidate for candidate, _ in cases])

    assert len(cases) > 150
    for row, (_, truth) in zip(rows, cases, strict=True):
        assert row.volatility_source == "implied_volatility"
        for name in GREEKS:
            assert getattr(row, name) == pytest.approx(
                getattr(truth, name), rel=1e-9, abs=1e-12
            ), (row, name)


def test_without_a_volatility_the_price_gives_the_same_greeks():
    terms, cases = market_cases(implied_volatility=None)
    rows = estimate(terms, [candidate for candidate, _ in cases])

    known = [
        (row, truth)
        for row, (_, truth) in zip(rows, cases, strict=True)
        if row.no_estimate_reason is None
    ]
    assert len(known) > 0.9 * len(cases)
    for row, truth in known:
        assert row.volatility_source == "price"
        assert row.rho == pytest.approx(truth.rho, rel=1e-5, abs=1e-6)
        assert row.vega == pytest.approx(truth.vega, rel=1e-5, abs=1e-6)


def test_only_the_greeks_without_a_value_are_estimated():
    [row] = estimate(TERMS, [FRESH])

    assert row.rho == pytest.approx(0.9256, rel=1e-4)
    assert {getattr(row, name) for name in GREEKS if name != "rho"} == {None}
    assert (row.model, row.rate, row.dividend_yield) == ("american", 0.04, 0.0)
