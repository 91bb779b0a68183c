"""Single positions, by kind of instrument."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.brokers.tastytrade.positions.accounts import merge_holdings
from greeks_trio.brokers.tastytrade.positions.items import parse_position
from greeks_trio.brokers.tastytrade.positions.symbols import (
    future_by_rule,
    option_by_rule,
    parse_future_option,
)
from greeks_trio.model.contracts import parse_future_option_key
from greeks_trio.model.instruments import parse_future
from greeks_trio.model.records import Position
from tests.factories import SPY_CALL, SPY_PUT

ACCOUNT = "5WT00001"
TODAY = date(2026, 11, 20)
OIL = "./CLJ6 LOJ6  260317P56"


def parse(symbol=SPY_CALL, kind="Equity Option", today=TODAY, **changes):
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
    return parse_position(ACCOUNT, json.dumps(kept).encode(), today=today)


def test_an_equity_option_is_known_by_its_occ_symbol():
    assert parse(quantity_direction="Short").position == Position(
        broker="tastytrade",
        account_id=ACCOUNT,
        contract_key=SPY_CALL,
        kind="option",
        quantity=Decimal(-3),
        multiplier=Decimal(100),
        currency="USD",
        underlying="SPY",
        expiration=date(2026, 12, 18),
        strike=Decimal(600),
        option_type="call",
        instrument_id=SPY_CALL,
        underlying_id="SPY",
        price_factor=Decimal(1),
    )


@pytest.mark.parametrize(
    ("symbol", "underlying", "key", "future", "streamer_symbol"),
    [
        (OIL, "/CLJ6", "./LO  260317P56", "/CLJ26", "./LOJ26P56:XNYM"),
        (
            "./GCQ5 OGN5  250625P2095",
            "/GCQ5",
            "./OG  250625P2095",
            "/GCQ25",
            "./OGN25P2095:XCEC",
        ),
        (
            "./MNQZ5D4AU5 250922C24575",
            "/MNQZ5",
            "./D4A 250922C24575",
            "/MNQZ25",
            "./D4AU25C24575:XCME",
        ),
        # Years of two digits.
        (
            "./MNQH27D2BH27 270308C25125",
            "/MNQH27",
            "./D2B 270308C25125",
            "/MNQH27",
            "./D2BH27C25125:XCME",
        ),
        (
            "./6EM6 EUUJ6 260403C1.225",
            "/6EM6",
            "./EUU 260403C1.225",
            "/6EM26",
            "./EUUJ26C1.225:XCME",
        ),
        (
            "./M6EZ6EUUZ6 261204P1.05",
            "/M6EZ6",
            "./EUU 261204P1.05",
            "/M6EZ26",
            "./EUUZ26P1.05:XCME",
        ),
        (
            "./MESH7EX1H7 270319P6325",
            "/MESH7",
            "./EX1 270319P6325",
            "/MESH27",
            "./EX1H27P6325:XCME",
        ),
        # The class is the product's own root.
        (
            "./MYMH7MYMH7 270319P44000",
            "/MYMH7",
            "./MYM 270319P44000",
            "/MYMH27",
            "./MYMH27P44000:XCBT",
        ),
        # Prices of energy can be negative.
        (
            "./NGF8 LNEF8 271227C-1.25",
            "/NGF8",
            "./LNE 271227C-1.25",
            "/NGF28",
            "./LNEF28C-1.25:XNYM",
        ),
        # The option ends in the year before its future.
        (
            "./CLF0 LOF0  291213P61.5",
            "/CLF0",
            "./LO  291213P61.5",
            "/CLF30",
            "./LOF30P61.5:XNYM",
        ),
        # The item names the product only, or nothing.
        (
            "./ZSX7 OZSV7 270924C1040",
            "/ZS",
            "./OZS 270924C1040",
            "/ZSX27",
            "./OZSV27C1040:XCBT",
        ),
        (
            "./M2KU7RX2U7 270917P2150",
            ...,
            "./RX2 270917P2150",
            "/M2KU27",
            "./RX2U27P2150:XCME",
        ),
    ],
)
def test_the_symbol_of_a_futures_option_gives_everything(
    symbol, underlying, key, future, streamer_symbol
):
    position = parse(symbol, "Future Option", underlying_symbol=underlying).position
    found = parse_future_option(symbol, None if underlying is ... else underlying)

    assert position.kind == "future_option"
    assert (position.contract_key, position.underlying) == (key, future)
    assert position.underlying_id == (
        underlying
        if underlying not in (..., "/ZS")
        else "/" + symbol[2:].split()[0][:5].rstrip()
    )
    assert parse_future_option_key(key) == found.terms
    assert option_by_rule(found) == streamer_symbol


@pytest.mark.parametrize(
    "symbol",
    [
        *("SPY   260116C00600000", "./CLJ6", "./CLJ6 LOJ6  261317P56", "./", ""),
        *("./CLJ6 LO    260317P56", "./CLJ6 LOJ6 LOJ6 260317P56"),
        *("./CL LOJ6 260317P56", "./CLJ6 LOJ6  260317P", "./CLJ6 LOJ6  260317X56"),
        *("./CLJ6 LOJ6  260317P1e5", "./MNQZ6D4A26 261218C24575"),
    ],
)
def test_another_symbol_is_no_futures_option(symbol):
    with pytest.raises(ValueError, match=r"."):
        parse_future_option(symbol, None)


def test_the_underlying_says_where_the_codes_part():
    """Without it, both codes would have years of one digit: ``MNQZ2`` and ``6D4AZ6``."""
    found = parse_future_option("./MNQZ26D4AZ6 261218C24575", "/MNQZ26")

    assert (found.terms.root, found.future.root) == ("D4A", "MNQ")


def test_a_root_without_a_known_exchange_has_no_streamer_symbol_by_rule():
    found = parse_future_option("./ZYXM7 OZYM7 270514P56", "/ZYXM7")

    assert option_by_rule(found) is None
    assert option_by_rule(found, "XCME") == "./OZYM27P56:XCME"
    assert future_by_rule(found.future) is None
    assert future_by_rule(found.future, "XCME") == "/ZYXM27:XCME"


@pytest.mark.parametrize(
    ("symbol", "changes", "key", "exchange"),
    [
        ("/MYMZ6", {}, "/MYMZ26", None),
        ("/ESH27", {}, "/ESH27", None),
        ("/CLF7", {"expires_at": "2026-12-21T19:30:00.000+00:00"}, "/CLF27", None),
        # Listed for a night after its end, and without its expiration.
        ("/ZQZ6", {"today": date(2027, 1, 1)}, "/ZQZ26", None),
        ("/6JH6", {"today": date(2027, 1, 20)}, "/6JH36", None),
        ("/NGV8", {"streamer_symbol": "/NGV28:XNYM"}, "/NGV28", "XNYM"),
        ("/NGV8", {"streamer_symbol": "/NGV38:XNYM"}, "/NGV38", "XNYM"),
        # Another contract's symbol says nothing about the year.
        ("/NGV8", {"streamer_symbol": "/NGX38:XNYM"}, "/NGV28", "XNYM"),
    ],
)
def test_a_future_is_its_own_underlying(symbol, changes, key, exchange):
    """The item names only the product as the underlying."""
    position = parse(symbol, "Future", underlying_symbol="/XX", **changes).position

    assert (position.kind, position.contract_key) == ("future", key)
    assert (position.underlying, position.exchange) == (key, exchange)
    assert (position.instrument_id, position.underlying_id) == (symbol, symbol)
    assert position.price_factor == 1


def test_the_expiration_of_a_future_is_that_of_its_item():
    position = parse("/ESZ6", "Future", expires_at="2026-12-18T14:30:00Z").position

    assert position.expiration == date(2026, 12, 18)


@pytest.mark.parametrize(
    ("symbol", "kind", "key", "expected", "currency", "factor"),
    [
        ("AAPL", "Equity", "AAPL", "equity", "USD", 1),
        ("BRK.B", "Equity", "BRK/B", "equity", "USD", 1),
        ("BTC/USD", "Cryptocurrency", "tastytrade:BTC/USD", "other", "USD", 1),
        ("ETH/BTC", "Cryptocurrency", "tastytrade:ETH/BTC", "other", "BTC", 1),
        ("SOL", "Cryptocurrency", "tastytrade:SOL", "other", "USD", 1),
        ("912810TM0", "Bond", "tastytrade:912810TM0", "other", "USD", None),
        ("XYZW", "Warrant", "tastytrade:XYZW", "other", "USD", 1),
        ("KXFED-27", "Event Contract", "tastytrade:KXFED-27", "other", "USD", 1),
        ("WEIRD OPTION", "Equity Option", "tastytrade:WEIRD OPTION", "unknown", "USD", None),
        ("./WEIRD", "Future Option", "tastytrade:./WEIRD", "unknown", "USD", None),
        ("/ES", "Future", "tastytrade:/ES", "unknown", "USD", None),
        # The key of a share must not be that of another kind.
        ("/ESZ6", "Equity", "tastytrade:/ESZ6", "unknown", "USD", None),
        (OIL, "Equity", f"tastytrade:{OIL}", "unknown", "USD", None),
        (SPY_CALL, "Equity", f"tastytrade:{SPY_CALL}", "unknown", "USD", None),
        ("RY:CAD", "Equity", "tastytrade:RY:CAD", "unknown", "USD", None),
        ("ABC", "Tulip", "tastytrade:ABC", "unknown", "USD", None),
    ],
)  # fmt: skip
def test_each_kind_has_a_key_that_no_other_kind_has(
    symbol, kind, key, expected, currency, factor
):
    position = parse(symbol, kind).position

    assert (position.contract_key, position.kind) == (key, expected)
    assert (position.currency, position.price_factor) == (currency, factor)
    assert (position.quantity, position.instrument_id) == (3, symbol)
    is_described = expected in ("other", "unknown")
    assert position.description == (f"{symbol} ({kind})" if is_described else None)
    assert (position.problem is not None) == (expected == "unknown")


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        (SPY_CALL, "option"),
        (OIL, "future_option"),
        ("/ESZ6", "future"),
        ("SPY", "unknown"),
    ],
)
@pytest.mark.parametrize("named", [..., "", 7, "Index Option"])
def test_the_form_of_the_symbol_tells_a_kind_that_is_not_named(symbol, kind, named):
    assert parse(symbol, named, underlying_symbol=...).position.kind == kind


@pytest.mark.parametrize(
    ("kind", "underlying", "expected"),
    [
        ("Equity Option", "BRK.B", "BRK/B"),
        ("Future Option", "/CLM7", "/CLM27"),
        ("Future Option", "/CL", None),
        ("Future Option", ..., None),
    ],
)
def test_an_unreadable_option_still_names_its_underlying(kind, underlying, expected):
    """So the sums of the underlying can count it."""
    position = parse("WEIRD", kind, underlying_symbol=underlying).position

    assert (position.kind, position.underlying) == ("unknown", expected)


@pytest.mark.parametrize(
    ("quantity", "direction", "expected"),
    [
        (3, "Long", "3"),
        ("3", "Short", "-3"),
        ("0.25", "Long", "0.25"),
        (-3, "Short", "-3"),
        (3, "Zero", "0"),
        *((0, each, "0") for each in (..., None, "", "Long", "Short", "?")),
        ("0.0", ..., "0"),
    ],
)
def test_the_direction_is_the_sign(quantity, direction, expected):
    position = parse(quantity=quantity, quantity_direction=direction).position

    assert position.quantity == Decimal(expected)


@pytest.mark.parametrize(
    ("multiplier", "expected"),
    [
        *(("0.5", "0.5"), (2, "2"), (1.0, "1.0"), ("12500000", "12500000")),
        *((value, None) for value in ("?", None, ..., "", True, [], {"a": 1})),
        *((value, None) for value in (0, "0.0", "0", -0.0, "-100", "NaN", "Infinity")),
        *((value, None) for value in ("1e300", 10**400, "1E-999999999999")),
    ],
)
def test_a_multiplier_is_a_positive_number_in_any_form(multiplier, expected):
    position = parse(multiplier=multiplier).position

    assert position.multiplier == (None if expected is None else Decimal(expected))
    assert position.quantity == 3


@pytest.mark.parametrize("share", ["BRK/B", "BRK.B", "BRK B"])
@pytest.mark.parametrize("underlying", ["BRK/B", "BRK.B", None])
def test_a_share_class_and_its_options_have_one_underlying(share, underlying):
    option = parse("BRKB  261218C00500000", underlying_symbol=underlying).position
    held = parse(share, "Equity", underlying_symbol=share).position

    assert (held.underlying, held.underlying_id) == ("BRK/B", "BRK/B")
    assert (option.underlying, option.underlying_id) == ("BRK/B", "BRK/B")
    assert held.instrument_id == share


def test_a_share_is_one_unit_whatever_the_item_says():
    assert parse("F", "Equity", multiplier="0.0").position.multiplier == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantity": "many"}, "quantity"),
        ({"quantity": "NaN"}, "quantity"),
        ({"quantity": ...}, "quantity"),
        ({"quantity": True}, "quantity"),
        ({"quantity": "1e40"}, "quantity"),
        ({"quantity_direction": "Sideways"}, "long or short"),
        ({"quantity_direction": ...}, "long or short"),
    ],
)
def test_a_position_of_unknown_size_is_unknown_under_its_own_key(changes, words):
    position = parse(**changes).position

    assert (position.contract_key, position.kind) == (SPY_CALL, "unknown")
    assert position.quantity is None
    assert words in position.problem
    assert position.underlying == "SPY"


@pytest.mark.parametrize("symbol", [None, ..., 7, "", " ", "\x00", "X" * 61])
def test_a_position_without_a_symbol_is_unknown(symbol):
    holding = parse(symbol, streamer_symbol=".SPY261218C600")

    assert (holding.symbol, holding.position.kind) == ("", "unknown")
    assert holding.position.description == ".SPY261218C600 (Equity Option)"
    assert holding.position.quantity == 3


@pytest.mark.parametrize("said", [None, ..., 7, "", "a b", "X" * 61])
def test_a_streamer_symbol_that_is_none_is_left_out(said):
    assert parse(streamer_symbol=said).streamer_symbol is None


@given(
    st.binary()
    | st.recursive(
        st.none() | st.text() | st.integers() | st.floats(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps)
)
def test_any_item_is_a_position(item):
    raw = item if isinstance(item, bytes) else item.encode()

    assert parse_position(ACCOUNT, raw, today=TODAY).position.account_id == ACCOUNT


FIELDS = (
    *("symbol", "instrument-type", "underlying-symbol", "streamer-symbol"),
    *("quantity", "quantity-direction", "multiplier", "expires-at"),
)
VALUES = (
    *(None, True, 0, -3, 2.5, 1e300, "", "x", "NaN", "2026-12-18T21:00:00Z", [], {}),
    *(
        SPY_CALL,
        OIL,
        "/ESZ6",
        "/ES",
        "./CLM7 LOM7  270514P-5",
        "./ESZ6",
        ".SPY261218C600",
    ),
    *("Future", "Future Option", "Equity Option", "Equity", "Bond", "Long", "Short"),
)


@given(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(VALUES)))
def test_any_value_of_any_field_is_a_position(fields):
    position = parse_position(
        ACCOUNT, json.dumps(fields).encode(), today=TODAY
    ).position

    assert position.quantity is not None or position.kind == "unknown"
    assert (position.problem is not None) == (position.kind == "unknown")
    if position.contract_key.startswith("/"):
        assert parse_future(position.contract_key, not_before=date.min)


def test_a_contract_that_is_listed_twice_is_one_holding():
    merged = merge_holdings([parse(quantity=2), parse(SPY_PUT), parse(quantity=5)])

    assert [
        (each.position.contract_key, each.position.quantity) for each in merged
    ] == [
        (SPY_CALL, 7),
        (SPY_PUT, 3),
    ]
