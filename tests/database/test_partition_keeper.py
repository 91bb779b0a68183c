"""The partitions ahead are made at once, and again when that did not work."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import trio

import greeks_trio.postgres.partition_keeper as keeper_module
from greeks_trio.postgres.partition_keeper import run_partition_keeper
from greeks_trio.postgres.partitions import partition_name
from tests.fix_postgres import apply_schema, connect


@pytest.fixture
def hurried(monkeypatch):
    """Make it try again soon."""
    monkeypatch.setattr(keeper_module, "_AGAIN_AFTER_S", 0.01)


async def wait_partitions(config):
    """Wait until this month's partition and two more are attached."""
    this_month = partition_name(datetime.now(UTC).date())
    with connect(config) as observer:
        while True:
            found = observer.execute(
                "select inhrelid::regclass::text from pg_inherits"
                " where inhparent = 'greek_snapshots'::regclass order by 1"
            ).fetchall()
            if len(found) == 3:
                assert found[0] == (this_month,)
                return
            await trio.lowlevel.checkpoint()


async def wait_said(caplog):
    """Wait until it says that it did not make them."""
    while True:
        if "partitions.not_made" in caplog.text:
            return
        await trio.lowlevel.checkpoint()


async def test_the_partitions_ahead_are_made_at_once_until_cancelled(database, nursery):
    nursery.start_soon(run_partition_keeper, database)

    await wait_partitions(database)


@pytest.mark.usefixtures("hurried")
async def test_a_busy_table_is_tried_again(database, nursery, caplog):
    with connect(database) as observer, observer.transaction():
        observer.execute("lock table greek_snapshots in access exclusive mode")
        config = replace(database, timeout_s=0.2)
        nursery.start_soon(run_partition_keeper, config)
        await wait_said(caplog)

    await wait_partitions(database)


@pytest.mark.usefixtures("hurried")
async def test_a_table_that_is_not_there_yet_is_no_news(
    empty_database, nursery, caplog
):
    caplog.set_level(logging.DEBUG)
    nursery.start_soon(run_partition_keeper, lambda: empty_database)
    await wait_said(caplog)
    apply_schema(empty_database)

    await wait_partitions(empty_database)
    levels = {
        record.levelno for record in caplog.records if "not_made" in record.message
    }
    assert levels == {logging.DEBUG}
