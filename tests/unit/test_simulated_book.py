"""The real book of the simulated brokers: every spelling, and nothing that has expired."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal

import pytest

from greeks_trio.model.contracts import (
    format_future_option_key,
    format_occ,
    parse_future_option_key,
    parse_occ,
)
from greeks_trio.simulators.book.book import Plan
from greeks_trio.simulators.book.kinds import BOOKS
from greeks_trio.simulators.ibkr.listing import listing_of
from greeks_trio.simulators.ibkr.position_rows import cold_position_row, position_row
from greeks_trio.simulators.ibkr.rows import security_row
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol, tasty_symbol

TODAY = date(2027, 4, 7)


def make_book(today=TODAY, *, contracts=270, seed=1):
    plan = Plan(
        contracts=contracts, seed=seed, today=today, brokers=("ibkr", "tastytrade")
    )
    return BOOKS["real"].make(plan)


@pytest.fixture(scope="module")
def book():
    return make_book()


@pytest.fixture(scope="module")
def rows(book):
    """Return the warm row of each position at IBKR, by description."""
    market = book.market
    instruments = {each.conid: each for each in (*market.options, *market.underlyings)}
    return [
        position_row(account, instruments[conid], quantity, 3.25)
        for account, held in book.holdings["ibkr"].accounts.items()
        for conid, quantity in held.items()
    ]


def described(rows, pattern):
    return [row for row in rows if re.search(pattern, row["contractDesc"])]


@pytest.mark.parametrize("offset", range(0, 800, 9))
def test_on_any_day_nothing_has_expired_and_every_key_is_different(offset):
    today = TODAY + timedelta(days=offset)
    book = make_book(today)
    options = book.market.options

    keys = [each.contract.contract_key for each in options]
    assert len(set(keys)) == len(keys)
    assert min(each.terms.expiration for each in options) > today
    for option in options:
        future = option.underlying.ibkr.expiry
        assert future is None or option.terms.expiration <= future, option


def test_the_same_seed_gives_the_same_book():
    one, again, other = make_book(), make_book(), make_book(seed=2)

    for broker, held in one.holdings.items():
        assert held.accounts == again.holdings[broker].accounts
        assert held.accounts != other.holdings[broker].accounts
    assert [o.conid for o in one.market.options] == [
        o.conid for o in again.market.options
    ]


def test_ibkr_has_more_options_than_market_data_lines(book):
    assert len(book.options["ibkr"]) >= 250
    assert BOOKS["real"].ibkr_lines == 100


@pytest.mark.parametrize(
    "pattern",
    [
        r"^MES    [A-Z]{3}2027 7100 C \(EX3\)$",
        r"^ES     [A-Z]{3}2027 6700 C \(E2D\)$",
        r"^ZN     [A-Z]{3}2027 112.75 C \(ZN2\)$",
        r"^MES    [A-Z]{3}2027 7000 C$",
        r"^CL     [A-Z]{3}2027 56 P \[LO[A-Z]7 P5600 1000\]$",
        r"^CL     [A-Z]{3}2027 -5 P \[LO[A-Z]7 P-500 1000\]$",
        r"^ZC     [A-Z]{3}2027 450 C \[OZC[A-Z]7 C450 5000\]$",
        r"^EUR    [A-Z]{3}2027 1.1 C \(EUU\)$",
        r"^ES       [A-Z]{3}2027$",
        r"^SAP    [A-Z]{3}2027 250 C \[SAP   \d{6}C00250000 100\]$",
        r"^SAP    [A-Z]{3}2027 250 C \[C SAP \d{8} 250 M 100\]$",
        r"^RY     [A-Z]{3}2027 210 C \[RY    \d{6}C00210000 100\]$",
        r"^P ODX4 \d{8} 23000 W$",
        r"^VOD    [A-Z]{3}2027 72 C \[C VOD \d{8} 72 M 1000\]$",
    ],
)
def test_ibkr_writes_it_this_way(rows, pattern):
    assert described(rows, pattern)


def test_the_american_and_the_eurex_option_are_of_one_day_and_strike(rows):
    american, eurex = described(rows, r"^SAP .*\[")

    for name in ("expiry", "strike", "ticker", "putOrCall"):
        assert american[name] == eurex[name]
    assert american["conid"] != eurex["conid"]
    assert american["undConid"] != eurex["undConid"]
    assert (american["currency"], eurex["currency"]) == ("USD", "EUR")


def test_each_other_kind_of_instrument_is_there(rows):
    classes = {row["assetClass"] for row in rows}
    royal = [
        row for row in rows if row["ticker"] == "RY" and row["assetClass"] == "STK"
    ]
    apple = [row for row in rows if row["ticker"] == "AAPL"]

    assert classes == {"OPT", "FOP", "STK", "FUT", "CFD", "BOND"}
    assert {row["currency"] for row in royal} == {"USD", "CAD"}
    assert {row["listingExchange"] for row in royal} == {"NYSE", "TSE"}
    assert {row["assetClass"] for row in apple} == {"STK", "CFD", "BOND", "OPT"}
    assert sum(row["isEventContract"] for row in rows) == 1
    assert (
        sum(row["assetClass"] == "FUT" and row["ticker"] == "ES" for row in rows) == 2
    )


def test_an_unreadable_row_says_nothing_that_identifies_it(rows, book):
    [row] = described(rows, "SPECIAL")
    [instrument] = [e for e in book.market.underlyings if e.conid == row["conid"]]

    for found in (row, security_row(instrument)):
        assert found["assetClass"] == "OPT"
        assert found["expiry"] is None
        assert found["putOrCall"] is None
    assert "[" not in row["contractDesc"]


def test_some_rows_stay_cold_and_the_definition_tells_the_rest(book):
    options = [o for o in book.options["ibkr"] if listing_of(o).is_always_cold]

    assert len(options) >= 2
    for option in options:
        row = position_row("U1", option, 1.0, 2.0)
        cold = cold_position_row(row, listing_of(option))
        assert (cold["expiry"], cold["strike"], cold["undConid"]) == (None, 0.0, 0)
        assert cold["conid"] == str(option.conid)
        # The day is in neither of them, so only the definition can tell it.
        assert f"{option.terms.expiration:%d}" not in cold["contractDesc"][:13]
        definition = security_row(option)
        assert definition["expiry"] == f"{option.terms.expiration:%Y%m%d}"
        assert definition["undConid"] == option.underlying.conid
        for name in ("listingExchange", "currency", "countryCode", "isUS"):
            assert cold[name] == definition[name]
        assert cold["displayRule"] == definition["displayRule"]


def test_prices_in_cents_and_pence_are_told_by_rule_and_by_value(rows):
    in_hundredths = [r for r in rows if r["displayRule"]["magnification"]]

    assert {row["ticker"] for row in in_hundredths} == {"ZC", "VOD"}
    assert {row["currency"] for row in in_hundredths} == {"USD", "GBP"}
    for row in rows:
        factor = 0.01 if row in in_hundredths else 1.0
        full = row["mktPrice"] * row["position"] * (row["multiplier"] or 1.0)
        assert row["mktValue"] == pytest.approx(full * factor, abs=0.01)


def test_an_option_may_have_no_multiplier_in_its_row(rows):
    found = described(rows, r"^ESTX50 ")

    assert {row["multiplier"] for row in found} == {10.0, None}
    assert all(row["contractDesc"].endswith(" 10]") for row in found)


@pytest.mark.parametrize(
    "pattern",
    [
        r"\./MES[A-Z]\dEX3[A-Z]\d \d{6}C7100",
        r"\./ES[A-Z]\d E2D[A-Z]\d \d{6}C6700",
        r"\./MNQ[A-Z]\d{2}D4A[A-Z]\d{2} \d{6}C24575",
        r"\./MYM[A-Z]\dMYM[A-Z]\d \d{6}P45000",
        r"\./CL[A-Z]\d LO[A-Z]\d  \d{6}P-5",
        r"\./6E[A-Z]\d EUU[A-Z]\d \d{6}C1.1",
        r"BABA2 \d{6}C00145000",
        r"BABA  \d{6}C00145000",
        r"LCID  \d{6}C00002500",
    ],
)
def test_tastytrade_writes_it_this_way(book, pattern):
    symbols = map(tasty_symbol, book.options["tastytrade"])

    assert sum(re.fullmatch(pattern, each) is not None for each in symbols) == 1


@pytest.mark.parametrize(
    "pattern",
    [r"\./EX3[A-Z]\d\dC7100:XCME", r"\./LO[A-Z]\d\dP-5:XNYM", r"\.BABA2\d{6}C145"],
)
def test_dxfeed_writes_it_this_way(book, pattern):
    symbols = map(streamer_symbol, book.options["tastytrade"])

    assert sum(re.fullmatch(pattern, each) is not None for each in symbols) == 1


def test_both_brokers_hold_the_same_contracts_under_the_same_key(book):
    keys = {
        broker: {each.contract.contract_key for each in held}
        for broker, held in book.options.items()
    }

    shared = keys["ibkr"] & keys["tastytrade"]
    assert any(key.startswith("./EX3 ") for key in shared)
    assert any(key.startswith("./LO  ") for key in shared)
    assert any(key.startswith("SPY   ") for key in shared)


def test_keys_made_apart_from_the_product_are_those_of_the_product(book):
    kinds = set()
    conids = {}
    for option in book.market.options:
        conids.setdefault(listing_of(option).description, option.conid)
    for option in book.market.options:
        key = option.contract.contract_key
        if key.startswith("./"):
            kinds.add("future")
            assert parse_future_option_key(key) == option.terms
            assert format_future_option_key(option.terms) == key
        elif key.startswith("ibkr:"):
            kinds.add("foreign")
            assert key == f"ibkr:{option.conid}"
            is_twin = conids[listing_of(option).description] < option.conid
            assert is_twin or not security_row(option)["isUS"]
        else:
            kinds.add("american")
            assert parse_occ(key) == option.terms
            assert format_occ(option.terms) == key
            assert security_row(option)["isUS"]
    assert kinds == {"future", "foreign", "american"}


def test_one_contract_has_two_numbers_at_ibkr_and_two_keys(book, rows):
    twice = [
        r for r in rows if r["contractDesc"].startswith("AAPL ") and r["putOrCall"]
    ]
    keys = {o.conid: o.contract.contract_key for o in book.options["ibkr"]}

    low, high = sorted(row["conid"] for row in twice)
    assert len({row["contractDesc"] for row in twice}) == 1
    assert keys[low].startswith("AAPL  ")
    assert keys[high] == f"ibkr:{high}"


def test_an_advisor_has_clients_and_the_own_account_holds_nothing(book):
    held = book.holdings["ibkr"]

    assert held.master == "F7100000"
    assert len(held.accounts) == 3
    assert held.master not in held.accounts
    assert all(held.accounts.values())


def test_the_split_keeps_the_conid_and_changes_all_else(book):
    for holdings in book.holdings.values():
        before, after = holdings.split.before, holdings.split.after

        assert before.conid == after.conid
        assert before.contract.contract_key.startswith("LCID  ")
        assert after.contract.contract_key.startswith("LCID1 ")
        assert before.underlying.conid != after.underlying.conid
        assert security_row(after)["ticker"] == "LCID1"


def test_the_shares_are_split_once_for_both_brokers():
    book = make_book()
    split = book.holdings["ibkr"].split
    shares, basket = split.before.underlying, split.after.underlying
    price = shares.price

    for _ in book.holdings:
        book.market.split(shares, basket, split.ratio)

    assert basket.price == price
    assert shares.price == pytest.approx(10 * price)


def test_a_strike_below_zero_has_greeks_and_a_price(book):
    [option] = [o for o in book.options["ibkr"] if o.terms.strike < 0]
    market = book.market
    greeks = market.greeks(option)

    assert -0.01 < greeks.delta <= 0.0
    assert greeks.gamma >= 0.0 <= greeks.vega
    assert market.price(option, greeks) == pytest.approx(0.0, abs=0.01)
    assert option.terms.strike == Decimal(-5)


def test_the_plain_book_has_no_imperfection_that_degrades_a_feed():
    plan = Plan(contracts=200, seed=1, today=TODAY, brokers=("ibkr", "tastytrade"))
    imperfections = BOOKS["textbook"].make(plan).imperfections

    assert imperfections.delayed_every is None
    assert imperfections.illiquid_every is None
    assert imperfections.wrong_status_share == 0.0
    assert make_book().imperfections.illiquid_every is not None
