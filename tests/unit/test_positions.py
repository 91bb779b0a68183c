from __future__ import annotations

from greeks_trio.model.positions import Changes, Holder, difference, holders_by_contract
from tests.factories import SPY_CALL, SPY_PUT, make_position


def test_holders_come_by_contract_and_sorted_by_account():
    positions = [
        make_position(5, account_id="U2"),
        make_position(-3, account_id="U1"),
        make_position(1, account_id="U1", contract_key=SPY_PUT),
    ]

    assert holders_by_contract(positions) == {
        SPY_CALL: (Holder("U1", -3), Holder("U2", 5)),
        SPY_PUT: (Holder("U1", 1),),
    }


def test_closed_positions_and_other_kinds_are_not_wanted():
    positions = [
        make_position(0),
        make_position(100, contract_key="SPY", kind="equity"),
    ]

    assert holders_by_contract(positions) == {}


def test_a_watched_contract_that_somebody_holds_is_only_held():
    holders = holders_by_contract([make_position(2)], [SPY_CALL, SPY_PUT])

    assert holders == {
        SPY_CALL: (Holder("U1234567", 2),),
        SPY_PUT: (Holder("watchlist", None),),
    }


def test_the_difference_touches_nothing_else():
    assert difference(["a", "b"], ["b", "c"]) == Changes(("c",), ("a",))
    assert difference(["a"], ["a"]) == Changes((), ())
