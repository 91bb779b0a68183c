"""What is known of a contract fills holes, and never hides a change."""

from __future__ import annotations

from decimal import Decimal

import pytest

from greeks_trio.brokers.ibkr.positions.earlier import Holdings
from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.positions import GivenRow, read_positions
from greeks_trio.brokers.ibkr.positions.rows import read_row
from tests.factories import run_at_once

ROW = {
    "conid": 41,
    "position": 10.0,
    "assetClass": "OPT",
    "contractDesc": "ACME   DEC2027 2.5 C [ACME  271217C00002500 100]",
    "currency": "USD",
    "expiry": "20271217",
    "putOrCall": "C",
    "multiplier": 100.0,
    "strike": "2.5",
    "undConid": 500,
    "ticker": "ACME",
}
ADJUSTED = ROW | {
    "contractDesc": "ACME1  DEC2027 2.5 C [ACME1 271217C00002500 100]",
    "undConid": 600,
    "ticker": "ACME1",
}
COLD = {
    "expiry": None,
    "strike": 0.0,
    "undConid": 0,
    "multiplier": None,
    "ticker": None,
}


def read(known, *rows, account="U1"):
    """Read the rows, and return the reading and the changes."""
    reading = run_at_once(
        read_positions([GivenRow(account, each) for each in rows], known)
    )
    return reading, known.take(reading.rows, reading.instruments)


def test_a_cold_row_keeps_the_identity_of_the_warm_one():
    known = KnownContracts()
    read(known, ROW)

    reading, changes = read(known, ROW | COLD)

    [position] = reading.positions
    assert (position.underlying, position.underlying_id) == ("ACME", "500")
    assert (changes, reading.is_cold) == ([], False)


@pytest.mark.parametrize("is_cold", [False, True])
def test_another_description_forgets_the_contract_before(is_cold):
    known = KnownContracts()
    read(known, ROW)

    reading, [change] = read(known, ADJUSTED | COLD if is_cold else ADJUSTED)

    [position] = reading.positions
    assert position.contract_key == "ACME1 271217C00002500"
    assert position.underlying_id == (None if is_cold else "600")
    assert (change.conid, change.before.contract_key) == (41, "ACME  271217C00002500")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"multiplier": 150}, "multiplier=100->150"),
        ({"undConid": 600}, "underlying_conid=500->600"),
        ({"ticker": "NEW"}, "underlying=ACME->NEW"),
        (
            {"undSym": "NEW", "undConid": 600},
            "underlying=ACME->NEW underlying_conid=500->600",
        ),
    ],
)
def test_a_change_under_the_same_description_is_told(changes, words):
    known = KnownContracts()
    read(known, ROW)

    _, [change] = read(known, ROW | changes)

    assert str(change) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"multiplier": 12.5}, "multiplier=10->12.5"),
        ({"undConid": 600}, "underlying=ibkr:500->ibkr:600 underlying_conid=500->600"),
        ({"strike": "3"}, "strike=2.5->3"),
    ],
)
def test_a_change_is_told_before_the_underlying_has_a_name(changes, words):
    known = KnownContracts()
    option = ROW | {"currency": "EUR", "multiplier": 10, "contractDesc": "ACME [x y z]"}
    read(known, option)

    _, [change] = read(known, option | changes)

    assert str(change) == words


@pytest.mark.parametrize("changes", [{}, {"mktPrice": 3.1}, {"name": "Acme"}, COLD])
def test_the_same_contract_is_no_change(changes):
    known = KnownContracts()
    read(known, ROW)

    assert read(known, ROW | changes)[1] == []


def test_more_knowledge_is_no_change():
    known = KnownContracts()
    read(known, ROW | COLD)

    assert read(known, ROW)[1] == []


def test_the_name_of_an_underlying_that_was_unknown_is_no_change():
    known = KnownContracts()
    option = ROW | {
        "currency": "EUR",
        "contractDesc": "ACME [C ACME 20271217 2.5 M 10]",
    }
    share = {"conid": 500, "position": 1, "assetClass": "STK", "contractDesc": "ACME"}
    share |= {"ticker": "ACME", "currency": "EUR"}
    reading, _ = read(known, option)
    assert reading.positions[0].underlying == "ibkr:500"

    reading, changes = read(known, option, share)

    assert (reading.positions[0].underlying, changes) == ("ACME:EUR", [])


def test_a_share_that_is_renamed_and_a_future_that_is_resized_are_told():
    known = KnownContracts()
    share = {"conid": 5, "position": 1, "assetClass": "STK", "contractDesc": "OLD"}
    share |= {"ticker": "OLD", "currency": "USD"}
    future = {"conid": 6, "position": 1, "assetClass": "FUT", "currency": "USD"}
    future |= {"contractDesc": "ES DEC2027", "ticker": "ES", "multiplier": 50}
    read(known, share, future)

    _, changes = read(
        known,
        share | {"contractDesc": "NEW", "ticker": "NEW"},
        future | {"multiplier": 5},
    )

    assert [str(each) for each in changes] == [
        "contract_key=OLD->NEW underlying=OLD->NEW",
        "multiplier=50->5",
    ]


def test_a_row_that_became_unreadable_keeps_its_identity_and_is_named():
    known = KnownContracts()
    read(known, ROW)

    reading, changes = read(
        known, ROW | {"contractDesc": "?", "assetClass": "OPT"} | COLD
    )
    assert reading.positions[0].contract_key == "ACME  271217C00002500"
    assert (reading.unreadable, changes) == ((), [])

    reading, changes = read(known, ROW | COLD | {"contractDesc": "garbage"})
    assert reading.positions[0].contract_key == "ACME  271217C00002500"
    assert [each.conid for each in reading.unreadable] == [41]
    assert changes == []


def test_an_outdated_definition_counts_until_there_is_another():
    known = KnownContracts()
    option = ROW | {
        "currency": "EUR",
        "contractDesc": "ACME [C ACME 20271217 2.5 M 10]",
    }
    share = {"conid": 500, "assetClass": "STK", "ticker": "ACME", "currency": "EUR"}
    reading, _ = read(known, option)
    assert reading.undefined == {500: None}
    known.define([read_row(share)], reading.undefined)

    known.outdate_definitions()
    reading, _ = read(known, option)
    assert reading.positions[0].underlying == "ACME:EUR"
    assert reading.undefined == {500: None}

    known.define([read_row(share | {"ticker": "NEW"})], reading.undefined)
    reading, [change] = read(known, option)
    assert reading.positions[0].underlying == "NEW:EUR"
    assert (reading.undefined, str(change)) == ({}, "underlying=ACME:EUR->NEW:EUR")


def test_a_definition_fills_only_the_contract_that_it_was_requested_for():
    known = KnownContracts()
    bare = ROW | {"multiplier": None, "contractDesc": "ACME DEC2027 2.5 C"}
    definition = read_row({"conid": "41", "multiplier": 10})
    reading, _ = read(known, bare)
    known.define(
        [definition, read_row({"conid": 99, "multiplier": 7})], reading.undefined
    )

    assert read(known, bare)[0].positions[0].multiplier == 10
    other = bare | {"contractDesc": "ACME1 DEC2027 2.5 C", "ticker": "ACME1"}
    assert read(known, other)[0].positions[0].multiplier is None
    assert known.definition(99) is None


# Holdings across readings.


def take(holdings, known, *rows, incomplete=()):
    reading, _ = read(known, *rows)
    holdings.take(reading, ["U1"], incomplete)
    return {each.contract_key: each.quantity for each in holdings.positions}


def test_a_changed_contract_is_closed_in_an_account_that_is_incomplete():
    known = KnownContracts()
    holdings = Holdings(known)
    take(holdings, known, ROW)

    held = take(holdings, known, ADJUSTED, {"position": 2})

    assert held["ACME  271217C00002500"] == 0
    assert held["ACME1 271217C00002500"] == 10
    assert set(holdings.listings) == {"ACME1 271217C00002500"}


def test_a_position_without_a_quantity_is_kept_as_the_contract_that_it_is_now():
    known = KnownContracts()
    holdings = Holdings(known)
    take(holdings, known, ROW)

    held = take(holdings, known, ADJUSTED | {"position": "many"})

    assert held == {"ACME1 271217C00002500": Decimal(10)}


def test_each_contract_without_a_figure_in_money_is_named_once():
    known = KnownContracts()
    holdings = Holdings(known)
    bare = ROW | {"contractDesc": "ACME DEC2027 2.5 C", "multiplier": None}
    plain_name = ADJUSTED | {"ticker": "ACME", "conid": 42}
    share = {"conid": 43, "position": 1, "assetClass": "STK", "contractDesc": "VOD"}
    share |= {"currency": "GBP", "ticker": "VOD"}
    fine = ROW | {"conid": 44, "contractDesc": "ACME [ACME 271217C00003000 100]"}
    closed = bare | {"conid": 45, "position": 0, "ticker": "OTHER"}

    take(holdings, known, bare, plain_name, share, fine, closed)

    assert holdings.holes() == {
        "multiplier": ("ACME  271217C00002500",),
        "deliverable": ("ACME1 271217C00002500",),
        "unit": ("VOD:GBP",),
    }


def test_an_unknown_position_gives_way_to_the_identified_one():
    known = KnownContracts()
    holdings = Holdings(known)
    riddle = ROW | {"assetClass": None}

    assert take(holdings, known, riddle) == {"ibkr:41": 10}
    assert take(holdings, known, ROW) == {"ACME  271217C00002500": 10}
    assert take(holdings, known) == {}
