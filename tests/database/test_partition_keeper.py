"""The partitions ahead are made at once, and tried again after a failure."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
import trio

import greeks_trio.postgres.schema.partition_keeper as keeper_module
from greeks_trio.model.condition_kinds import Severity
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.schema.partition_keeper import (
    PartitionKeeper,
    run_partition_keeper,
)
from greeks_trio.postgres.schema.partitions import partition_name
from greeks_trio.waiting import WakeUp
from tests.fix_postgres import apply_schema, connect
from tests.fix_processes import fetch, wait_until


@pytest.fixture
def hurried(monkeypatch):
    """Shorten the pause before it tries again."""
    monkeypatch.setattr(keeper_module, "_AGAIN_AFTER_S", 0.01)


async def assert_partitions_come(config):
    """Wait until this month's partition and two more are attached."""
    attached = "pg_inherits where inhparent = 'greek_snapshots'::regclass"
    await wait_until(config, f"select count(*) = 3 from {attached}")
    found = await fetch(
        config, f"select inhrelid::regclass::text from {attached} order by 1"
    )
    assert found[0] == (partition_name(datetime.now(UTC).date()),)


@pytest.fixture
def said():
    """Set when it has logged that it could not make them."""
    event = trio.Event()

    class Listener(logging.Handler):
        def emit(self, record):
            if "partitions.not_made" in record.getMessage():
                event.set()

    listener = Listener()
    keeper_module.logger.addHandler(listener)
    yield event
    keeper_module.logger.removeHandler(listener)


async def test_the_partitions_ahead_are_made_at_once_until_cancelled(database):
    async with trio.open_nursery() as keeping:
        keeping.start_soon(run_partition_keeper, database)
        await assert_partitions_come(database)
        keeping.cancel_scope.cancel()

    assert not keeping.child_tasks


async def test_the_partitions_are_announced_once_more(database, nursery, monkeypatch):
    """Each change of the table's columns lets prepared statements be planned again."""
    monkeypatch.setattr(keeper_module, "_ANNOUNCE_AFTER_S", 0.01)
    changed_by = (
        "select xmin::text from pg_attribute"
        " where attrelid = 'greek_snapshots'::regclass and attname = 'id'"
    )
    [(before,)] = await fetch(database, changed_by)

    nursery.start_soon(run_partition_keeper, database)

    await wait_until(database, f"({changed_by}) <> '{before}'")
    await assert_partitions_come(database)


@pytest.mark.usefixtures("hurried")
async def test_a_busy_table_is_tried_again(database, nursery, said):
    with connect(database) as observer, observer.transaction():
        observer.execute("lock table greek_snapshots in access exclusive mode")
        config = replace(database, timeout_s=0.2)
        nursery.start_soon(run_partition_keeper, config)
        await said.wait()

    await assert_partitions_come(database)


async def test_tables_that_another_program_makes_anew_get_their_partitions(
    empty_database, nursery, monkeypatch
):
    """The database is another one while the keeper looks at what was left of the old one."""
    monkeypatch.setattr(keeper_module, "_AGAIN_AFTER_S", 3600.0)
    again, keeper = WakeUp(), PartitionKeeper(Conditions())

    looks = []

    async def keep(config):
        looks.append(await PartitionKeeper.keep(keeper, config))
        if len(looks) == 1:
            apply_schema(empty_database)
            again.wake()
        return looks[-1]

    monkeypatch.setattr(keeper, "keep", keep)
    nursery.start_soon(run_partition_keeper, empty_database, keeper, again)

    await wait_until(empty_database, "to_regclass('greek_snapshots') is not null")
    await assert_partitions_come(empty_database)


@pytest.mark.usefixtures("hurried")
async def test_a_table_that_is_not_there_yet_is_no_news(
    empty_database, nursery, caplog, said
):
    caplog.set_level(logging.DEBUG)
    nursery.start_soon(run_partition_keeper, lambda: empty_database)
    await said.wait()
    apply_schema(empty_database)

    await assert_partitions_come(empty_database)
    levels = {
        record.levelno for record in caplog.records if "not_made" in record.message
    }
    assert levels == {logging.DEBUG}


async def test_a_month_that_cannot_be_made_is_named_weeks_ahead(database):
    """A table of that name is in the way, first for the next month, then for this one."""
    conditions, today = Conditions(), date(2031, 5, 3)
    keeper = PartitionKeeper(conditions, today=lambda: today)
    with connect(database) as db:
        db.execute("create table greek_snapshots_2031_06 (other int)")

        assert not await keeper.keep(database)
        assert keeper.months_ahead == 0
        [sentence] = conditions.sentences(Severity.DEGRADED)
        assert "greek_snapshots_2031_06 is missing and cannot be made" in sentence
        assert "from 2031-06-01 on, ticks will wait in the spool" in sentence

        today = date(2031, 6, 1)
        assert not await keeper.keep(database)
        assert keeper.months_ahead == -1
        assert conditions.sentences(Severity.DEGRADED) == []
        [sentence] = conditions.sentences(Severity.NOT_READY)

        # The statements in the sentence are the remedy.
        db.execute("drop table greek_snapshots_2031_06")
        db.execute(sentence.partition("make it: ")[2])
        assert await keeper.keep(database)
        assert keeper.months_ahead == 2
        assert conditions.sentences(Severity.NOT_READY) == []
