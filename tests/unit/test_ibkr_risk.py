"""The weight of each option in the rotation."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from greeks_trio.brokers.ibkr.lines.plan import WantedContract
from greeks_trio.brokers.ibkr.lines.risk import RiskBook, held_first
from greeks_trio.model.contracts import contract_from_occ
from greeks_trio.model.positions import Holder


def make_wanted(quantity=1, *, strike=600, multiplier=100, price_factor=1):
    contract = contract_from_occ(f"SPY   261218C{strike * 1000:08d}")
    multiplier = None if multiplier is None else Decimal(multiplier)
    factor = None if price_factor is None else Decimal(price_factor)
    held = None if quantity is None else Decimal(quantity)
    return WantedContract(
        replace(contract, multiplier=multiplier, price_factor=factor),
        (Holder("U1", held),),
        None,
    )


def weights_of(*known, options=None):
    """Return the weights after these (conid, gamma, vega, price)."""
    book = RiskBook()
    for each in known:
        book.note(*each)
    return book.weights(options or {each[0]: make_wanted() for each in known})


def test_a_weight_is_the_share_in_dollar_gamma_plus_that_in_dollar_vega():
    found = weights_of((1, 0.03, 0.1, 10.0), (2, 0.01, 0.3, 10.0))

    assert found == pytest.approx({1: 0.75 + 0.25, 2: 0.25 + 0.75})


def test_gamma_counts_by_the_square_of_the_price():
    found = weights_of((1, 0.01, 0.0, 10.0), (2, 0.01, 0.0, 30.0))

    assert found == pytest.approx({1: 0.1, 2: 0.9})


def test_short_positions_and_negative_greeks_are_risk_too():
    options = {1: make_wanted(-3), 2: make_wanted(1)}

    found = weights_of((1, -0.01, 0.1, 10.0), (2, 0.01, 0.1, 10.0), options=options)

    assert found == pytest.approx({1: 1.5, 2: 0.5})


def test_the_quantities_of_all_accounts_add_up():
    two = (Holder("U1", Decimal(2)), Holder("U2", Decimal(-2)))
    options = {1: replace(make_wanted(), holders=two), 2: make_wanted(4)}

    found = weights_of((1, 0.01, 0.1, 10.0), (2, 0.01, 0.1, 10.0), options=options)

    assert found[1] == pytest.approx(found[2])


def test_prices_in_cents_weigh_a_hundredth():
    options = {1: make_wanted(100, price_factor="0.01"), 2: make_wanted(1)}

    found = weights_of((1, 0.01, 0.1, 10.0), (2, 0.01, 0.1, 10.0), options=options)

    assert found == pytest.approx({1: 1.0, 2: 1.0})


def test_an_unknown_unit_weighs_as_much_as_the_mean():
    options = {1: make_wanted(), 2: make_wanted(1000, price_factor=None)}

    found = weights_of((1, 0.01, 0.1, 10.0), (2, 0.01, 0.1, 10.0), options=options)

    assert found[2] == pytest.approx(found[1])


def test_unknown_risk_weighs_as_much_as_the_mean():
    options = {each: make_wanted() for each in (1, 2, 3)}
    options[4] = make_wanted(multiplier=None)

    found = weights_of(
        (1, 0.03, 0.1, 10.0),
        (2, 0.01, 0.1, 10.0),
        (4, 9.0, 9.0, 10.0),
        options=options,
    )

    assert found[3] == found[4] == pytest.approx((found[1] + found[2]) / 2)


def test_without_any_knowledge_all_held_options_weigh_the_same():
    options = {1: make_wanted(), 2: make_wanted(50), 3: make_wanted(None)}

    assert RiskBook().weights(options) == {1: 0.5, 2: 0.5, 3: 0.0}


def test_the_strike_stands_for_a_price_that_is_not_known():
    options = {1: make_wanted(strike=10), 2: make_wanted(strike=30)}

    found = weights_of((1, 0.01, 0.0, None), (2, 0.01, 0.0, None), options=options)

    assert found == pytest.approx({1: 0.1, 2: 0.9})


def test_a_tick_without_a_value_leaves_the_earlier_one():
    found = weights_of(
        (1, 0.03, 0.1, 10.0), (2, 0.01, 0.1, 10.0), (1, None, None, None)
    )

    assert found == pytest.approx({1: 1.25, 2: 0.75})


def test_gamma_that_rounds_to_nothing_leaves_the_weight_to_vega():
    found = weights_of((1, 0.0, 0.1, 7000.0), (2, 0.0, 0.3, 7000.0))

    assert found == pytest.approx({1: 0.25, 2: 0.75})


def test_a_contract_is_forgotten():
    book = RiskBook()
    for conid in (1, 2):
        book.note(conid, 0.01, 0.1, 10.0)

    book.forget(1)

    found = book.weights({1: make_wanted(), 2: make_wanted()})
    assert found == {1: 2.0, 2: 2.0}  # the mean of the known ones


def test_even_turns_prefer_held_options_only():
    options = {1: make_wanted(), 2: make_wanted(90), 3: make_wanted(None)}

    assert held_first(options) == {1: 1.0, 2: 1.0, 3: 0.0}
