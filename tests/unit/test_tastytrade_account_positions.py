"""One reading of the accounts after another."""

from __future__ import annotations

import json
from datetime import date

import pytest
from msgspec import Raw

from greeks_trio.brokers.tastytrade.positions.accounts import (
    NOT_LISTED,
    AccountPositions,
    AccountReading,
    changed_terms,
    read_positions,
)
from tests.factories import SPY_CALL, SPY_PUT, run_at_once

ACCOUNT, OTHER = "5WT00001", "5WT00002"
TODAY = date(2026, 11, 20)
NEW_CALL = "SPY   261218C00700000"


def item(symbol, quantity=2, kind="Equity Option", **changes):
    fields = {
        "symbol": symbol,
        "instrument-type": kind,
        "quantity": quantity,
        "quantity-direction": "Long",
        "multiplier": 100,
    }
    renamed = {name.replace("_", "-"): value for name, value in changes.items()}
    return Raw(json.dumps(fields | renamed).encode())


def reading(*items, account=ACCOUNT):
    return AccountReading(account, items)


def read(*readings, before=None):
    return run_at_once(read_positions(readings, before, today=TODAY))


def held(portfolio):
    return {
        (each.account_id, each.contract_key): each.quantity
        for each in portfolio.positions
    }


@pytest.fixture
def before():
    """Two readings that say the same."""
    first = read(reading(item(SPY_CALL), item(SPY_PUT)))
    return read(reading(item(SPY_CALL), item(SPY_PUT)), before=first)


def test_accounts_that_are_read_whole_hold_what_they_list(before):
    after = read(reading(item(SPY_CALL, 5)), before=before)

    assert held(after) == {(ACCOUNT, SPY_CALL): 5}
    assert (after.account_ids, after.incomplete) == ((ACCOUNT,), ())
    assert (after.problems, after.needs_confirmation) == ((), False)


@pytest.mark.parametrize("items", [(), (item(SPY_CALL),)])
def test_the_first_answer_closes_nothing_and_the_second_does(items):
    """An earlier run may have stored more positions than this answer has."""
    first = read(reading(*items))
    second = read(reading(*items), before=first)

    assert (first.incomplete, first.needs_confirmation) == ((ACCOUNT,), True)
    assert (second.incomplete, second.needs_confirmation) == ((), False)
    assert first.problems == second.problems == ()


def test_the_first_answer_after_a_refusal_closes_nothing():
    refused = read(AccountReading(ACCOUNT, refusal="no"))
    first = read(reading(item(SPY_CALL)), before=refused)

    assert refused.needs_confirmation is False
    assert (first.incomplete, first.needs_confirmation) == ((ACCOUNT,), True)


def test_an_empty_answer_after_one_with_positions_is_confirmed_first(before):
    empty = read(reading(), before=before)
    again = read(reading(), before=empty)

    assert held(empty) == held(before)
    assert (empty.incomplete, empty.needs_confirmation) == ((ACCOUNT,), True)
    assert empty.problems == (
        "account 5WT00001 lists no position and held 2 before; they stay until the next "
        "answer says the same",
    )
    assert (held(again), again.incomplete, again.problems) == ({}, (), ())
    assert not again.needs_confirmation


def test_an_empty_answer_that_is_not_confirmed_is_forgotten(before):
    empty = read(reading(), before=before)
    full = read(reading(item(SPY_CALL)), before=empty)
    empty_again = read(reading(), before=full)

    assert (held(full), full.incomplete) == ({(ACCOUNT, SPY_CALL): 2}, ())
    assert held(empty_again) == held(full)


def test_an_account_without_positions_may_stay_empty():
    first = read(reading())
    later = read(reading(), before=read(reading(), before=first))

    assert (later.problems, later.incomplete, later.needs_confirmation) == (
        (),
        (),
        False,
    )


def test_an_account_that_is_refused_keeps_what_it_held(before):
    refused = AccountReading(ACCOUNT, refusal="Tastytrade answered 403: no")

    after = read(refused, reading(account=OTHER), before=before)

    assert held(after) == held(before)
    assert after.account_ids == (ACCOUNT, OTHER)
    assert ACCOUNT in after.incomplete
    assert after.problems == (
        "account 5WT00001 cannot be read: Tastytrade answered 403: no",
    )
    assert (after.refused, after.malformed) == (1, 0)


def test_an_account_that_was_refused_may_close_positions_later(before):
    refused = read(AccountReading(ACCOUNT, refusal="no"), before=before)

    after = read(reading(item(SPY_PUT)), before=refused)

    assert (held(after), after.incomplete) == ({(ACCOUNT, SPY_PUT): 2}, ())


def test_an_account_that_is_not_listed_any_more_is_asked_for_soon_and_once(before):
    gone = AccountReading(ACCOUNT, refusal=NOT_LISTED)
    first = read(gone, before=before)
    second = read(gone, before=first)

    assert first.unlisted == {ACCOUNT}
    assert (first.needs_confirmation, second.needs_confirmation) == (True, False)
    assert held(second) == held(before)


def test_an_account_that_is_not_read_any_more_is_noted():
    first = read(reading(item(SPY_CALL)), reading(item(SPY_PUT), account=OTHER))
    second = read(reading(item(SPY_CALL)), before=first)
    third = read(reading(item(SPY_CALL)), before=second)

    assert (first.notes, first.left) == ((), ())
    for each in (second, third):
        assert each.notes == (
            f"account {OTHER} is not read any more; its positions in the database stay "
            "as they were",
        )
    again = read(reading(item(SPY_CALL)), reading(account=OTHER), before=third)
    assert again.notes == ()


def test_an_account_that_the_broker_has_closed_is_no_account_that_is_not_read():
    first = read(reading(item(SPY_CALL)), reading(item(SPY_PUT), account=OTHER))
    readings = [reading(item(SPY_CALL))]
    second = run_at_once(read_positions(readings, first, today=TODAY, closed=[OTHER]))

    assert (second.closed, second.left, second.notes) == ((OTHER,), (), ())
    assert held(second) == {(ACCOUNT, SPY_CALL): 2}


def test_an_empty_list_is_noted_where_it_may_be_a_lack_of_rights():
    limited = AccountReading(OTHER, authority=" (authority level read-only)")

    beside = read(reading(item(SPY_CALL)), reading(account="5WT3"), limited)
    alone = read(reading())

    assert beside.notes == (
        f"account {OTHER} lists no position (authority level read-only)",
    )
    assert alone.notes == (f"account {ACCOUNT} lists no position",)


def test_a_position_that_makes_no_sense_stays_as_it_was(before):
    after = read(reading(item(SPY_PUT, "many")), before=before)

    assert held(after) == {(ACCOUNT, SPY_PUT): 2}  # the other one is closed
    assert (after.account_ids, after.incomplete) == ((ACCOUNT,), ())
    assert (after.malformed, len(after.problems)) == (1, 1)
    assert SPY_PUT in after.problems[0]


def test_it_stays_however_often_it_makes_no_sense(before):
    for _ in range(3):
        before = read(reading(item(SPY_PUT, "many")), before=before)

    assert held(before) == {(ACCOUNT, SPY_PUT): 2}


@pytest.mark.parametrize(
    "odd",
    [
        item(NEW_CALL, "many"),
        item("./CLM7", kind="Future Option"),
        item("WEIRD"),
        item(None),
        item("XYZ", kind="Something New"),
        Raw(b"7"),
        Raw(b'{"symbol": "\xff"}'),
    ],
)
def test_an_unreadable_item_costs_only_itself(before, odd):
    after = read(reading(item(SPY_CALL), odd), before=before)

    call, unknown = after.positions
    assert (call.contract_key, call.quantity) == (SPY_CALL, 2)
    assert unknown.kind == "unknown"
    assert unknown.problem
    assert unknown.description
    assert after.incomplete == ()  # the put is closed
    assert after.malformed == 1
    assert unknown.problem in after.problems[0]


def test_an_unreadable_item_of_quantity_zero_is_no_problem(before):
    closed = item("WEIRD", 0, "Mystery", quantity_direction="Zero")

    after = read(reading(item(SPY_CALL), item(SPY_PUT), closed), before=before)

    assert (after.problems, after.malformed) == ((), 0)
    assert held(after)[ACCOUNT, "tastytrade:WEIRD"] == 0


def test_an_unreadable_item_is_known_by_its_symbol():
    [unknown] = read(reading(item("./CLM7", 3, "Future Option"))).positions

    assert unknown.contract_key == "tastytrade:./CLM7"
    assert (unknown.instrument_id, unknown.quantity) == ("./CLM7", 3)
    assert unknown.description == "./CLM7 (Future Option)"


def test_items_without_a_symbol_are_told_apart():
    found = read(reading(item(None), item(None, 5)), reading(item(None), account=OTHER))

    assert held(found) == {
        (ACCOUNT, "tastytrade:unnamed 1 of 5WT00001"): 2,
        (ACCOUNT, "tastytrade:unnamed 2 of 5WT00001"): 5,
        (OTHER, "tastytrade:unnamed 1 of 5WT00002"): 2,
    }


def test_one_lot_that_makes_no_sense_leaves_the_sum_as_it_was(before):
    after = read(reading(item(SPY_PUT, 1), item(SPY_PUT, "many")), before=before)

    assert held(after) == {(ACCOUNT, SPY_PUT): 2}


def test_one_lot_that_makes_no_sense_makes_a_sum_that_is_not_known():
    [only] = read(reading(item(SPY_PUT, 1), item(SPY_PUT, "many"))).positions

    assert (only.contract_key, only.kind, only.quantity) == (SPY_PUT, "unknown", None)


def test_accounts_do_not_lend_one_another_positions(before):
    after = read(reading(item(SPY_PUT, "many"), account=OTHER), before=before)

    assert held(after) == {(OTHER, SPY_PUT): None}


def test_an_endless_symbol_makes_no_endless_problem():
    portfolio = read(reading(item("X" * 10_000, "many")))

    assert len(portfolio.problems[0]) < 300


def test_an_empty_reading_is_an_empty_portfolio():
    assert read() == AccountPositions((), ())


WEEKLY, LATER = "./ESZ6 EW2Z6 261211P6000", "./ESH7 EW2Z6 261211P6000"


@pytest.mark.parametrize("symbols", [(WEEKLY, LATER), (LATER, WEEKLY)])
def test_two_instruments_never_share_a_key(symbols):
    """These two differ only in the future that they deliver."""
    found = read(
        reading(*(item(each, 1, "Future Option") for each in symbols)),
        reading(item(WEEKLY, 4, "Future Option"), account=OTHER),
    )

    assert held(found) == {
        (ACCOUNT, "./EW2 261211P6000"): 1,
        (ACCOUNT, f"tastytrade:{WEEKLY}"): 1,
        (OTHER, f"tastytrade:{WEEKLY}"): 4,
    }
    assert found.problems == (
        f"{WEEKLY} and {LATER} would have the same key ./EW2 261211P6000; {WEEKLY} has "
        f"the key tastytrade:{WEEKLY}",
    )


def test_a_closed_position_takes_no_key_from_an_open_one():
    found = read(
        reading(
            item(LATER, 0, "Future Option", quantity_direction="Zero"),
            item(WEEKLY, 3, "Future Option"),
        )
    )

    assert held(found)[ACCOUNT, "./EW2 261211P6000"] == 3
    assert found.problems == ()


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("Future Option", "./MNQZ26D4AZ26 261218C24575", "./MNQZ6D4AZ6 261218C24575"),
        ("Future", "/ESZ6", "/ESZ26"),
        ("Equity Option", "SPY   261218P00600000", "SPY 261218P00600000"),
        ("Equity", "BRK/B", "BRK.B"),
    ],
)
def test_two_spellings_of_one_instrument_are_one_holding(kind, one, other):
    found = read(reading(item(one, 2, kind), item(other, 5, kind)))

    assert [each.quantity for each in found.positions] == [7]
    assert found.problems == ()


def test_terms_that_change_are_told():
    first = read(reading(item(SPY_CALL), item(SPY_PUT)))
    second = read(
        reading(item(SPY_CALL, 9, multiplier=150, underlying_symbol="NEW")),
        before=first,
    )

    assert changed_terms(first.holdings, second.holdings) == [
        f"{SPY_CALL}: multiplier 100 -> 150, underlying SPY -> NEW, underlying_id SPY "
        "-> NEW"
    ]
    assert changed_terms(second.holdings, second.holdings) == []
