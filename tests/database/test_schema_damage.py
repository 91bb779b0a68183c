"""Tables, keys and views that are not those of the migrations are named, and come back."""

from __future__ import annotations

import pytest
import trio

from greeks_trio.commands.migrate import run_migrate
from greeks_trio.errors import SchemaRejected
from greeks_trio.model.condition_kinds import Severity
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.schema.catalog import (
    catalog_text,
    inspect_schema,
    read_catalog,
)
from greeks_trio.postgres.schema.migrate import migrate
from greeks_trio.postgres.schema.repair import repair
from greeks_trio.postgres.schema.schema_files import schema_directory
from greeks_trio.postgres.schema.schema_watch import run_schema_watch
from greeks_trio.waiting import WakeUp
from tests.fix_postgres import connect, connect_trio, fresh_database

PARTITION = "create table ticks partition of greek_snapshots default"
# The statement, the verdict, and words of the finding.
DAMAGES = [
    (
        "alter table greek_snapshots drop constraint greek_snapshots_pkey",
        "failed",
        "greek_snapshots_pkey is missing: a row that comes again cannot be stored",
    ),
    ("drop table positions cascade", "failed", "the table positions is missing"),
    ("drop view outages", "failed", "the view outages is missing"),
    (
        "drop function carried_price cascade",
        "failed",
        "the view latest_greeks is missing",
    ),
    ("drop index greek_snapshots_event_time_idx", "warning", "_time_idx is missing"),
    (
        "alter table feed_gaps drop constraint feed_gaps_key",
        "failed",
        "feed_gaps_key is missing",
    ),
    (
        "alter table feed_gaps replica identity default",
        "warning",
        "the replica identity of feed_gaps is default and not full",
    ),
    (
        # So it is after the schema was renamed.
        "alter function make_month(date) set search_path = former, pg_temp",
        "failed",
        "make_month(date) is (plpgsql, v, search_path of another schema)",
    ),
]
# Damages that only a person can undo.
BEYOND_REPAIR = [
    (
        "alter table trades alter column symbol type varchar(3)",
        "failed",
        "trades.symbol is (character varying(3) not null) and not (text not null)",
    ),
    (
        "alter table positions enable row level security",
        "failed",
        "table positions is (table, row security",
    ),
    ("alter table positions set unlogged", "failed", "(table, not logged"),
    (
        "create function hook() returns trigger language plpgsql as"
        " 'begin return new; end'; create trigger hook before insert on positions"
        " for each row execute function hook()",
        "warning",
        "positions has the trigger hook",
    ),
    (
        "create rule away as on insert to positions do instead nothing",
        "warning",
        "positions has the rule away, which this program does not know",
    ),
    (
        "alter table positions drop column quantity cascade",
        "failed",
        "the column positions.quantity is missing",
    ),
    (PARTITION, "warning", "ticks is a partition that is the default"),
    (
        "alter table positions alter column recorded_at drop default",
        "failed",
        "positions.recorded_at is (timestamp with time zone) and not (timestamp with time"
        " zone default clock_timestamp())",
    ),
    (
        f"{PARTITION}; create unique index other on ticks (received_at)",
        "warning",
        "ticks has the unique index other, which this program does not know",
    ),
    (
        "alter table trades add constraint long check (quantity > 0)",
        "warning",
        "trades has the constraint long, which this program does not know",
    ),
    (
        "alter table positions add column desk text not null",
        "warning",
        "positions has the column desk, which this program does not know",
    ),
    (
        f"{PARTITION}; create function hook() returns trigger language plpgsql as"
        " 'begin return null; end'; create trigger hook before insert on ticks"
        " for each row execute function hook()",
        "warning",
        "ticks has the trigger hook",
    ),
    (
        "create unlogged table fast (like greek_snapshots including all excluding"
        " identity); alter table greek_snapshots attach partition fast"
        " for values from ('2030-01-01') to ('2030-02-01')",
        "warning",
        "fast is a partition that is not logged",
    ),
]


async def findings_of(config):
    async with await connect_trio(config) as connection:
        return await inspect_schema(connection, config)


async def test_the_list_of_objects_is_that_of_the_schema_and_of_the_migrations(
    any_server,
):
    with fresh_database(any_server) as config:
        async with await connect_trio(config) as connection:
            await migrate(connection)
            found = catalog_text(await read_catalog(connection))
        assert [each.verdict for each in await findings_of(config)] == ["fine"]
    listed = schema_directory().joinpath("catalog.txt").read_text()
    assert found == listed, "write the file with: python -m docs.tools catalog"


@pytest.mark.parametrize(("statement", "verdict", "words"), DAMAGES + BEYOND_REPAIR)
async def test_a_damage_is_named(database, statement, verdict, words):
    with connect(database) as db:
        db.execute(statement)

    found = await findings_of(database)

    assert any(words in each.sentence and each.verdict == verdict for each in found)
    assert all(each.remedy for each in found)


async def test_everything_that_is_missing_comes_back(database, capsys):
    """All damages at once; the rows that are there stay."""
    with connect(database) as db:
        db.execute(
            "insert into feed_gaps (broker, started_at, reason)"
            " values ('ibkr', now(), 'silence')"
        )
        for statement, _, _ in DAMAGES:
            db.execute(statement)

        assert await run_migrate(database) == 1
        assert "greek_snapshots_pkey is missing" in capsys.readouterr().out

        assert await run_migrate(database, is_repair=True) == 0
        assert "made the table positions again" in capsys.readouterr().out
        assert [each.verdict for each in await findings_of(database)] == ["fine"]
        assert db.execute("select count(*) from feed_gaps").fetchone() == (1,)
        assert db.execute("select * from portfolio_greeks").fetchall() == []
        described = db.execute("select obj_description('latest_greeks'::regclass)")
        assert "Newest tick" in described.fetchone()[0]

    async with await connect_trio(database) as connection:
        assert await repair(connection) == []


@pytest.mark.parametrize(
    "statement",
    [
        "alter table feed_gaps rename to gaps_of_before",
        "alter table positions drop column quantity cascade",
    ],
)
async def test_a_damage_beyond_repair_changes_nothing_and_names_the_way_back(
    database, statement
):
    with connect(database) as db:
        db.execute(statement)
    before = await findings_of(database)

    with pytest.raises(SchemaRejected, match=r"nothing has changed: .*; if an object"):
        await run_migrate(database, is_repair=True)

    assert await findings_of(database) == before


async def test_a_damage_makes_the_service_not_ready_until_it_is_repaired(
    database, nursery
):
    conditions, again = Conditions(), WakeUp()
    with connect(database) as db:
        db.execute(DAMAGES[0][0])
        nursery.start_soon(run_schema_watch, lambda: database, conditions, again)
        with trio.fail_after(20):
            while not conditions.sentences(Severity.NOT_READY):
                await trio.testing.wait_all_tasks_blocked(0.01)
        [sentence] = conditions.sentences(Severity.NOT_READY)
        assert "migrate --repair" in sentence

        async with await connect_trio(database) as connection:
            await repair(connection)
        again.wake()
        with trio.fail_after(20):
            while conditions.sentences(Severity.NOT_READY):
                await trio.testing.wait_all_tasks_blocked(0.01)
    nursery.cancel_scope.cancel()
