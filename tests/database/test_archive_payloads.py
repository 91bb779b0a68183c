"""Payloads are emptied, their space comes back, and every other value stays."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

import greeks_trio.archive.payloads as payloads_module
from greeks_trio.archive.columns import COLUMNS
from greeks_trio.archive.payloads import drop_payloads
from greeks_trio.archive.retention import Action
from greeks_trio.config.settings import RetentionConfig
from greeks_trio.errors import ArchiveFailed
from tests.database.months import (
    JANUARY,
    PARTITION,
    all_rows,
    due,
    fill_january,
    insert_late,
    tables,
)
from tests.fix_postgres import connect

OTHERS = ", ".join(each.name for each in COLUMNS if each.name != "source_payload")
KEEP = RetentionConfig(keep_payload_months=3)
NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def observer(database):
    with connect(database) as observer:
        fill_january(observer, rows=2000)
        yield observer


def payloads(observer):
    found = observer.execute(
        "select distinct source_payload::text from greek_snapshots"
    )
    return sorted(text for (text,) in found)


def definition(observer):
    """Return the parts of the month that queries and the writer rely on."""
    columns = observer.execute(
        "select attname, atttypid::regtype::text, attnotnull from pg_attribute"
        f" where attrelid = '{PARTITION}'::regclass and attnum > 0 order by attnum"
    ).fetchall()
    checks = observer.execute(
        "select pg_get_constraintdef(oid), convalidated from pg_constraint"
        f" where conrelid = '{PARTITION}'::regclass order by 1"
    ).fetchall()
    indexes = observer.execute(
        "select substring(pg_get_indexdef(indexrelid) from 'USING.*'), indisvalid,"
        " exists (select from pg_inherits where inhrelid = indexrelid) from pg_index"
        f" where indrelid = '{PARTITION}'::regclass order by 1"
    ).fetchall()
    bound = observer.execute(
        f"select pg_get_expr(relpartbound, oid) from pg_class where relname = '{PARTITION}'"
    ).fetchall()
    return columns, checks, indexes, bound


async def test_only_the_payload_goes(connection, observer):
    before, defined = all_rows(observer, columns=OTHERS), definition(observer)

    done = await drop_payloads(connection, JANUARY)

    assert payloads(observer) == ["{}"]
    assert all_rows(observer, columns=OTHERS) == before
    assert definition(observer) == defined
    assert tables(observer) == [PARTITION]
    assert done.rows == 2000
    assert done.bytes_after < 0.9 * done.bytes_before
    assert observer.execute(
        "select month, rows, bytes_before, bytes_after from dropped_payloads"
    ).fetchall() == [(JANUARY, 2000, done.bytes_before, done.bytes_after)]
    assert await due(connection, KEEP, NOW) == []
    # The service can still write into the month.
    insert_late(observer)
    assert len(all_rows(observer)) == 2001


async def test_a_row_that_arrives_meanwhile_stays(connection, observer, monkeypatch):
    exchange = payloads_module._exchange

    async def late(*args):
        insert_late(observer)
        await exchange(*args)

    monkeypatch.setattr(payloads_module, "_exchange", late)
    await drop_payloads(connection, JANUARY)

    assert len(all_rows(observer)) == 2001
    assert payloads(observer) == ["{}"]


@pytest.mark.parametrize("step", ["_exchange", "_compare"])
async def test_an_interrupted_run_is_finished(connection, observer, monkeypatch, step):
    before = all_rows(observer, columns=OTHERS)

    async def stop(*_args):
        raise psycopg.OperationalError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(payloads_module, step, stop)
        with pytest.raises(psycopg.OperationalError):
            await drop_payloads(connection, JANUARY)
    assert all_rows(observer, columns=OTHERS) == before

    assert await due(connection, KEEP, NOW) == [(Action.PAYLOADS, JANUARY)]
    if step == "_compare":
        # Also without the setting, and before the month may leave.
        both = RetentionConfig(keep_months=3, drop_without_archive=True)
        assert await due(connection, both, NOW) == [
            (Action.PAYLOADS, JANUARY),
            (Action.DROP, JANUARY),
        ]
    await drop_payloads(connection, JANUARY)
    assert payloads(observer) == ["{}"]
    assert all_rows(observer, columns=OTHERS) == before
    assert tables(observer) == [PARTITION]


async def test_a_copy_with_another_value_keeps_the_old_table(
    connection, observer, monkeypatch
):
    exchange = payloads_module._exchange

    async def wrong(*args):
        await exchange(*args)
        observer.execute(f"update {PARTITION} set delta = 7 where fingerprint = 1")

    monkeypatch.setattr(payloads_module, "_exchange", wrong)
    with pytest.raises(ArchiveFailed, match="1 rows of"):
        await drop_payloads(connection, JANUARY)
    assert tables(observer) == [PARTITION, f"{PARTITION}_wide"]


async def test_readers_of_a_busy_table_wait_no_longer_than_the_limit(
    connection, observer, database, monkeypatch
):
    monkeypatch.setattr(payloads_module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(payloads_module, "_ATTEMPTS", 2)
    monkeypatch.setattr(payloads_module, "LOCK_LIMIT", "50ms")
    with connect(database) as reader, reader.transaction():
        reader.execute("select count(*) from greek_snapshots")
        with pytest.raises(ArchiveFailed, match="quieter time"):
            await drop_payloads(connection, JANUARY)
        # Another reader is not held back now.
        observer.execute("set lock_timeout = '1ms'")
        assert len(all_rows(observer)) == 2000

    await drop_payloads(connection, JANUARY)
    assert payloads(observer) == ["{}"]
