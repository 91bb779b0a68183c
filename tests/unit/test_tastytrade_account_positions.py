"""Accounts that cannot be read completely."""

from __future__ import annotations

import json

import pytest
from msgspec import Raw

from greeks_trio.brokers.tastytrade.positions.positions import (
    AccountPositions,
    AccountReading,
    read_positions,
    wanted_contracts,
)
from tests.factories import SPY_CALL, SPY_PUT

ACCOUNT, OTHER = "5WT00001", "5WT00002"


def item(symbol, quantity=2, **changes):
    fields = {
        "symbol": symbol,
        "instrument-type": "Equity Option",
        "quantity": quantity,
        "quantity-direction": "Long",
    }
    return Raw(json.dumps(fields | changes).encode())


def reading(*items, account=ACCOUNT):
    return AccountReading(account, items)


def held(portfolio):
    return {
        (each.account_id, each.contract_key): int(each.quantity)
        for each in portfolio.positions
    }


@pytest.fixture
def before():
    return read_positions([reading(item(SPY_CALL), item(SPY_PUT))])


def test_accounts_that_are_read_whole_hold_what_they_list(before):
    after = read_positions([reading(item(SPY_CALL, 5)), reading(account=OTHER)], before)

    assert held(after) == {(ACCOUNT, SPY_CALL): 5}
    assert (after.account_ids, after.incomplete) == ((ACCOUNT, OTHER), ())
    assert after.problems == ()


def test_an_account_that_is_refused_keeps_what_it_held(before):
    refused = AccountReading(ACCOUNT, refusal="Tastytrade answered 403: no")

    after = read_positions([refused, reading(account=OTHER)], before)

    assert held(after) == held(before)
    assert (after.account_ids, after.incomplete) == ((ACCOUNT, OTHER), (ACCOUNT,))
    assert after.problems == (
        "account 5WT00001 cannot be read: Tastytrade answered 403: no",
    )
    assert (after.refused, after.malformed) == (1, 0)


def test_an_account_that_was_refused_may_close_positions_later(before):
    refused = read_positions([AccountReading(ACCOUNT, refusal="no")], before)

    after = read_positions([reading(item(SPY_PUT))], refused)

    assert held(after) == {(ACCOUNT, SPY_PUT): 2}


def test_a_position_that_makes_no_sense_stays_as_it_was(before):
    after = read_positions([reading(item(SPY_PUT, "many"))], before)

    assert held(after) == {(ACCOUNT, SPY_PUT): 2}  # the other one is closed
    assert (after.account_ids, after.incomplete) == ((ACCOUNT,), ())
    assert (after.malformed, len(after.problems)) == (1, 1)
    assert SPY_PUT in after.problems[0]


def test_it_stays_however_often_it_makes_no_sense(before):
    for _ in range(3):
        before = read_positions([reading(item(SPY_PUT, "many"))], before)

    assert held(before) == {(ACCOUNT, SPY_PUT): 2}


def test_a_position_that_makes_no_sense_and_was_not_known_leaves_all_open():
    after = read_positions([reading(item(SPY_CALL), item(SPY_PUT, "many"))])

    assert held(after) == {(ACCOUNT, SPY_CALL): 2}
    assert after.account_ids == after.incomplete == (ACCOUNT,)


def test_what_an_incomplete_account_no_longer_has_is_said_to_be_closed(before):
    unknown = item("SPY   261218C00700000", "many")

    after = read_positions([reading(item(SPY_CALL), unknown)], before)
    later = read_positions([reading(item(SPY_CALL), unknown)], after)
    whole = read_positions([reading(item(SPY_CALL))], later)

    assert after.incomplete == later.incomplete == (ACCOUNT,)
    assert held(after) == {(ACCOUNT, SPY_CALL): 2, (ACCOUNT, SPY_PUT): 0}
    assert held(later) == held(after)
    assert wanted_contracts(after, [], {})[0].keys() == {SPY_CALL}
    assert (held(whole), whole.incomplete) == ({(ACCOUNT, SPY_CALL): 2}, ())


def test_a_closed_position_that_comes_back_unreadable_may_be_open(before):
    closed = read_positions([reading(item(SPY_PUT), item(SPY_CALL, 0))], before)

    after = read_positions([reading(item(SPY_PUT), item(SPY_CALL, "many"))], closed)

    assert held(after) == {(ACCOUNT, SPY_PUT): 2}
    assert after.incomplete == (ACCOUNT,)


def test_a_position_that_comes_back_to_an_incomplete_account_is_open_again(before):
    unknown = item("SPY   261218C00700000", "many")
    closed = read_positions([reading(unknown)], before)

    after = read_positions([reading(item(SPY_PUT, 7), unknown)], closed)

    assert held(after) == {(ACCOUNT, SPY_CALL): 0, (ACCOUNT, SPY_PUT): 7}


def test_a_position_without_a_symbol_may_be_any_that_is_not_listed(before):
    after = read_positions([reading(item(SPY_CALL, 9), item(None))], before)

    assert held(after) == {(ACCOUNT, SPY_CALL): 9, (ACCOUNT, SPY_PUT): 2}
    assert after.incomplete == (ACCOUNT,)


def test_one_lot_that_makes_no_sense_leaves_the_sum_as_it_was(before):
    after = read_positions([reading(item(SPY_PUT, 1), item(SPY_PUT, "many"))], before)

    assert held(after) == {(ACCOUNT, SPY_PUT): 2}


def test_accounts_do_not_lend_one_another_positions(before):
    after = read_positions([reading(item(SPY_PUT, "many"), account=OTHER)], before)

    assert held(after) == {}


def test_an_endless_symbol_makes_no_endless_problem():
    portfolio = read_positions([reading(item("X" * 10_000, "many"))])

    assert len(portfolio.problems[0]) < 300


def test_an_empty_reading_is_an_empty_portfolio():
    assert read_positions([]) == AccountPositions((), ())
