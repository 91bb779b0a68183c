"""The risk views in the catalog: comments, definitions, and the plans they lead to."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.postgres.schema.schema_files import load_migrations
from tests.database.risk_rows import MOMENT, PUT, hold, risk_database, tick
from tests.fix_postgres import (
    apply_schema,
    connect,
    connect_trio,
    fresh_database,
)

LATEST = """
    broker account_id contract_key underlying expiration strike option_type quantity
    multiplier currency event_time received_at delta gamma theta vega rho
    implied_volatility underlying_price availability age_s is_stale stale_reason kind
    instrument_id exchange price_factor price bid ask position_value underlying_price_at
    underlying_price_source carried_delta carried_gamma carried_theta carried_vega
    carried_rho carried_implied_volatility carried_age_s in_rotation carried_price
"""
PORTFOLIO = """
    broker account_id currency underlying expiration contracts shares_futures
    other_positions option_delta share_future_delta gamma theta vega rho dollar_delta
    dollar_gamma missing_tick missing_multiplier missing_price missing_delta
    missing_share_future_delta missing_gamma missing_theta missing_vega missing_rho
    missing_dollar_delta missing_dollar_gamma stale not_realtime oldest_age_s
    unknown_positions market_value missing_value missing_price_factor carried_delta
    carried_gamma carried_theta carried_vega carried_rho oldest_carried_age_s
    carried_value
"""
POSITIONS = """
    broker account_id contract_key observed_at kind quantity multiplier currency
    underlying expiration strike option_type instrument_id exchange underlying_id
    price_factor description problem premium_multiplier
"""
OUTAGES = "broker account_id contract_key started_at ended_at reasons"
VALUES = """
    broker account_id observed_at event_time currency net_liquidation cash buying_power
    derivative_buying_power initial_margin maintenance_margin excess_liquidity margin_use
    margin_use_missing age_s is_stale problem
"""
# A word of the unit of each value.
UNITS = {
    "latest_greeks": {
        "quantity": "Contracts",
        "multiplier": "Units of the underlying",
        "strike": "currency",
        "delta": "per 1.00",
        "gamma": "per 1.00",
        "theta": "per calendar day",
        "vega": "volatility point",
        "rho": "rate point",
        "implied_volatility": "fraction per year",
        "underlying_price": "unit of its quotation",
        "age_s": "Seconds",
        "is_stale": "300 seconds",
        "stale_reason": "300 seconds",
        "price_factor": "Currency per quoted unit",
        "price": "unit of its quotation",
        "bid": "unit of its quotation",
        "ask": "unit of its quotation",
        "position_value": "currency",
        "carried_age_s": "Seconds",
    },
    "portfolio_greeks": {
        "option_delta": "units of the underlying",
        "share_future_delta": "units of the underlying",
        "gamma": "per 1.00",
        "theta": "currency per calendar day",
        "vega": "currency per volatility point",
        "rho": "currency per rate point",
        "dollar_delta": "currency",
        "dollar_gamma": "per 1 % move",
        "oldest_age_s": "Seconds",
        "market_value": "currency",
        "oldest_carried_age_s": "Seconds",
    },
    "broker_divergence": {
        "delta_difference": "per 1.00",
        "gamma_difference": "per 1.00",
        "theta_difference": "per calendar day",
        "vega_difference": "volatility point",
        "rho_difference": "rate point",
        "implied_volatility_difference": "fraction",
        "ibkr_age_s": "Seconds",
        "price_difference": "unit of its quotation",
    },
    "greeks_with_estimates": {
        "delta": "per 1.00",
        "gamma": "per 1.00",
        "theta": "per calendar day",
        "vega": "volatility point",
        "rho": "rate point",
        "age_s": "Seconds",
        "estimate_age_s": "Seconds",
        "estimate_volatility": "fraction per year",
        "estimate_rate": "fraction per year",
    },
    "portfolio_with_estimates": {
        "option_delta": "units of the underlying",
        "gamma": "per 1.00",
        "theta": "currency per calendar day",
        "vega": "currency per volatility point",
        "rho": "currency per rate point",
        "dollar_delta": "currency",
        "dollar_gamma": "currency per 1 % move",
        "oldest_estimate_age_s": "Seconds",
    },
    "outages": {},
    "latest_account_values": {
        "net_liquidation": "ibkr: netliquidation",
        "currency": "currency of all amounts",
        "margin_use": "a fraction",
        "age_s": "Seconds",
        "is_stale": "300",
    },
    "latest_market_metrics": {
        "beta": "S&P 500",
        "iv_index": "fraction per year",
        "iv_rank": "0 to 1",
        "age_s": "Seconds",
    },
    "beta_weighted": {
        "beta_weighted_delta": "shares of the benchmark",
        "beta_weighted_dollar_delta": "currency",
        "beta": "S&P 500",
    },
    "beta_weighted_totals": {"left_out": "positions"},
    "volatility_skew": {
        "days": "Days",
        "at_the_money": "fraction per year",
        "skew": "fraction",
        "oldest_age_s": "Seconds",
    },
    "volatility_term_structure": {"implied_volatility": "fraction per year"},
    "position_greeks": {
        "expiration_bucket": "Days",
        "quantity": "Contracts",
        "multiplier": "Units of the underlying",
        "price_factor": "Currency per quoted unit",
        "price": "unit of its quotation",
        "underlying_price": "unit of its quotation",
        "position_delta": "units of the underlying",
        "position_gamma": "per 1.00",
        "position_theta": "currency per calendar day",
        "position_vega": "currency per volatility point",
        "position_rho": "currency per rate point",
        "dollar_delta": "currency",
        "dollar_gamma": "per 1 % move",
        "position_value": "currency",
        "age_s": "Seconds",
        "stale_reason": "300 seconds",
        "carried_age_s": "Seconds",
    },
    "position_profit_today": {
        "quantity": "Contracts or shares",
        "start_price": "unit of its quotation",
        "end_price": "unit of its quotation",
        "start_value": "currency",
        "end_value": "currency",
        "trades": "currency",
        "profit_loss": "currency",
    },
    "profit_today": {
        "profit_loss": "currency",
        "start_value": "currency",
        "end_value": "currency",
        "trades": "currency",
    },
    "risk_totals": {
        "beta_weighted_delta": "shares of the benchmark",
        "beta_weighted_dollar_delta": "currency",
        "net_delta": "units of the underlying",
        "option_delta": "units of the underlying",
        "share_future_delta": "units of the underlying",
        "gamma": "per 1.00",
        "dollar_delta": "currency",
        "dollar_gamma": "per 1 % move",
        "theta": "currency per calendar day",
        "vega": "currency per volatility point",
        "rho": "currency per rate point",
        "market_value": "currency",
        "oldest_age_s": "Seconds",
        "oldest_carried_age_s": "Seconds",
    },
}
_DEFINITIONS = """
select relname || ': ' || pg_get_viewdef(oid) from pg_class
where relnamespace = 'public'::regnamespace and relkind = 'v'
union all
select pg_get_functiondef(oid) || obj_description(oid, 'pg_proc') from pg_proc
where pronamespace = 'public'::regnamespace
"""


@pytest.fixture
def db(emptied_database):
    """For tests that leave the statistics of the tables as they are."""
    with risk_database(emptied_database) as connection:
        yield connection


@pytest.fixture
def analyzed_db(database):
    """A database of its own: statistics stay when the rows go."""
    with risk_database(database) as connection:
        yield connection


def column_comments(connection: psycopg.Connection) -> dict[tuple[str, str], str]:
    """Return the comment of each column of each view, ``None`` where there is none."""
    found = connection.execute(
        "select relname, attname, col_description(pg_class.oid, attnum)"
        " from pg_class join pg_attribute on attrelid = pg_class.oid"
        " where relnamespace = 'public'::regnamespace and relkind = 'v'"
        " and attnum > 0 order by relname, attnum"
    )
    return {(view, column): comment for view, column, comment in found}


OWN_PLANS = (
    "portfolio_sums(timestamptz, double precision, boolean)",
    "greeks_beside(boolean, double precision)",
    "newest_of(text[], text[], text[])",
)


def plan_of(connection: psycopg.Connection, query: str) -> str:
    """Return the plan, with the text of each function that has a plan of its own."""
    with connection.transaction(force_rollback=True):
        for function in OWN_PLANS:
            connection.execute(f"alter function {function} reset all")  # type: ignore[arg-type]
        lines = connection.execute(f"explain {query}").fetchall()  # type: ignore[arg-type]
    return "\n".join(line for (line,) in lines)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("latest_greeks", LATEST),
        ("portfolio_greeks", PORTFOLIO),
        ("greeks_asof(now())", LATEST),
        ("greeks_asof(now(), 60)", LATEST),
        ("portfolio_asof(now())", PORTFOLIO),
        ("portfolio_asof(now(), 60)", PORTFOLIO),
        ("positions_asof(now())", POSITIONS),
        ("outages", OUTAGES),
        ("latest_account_values", VALUES),
        ("account_values_asof(now(), 60)", VALUES),
    ],
)
def test_a_view_has_exactly_these_columns_in_this_order(db, name, columns):
    described = db.execute(f"select * from {name}").description

    assert [column.name for column in described] == columns.split()


def test_every_view_column_and_function_has_a_comment(db):
    comments = column_comments(db)
    silent = db.execute(
        "select oid::regprocedure::text from pg_proc"
        " where pronamespace = 'public'::regnamespace"
        " and obj_description(oid, 'pg_proc') is null"
        " union all select relname from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind = 'v'"
        " and obj_description(oid, 'pg_class') is null"
    ).fetchall()

    assert {view for view, _ in comments} == {
        *UNITS,
        "kept_state",
        "kept_ticks",
        "kept_estimates",
        "tick_history",
        "position_history",
        "account_value_history",
        "market_metric_history",
        "alerts",
        "alert_history",
        "tagged_positions",
        "tagged_trades",
        "trade_history",
    }
    assert [key for key, comment in comments.items() if not comment] == []
    assert silent == []


@pytest.mark.parametrize("view", UNITS)
def test_every_value_has_its_unit_in_its_comment(db, view):
    comments = column_comments(db)

    assert {
        column: word
        for column, word in UNITS[view].items()
        if word not in comments[view, column]
    } == {}


async def test_migrations_and_schema_define_and_describe_the_same_views(any_server):
    with (
        fresh_database(any_server) as migrated,
        fresh_database(any_server) as created,
    ):
        async with await connect_trio(migrated) as connection:
            await migrate(connection)
        apply_schema(created)

        with connect(migrated) as one, connect(created) as other:
            found = set(one.execute(_DEFINITIONS).fetchall())
            assert found == set(other.execute(_DEFINITIONS).fetchall())
            assert len(found) > 40
            assert one.execute("select * from broker_divergence").fetchall() == []
            assert one.execute("select * from portfolio_greeks").fetchall() == []


async def test_the_views_come_beside_a_service_that_is_writing_ticks(empty_database):
    first, views, *_ = load_migrations()
    async with await connect_trio(empty_database) as connection:
        await migrate(connection, [first])
        with risk_database(empty_database) as writer, writer.transaction():
            tick(writer)
            writer.execute("lock table greek_snapshots in row exclusive mode")

            await connection.execute("set lock_timeout = '1s'")
            assert await migrate(connection, [first, views]) == [views.name]


def test_the_planner_puts_the_functions_text_in_place_of_the_call(db):
    query = "explain select * from greeks_asof(now() - interval '1 day')"
    plan = str(db.execute(query).fetchall())

    assert "Function Scan on positions_asof" in plan
    assert "Function Scan on greeks_asof" not in plan


def test_a_condition_of_the_caller_reaches_the_ticks(db):
    """Only the contracts of this account are looked up in the ticks."""
    hold(db)
    hold(db, account_id="U2")
    tick(db)

    plan = plan_of(
        db,
        "(analyze, costs off, timing off, summary off)"
        f" select * from greeks_asof('{MOMENT}') where account_id = 'U1'",
    )

    [ticks] = [line for line in plan.splitlines() if "ticks_pkey" in line]
    assert "loops=1)" in ticks


LOOKUPS = ("carried_greeks", "prices_asof", "carried_price")


def looked_up(db, query):
    """Return which of the lookups for incomplete ticks a query ran."""
    plan = plan_of(db, f"(analyze, costs off, timing off, summary off) {query}")
    lines = [line for line in plan.splitlines() if "Function Scan on" in line]
    found = {name: [line for line in lines if name in line] for name in LOOKUPS}
    assert all(found.values())
    return [
        name
        for name in LOOKUPS
        if any("never executed" not in line for line in found[name])
    ]


@pytest.mark.parametrize("function", ["greeks_asof", "portfolio_asof"])
@pytest.mark.parametrize(
    ("changes", "lookups"),
    [
        ({}, []),
        ({"rho": None}, []),  # ibkr sends none
        ({"broker": "tastytrade", "account_id": "T1", "rho": None}, LOOKUPS[:1]),
        ({"vega": None}, LOOKUPS[:1]),
        ({"implied_volatility": None}, LOOKUPS[:1]),
        ({"underlying_price": None}, LOOKUPS[1:2]),
        ({"price": None}, LOOKUPS[2:]),
        ({"event_time": MOMENT - timedelta(hours=1), "vega": None}, []),
    ],
)
def test_only_an_incomplete_tick_costs_another_look(db, function, changes, lookups):
    account = {
        name: changes[name] for name in changes.keys() & {"broker", "account_id"}
    }
    hold(db, **account)
    hold(db, contract_key=PUT)  # which has no tick
    tick(db, **{"price": 12.5, **changes})

    assert looked_up(db, f"select * from {function}('{MOMENT}')") == list(lookups)


@pytest.mark.parametrize("contracts", [1, 3])
def test_a_contract_without_a_tick_does_not_cost_a_look_at_every_tick(
    analyzed_db, contracts
):
    """With few contracts the planner would prefer the index of event_time."""
    tick(analyzed_db)
    analyzed_db.execute(
        "insert into greek_snapshots (event_time, received_at, broker, account_id,"
        "  underlying, contract_key, delta, availability, source_payload, fingerprint)"
        " select event_time - n * interval '1 second', received_at, broker, account_id,"
        "  underlying, 'C' || n %% %s, delta, availability, source_payload, n"
        " from greek_snapshots, generate_series(1, 3000) as n",
        [contracts],
    )
    analyzed_db.execute("analyze greek_snapshots")

    plan = plan_of(analyzed_db, "select * from greeks_beside(true, 300)")

    assert "ticks_pkey" in plan
    assert "event_time_idx" not in plan


def test_a_position_that_changed_often_costs_no_more_than_another(analyzed_db):
    """The history has some thousand pages; the open positions are in a few of them."""
    analyzed_db.execute(
        "insert into positions (broker, account_id, contract_key, observed_at, kind,"
        "  quantity) select 'ibkr', 'U1', 'S' || n % 3, '2025-01-01 00:00+00'::timestamptz"
        "  + n * interval '1 second', 'equity', n from generate_series(1, 150000) as n"
    )
    analyzed_db.execute("vacuum analyze positions")
    query = (
        "explain (analyze, buffers, format json) select * from positions_asof(now())"
    )
    analyzed_db.execute(query)  # reads the catalog

    [(explained,)] = analyzed_db.execute(query).fetchall()

    plan = explained[0]["Plan"]
    assert plan["Actual Rows"] == 3
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 300


def test_the_estimates_stay_below_the_threshold_for_compiling(analyzed_db):
    """Compiling (jit) would take ten times as long as the query."""
    for number in range(200):
        hold(analyzed_db, contract_key=f"SPY   251219C{number:08d}")
    analyzed_db.execute("analyze")

    found = analyzed_db.execute("explain (format json) select * from portfolio_greeks")

    [(plan,)] = found.fetchall()
    assert plan[0]["Plan"]["Total Cost"] < 10_000
