"""The roles of ``docs/database.md``: its statements run, and each role does its work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from docs.tools.blocks import read_blocks
from greeks_trio.config.settings import Secret
from greeks_trio.model.account_values import AccountValues, AccountValuesSnapshot
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.market_metrics import MarketMetrics
from greeks_trio.model.records import Broker, FeedGap, PositionsSnapshot
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.latest import Latest
from greeks_trio.pipeline.market_metrics import MetricsBoard
from greeks_trio.postgres import latest_seed, market_metrics_store
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.inspect_rights import (
    NEEDED,
    NEEDED_FOR_LIMITS,
    inspect_rights,
)
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.postgres.schema.partition_keeper import PartitionKeeper
from greeks_trio.postgres.schema.schema_files import load_migrations
from greeks_trio.postgres.tick_store import TickStore
from tests.factories import START, make_position, make_tick
from tests.fix_postgres import connect, connect_trio

PAGE = Path(__file__).parents[2] / "docs/database.md"
NAMES = ("owner", "ingest", "reader")
VIEWS = (
    "latest_greeks",
    "portfolio_greeks",
    "outages",
    "broker_divergence",
    "tick_history",
    "position_history",
    "account_value_history",
    "latest_account_values",
    "market_metric_history",
    "latest_market_metrics",
    "beta_weighted",
    "beta_weighted_totals",
    "volatility_skew",
    "volatility_term_structure",
    "position_greeks",
    "risk_totals",
    "tagged_positions",
    "tagged_trades",
    "trade_history",
    "position_profit_today",
    "profit_today",
    "greeks_with_estimates",
    "portfolio_with_estimates",
    "alerts",
    "alert_history",
)
# The rights of the page at the twelfth migration.
EARLIER_GRANTS = """
create role {ingest}; create role {reader};
grant select on all tables in schema public to {ingest};
grant insert on greek_snapshots, positions, feed_gaps, trades to {ingest};
grant update on feed_gaps to {ingest};
grant execute on function make_month(date), refresh_latest() to {ingest};
grant select on latest_greeks, portfolio_greeks, outages, broker_divergence, tick_history,
    position_history, kept_ticks, kept_state to {reader};
"""


def statements(database):
    """Return the blocks of the page about roles, for roles of this test."""
    blocks = [
        block.text
        for block in read_blocks(PAGE.read_text("utf-8"))
        if "test_roles.py runs it" in block.note
    ]
    for name in NAMES:
        blocks = [
            each.replace(f"portfolio_{name}", role(database, name)) for each in blocks
        ]
    return [each.replace("portfolio_engine", database.dbname) for each in blocks]


def role(database, name):
    return f"{database.dbname}_{name}"


@pytest.fixture
async def roles(empty_database):
    """The configuration of each role, in a database as the page makes it."""
    make_roles, make_schema, grant = statements(empty_database)
    create = next(line for line in make_roles.splitlines() if "create database" in line)
    own = f"alter database {empty_database.dbname} owner to "
    with connect(empty_database) as admin:
        admin.execute(
            make_roles.replace(create, f"{own}{role(empty_database, 'owner')};")
        )
        try:
            passwords = ("choose one", "choose another", "and another")
            configs = {
                name: replace(
                    empty_database,
                    user=role(empty_database, name),
                    password=Secret(password),
                )
                for name, password in zip(NAMES, passwords, strict=True)
            }
            with connect(configs["owner"]) as owner:
                owner.execute(make_schema.encode())
            async with open_connection(configs["owner"], autocommit=True) as connection:
                await migrate(connection)
            with connect(configs["owner"]) as owner:
                owner.execute(grant)
            yield configs
        finally:
            admin.execute(
                f"alter database {empty_database.dbname} owner to current_user"
            )
            for name in NAMES:
                owned = role(empty_database, name)
                admin.execute(f"drop owned by {owned} cascade")
                admin.execute(f"drop role {owned}")


async def test_the_service_works_with_the_least_rights(roles):
    ingest = roles["ingest"]
    store = TickStore(ingest, today=START.date)
    async with store.open() as sink:
        assert await sink.write([make_tick(), make_tick(1)]) == 2
        assert await sink.write([make_tick(), make_tick(2)]) == 1
    async with JournalStore(ingest).open() as journal:
        await journal.write(
            PositionsSnapshot(
                broker=Broker("ibkr"),
                account_ids=("U1",),
                positions=(make_position(),),
                observed_at=START,
            )
        )
        row = AccountValues(broker="ibkr", account_id="U1", observed_at=START)
        await journal.write(AccountValuesSnapshot(broker="ibkr", rows=(row,)))
        await journal.write(
            FeedGap(broker=Broker("ibkr"), started_at=START, reason=GapReason.SILENCE)
        )
    async with open_connection(ingest) as connection:
        [finding] = await inspect_rights(connection, ingest)

    board = MetricsBoard("QQQ")
    board.use_file(
        [MarketMetrics(symbol="F", source="file", observed_at=START, beta=1.5)]
    )
    board.record(
        [MarketMetrics(symbol="F", source="tastytrade", observed_at=START, beta=1.4)]
    )
    assert await market_metrics_store._look(ingest, board, 300.0) == ""
    assert (board.waiting(), board.file()) == ([], None)
    assert "QQQ" in board.wanted
    assert await PartitionKeeper(Conditions()).keep(ingest)
    assert await latest_seed._seed(ingest, Latest()) >= 0
    assert (finding.verdict, "have months made" in finding.sentence) == ("fine", True)
    with connect(roles["owner"]) as owner:
        [(months,)] = owner.execute(
            "select count(*) from pg_inherits"
            " where inhparent = 'greek_snapshots'::regclass"
        )
    assert months >= 3
    with connect(ingest) as thief:
        for forbidden in (
            "delete from greek_snapshots",
            "update positions set quantity = 0",
            "drop table feed_gaps",
            "create table greeks.mine ()",
            "create temporary table mine ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                thief.execute(forbidden)


async def test_the_reader_reads_every_view_and_no_table(roles):
    async with TickStore(roles["ingest"], today=START.date).open() as sink:
        await sink.write([make_tick()])

    with connect(roles["reader"]) as reader:
        for view in VIEWS:
            reader.execute(f"select * from {view}").fetchall()
        [(ticks,)] = reader.execute("select count(*) from tick_history")
        reader.execute("select * from greeks_asof(now())").fetchall()
        reader.execute("select * from account_values_asof(now())").fetchall()
        for table in (
            *("greek_snapshots", "positions", "account_values", "feed_gaps", "trades"),
            "position_tags",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"select * from {table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("select make_month('2030-01-01')")

    assert ticks == 1
    with connect(roles["owner"]) as owner:
        owner.execute("create materialized view kept as select * from latest_greeks")
        owner.execute("set search_path = pg_catalog")
        owner.execute("refresh materialized view greeks.kept")


async def test_after_an_upgrade_each_role_may_do_its_work_at_once(empty_database):
    ingest, reader = (role(empty_database, name) for name in ("ingest", "reader"))
    needed = NEEDED | NEEDED_FOR_LIMITS
    async with await connect_trio(empty_database) as connection:
        await migrate(connection, load_migrations()[:12])
        await connection.execute(EARLIER_GRANTS.format(ingest=ingest, reader=reader))
        try:
            await migrate(connection)
            await connection.execute(f"set role {ingest}")
            missing = [
                (table, right)
                for table, rights in needed.items()
                for right in rights
                if not await may(connection, table, right)
            ]
            await connection.execute(f"set role {reader}")
            unread = [v for v in VIEWS if not await may(connection, v, "SELECT")]
            seen = [t for t in needed if await may(connection, t, "SELECT")]
        finally:
            await connection.execute("reset role")
            await connection.execute(f"drop owned by {ingest}, {reader}")
            await connection.execute(f"drop role {ingest}, {reader}")

    assert (missing, unread, seen) == ([], [], [])


async def may(connection, relation, right):
    asked = "select has_table_privilege(%s, %s)"
    row = await (await connection.execute(asked, [relation, right])).fetchone()
    return row[0]


def test_a_month_is_made_once_and_in_utc(database):
    with connect(database) as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        connection.execute("set datestyle = 'German'")
        made = [
            connection.execute("select make_month('2031-12-31')").fetchone()[0]
            for _ in range(2)
        ]
        connection.execute("set timezone = 'UTC'")
        connection.execute("set datestyle = 'ISO'")
        [(bounds,)] = connection.execute(
            "select pg_get_expr(relpartbound, oid) from pg_class"
            " where relname = 'greek_snapshots_2031_12'"
        )

    assert made == [True, False]
    assert "FROM ('2031-12-01 00:00:00+00') TO ('2032-01-01 00:00:00+00')" in bounds
