"""Prices of underlyings: by instrument, lent to options without one, with their own age."""

from __future__ import annotations

import pytest

from tests.database.risk_rows import (
    CALL,
    MOMENT,
    PUT,
    greeks_asof,
    hold,
    hold_shares,
    portfolio_asof,
    risk_database,
    seconds,
    tick,
)

WATCHED = {"account_id": "watchlist", "quantity": None}


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


def shares_of(db, underlying):
    """Return the row of the shares and futures of an underlying."""
    [row] = [
        row
        for row in portfolio_asof(db)
        if row["underlying"] == underlying and row["shares_futures"]
    ]
    return row


def row_of(db, contract_key):
    [row] = [row for row in greeks_asof(db) if row["contract_key"] == contract_key]
    return row


def test_one_symbol_on_two_markets_has_two_prices(db):
    """The option of one market prices the shares of that market only."""
    for key, conid, currency, price in (
        ("RY", "4458964", "USD", 150.0),
        ("RY:CAD", "4458966", "CAD", 205.0),
    ):
        option = f"ibkr:{conid}1"
        hold(db, 1, option, underlying=key, underlying_id=conid, currency=currency)
        tick(db, option, underlying=key, underlying_price=price)
        share = {"underlying": key, "underlying_id": conid, "currency": currency}
        hold_shares(db, 10, contract_key=key, price_factor=1, **share)

    assert shares_of(db, "RY")["dollar_delta"] == 1500.0
    assert shares_of(db, "RY:CAD")["dollar_delta"] == 2050.0


@pytest.mark.parametrize(
    ("share", "option"),
    [
        pytest.param({"underlying_id": "1"}, {"underlying_id": "2"}, id="id"),
        pytest.param({"currency": "EUR"}, {}, id="currency"),
        pytest.param({"currency": "EUR"}, {"currency": None}, id="dollars"),
        pytest.param({}, {"kind": "future_option"}, id="kind"),
        pytest.param({"price_factor": 1}, {"price_factor": "0.01"}, id="unit"),
        pytest.param({}, {"underlying": "SPY1"}, id="key"),
    ],
)
def test_the_price_of_another_instrument_is_no_price(db, share, option):
    hold(db, **option)
    tick(db)
    hold_shares(db, 5, **{"price_factor": 1, **share})

    row = shares_of(db, "SPY")

    assert (row["dollar_delta"], row["missing_price"], row["stale"]) == (None, 1, 1)


@pytest.mark.parametrize(
    ("share", "option"),
    [
        pytest.param({"underlying_id": "1"}, {"underlying_id": "1"}, id="id"),
        pytest.param({"underlying_id": "1"}, {}, id="id-of-one"),
        pytest.param({"currency": None}, {"currency": "USD"}, id="dollars"),
        pytest.param(
            {"underlying_id": "756733"},
            {"broker": "tastytrade", "underlying_id": "SPY", "currency": None},
            id="brokers",
        ),
        pytest.param(
            {"underlying_id": "1", "underlying": "SPY", "contract_key": "SPY"},
            {"underlying_id": "1", "underlying": "ibkr:1"},
            id="key-unknown",
        ),
    ],
)
def test_the_price_of_the_same_instrument_is_its_price(db, share, option):
    hold(db, **option)
    tick(db, broker=option.get("broker", "ibkr"))
    hold_shares(db, 5, **share)

    row = shares_of(db, "SPY")

    assert (row["dollar_delta"], row["missing_price"], row["stale"]) == (3250.0, 0, 0)


def test_each_future_of_a_calendar_has_the_price_of_its_own_options(db):
    for month, option, price in (
        ("/ESZ27", "./ES  271217C7000", 7100.0),
        ("/ESH28", "./ES  280317C7000", 7180.0),
    ):
        future = {
            "underlying": month,
            "underlying_id": month,
            "multiplier": 50,
            "price_factor": 1,
        }
        hold(db, 1, option, kind="future_option", **future)
        tick(db, option, underlying=month, underlying_price=price)
        hold_shares(db, 2, contract_key=month, kind="future", **future)

    assert shares_of(db, "/ESZ27")["dollar_delta"] == 100 * 7100
    assert shares_of(db, "/ESH28")["dollar_delta"] == 100 * 7180


def test_a_future_and_the_index_of_one_name_are_two_underlyings(db):
    """A future of a broker that names the product only is not priced by the index."""
    hold(db, underlying="VIX")
    tick(db, underlying="VIX", underlying_price=17.5)
    future = {"kind": "future", "multiplier": 1000, "price_factor": 1}
    hold_shares(db, 1, contract_key="/VXZ25", underlying="VIX", **future)

    assert shares_of(db, "VIX")["dollar_delta"] is None


def test_a_future_of_one_broker_has_the_price_from_an_option_at_the_other(db):
    terms = {"underlying": "/MYMZ25", "multiplier": "0.5", "price_factor": 1}
    hold_shares(db, -2, contract_key="/MYMZ25", kind="future", **terms)
    option = {"broker": "tastytrade", "account_id": "T1", "kind": "future_option"}
    hold(db, -4, "./MYM 251219P45000", currency=None, **option, **terms)
    tick(
        db,
        "./MYM 251219P45000",
        broker="tastytrade",
        account_id="T1",
        underlying="/MYMZ25",
        underlying_price=47000.0,
        delta=-0.3,
    )

    future, options = portfolio_asof(db)

    assert future["dollar_delta"] == -1 * 47000
    assert options["dollar_delta"] == pytest.approx(-2 * -0.3 * 47000)
    assert (future["missing_price"], future["stale"]) == (0, 0)


def test_an_option_without_a_price_takes_the_newest_of_its_underlying(db):
    hold(db)
    hold(db, contract_key=PUT)
    hold(db, contract_key=PUT, account_id="U2")
    tick(db, underlying_price=None)
    for account, age, price in (("U1", 30, 640.0), ("U2", 20, 641.0)):
        tick(
            db,
            PUT,
            account_id=account,
            event_time=MOMENT - seconds(age),
            underlying_price=price,
        )

    row = row_of(db, CALL)

    assert row["underlying_price"] == 641.0
    assert row["underlying_price_source"] == "ibkr"
    assert row["underlying_price_at"] == MOMENT - seconds(20)
    first = portfolio_asof(db)[0]
    assert (first["contracts"], first["missing_price"], first["stale"]) == (2, 0, 0)
    assert first["dollar_delta"] == 50 * 641.0 + 50 * 640.0


@pytest.mark.parametrize(
    ("lender", "found"),
    [
        ({"underlying_id": "2"}, None),
        ({"underlying_id": "1"}, 642.0),
        ({"underlying": "XSP", "underlying_id": "1"}, 642.0),
        ({"underlying": "XSP"}, None),
        ({"currency": "EUR"}, None),
        ({"broker": "tastytrade", "underlying_id": "SPY"}, 642.0),
        ({"broker": "tastytrade", "currency": None}, 642.0),
        ({"broker": "tastytrade", "currency": "EUR"}, None),
    ],
)
def test_only_the_same_instrument_lends_its_price(db, lender, found):
    hold(db, underlying_id="1")
    tick(db, underlying_price=None)
    broker = lender.get("broker", "ibkr")
    hold(db, **{"contract_key": PUT, "account_id": "X", "broker": broker, **lender})
    tick(db, PUT, account_id="X", broker=broker, underlying_price=642.0)

    row = next(row for row in greeks_asof(db) if row["account_id"] == "U1")

    assert row["underlying_price"] == found
    assert row["underlying_price_source"] == (None if found is None else broker)


def test_a_watched_option_lends_its_price(db):
    hold(db)
    tick(db, underlying_price=None)
    tick(db, PUT, **WATCHED, underlying_price=645.0)

    assert row_of(db, CALL)["underlying_price"] == 645.0


def test_a_price_of_its_own_is_never_replaced(db):
    hold(db)
    hold(db, contract_key=PUT)
    tick(db, event_time=MOMENT - seconds(100), underlying_price=600.0)
    tick(db, PUT, underlying_price=700.0)

    row = row_of(db, CALL)

    assert (row["underlying_price"], row["underlying_price_source"]) == (600.0, None)


def test_a_fresh_price_of_the_other_broker_comes_before_a_stale_one(db):
    hold_shares(db, 1)
    hold(db)
    tick(db, event_time=MOMENT - seconds(400), underlying_price=640.0)
    hold(db, broker="tastytrade", account_id="T1")
    tick(db, broker="tastytrade", account_id="T1", underlying_price=642.0)

    row = shares_of(db, "SPY")

    assert (row["dollar_delta"], row["stale"]) == (642.0, 0)


@pytest.mark.parametrize(("age", "stale"), [(300, 0), (301, 1), (10_800, 1)])
def test_a_price_that_is_old_makes_the_sums_stale_and_not_the_greeks(db, age, stale):
    hold(db)
    hold_shares(db, 1)
    tick(db, underlying_price_at=MOMENT - seconds(age))

    shares, options = portfolio_asof(db)

    assert (shares["stale"], options["stale"]) == (stale, stale)
    assert options["missing_dollar_delta"] == 0
    assert row_of(db, CALL)["is_stale"] is False


def test_a_lent_price_that_is_old_or_delayed_is_counted(db):
    hold(db)
    hold(db, contract_key=PUT, account_id="U2")
    tick(db, underlying_price=None)
    tick(db, PUT, account_id="U2", availability="delayed")

    first = portfolio_asof(db)[0]

    assert (first["stale"], first["not_realtime"]) == (1, 1)
    assert row_of(db, CALL)["is_stale"] is False


def test_a_contract_without_a_tick_takes_no_price(db):
    """It would be in no sum; nothing but its position is known."""
    hold(db)
    hold(db, contract_key=PUT)
    tick(db)

    assert row_of(db, PUT)["underlying_price"] is None


def test_the_past_lends_only_prices_that_were_known(db):
    hold(db)
    hold(db, contract_key=PUT)
    tick(db, underlying_price=None)
    tick(db, PUT, event_time=MOMENT - seconds(60), underlying_price=640.0)
    late = {"event_time": MOMENT - seconds(5), "received_at": MOMENT + seconds(5)}
    tick(db, PUT, **late, underlying_price=641.0)

    found = [
        next(
            row["underlying_price"]
            for row in greeks_asof(db, MOMENT + seconds(after))
            if row["contract_key"] == CALL
        )
        for after in (0, 5)
    ]

    assert found == [640.0, 641.0]


def test_prices_in_cents_count_as_cents(db):
    """5,000 bushels at 450.25 cents, with a delta of a half."""
    corn = {"underlying": "/ZCZ25", "multiplier": 5000, "price_factor": "0.01"}
    key = "./OZC 251121C450"
    hold(db, 1, key, kind="future_option", **corn)
    tick(db, key, underlying="/ZCZ25", underlying_price=450.25, price=12.5, vega=0.4)
    hold_shares(db, -1, contract_key="/ZCZ25", kind="future", **corn)

    options, future = sorted(portfolio_asof(db), key=lambda row: -row["contracts"])

    assert options["dollar_delta"] == pytest.approx(0.5 * 5000 * 4.5025)
    assert options["dollar_gamma"] == pytest.approx(0.01 * 50 * 450.25**2 / 100)
    assert options["market_value"] == pytest.approx(625.0)
    assert options["vega"] == pytest.approx(0.4 * 50)
    assert (options["option_delta"], options["gamma"]) == (2500.0, 50.0)
    assert future["dollar_delta"] == pytest.approx(-5000 * 4.5025)
    assert future["share_future_delta"] == -5000.0


@pytest.mark.parametrize(
    ("premium", "units_of_premium"), [(None, 150), (100, 100), (0, None), ("NaN", None)]
)
def test_the_premium_of_an_adjusted_option_has_its_own_multiplier(
    db, premium, units_of_premium
):
    """It delivers 150 shares, and its price counts 100 times."""
    key = "BABA2 251219C00145000"
    hold(db, 1, key, underlying="BABA", multiplier=150, premium_multiplier=premium)
    tick(db, key, underlying="BABA", underlying_price=150.0, price=9.5)

    [row] = portfolio_asof(db)

    assert (row["option_delta"], row["dollar_delta"]) == (75.0, 75.0 * 150)
    assert row["gamma"] == pytest.approx(1.5)
    per_unit = {"theta": -0.2, "vega": 0.6, "rho": 0.1, "market_value": 9.5}
    for name, value in per_unit.items():
        expected = None if units_of_premium is None else value * units_of_premium
        assert row[name] == (expected and pytest.approx(expected))
    count = int(units_of_premium is None)
    assert (row["missing_vega"], row["missing_value"]) == (count, count)
    assert row["missing_dollar_delta"] == 0
    value = row_of(db, key)["position_value"]
    assert value == (None if count else 9.5 * units_of_premium)


MONEY = ("theta", "vega", "rho", "dollar_delta", "dollar_gamma", "market_value")


def test_without_the_unit_of_the_prices_only_money_is_missing(db):
    key = "./OZC 251121C450"
    hold(db, 2, key, kind="future_option", underlying="/ZCZ25", multiplier=5000)
    tick(db, key, underlying="/ZCZ25", underlying_price=450.25, price=12.5)

    [row] = portfolio_asof(db)

    assert (row["option_delta"], row["gamma"]) == (5000.0, 100.0)
    assert {name: row[name] for name in MONEY} == dict.fromkeys(MONEY)
    missing = {name for name, count in row.items() if "missing" in name and count}
    assert missing == {
        "missing_price_factor",
        "missing_value",
        *(f"missing_{name}" for name in MONEY if name != "market_value"),
    }
    assert row_of(db, key)["position_value"] is None


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({}, "1"),
        ({"currency": None}, "1"),
        ({"contract_key": "LCID1 251219C00002500"}, "1"),
        ({"price_factor": "0.01"}, "0.01"),
        ({"price_factor": 0}, None),
        ({"price_factor": "NaN"}, None),
        ({"currency": "EUR"}, None),
        ({"contract_key": "ibkr:702"}, None),
        ({"contract_key": "./EX3 251219C7100", "kind": "future_option"}, None),
    ],
)
def test_options_of_the_occ_are_quoted_in_dollars(db, changes, factor):
    hold(db, **{"contract_key": CALL, **changes})

    [row] = greeks_asof(db)

    found = row["price_factor"]
    assert (None if found is None else str(found)) == factor


@pytest.mark.parametrize(
    ("key", "currency", "missing"),
    [("SPY", "USD", 0), ("SPY", None, 0), ("SPY", "CAD", 1), ("SPY:LSE", "USD", 1)],
)
def test_american_shares_are_quoted_in_dollars(db, key, currency, missing):
    hold_shares(db, 1, contract_key=key, underlying=key, currency=currency)

    [row] = portfolio_asof(db)

    assert row["missing_price_factor"] == missing


def test_a_position_has_the_value_of_its_price(db):
    hold(db, -3)
    hold(db, 2, PUT)
    tick(db, price=12.5)
    tick(db, PUT, price=7.25)
    hold_shares(db, 100)

    shares, options = portfolio_asof(db)

    assert row_of(db, CALL)["position_value"] == -3750.0
    assert options["market_value"] == -3750.0 + 1450.0
    assert shares["market_value"] == 65_000.0
    assert (shares["missing_value"], options["missing_value"]) == (0, 0)


def test_a_position_without_a_price_has_no_value(db):
    hold(db, -3)
    hold(db, 2, PUT)
    tick(db, price=12.5)
    tick(db, PUT)

    [row] = portfolio_asof(db)

    assert (row["market_value"], row["missing_value"]) == (-3750.0, 1)


def test_a_future_has_no_value_of_its_own(db):
    """Its gain is paid out each day."""
    future = {"kind": "future", "underlying": "/ESZ25", "multiplier": 50}
    hold_shares(db, 2, contract_key="/ESZ25", price_factor=1, **future)

    [row] = portfolio_asof(db)

    assert (row["market_value"], row["missing_value"]) == (0.0, 0)
