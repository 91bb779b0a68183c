"""Views over the schemas of several services."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
import pytest
import trio
import trio.testing
from psycopg import sql

from greeks_trio.config.settings import Config, Secret
from greeks_trio.errors import SchemaRejected
from greeks_trio.fleet.plan import FleetPlan, ServicePlan
from greeks_trio.fleet.views import make_views, run_fleet_views
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.schema.catalog import Thing, expected_catalog
from greeks_trio.postgres.schema.fleet_views import make_fleet_views
from greeks_trio.postgres.schema.migrate import Migration, load_migrations, migrate
from tests.fix_postgres import connect, fresh_database

SCHEMAS = {"desk_a": "desk_a", "desk-b": 'Desk "B"'}
HOME = "All desks"
ROW = """
insert into {}.positions (broker, account_id, contract_key, quantity, underlying,
    observed_at, kind, multiplier, currency)
values ('ibkr', {}, 'conid:1', 7, 'SPY', now(), 'equity', 1, 'USD')
"""
# The next version changes a column of a view, and drops another view.
CHANGE = Migration(
    "9999_change",
    b"""
    drop view broker_divergence;
    drop view volatility_term_structure;
    create view volatility_term_structure as select 1 as underlying, 2 as days;
    """,
)


async def migrated(database, migrations=None):
    async with open_connection(database, autocommit=True) as connection:
        await migrate(connection, migrations)


@pytest.fixture(scope="module")
def module_schemas(postgres_server):
    """A database with the tables in each schema, made once."""
    with fresh_database(postgres_server) as database:
        for schema in SCHEMAS.values():
            trio.run(migrated, replace(database, schema=schema))
        yield database


@pytest.fixture
def database(postgres_server, module_schemas):
    with fresh_database(postgres_server, module_schemas.dbname) as database:
        yield database


async def make(database, schemas=SCHEMAS, home=HOME):
    config = replace(database, schema=next(iter(schemas.values())))
    async with open_connection(config, autocommit=True) as connection:
        return await make_fleet_views(connection, home, schemas)


def ask(database, query, **names):
    with connect(database) as db:
        names = {key: sql.Identifier(name) for key, name in names.items()}
        return db.execute(
            sql.SQL(query).format(home=sql.Identifier(HOME), **names)
        ).fetchall()


async def test_every_view_has_the_rows_of_each_service_with_its_name(database):
    made = await make(database)

    of_schema = [thing.name for thing in expected_catalog() if thing.kind == "view"]
    public = sorted(name for name in of_schema if not name.startswith("kept_"))
    assert made.names == made.changed == [f"fleet_{name}" for name in public]
    assert made.left_out == []
    for service, schema in SCHEMAS.items():
        with connect(database) as db:
            db.execute(
                sql.SQL(ROW).format(sql.Identifier(schema), sql.Literal(service))
            )
    found = ask(
        database,
        "select service, account_id, quantity from {home}.fleet_position_greeks order by 1",
    )
    assert found == [("desk-b", "desk-b", 7), ("desk_a", "desk_a", 7)]
    for name in made.names:
        ask(database, "select count(*) from {home}.{view}", view=name)
    assert ask(
        database,
        "select distinct service, currency from {home}.fleet_portfolio_greeks order by 1",
    ) == [("desk-b", "USD"), ("desk_a", "USD")]

    again = await make(database)
    assert (again.names, again.changed) == (made.names, [])
    fewer = await make(database, {"desk_a": "desk_a"})
    assert fewer.changed == made.names
    assert ask(database, "select service from {home}.fleet_position_greeks") == [
        ("desk_a",)
    ]


async def test_each_schema_that_is_left_out_is_named_with_the_reason(database):
    schemas = {**SCHEMAS, "new": "not there", "empty": "empty", "closed": "closed"}
    with connect(database) as db:
        db.execute("create schema empty")
        db.execute("create role manager login password 'manager'")
        db.execute(
            "create schema closed; create table closed.schema_migrations (name text)"
        )
        db.execute(
            sql.SQL("grant create on database {} to manager").format(
                sql.Identifier(database.dbname)
            )
        )
        for schema in (*SCHEMAS.values(), "empty"):
            name = sql.Identifier(schema)
            for right in ("usage on schema {}", "select on all tables in schema {}"):
                db.execute(sql.SQL(f"grant {right} to manager").format(name))
        db.execute("revoke select on desk_a.alerts from manager")
    manager = replace(database, user="manager", password=Secret("manager"))
    try:
        made = await make(manager, schemas)
        assert made.left_out == [
            "new: its schema not there does not exist yet",
            "empty: its schema empty has no tables yet",
            "closed: the role may not use its schema closed",
            "desk_a: the role may not read desk_a.alerts",
        ]
        assert ask(manager, "select * from {home}.fleet_alerts") == []
        with pytest.raises(SchemaRejected, match="no tables yet"):
            await make(manager, {"empty": "empty"})
    finally:
        with connect(database) as db:
            db.execute("drop owned by manager")
            db.execute("drop role manager")


async def test_a_migration_is_not_blocked_and_the_views_say_so_until_made_again(
    database, caplog
):
    await make(database)
    with connect(database) as db:
        db.execute("create role reader")
        home = sql.Identifier(HOME)
        db.execute(
            sql.SQL("grant select on all tables in schema {} to reader").format(home)
        )
    newer = [*load_migrations(), CHANGE]
    try:
        await migrated(replace(database, schema="desk_a"), newer)
        assert "schema.fleet_views_freed" in caplog.text
        with pytest.raises(
            psycopg.errors.InvalidTextRepresentation, match="run fleet-views"
        ):
            ask(database, "select * from {home}.fleet_position_greeks")

        made = await make(database)
        assert len(made.changed) == len(made.names)
        assert any("desk-b: its schema is at 0" in each for each in made.left_out)
        # Only the older schema has it, and the column of the newer one is text there.
        services = "select distinct service from {home}.fleet_broker_divergence"
        assert ask(database, services) == []
        kinds = dict(ask(database, KINDS))
        assert kinds["underlying"] == kinds["days"] == "integer"
        assert any(
            "has the type text and not integer" in each for each in made.left_out
        )
        assert ask(database, UNREADABLE) == []

        await migrated(replace(database, schema='Desk "B"'), newer)
        made = await make(database)
        assert made.left_out == []
        assert "fleet_broker_divergence" in made.changed
        assert "fleet_broker_divergence" not in made.names
    finally:
        with connect(database) as db:
            db.execute("drop owned by reader")
            db.execute("drop role reader")


KINDS = """
select attname, format_type(atttypid, atttypmod) from pg_attribute
where attrelid = (select oid from pg_class where relname = 'fleet_volatility_term_structure')
  and attnum > 0
"""


def plan_over(database, **others):
    """Return the plan of a fleet whose services have these schemas."""
    services = {
        name: ServicePlan(
            name=name,
            variables={},
            env_file=None,
            config=Config(database=replace(database, schema=schema)),
        )
        for name, schema in SCHEMAS.items()
    } | others
    return FleetPlan(
        path=Path("fleet.toml"),
        config=Config(database=replace(database, schema=HOME)),
        services=services,
        warnings=[],
    )


async def test_a_running_fleet_renews_the_views_that_were_made_once(database, caplog):
    caplog.set_level("INFO")
    plan = plan_over(database)
    elsewhere = replace(plan.services["desk_a"], config=Config())

    looks = []

    async def until(is_true):
        with trio.fail_after(20):
            while not is_true():
                await trio.testing.wait_all_tasks_blocked(0.01)

    async with trio.open_nursery() as nursery:
        look = partial(
            run_fleet_views, lambda: plan, lambda name: not looks.append(name)
        )
        nursery.start_soon(partial(look, every_s=0.2))
        await until(lambda: len(looks) > 1)
        assert ask(database, COUNT) == [(0,)]  # it makes none by itself
        await make_views(plan)
        await migrated(replace(database, schema="desk_a"), [*load_migrations(), CHANGE])
        await until(lambda: "fleet.views_renewed" in caplog.text)
        assert ask(database, "select count(*) from {home}.fleet_alerts") == [(0,)]
        plan = plan_over(database, other=elsewhere)
        said = "other: it writes to portfolio_engine at"
        await until(lambda: said in caplog.text)
        nursery.cancel_scope.cancel()


COUNT = "select count(*) from pg_namespace where nspname = 'All desks'"

UNREADABLE = """
select relname from pg_class where starts_with(relname, 'fleet_') and relkind = 'v'
    and not has_table_privilege('reader', oid, 'select')
"""


async def test_views_of_another_owner_stay_and_name_the_remedy(database, caplog):
    await make(database)
    with connect(database) as db:
        db.execute("create role owner_a login password 'owner_a'")
        db.execute(
            sql.SQL("grant create on database {} to owner_a").format(
                sql.Identifier(database.dbname)
            )
        )
        db.execute(OWN)
    config = replace(
        database, schema="desk_a", user="owner_a", password=Secret("owner_a")
    )
    try:
        with pytest.raises(SchemaRejected, match="fleet_broker_divergence depends on"):
            await migrated(config, [*load_migrations(), CHANGE])
        assert "schema.fleet_view_kept" in caplog.text
    finally:
        with connect(database) as db:
            db.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(HOME)))
            db.execute("drop owned by owner_a cascade")
            db.execute("drop role owner_a")


OWN = """
do $$ declare found text; begin
    execute 'alter schema desk_a owner to owner_a';
    for found in select oid::regclass::text from pg_class
        where relnamespace = 'desk_a'::regnamespace and relkind in ('r', 'p', 'v')
    loop execute format('alter table %s owner to owner_a', found); end loop;
end $$
"""


async def test_a_view_of_another_program_is_never_replaced(database):
    with connect(database) as db:
        db.execute("create view fleet_alerts as select 1")

    with pytest.raises(SchemaRejected, match="is not a view of this program"):
        await make(database, home="public")
    assert ask(database, "select * from public.fleet_alerts") == [(1,)]
    assert Thing("view", "alerts") in expected_catalog()
