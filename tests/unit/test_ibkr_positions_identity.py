"""Every instrument of IBKR is itself: its key, its terms and its underlying."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from greeks_trio.brokers.ibkr.positions.known import KnownContracts
from greeks_trio.brokers.ibkr.positions.positions import GivenRow, read_positions
from greeks_trio.brokers.ibkr.positions.rows import read_row
from tests.factories import run_at_once

BASE = {
    "conid": 9000001,
    "position": 2.0,
    "currency": "USD",
    "expiry": None,
    "putOrCall": None,
    "multiplier": 0.0,
    "strike": "0",
    "undConid": 0,
}


def row(asset_class, description, **changes):
    return BASE | {"assetClass": asset_class, "contractDesc": description} | changes


def future_option(description, **changes):
    """Return a call of June 2027 on the future 9100."""
    terms = {
        "expiry": "20270611",
        "putOrCall": "C",
        "multiplier": 50.0,
        "undConid": 9100,
        "ticker": description.split()[0],
        "undSym": description.split()[0],
    }
    return row("FOP", description, **(terms | changes))


def cold(given):
    """Return the row as the first read of a session has it, with its conid as text."""
    lacking = {"expiry": None, "strike": 0.0, "undConid": 0, "multiplier": None}
    kept = {k: v for k, v in given.items() if k not in ("ticker", "undSym")}
    return kept | lacking | {"conid": str(given["conid"])}


def read(*rows, known=None, definitions=()):
    """Read rows; definitions answer what the rows leave open, in rounds."""
    known = KnownContracts() if known is None else known
    given = [GivenRow("U1", each) for each in rows]
    reading = run_at_once(read_positions(given, known))
    for _ in range(3):
        known.define(map(read_row, definitions), reading.undefined)
        reading = run_at_once(read_positions(given, known))
    known.take(reading.rows, reading.instruments)
    return reading


def keys(reading):
    return [each.contract_key for each in reading.positions]


def only(reading):
    [position] = reading.positions
    return position


FUTURE = row(
    "FUT",
    "ES       JUN2027",
    conid=9100,
    ticker="ES",
    multiplier=50.0,
    expiry="20270618",
)
DEFINED_FUTURE = {
    "conid": 9100,
    "assetClass": "FUT",
    "ticker": "ES",
    "fullName": "ES Jun18'27",
    "expiry": "20270618",
    "multiplier": 50.0,
    "currency": "USD",
}


# Futures.


@pytest.mark.parametrize(
    ("description", "changes", "key"),
    [
        ("ES       SEP2027", {"ticker": "ES"}, "/ESU27"),
        ("ES SEP2027", {}, "/ESU27"),
        ("MNQ      MAR2030", {"ticker": "MNQ"}, "/MNQH30"),
        ("CL       JAN2028", {"ticker": "CL", "expiry": "20271220"}, "/CLF28"),
        ("EUR      DEC2027", {"ticker": "EUR", "multiplier": 125000}, "/6EZ27"),
        ("EUR      DEC2027", {"ticker": "EUR", "multiplier": "62500"}, "/E7Z27"),
        ("MXP      DEC2027", {"ticker": "MXP"}, "/6MZ27"),
        ("VIX      FEB2027", {"ticker": "VIX", "multiplier": 1000.0}, "/VXG27"),
        ("VIX      FEB2027", {"ticker": "VIX", "multiplier": 100.0}, "/VXMG27"),
        ("VIX      DEC2027", {"ticker": "VIX", "expiry": "20271222"}, "/VXZ27"),
        ("VIX      MAR2027", {"ticker": "VIX", "expiry": "20270317"}, "/VXH27"),
        ("VIX      DEC2027", {"ticker": "VIX", "expiry": "20271208"}, "ibkr:9000001"),
        ("VIX      DEC2027", {"ticker": "VIX", "expiry": "20271229"}, "ibkr:9000001"),
        ("SI       JUL2027", {"ticker": "SI", "multiplier": 1000.0}, "/SILN27"),
        ("SI       JUL2027", {"ticker": "SI", "multiplier": 5000.0}, "/SIN27"),
        ("ESU7", {"ticker": "ESU7", "expiry": "20270917"}, "/ESU27"),
        ("ESU27", {"ticker": "ESU27"}, "/ESU27"),
        ("ES", {"ticker": "ES", "expiry": "20270917"}, "/ESU27"),
        ("CL       JAN2028 [CLF8 1000]", {"ticker": "CL"}, "/CLF28"),
        ("EUR      DEC2027", {"ticker": "EUR", "currency": "EUR"}, "/EURZ27"),
        # Energy expires in the month before.
        ("CL", {"ticker": "CL", "expiry": "20271220"}, "/CLF28"),
        ("BZ", {"ticker": "BZ", "expiry": "20271130"}, "/BZF28"),
        ("SOFR3", {"ticker": "SOFR3", "expiry": "20280314"}, "/SR3Z27"),
        ("ZZZ", {"ticker": "ZZZ", "expiry": "20271220"}, "ibkr:9000001"),
        ("ZZZ", {"ticker": "ZZZ", "fullName": "ZZZ Jan'28"}, "/ZZZF28"),
        ("ZZZ", {"ticker": "ZZZ", "fullName": "ZZZ JAN2028 @X"}, "/ZZZF28"),
        ("ZZZ", {"ticker": "ZZZ", "fullName": "ZZZ Jan20'28"}, "ibkr:9000001"),
        ("ES", {"ticker": "ES"}, "ibkr:9000001"),
    ],
)
def test_a_future_is_its_root_month_and_year(description, changes, key):
    position = only(read(row("FUT", description, **changes)))

    assert (position.contract_key, position.underlying, position.kind) == (
        key,
        key,
        "future",
    )
    assert position.underlying_id == position.instrument_id == "9000001"


def test_the_months_of_a_calendar_are_two_positions():
    near = row("FUT", "RTY      MAR2027", conid=1, ticker="RTY", position=4)
    far = row("FUT", "RTY      JUN2027", conid=2, ticker="RTY", position=-4)

    assert [
        (each.contract_key, each.quantity) for each in read(near, far).positions
    ] == [
        ("/RTYH27", Decimal(4)),
        ("/RTYM27", Decimal(-4)),
    ]


def test_futures_of_one_name_and_three_sizes_are_three_positions():
    sizes = [
        row("FUT", "DAX      MAR2027", conid=n, ticker="DAX", currency="EUR")
        | {"multiplier": size}
        for n, size in ((1, 1.0), (2, "5"), (3, 25))
    ]

    reading = read(*sizes)

    assert keys(reading) == ["/FDXSH27", "/FDXMH27", "/DAXH27"]
    assert reading.shared_keys == ()


def test_a_definition_tells_the_month_that_a_row_leaves_out():
    bare = row("FUT", "NQ", conid=5, ticker="NQ", strike=0.0)
    defined = {"conid": 5, "assetClass": "FUT", "ticker": "NQ", "expiry": "20270319"}

    assert keys(read(bare)) == ["ibkr:5"]
    assert keys(read(bare, definitions=[defined])) == ["/NQH27"]


# Options on futures.


@pytest.mark.parametrize(
    ("description", "changes", "key"),
    [
        ("ES     JUN2027 6100 C (E2B)", {"strike": "6100"}, "./E2B 270611C6100"),
        ("ES     JUN2027 6100 C (E2B)", {"strike": 6100}, "./E2B 270611C6100"),
        ("ES     JUN2027 6100 C (E2B)", {"strike": 0.0}, "./E2B 270611C6100"),
        ("ES     JUN2027 6100 C (E2B)", {"strike": "-1"}, "./E2B 270611C6100"),
        ("CL     JUN2027 -1 P (LO2)", {"strike": -1}, "./LO2 270611C-1"),
        ("ZN     JUN2027 111.25 C (ZN2)", {"multiplier": 1000}, "./ZN2 270611C111.25"),
        ("ZN     JUN2027 111.25 P (VY2)", {"putOrCall": "P"}, "./VY2 270611P111.25"),
        ("MES    JUN2027 7050 C", {"strike": "7050"}, "./MES 270611C7050"),
        ("MES    JUN2027 7050 C (EX2)", {}, "./EX2 270611C7050"),
        ("MES    JUN2027 7050 C [EX2M7 C7050 5]", {}, "./EX2 270611C7050"),
        ("MES    JUN2027 7050 C [MESM7 C7050 5]", {}, "./MES 270611C7050"),
        ("MES    JUN2027 7050 C [EX2 C7050 5]", {}, "./EX2 270611C7050"),
        ("ZN     JUN2027 111.25 C [ZN2 C11125 1000]", {}, "./ZN2 270611C111.25"),
        ("ES     DEC2027 6100 C [EW4H8 C6100 50]", {}, "./EW4 270611C6100"),
        ("CL     JUN2027 -2.5 P (LO2)", {"strike": 0.0}, "./LO2 270611C-2.5"),
        ("CL     JUN2027 0 C (LO2)", {"strike": "0"}, "./LO2 270611C0"),
        ("CL     JUN2027 61.5 C [LON7 C6150 1000]", {}, "./LO  270611C61.5"),
        ("YM     JUN2027 47500 C (D2B)", {}, "./D2B 270611C47500"),
        ("JPY    JUN2027 0.00675 C (JPU)", {}, "./JPU 270611C0.00675"),
    ],
)
def test_a_futures_option_is_its_class_day_right_and_strike(description, changes, key):
    position = only(read(future_option(description, **changes), definitions=[]))

    assert (position.contract_key, position.kind) == (key, "future_option")


@pytest.mark.parametrize(
    "description",
    [
        "ES     JUN2027 6100 C (E2B)",
        "ES     JUN2027 6100 C [E2BM7 C6100 50]",
        "ES JUN2027 6100 C ( E2B )",
    ],
)
def test_every_spelling_is_the_same_contract_warm_and_cold(description):
    warm = future_option(description, strike="6100", conid=77)
    defined = {
        "conid": "77",
        "assetClass": "FOP",
        "ticker": "ES",
        "expiry": "20270611",
        "putOrCall": "C",
        "strike": "6100",
        "multiplier": 50.0,
        "undConid": 9100,
        "currency": "USD",
    }

    from_warm = only(read(warm, definitions=[DEFINED_FUTURE]))
    reading = read(cold(warm), definitions=[defined, DEFINED_FUTURE])
    from_cold = only(reading)

    assert from_warm.contract_key == from_cold.contract_key == "./E2B 270611C6100"
    assert from_warm.underlying == from_cold.underlying == "/ESM27"
    assert from_cold.underlying_id == "9100"
    assert from_cold.multiplier == 50
    assert from_cold.expiration == date(2027, 6, 11)
    assert not reading.is_cold


def test_a_cold_row_without_a_definition_is_named_and_not_guessed():
    reading = read(cold(future_option("ES     JUN2027 6100 C (E2B)", conid=77)))

    assert reading.positions == ()
    [unreadable] = reading.unreadable
    assert unreadable.position.contract_key == "ibkr:77"
    assert unreadable.position.quantity == 2
    assert unreadable.position.description == "ES JUN2027 6100 C (E2B)"
    assert unreadable.reason == "the row does not say its expiration"


@pytest.mark.parametrize("description", [None, "", "ES", "a futures option"])
def test_a_class_that_nothing_names_is_not_guessed(description):
    unnamed = future_option("ES", strike="6100", conid=77)
    unnamed |= {"contractDesc": description}

    [unreadable] = read(unnamed).unreadable
    assert unreadable.reason == "the row does not say its trading class"

    defined = {"conid": 77, "assetClass": "FOP", "tradingClass": "E2B"}
    assert "./E2B 270611C6100" in keys(read(unnamed, definitions=[defined]))


def test_a_description_without_a_month_does_not_hide_the_symbol():
    odd = row("OPT", "XSP 271217", ticker="XSP", strike="600", putOrCall="C")

    assert keys(read(odd | {"expiry": "20271217"})) == ["XSP   271217C00600000"]


def test_the_underlying_of_a_futures_option_is_its_own_future():
    near = future_option("ES     JUN2027 6100 C (E2B)", conid=1)
    far = future_option(
        "ES     SEP2027 6100 C", conid=2, undConid=9200, expiry="20270917"
    )
    other_future = row(
        "FUT", "ES       SEP2027", conid=9200, ticker="ES", multiplier=50
    )

    by_key = {
        each.contract_key: each.underlying
        for each in read(near, far, FUTURE, other_future).positions
    }

    assert by_key["./E2B 270611C6100"] == "/ESM27"
    assert by_key["./ES  270917C6100"] == "/ESU27"


def test_an_unknown_future_is_named_by_its_conid_until_it_is_known():
    known = KnownContracts()
    option = future_option("ES     JUN2027 6100 C (E2B)")

    assert only(read(option, known=known)).underlying == "ibkr:9100"
    read(option, known=known, definitions=[DEFINED_FUTURE])
    assert only(read(option, known=known)).underlying == "/ESM27"


# Options that the OCC does not clear.


def option(description, **changes):
    terms = {
        "expiry": "20271217",
        "putOrCall": "C",
        "multiplier": 100.0,
        "strike": "140",
        "undConid": 555,
        "ticker": "SIE",
        "undSym": "SIE",
    }
    return row("OPT", description, **(terms | changes))


@pytest.mark.parametrize(
    ("description", "changes"),
    [
        ("SIE    DEC2027 140 C [C SIE 20271217 140 M 100]", {"currency": "EUR"}),
        ("SIE    DEC2027 140 C [C SIE 20271217 140 M 100]", {"currency": "USD"}),
        ("SIE    DEC2027 140 C [C SIE 20271217 140 M 100]", {"currency": None}),
        ("SIE    DEC2027 140 C [SIE   271217C00140000 100]", {"currency": "CAD"}),
        ("SIE    DEC2027 140 C [SIE   271217C00140000 100]", {"isUS": False}),
        (
            "SIE    DEC2027 140 C [SIE   271217C00140000 100]",
            {"listingExchange": "EUREX"},
        ),
        ("SIE    DEC2027 140 C", {"currency": "GBP"}),
        ("SIE    DEC2027 140 C [something else]", {}),
    ],
)
def test_only_american_options_get_an_occ_symbol(description, changes):
    position = only(read(option(description, **changes)))

    assert (position.contract_key, position.kind) == ("ibkr:9000001", "option")
    assert (position.expiration, position.strike) == (date(2027, 12, 17), Decimal(140))
    assert (position.multiplier, position.option_type) == (Decimal(100), "call")
    assert position.underlying == "ibkr:555"


def test_a_definition_tells_the_currency_that_a_row_leaves_out():
    bare = option("SIE    DEC2027 140 C [SIE   271217C00140000 100]", currency=None)
    defined = {"conid": 9000001, "assetClass": "OPT", "currency": "CAD"}

    assert keys(read(bare, definitions=[defined])) == ["ibkr:9000001"]


def test_the_american_and_the_european_option_of_one_name_are_two():
    american = option("SIE    DEC2027 140 C [SIE   271217C00140000 100]", conid=1)
    european = option(
        "SIE    DEC2027 140 C [C SIE 20271217 140 M 100]",
        conid=2,
        currency="EUR",
        undConid=556,
    )

    reading = read(american, european)

    assert keys(reading) == ["SIE   271217C00140000", "ibkr:2"]
    assert set(reading.listings) == {"SIE   271217C00140000", "ibkr:2"}
    assert reading.shared_keys == ()


@pytest.mark.parametrize(
    ("description", "expiration", "strike", "multiplier"),
    [
        ("OESX [C OESX 20270618 5200 M 10]", date(2027, 6, 18), "5200", "10"),
        ("OESX [C OESX 20270618 5200]", date(2027, 6, 18), "5200", None),
        ("OEXP [C OEXP 20270212 6480 W]", date(2027, 2, 12), "6480", None),
        ("OEXP [C OEXP 20270212 6480.5 W 10]", date(2027, 2, 12), "6480.5", "10"),
        ("OESX [C OESX 20270618 5200 M 1,000]", date(2027, 6, 18), "5200", "1000"),
        ("SHOP [SHOP  270618C00145500 100]", date(2027, 6, 18), "145.5", "100"),
    ],
)
@pytest.mark.parametrize("unsaid", [None, 0.0, "0", "None", ""])
def test_the_bracket_tells_what_the_row_leaves_out(
    description, expiration, strike, multiplier, unsaid
):
    bare = row("OPT", description, currency="EUR", multiplier=unsaid, strike=0.0)

    position = only(read(bare))

    assert (position.expiration, position.strike) == (expiration, Decimal(strike))
    assert position.option_type == "call"
    assert position.multiplier == (None if multiplier is None else Decimal(multiplier))


def test_a_definition_tells_the_multiplier_that_neither_says():
    bare = option("ODAX [P ODAX 20271217 9000]", currency="EUR", multiplier=None)
    defined = {"conid": BASE["conid"], "multiplier": "5", "strike": "9000"}

    position = only(read(bare, definitions=[defined]))

    assert (position.multiplier, position.option_type) == (Decimal(5), "put")


@pytest.mark.parametrize("unsaid", [None, 0.0, "None", -1, 1.7976931348623157e308])
def test_an_american_option_has_no_multiplier_that_nothing_says(unsaid):
    bare = option("SIE    DEC2027 140 C", multiplier=unsaid)
    bracket = option("SIE DEC2027 140 C [SIE 271217C00140000 10]", multiplier=unsaid)

    assert only(read(bare)).multiplier is None
    assert only(read(bare)).contract_key == "SIE   271217C00140000"
    assert only(read(bracket)).multiplier == 10


def test_the_underlying_of_a_foreign_option_is_the_share_of_its_market():
    european = option("SIE [C SIE 20271217 140 M 100]", currency="EUR", undConid=556)
    share = row("STK", "SIE", conid=556, currency="EUR", ticker="SIE", position=7)
    listed = share | {"listingExchange": "IBIS"}
    index = {
        "conid": 556,
        "assetClass": "IND",
        "ticker": "ESTX50",
        "currency": "EUR",
        "listingExchange": "EUREX",
    }

    def underlying(reading):
        return next(x.underlying for x in reading.positions if x.kind == "option")

    assert underlying(read(european, share)) == "SIE:EUR"
    assert underlying(read(european, listed)) == "SIE:IBIS"
    assert underlying(read(european, definitions=[index])) == "ESTX50:EUREX"


# Adjusted contracts.


@pytest.mark.parametrize(
    ("description", "changes", "multiplier"),
    [
        ("ACME1 [ACME1 271217C00140000 100]", {"ticker": "ACME1", "undSym": None}, 100),
        (
            "ACME1 [ACME1 271217C00140000 100]",
            {"ticker": "ACME", "undSym": "ACME"},
            None,
        ),
        (
            "ACME2 [ACME2 271217C00140000 100]",
            {"ticker": "ACME1", "undSym": None},
            None,
        ),
        ("ACME1 [ACME1 271217C00140000 100]", {"ticker": None, "undSym": None}, None),
        (
            "ACME1 [ACME1 271217C00140000 150]",
            {"ticker": "ACME", "undSym": "ACME", "multiplier": 150},
            150,
        ),
    ],
)
def test_an_adjusted_contract_delivers_what_is_known(description, changes, multiplier):
    reading = read(option(description, **changes))

    position = only(reading)
    assert position.contract_key == description[7:28]
    assert position.multiplier == multiplier
    [instrument] = reading.instruments.values()
    assert instrument.is_adjusted == (multiplier is None)


# Shares, and what is known by its conid.


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, "TD"),
        ({"ticker": "BRK B"}, "BRK/B"),
        ({"listingExchange": "NYSE"}, "TD"),
        ({"listingExchange": "PINK"}, "TD"),
        ({"currency": None}, "TD"),
        ({"currency": "CAD"}, "TD:CAD"),
        ({"currency": "CAD", "listingExchange": "TSE"}, "TD:TSE"),
        ({"currency": "GBP", "listingExchange": "LSE"}, "TD:LSE"),
        ({"currency": "USD", "listingExchange": "LSEETF"}, "TD:LSEETF"),
        ({"currency": "USD", "listingExchange": "NEW", "isUS": True}, "TD"),
        ({"currency": "CAD", "listingExchange": "NYSE"}, "TD:CAD"),
        ({"isUS": False}, "TD:USD"),
    ],
)
def test_a_share_names_its_market_where_the_symbol_is_not_enough(changes, key):
    position = only(read(row("STK", "TD", **({"ticker": "TD"} | changes))))

    assert (position.contract_key, position.underlying) == (key, key)
    assert (position.kind, position.underlying_id) == ("equity", "9000001")


def test_a_share_on_two_markets_is_two_positions():
    american = row("STK", "TD", conid=1, ticker="TD", position=10)
    canadian = row("STK", "TD", conid=2, ticker="TD", position=-4, currency="CAD")

    assert keys(read(american, canadian)) == ["TD", "TD:CAD"]


@pytest.mark.parametrize(
    "given",
    [
        row("CFD", "AAPL", ticker="AAPL"),
        row("BOND", "T 4 1/2 11/15/33", ticker="T"),
        row("FUND", "VFIAX", ticker="VFIAX"),
        row("WAR", "DAX CALL", ticker="DAX"),
        row("IOPT", "DAX CALL", ticker="DAX"),
        row("CASH", "EUR.USD", ticker="EUR"),
        row("CRYPTO", "BTC", ticker="BTC"),
        row("CMDTY", "XAUUSD", ticker="XAUUSD"),
        row("FOP", "BTC above 100000 (EC)", ticker="ES", isEventContract=True),
        row("OPT", "FED DEC2027 4 C", strike="4", expiry="20271217", putOrCall="C")
        | {"ticker": "FF", "isEventContract": "true"},
        row("OPT", "FED DEC2027 4 C", listingExchange="FORECASTX", ticker="FF"),
    ],
)
def test_anything_else_is_known_by_its_conid_and_has_no_line(given):
    reading = read(given)

    position = only(reading)
    assert (position.contract_key, position.kind) == ("ibkr:9000001", "other")
    assert position.underlying is None
    assert position.description == given["contractDesc"]
    assert reading.listings == {}


def test_a_cfd_beside_its_share_is_another_position():
    share = row("STK", "AAPL", conid=1, ticker="AAPL", position=10)
    cfd = row("CFD", "AAPL", conid=2, ticker="AAPL", position=-10)

    assert keys(read(share, cfd)) == ["AAPL", "ibkr:2"]


# Two instruments with one symbol.


def test_of_two_instruments_with_one_symbol_both_are_there():
    first = row("FUT", "VIX      FEB2027", conid=40, ticker="VIX", multiplier=1000)
    weekly = row("FUT", "VIX      FEB2027", conid=30, ticker="VIX", multiplier=1000)

    reading = read(first, weekly)

    assert keys(reading) == ["ibkr:40", "/VXG27"]
    [shared] = reading.shared_keys
    assert (shared.contract_key, shared.conids) == ("/VXG27", (30, 40))
    assert [each.underlying for each in reading.positions] == ["ibkr:40", "/VXG27"]


def test_a_future_that_may_be_one_of_a_week_is_defined():
    monthly = row("FUT", "VIX      DEC2027", conid=40, ticker="VIX", multiplier=1000)
    weekly = row("FUT", "VIX      DEC2027", conid=30, ticker="VIX", multiplier=1000)
    assert set(read(weekly, monthly).undefined) == {30, 40}

    days = [weekly | {"expiry": "20271208"}, monthly | {"expiry": "20271222"}]
    reading = read(weekly, monthly, definitions=days)

    assert keys(reading) == ["ibkr:30", "/VXZ27"]
    assert reading.shared_keys == ()
    assert not reading.undefined
    assert not reading.is_cold


def test_options_follow_their_future_to_its_other_key():
    first = row("FUT", "ES       JUN2027", conid=8000, ticker="ES", multiplier=50)
    option_ = future_option("ES     JUN2027 6100 C (E2B)", conid=1)

    reading = read(first, FUTURE, option_)

    assert reading.positions[-1].underlying == "ibkr:9100"


def test_a_closed_row_takes_no_key():
    old = row("STK", "TD", conid=1, ticker="TD", position=0)
    new = row("STK", "TD", conid=2, ticker="TD", position=5)

    reading = read(old, new)

    assert keys(reading) == ["ibkr:1", "TD"]
    assert reading.shared_keys == ()


def test_rows_of_several_accounts_say_together_what_a_contract_is():
    bare = row("STK", "TD", conid=1, ticker="TD", currency="CAD")
    given = [GivenRow("U1", bare), GivenRow("U2", bare | {"listingExchange": "TSE"})]

    reading = run_at_once(read_positions(given, KnownContracts()))

    assert keys(reading) == ["TD:TSE", "TD:TSE"]
