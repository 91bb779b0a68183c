from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.brokers.tastytrade.positions.items import (
    future_contract,
    parse_position,
)
from greeks_trio.brokers.tastytrade.positions.positions import (
    AccountPositions,
    future_symbols,
    merge_holdings,
    wanted_contracts,
)
from greeks_trio.model.positions import Holder
from greeks_trio.model.records import Position
from tests.factories import SPY_CALL, SPY_PUT

ACCOUNT = "5WT00001"
OIL = "./CLJ6 LOJ6  260317P56"


def parse(symbol=SPY_CALL, kind="Equity Option", **changes):
    item = {
        "account-number": ACCOUNT,
        "symbol": symbol,
        "instrument-type": kind,
        "underlying-symbol": "SPY",
        "quantity": 3,
        "quantity-direction": "Long",
        "multiplier": 100,
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    kept = {name: value for name, value in item.items() if value is not ...}
    return parse_position(ACCOUNT, json.dumps(kept).encode())


def portfolio(*holdings):
    return AccountPositions((ACCOUNT,), merge_holdings(holdings))


def test_an_equity_option_is_known_by_its_occ_symbol():
    assert parse(quantity_direction="Short").position == Position(
        broker="tastytrade",
        account_id=ACCOUNT,
        contract_key=SPY_CALL,
        kind="option",
        quantity=Decimal(-3),
        multiplier=Decimal(100),
        underlying="SPY",
        expiration=date(2026, 12, 18),
        strike=Decimal(600),
        option_type="call",
    )


@pytest.mark.parametrize(
    ("symbol", "key"),
    [
        ("./CLJ6 LOJ6  260317P56", "./LO  260317P56"),
        ("./GCQ5 OGN5  250625P2095", "./OG  250625P2095"),
        ("./MNQZ5D4AU5 250922C24575", "./D4A 250922C24575"),
        ("./6EM6 EUUJ6 260403C1.225", "./EUU 260403C1.225"),
        ("./ESZ9 EW4U9 190927P2975", "./EW4 190927P2975"),
    ],
)
def test_the_symbol_of_a_futures_option_gives_our_key(symbol, key):
    assert future_contract(symbol, None).contract_key == key


@pytest.mark.parametrize(
    "symbol", ["SPY   260116C00600000", "./CLJ6", "./CLJ6 LOJ6  261317P56"]
)
def test_another_symbol_is_no_futures_option(symbol):
    assert future_contract(symbol, None) is None


def test_a_futures_option_has_the_key_without_month_code():
    holding = parse(OIL, "Future Option", underlying_symbol="/CLJ6", multiplier="1.0")

    assert holding.symbol == OIL
    assert holding.position.contract_key == "./LO  260317P56"
    assert holding.position.kind == "future_option"
    assert holding.position.underlying == "/CLJ6"
    assert holding.position.strike == 56


@pytest.mark.parametrize(
    ("symbol", "kind", "expected"),
    [
        ("AAPL", "Equity", "equity"),
        ("/ESZ6", "Future", "future"),
        ("BTC/USD", "Cryptocurrency", "other"),
        ("WEIRD OPTION", "Equity Option", "other"),
        ("./WEIRD", "Future Option", "other"),
    ],
)
def test_what_is_not_a_readable_option_is_known_by_its_symbol(symbol, kind, expected):
    position = parse(symbol, kind).position

    assert (position.contract_key, position.kind) == (symbol, expected)
    assert position.quantity == 3


@pytest.mark.parametrize(
    ("quantity", "direction", "expected"),
    [
        (3, "Long", "3"),
        ("3", "Short", "-3"),
        ("0.25", "Long", "0.25"),
        (-3, "Short", "-3"),
        (3, "Zero", "0"),
        (0, ..., "0"),
    ],
)
def test_the_direction_is_the_sign(quantity, direction, expected):
    position = parse(quantity=quantity, quantity_direction=direction).position

    assert position.quantity == Decimal(expected)


@pytest.mark.parametrize(
    ("multiplier", "expected"),
    [("0.5", "0.5"), (2, "2"), (1.0, "1.0"), ("?", None), (None, None), (..., None)],
)
def test_a_multiplier_may_have_any_form(multiplier, expected):
    position = parse(multiplier=multiplier).position

    assert position.multiplier == (None if expected is None else Decimal(expected))


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": "many"},
        {"quantity": "NaN"},
        {"quantity": ...},
        {"quantity_direction": "Sideways"},
        {"quantity_direction": ...},
        {"instrument_type": 7},
        {"symbol": None},
    ],
)
def test_a_position_of_unknown_size_or_name_is_refused(changes):
    with pytest.raises(ValueError, match=r"."):
        parse(**changes)


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_any_item_is_a_position_or_refused(item):
    raw = item if isinstance(item, bytes) else item.encode()
    try:
        parse_position(ACCOUNT, raw)
    except ValueError:
        return


def test_a_contract_that_is_listed_twice_is_one_holding():
    merged = merge_holdings([parse(quantity=2), parse(SPY_PUT), parse(quantity=5)])

    assert [
        (each.position.contract_key, each.position.quantity) for each in merged
    ] == [
        (SPY_CALL, 7),
        (SPY_PUT, 3),
    ]


def test_held_and_watched_contracts_are_wanted_and_closed_ones_not():
    held, closed = parse(), parse(SPY_PUT, quantity_direction="Zero")

    wanted, unknown = wanted_contracts(
        portfolio(held, closed, parse("AAPL", "Equity")),
        ("SPXW  261218C06700000", SPY_CALL),
        {},
    )

    assert unknown == []
    assert [
        (each.symbol, each.underlying_symbol, each.holders) for each in wanted.values()
    ] == [
        (".SPY261218C600", "SPY", (Holder(ACCOUNT, Decimal(3)),)),
        (".SPXW261218C6700", "SPX", (Holder("watchlist", None),)),
    ]


def test_an_adjusted_root_streams_under_its_own_symbol():
    holding = parse("AAPL1 261218C00250500", underlying_symbol="AAPL")

    wanted, _ = wanted_contracts(portfolio(holding), (), {})

    [only] = wanted.values()
    assert (only.symbol, only.underlying_symbol) == (".AAPL1261218C250.5", "AAPL")


def test_a_futures_option_streams_under_the_symbol_that_tastytrade_tells():
    held = portfolio(parse(OIL, "Future Option", underlying_symbol="/CLJ6"))
    symbols = {OIL: "./LOJ26P56:XNYM", "/CLJ6": "/CLJ26:XNYM"}

    wanted, unknown = wanted_contracts(held, (), symbols)

    [only] = wanted.values()
    assert future_symbols(held) == set(symbols)
    assert (only.symbol, only.underlying_symbol) == ("./LOJ26P56:XNYM", "/CLJ26:XNYM")
    assert (only.contract.kind, only.contract.underlying) == ("future_option", "/CLJ6")
    assert unknown == []


def test_a_futures_option_without_streamer_symbol_is_known_but_not_streamed():
    held = portfolio(parse(OIL, "Future Option", underlying_symbol="/CLJ6"), parse())

    wanted, unknown = wanted_contracts(held, (), {})

    assert list(wanted) == [SPY_CALL]
    assert unknown == ["./LO  260317P56"]


def test_a_futures_option_does_without_its_future():
    held = portfolio(parse(OIL, "Future Option", underlying_symbol=...))

    wanted, _ = wanted_contracts(held, (), {OIL: "./LOJ26P56:XNYM"})

    [only] = wanted.values()
    assert (only.contract.underlying, only.underlying_symbol) == ("/CLJ6", None)
