from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from tests.database.catalog import describe
from tests.fix_postgres import connect

SNAPSHOT = {
    "event_time": "2026-11-20 15:00+00",
    "received_at": "2026-11-20 15:00:01+00",
    "broker": "ibkr",
    "account_id": "U1",
    "underlying": "SPX",
    "contract_key": "SPXW  261218C06600000",
    "delta": 0.5,
    "availability": "realtime",
    "source_payload": "{}",
    "fingerprint": 1,
}
GREEKS = ("delta", "gamma", "theta", "vega", "rho")
# Those that are to lie on several machines.
SHARDED = ("greek_snapshots", "positions")

COLUMNS = {
    "greek_snapshots": """
        id bigint not null
        event_time timestamp with time zone not null
        received_at timestamp with time zone not null
        persisted_at timestamp with time zone not null
        broker text not null
        account_id text not null
        underlying text not null
        contract_key text not null
        expiration date
        strike numeric
        option_type text
        quantity numeric
        delta double precision
        gamma double precision
        theta double precision
        vega double precision
        rho double precision
        implied_volatility double precision
        underlying_price double precision
        availability text not null
        source_payload jsonb not null
        fingerprint bigint not null
        underlying_price_at timestamp with time zone
        price double precision
        bid double precision
        ask double precision
        in_rotation boolean not null
        transaction_id xid8
    """,
    "positions": """
        broker text not null
        account_id text not null
        contract_key text not null
        observed_at timestamp with time zone not null
        kind text not null
        quantity numeric
        multiplier numeric
        currency text
        underlying text
        expiration date
        strike numeric
        option_type text
        instrument_id text
        exchange text
        underlying_id text
        price_factor numeric
        description text
        problem text
        premium_multiplier numeric
        recorded_at timestamp with time zone
        transaction_id xid8
    """,
    "account_values": """
        broker text not null
        account_id text not null
        observed_at timestamp with time zone not null
        event_time timestamp with time zone
        currency text
        net_liquidation numeric
        cash numeric
        buying_power numeric
        derivative_buying_power numeric
        initial_margin numeric
        maintenance_margin numeric
        excess_liquidity numeric
        problem text
        recorded_at timestamp with time zone
    """,
    "feed_gaps": """
        broker text not null
        account_id text
        contract_key text
        started_at timestamp with time zone not null
        ended_at timestamp with time zone
        reason text not null
        recorded_at timestamp with time zone
    """,
    "trades": """
        id uuid not null
        created_at timestamp with time zone not null
        broker text not null
        account_id text not null
        symbol text not null
        contract_key text
        action text not null
        quantity numeric not null
        price numeric
        strategy_tag text
        metadata jsonb
    """,
    "archived_months": """
        month date not null
        broker text not null
        part integer not null
        rows bigint not null
        checksum numeric not null
        file text
        file_bytes bigint
        archived_at timestamp with time zone not null
        dropped_at timestamp with time zone
        loaded_at timestamp with time zone
    """,
    "dropped_payloads": """
        month date not null
        rows bigint not null
        bytes_before bigint not null
        bytes_after bigint not null
        dropped_at timestamp with time zone not null
    """,
}


@pytest.fixture
def schema(database) -> Iterator[psycopg.Connection]:
    with connect(database) as connection:
        connection.execute(
            "create table november partition of greek_snapshots"
            " for values from ('2026-11-01 00:00+00') to ('2026-12-01 00:00+00')"
        )
        yield connection


def insert_snapshot(connection: psycopg.Connection, **changes: object) -> int:
    row = {**SNAPSHOT, **changes}
    statement = (
        f"insert into greek_snapshots ({', '.join(row)})"
        f" values ({', '.join(['%s'] * len(row))}) returning id"
    )
    found = connection.execute(statement, list(row.values())).fetchone()
    assert found is not None
    return found[0]


@pytest.mark.parametrize("table", COLUMNS)
def test_a_table_has_exactly_these_columns_in_this_order(schema, table):
    found = schema.execute(
        "select attname || ' ' || format_type(atttypid, null)"
        " || case when attnotnull then ' not null' else '' end"
        " from pg_attribute where attrelid = %s::regclass and attnum > 0"
        " order by attnum",
        [table],
    ).fetchall()

    assert [text for (text,) in found] == [
        line.strip() for line in COLUMNS[table].strip().splitlines()
    ]


def test_the_database_fills_in_the_order_and_the_time_of_the_insert(schema):
    first = insert_snapshot(schema)
    second = insert_snapshot(schema, fingerprint=2)

    late = schema.execute(
        "select count(*) from greek_snapshots"
        " where abs(extract(epoch from clock_timestamp() - persisted_at)) < 60"
    ).fetchone()
    assert second > first
    assert late == (2,)


@pytest.mark.parametrize("greek", GREEKS)
def test_one_greek_is_enough(schema, greek):
    insert_snapshot(schema, **{"delta": None, greek: 0.1})

    found = schema.execute(f"select {greek} from greek_snapshots").fetchall()
    assert found == [(0.1,)]


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"broker": "Schwab"}, "greek_snapshots_broker_check"),
        ({"option_type": "C"}, "greek_snapshots_option_type_check"),
        ({"availability": "late"}, "greek_snapshots_availability_check"),
        ({"account_id": ""}, "greek_snapshots_key_check"),
        ({"underlying": ""}, "greek_snapshots_key_check"),
        ({"contract_key": ""}, "greek_snapshots_key_check"),
        (
            {"delta": None, "implied_volatility": 0.2},
            "greek_snapshots_greeks_check",
        ),
    ],
)
def test_a_refusal_names_the_broken_constraint(schema, changes, constraint):
    with pytest.raises(errors.CheckViolation) as refused:
        insert_snapshot(schema, **changes)

    assert refused.value.diag.constraint_name == constraint


def test_a_missing_partition_is_a_check_violation_without_a_name(schema):
    with pytest.raises(errors.CheckViolation) as refused:
        insert_snapshot(schema, event_time="2026-12-01 00:00+00")

    assert refused.value.diag.constraint_name is None


def test_the_same_event_is_stored_once(schema):
    insert_snapshot(schema)

    with pytest.raises(errors.UniqueViolation):
        insert_snapshot(schema, received_at="2026-11-21 00:00+00", underlying="X")


@pytest.mark.parametrize(
    "changes",
    [
        {"broker": "tastytrade"},
        {"account_id": "U2"},
        {"contract_key": "SPXW  261218P06600000"},
        {"event_time": "2026-11-20 15:00:00.001+00"},
        {"fingerprint": 2},
    ],
)
def test_another_event_is_stored_as_well(schema, changes):
    insert_snapshot(schema)

    insert_snapshot(schema, **changes)

    assert schema.execute("select count(*) from greek_snapshots").fetchone() == (2,)


def test_a_gap_that_is_written_again_when_it_ends_stays_one_row(schema):
    write = (
        "insert into feed_gaps (broker, started_at, ended_at, reason)"
        " values ('ibkr', '2026-11-20 15:00+00', %s, 'disconnected')"
        " on conflict (broker, account_id, contract_key, started_at, reason)"
        " do update set ended_at = excluded.ended_at"
    )
    schema.execute(write, [None])

    schema.execute(write, ["2026-11-20 15:01+00"])

    found = schema.execute("select ended_at is not null from feed_gaps").fetchall()
    assert found == [(True,)]


def test_a_trade_needs_a_quantity_and_gets_an_id_and_a_time(schema):
    write = (
        "insert into trades (broker, account_id, symbol, action, quantity)"
        " values ('ibkr', 'U1', 'SPY', 'buy', %s)"
        " returning id is not null and created_at = now()"
    )

    assert schema.execute(write, [1]).fetchone() == (True,)
    with pytest.raises(errors.CheckViolation):
        schema.execute(write, [0])


def test_nothing_stands_in_the_way_of_sharding_by_contract(schema):
    unique = schema.execute(
        "select indrelid::regclass::text, pg_get_indexdef(indexrelid)"
        " from pg_index where indisunique and indrelid = any(%s::regclass[])",
        [list(SHARDED)],
    ).fetchall()
    kinds = schema.execute(
        "select distinct contype from pg_constraint"
        " where connamespace = 'public'::regnamespace"
    ).fetchall()

    assert {table for table, _ in unique} == set(SHARDED)
    assert all("contract_key" in definition for _, definition in unique)
    assert ("f",) not in kinds
    assert not [text for text in describe(schema) if text.startswith("trigger")]


def test_every_value_has_its_unit_in_a_comment(schema):
    found = dict(
        schema.execute(
            "select attname, col_description(attrelid, attnum) from pg_attribute"
            " where attrelid = 'greek_snapshots'::regclass and attnum > 0"
        ).fetchall()
    )

    values = (*GREEKS, "implied_volatility", "underlying_price", "strike", "quantity")
    assert all(found[name] for name in values)
    assert "tastytrade" in found["theta"]
    assert "ibkr" in found["theta"]
