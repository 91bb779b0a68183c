"""Positions that are no option, share or future, and those that could not be identified."""

from __future__ import annotations

import pytest
from psycopg import errors

from tests.database.risk_rows import (
    CALL,
    MOMENT,
    greeks_asof,
    hold,
    hold_shares,
    portfolio_asof,
    risk_database,
    rows,
    seconds,
    tick,
)

MISSING = (
    "missing_tick",
    "missing_multiplier",
    "missing_price",
    "missing_delta",
    "missing_share_future_delta",
    "missing_gamma",
    "missing_theta",
    "missing_vega",
    "missing_rho",
    "missing_dollar_delta",
    "missing_dollar_gamma",
    "missing_value",
    "missing_price_factor",
)
SUMS = (
    "option_delta",
    "share_future_delta",
    "gamma",
    "theta",
    "vega",
    "rho",
    "dollar_delta",
    "dollar_gamma",
    "market_value",
)
UNREADABLE = {
    "contract_key": "ibkr:703",
    "kind": "unknown",
    "underlying": None,
    "expiration": None,
    "strike": None,
    "option_type": None,
    "instrument_id": "703",
    "description": "QX     2027 ???",
    "problem": "the row names no contract",
}


@pytest.fixture
def database(emptied_database):
    """The database of the module: its tests only write rows."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


def test_every_missing_count_of_the_view_is_known_here(db):
    columns = db.execute("select * from portfolio_greeks").description

    names = {column.name for column in columns}
    assert {name for name in names if name.startswith("missing_")} == set(MISSING)


@pytest.mark.parametrize(
    ("quantity", "changes"),
    [
        (5, {}),
        (-1, {"multiplier": None, "currency": None}),
        (None, {}),
        (None, {"underlying": "SPY", "expiration": "2025-12-19"}),
        (2, {"broker": "tastytrade", "contract_key": "tastytrade:./CLM7 LOM7 ?"}),
        ("NaN", {}),
    ],
)
def test_a_position_that_could_not_be_identified_is_in_every_count(
    db, quantity, changes
):
    hold(db, quantity, **{**UNREADABLE, **changes})

    [row] = portfolio_asof(db)

    assert {name: row[name] for name in MISSING} == dict.fromkeys(MISSING, 1)
    assert {name: row[name] for name in SUMS} == dict.fromkeys(SUMS)
    assert (row["other_positions"], row["unknown_positions"]) == (1, 1)
    assert (row["contracts"], row["shares_futures"]) == (0, 0)
    assert greeks_asof(db) == []


def test_no_sum_of_an_account_with_an_unknown_position_is_whole(db):
    """The known positions beside it keep their sums."""
    hold(db, 2)
    tick(db, price=12.5)
    hold_shares(db, 10)
    for number in range(3):
        hold(db, None, **{**UNREADABLE, "contract_key": f"ibkr:{number}"})
    hold(db, 1, account_id="U2")
    tick(db, account_id="U2", price=12.5)

    totals = rows(
        db,
        "select account_id, sum(unknown_positions) as unknown, "
        + ", ".join(f"sum({name}) as {name}" for name in (*MISSING, *SUMS))
        + " from portfolio_asof(%s) group by account_id order by account_id",
        MOMENT,
    )

    first, second = totals
    assert {name: first[name] for name in MISSING} == dict.fromkeys(MISSING, 3)
    assert (first["option_delta"], first["share_future_delta"]) == (100.0, 10.0)
    assert (first["unknown"], second["unknown"]) == (3, 0)
    assert {name: second[name] for name in MISSING} == dict.fromkeys(MISSING, 0)


def test_an_unknown_position_of_an_underlying_is_counted_in_its_row(db):
    hold(db, 2)
    tick(db)
    known = {"underlying": "SPY", "expiration": "2025-12-19"}
    hold(db, 1, **{**UNREADABLE, **known})

    [row] = portfolio_asof(db)

    assert (row["contracts"], row["unknown_positions"]) == (1, 1)
    assert (row["option_delta"], row["missing_delta"]) == (100.0, 1)


def test_an_unknown_position_is_open_until_its_quantity_is_zero(db):
    hold(db, None, **UNREADABLE, at=MOMENT - seconds(60))
    hold(db, 0, **UNREADABLE, at=MOMENT - seconds(30))
    query = "select contract_key, problem, description from positions_asof(%s)"

    found = [rows(db, query, MOMENT - seconds(age)) for age in (61, 60, 31, 30)]

    held = {
        name: UNREADABLE[name] for name in ("contract_key", "problem", "description")
    }
    assert found == [[], [held], [held], []]


def test_a_position_that_was_unknown_and_is_read_now_is_what_it_is(db):
    hold(db, None, **{**UNREADABLE, "contract_key": CALL}, at=MOMENT - seconds(60))
    hold(db, 2, at=MOMENT - seconds(30))
    tick(db)

    [row] = portfolio_asof(db)

    assert (row["contracts"], row["unknown_positions"]) == (1, 0)
    assert row["option_delta"] == 100.0


@pytest.mark.parametrize("kind", ["option", "equity", "future", "other"])
def test_only_an_unknown_position_may_have_no_quantity(db, kind):
    with pytest.raises(errors.CheckViolation, match="positions_quantity_check"):
        hold(db, None, kind=kind)


@pytest.mark.parametrize(
    "changes",
    [
        {"contract_key": "ibkr:8001", "underlying": None},
        {"contract_key": "ibkr:8002", "underlying": "NESN", "currency": "CHF"},
        {"contract_key": "tastytrade:BTC/USD", "broker": "tastytrade"},
        {"contract_key": "ibkr:8003", "price_factor": 1, "multiplier": 1000},
    ],
)
def test_a_bond_or_cfd_is_in_the_dollars_and_values_that_are_missing(db, changes):
    """Its Greeks are none of an option's, so their sums are whole."""
    hold_shares(db, 1000, kind="other", **changes)

    [row] = portfolio_asof(db)

    counted = {name: row[name] for name in MISSING if row[name]}
    assert counted == {"missing_dollar_delta": 1, "missing_value": 1}
    assert (row["other_positions"], row["unknown_positions"]) == (1, 0)
    zero = ("option_delta", "share_future_delta", "gamma", "theta", "vega", "rho")
    assert {name: row[name] for name in zero} == dict.fromkeys(zero, 0.0)
    assert (row["dollar_delta"], row["market_value"]) == (None, None)


def test_a_cfd_beside_its_share_is_not_the_share(db):
    hold(db)
    tick(db)
    hold_shares(db, 100)
    hold_shares(db, -40, kind="other", contract_key="ibkr:9001", underlying=None)

    by_key = {
        row["underlying"]: row for row in portfolio_asof(db) if not row["contracts"]
    }

    assert by_key["SPY"]["share_future_delta"] == 100.0
    assert by_key["ibkr:9001"]["other_positions"] == 1
