"""A month leaves the database for files and comes back, and nothing is lost on the way."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

import greeks_trio.archive.files as files_module
import greeks_trio.archive.leave as leave_module
from greeks_trio.archive.columns import COLUMNS, NOT_ARCHIVED, TEXT_SETTINGS
from greeks_trio.archive.files import read_facts
from greeks_trio.archive.leave import Departure, take_out
from greeks_trio.archive.load import load_files
from greeks_trio.archive.records import read_origin
from greeks_trio.archive.retention import make_plan, run_plan
from greeks_trio.commands.archive import ArchiveOptions, run_archive
from greeks_trio.config.settings import Config, RetentionConfig
from greeks_trio.errors import ArchiveFailed
from tests.database.months import (
    JANUARY,
    PARTITION,
    all_rows,
    due,
    fill_january,
    insert_late,
    plan_of,
    tables,
)
from tests.fix_postgres import connect

NOW = datetime(2026, 11, 20, tzinfo=UTC)
# As files write them: a decimal keeps no trailing zeros.
SAME = ", ".join(
    f"trim_scale({each.name}) as {each.name}" if each.kind == "decimal" else each.name
    for each in COLUMNS
)


@pytest.fixture
def observer(database):
    with connect(database) as observer:
        observer.execute("set timezone = 'UTC'")
        yield observer


@pytest.fixture
def january(observer, monkeypatch):
    """The rows of January, in files of several row groups."""
    monkeypatch.setattr(files_module, "GROUP_ROWS", 64)
    fill_january(observer)
    return all_rows(observer, columns=SAME)


async def take(connection, directory, **options):
    origin = await read_origin(connection)
    return await take_out(connection, JANUARY, Departure(directory, **options), origin)


async def load(connection, directory):
    loaded = []
    await load_files(connection, sorted(directory.glob("*.parquet")), loaded.append)
    return loaded


def archived(observer):
    return observer.execute(
        "select broker, part, rows, dropped_at is not null, loaded_at is not null"
        " from archived_months order by 1, 2"
    ).fetchall()


async def test_a_month_leaves_and_comes_back_with_every_value(
    connection, observer, january, tmp_path
):
    left = await take(connection, tmp_path)

    assert (left.rows, len(left.files)) == (300, 2)
    assert tables(observer) == []
    assert all_rows(observer) == []
    assert archived(observer) == [
        ("ibkr", 1, 150, True, False),
        ("tastytrade", 1, 150, True, False),
    ]
    [ibkr, _tastytrade] = sorted(tmp_path.iterdir())
    assert ibkr.name == "greek_snapshots-2025-01-ibkr-1.parquet"
    assert stat.S_IMODE(ibkr.stat().st_mode) == 0o600

    loaded = await load(connection, tmp_path)

    assert [(each.inserted, each.present) for each in loaded] == [(150, 150)] * 2
    assert all_rows(observer, columns=SAME) == january
    assert tables(observer) == [PARTITION]
    # Again: each row is there already.
    assert [each.inserted for each in await load(connection, tmp_path)] == [0, 0]
    assert all_rows(observer, columns=SAME) == january
    assert [row[3:] for row in archived(observer)] == [(True, True)] * 2


async def test_duckdb_reads_the_files(connection, observer, january, tmp_path):
    expected = observer.execute(
        "select count(*), min(event_time), max(received_at), sum(delta), max(strike),"
        " count(expiration), count(distinct account_id), count(*) filter (where in_rotation)"
        " from greek_snapshots"
    ).fetchone()
    await take(connection, tmp_path)

    found = duckdb.sql(
        "select count(*), min(event_time), max(received_at), sum(delta), max(strike),"
        " count(expiration), count(distinct account_id), count(*) filter (where in_rotation)"
        f" from '{tmp_path}/*.parquet'"
    ).fetchall()[0]
    assert found[:3] == expected[:3]
    assert found[3] == pytest.approx(expected[3])
    assert found[4:] == expected[4:]
    [(payload, text)] = duckdb.sql(
        "select source_payload->>'i', source_payload->>'text' from"
        f" '{tmp_path}/*.parquet' where fingerprint = 7"
    ).fetchall()
    assert (payload, text) == ("7", '"quoted", \n ü')


async def test_a_file_says_where_it_is_from(connection, january, tmp_path):
    await take(connection, tmp_path)

    facts = read_facts(tmp_path / "greek_snapshots-2025-01-ibkr-1.parquet")
    assert (facts.month, facts.broker, facts.part, facts.rows) == (
        "2025-01",
        "ibkr",
        1,
        150,
    )
    assert "system" in facts.database
    assert facts.migration >= "0009_retention"


async def test_a_row_that_arrives_after_the_files_were_written_is_in_the_files(
    connection, observer, january, tmp_path, monkeypatch
):
    detach = leave_module._detach

    async def late(*args):
        insert_late(observer)
        return await detach(*args)

    monkeypatch.setattr(leave_module, "_detach", late)
    left = await take(connection, tmp_path)

    assert left.rows == 301
    assert sorted(each.name[-14:] for each in tmp_path.iterdir()) == [
        "ibkr-1.parquet",
        "rade-1.parquet",
    ]
    await load(connection, tmp_path)
    assert len(all_rows(observer)) == 301


async def test_a_row_that_arrives_after_the_drop_goes_to_another_part(
    connection, observer, january, tmp_path, database
):
    await take(connection, tmp_path)
    observer.execute(
        f"create table {PARTITION} partition of greek_snapshots"
        " for values from ('2025-01-01 00:00+00') to ('2025-02-01 00:00+00')"
    )
    insert_late(observer)
    await take(connection, tmp_path)

    assert [row[:3] for row in archived(observer)] == [
        ("ibkr", 1, 150),
        ("ibkr", 2, 1),
        ("tastytrade", 1, 150),
    ]
    await load(connection, tmp_path)
    assert len(all_rows(observer)) == 301


async def test_a_month_that_was_loaded_stays_until_it_is_chosen(
    connection, observer, january, tmp_path
):
    await take(connection, tmp_path)
    await load(connection, tmp_path)
    before = {path: path.stat().st_ino for path in tmp_path.iterdir()}
    retention = RetentionConfig(keep_months=3, archive_dir=tmp_path)

    assert await due(connection, retention, NOW) == []
    assert [month for _, month in await due(connection, retention, NOW, [JANUARY])] == [
        JANUARY
    ]
    await take(connection, tmp_path)
    # The files had the rows already.
    assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == before
    assert [row[3:] for row in archived(observer)] == [(True, False)] * 2


@pytest.mark.parametrize("damage", ["one row less", "one value changed"])
async def test_a_file_that_is_not_the_table_drops_nothing(
    connection, observer, january, tmp_path, monkeypatch, damage
):
    read = files_module.group_lines

    def wrong(reader, group, path):
        lines = read(reader, group, path)
        if group:
            return lines
        _first, rest = lines.split(b"\n", 1)
        return (
            rest
            if damage == "one row less"
            else lines.replace(b"668.25", b"668.2500001", 1)
        )

    monkeypatch.setattr(files_module, "group_lines", wrong)
    with pytest.raises(ArchiveFailed, match="does not have the rows"):
        await take(connection, tmp_path)

    assert all_rows(observer, columns=SAME) == january
    assert archived(observer) == []


async def test_a_damaged_file_is_not_loaded(connection, observer, january, tmp_path):
    await take(connection, tmp_path)
    [path, _] = sorted(tmp_path.iterdir())
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 64] = os.urandom(64)
    path.write_bytes(bytes(data))

    with pytest.raises(ArchiveFailed, match=path.name):
        await load_files(connection, [path], print)
    assert all_rows(observer) == []


async def test_a_file_of_another_program_is_refused(connection, january, tmp_path):
    duckdb.sql(f"copy (select 1 as one) to '{tmp_path}/other.parquet' (format parquet)")
    (tmp_path / "text.parquet").write_text("no parquet")

    for name, words in (
        ("other.parquet", "no file of"),
        ("text.parquet", "damaged or no Parquet"),
        ("missing.parquet", "No such file"),
    ):
        with pytest.raises(ArchiveFailed, match=words):
            await load_files(connection, [tmp_path / name], print)


async def test_a_file_that_is_not_known_is_never_overwritten(
    connection, observer, january, tmp_path
):
    # As after the restore of an older backup: the only copy of rows that are gone.
    await take(connection, tmp_path)
    copies = {path: path.read_bytes() for path in tmp_path.iterdir()}
    observer.execute("truncate archived_months")
    fill_january(observer, rows=10)
    await take(connection, tmp_path)

    assert all(path.read_bytes() == data for path, data in copies.items())
    assert [row[:3] for row in archived(observer)] == [
        ("ibkr", 2, 5),
        ("tastytrade", 2, 5),
    ]


async def test_a_value_that_a_file_cannot_hold_keeps_the_month(
    connection, observer, january, tmp_path
):
    observer.execute("update greek_snapshots set strike = 1e-13 where fingerprint = 1")
    before = all_rows(observer, columns=SAME)

    with pytest.raises(ArchiveFailed, match="cannot hold"):
        await take(connection, tmp_path)
    assert all_rows(observer, columns=SAME) == before
    assert not list(tmp_path.glob(".*"))
    assert archived(observer) == []


async def test_a_disk_that_takes_nothing_keeps_the_month(
    connection, observer, january, tmp_path
):
    with pytest.raises(ArchiveFailed, match="cannot be written"):
        await take(connection, Path("/dev/null/files"))
    assert all_rows(observer, columns=SAME) == january


async def test_a_link_in_the_place_of_a_file_is_not_followed(
    connection, january, tmp_path
):
    target = tmp_path / "target"
    target.write_text("precious")
    directory = tmp_path / "files"
    directory.mkdir()
    name = "greek_snapshots-2025-01-ibkr-1.parquet"
    (directory / name).symlink_to(target)

    with pytest.raises(ArchiveFailed):
        await take(connection, directory)
    assert target.read_text() == "precious"


async def test_a_detached_table_can_stay(connection, observer, january, tmp_path):
    await take(connection, tmp_path, keep_detached=True)

    assert tables(observer) == [f"{PARTITION}_kept"]
    assert all_rows(observer) == []
    assert all_rows(observer, f"{PARTITION}_kept", SAME) == january
    retention = RetentionConfig(keep_months=3, archive_dir=tmp_path)
    assert await due(connection, retention, NOW) == []


async def test_beside_a_default_partition_a_busy_table_is_left_alone(
    connection, observer, january, tmp_path, database, monkeypatch
):
    monkeypatch.setattr(leave_module, "_PAUSE_S", 0.0)
    monkeypatch.setattr(leave_module, "LOCK_LIMIT", "50ms")
    monkeypatch.setattr(
        leave_module, "_LOCK_SETTING", "set local lock_timeout = '50ms'"
    )
    observer.execute("create table others partition of greek_snapshots default")
    with connect(database) as reader, reader.transaction():
        reader.execute("select count(*) from greek_snapshots")
        with pytest.raises(ArchiveFailed, match="quieter time"):
            await take(connection, tmp_path)
        assert all_rows(observer, columns=SAME) == january

    await take(connection, tmp_path)
    assert tables(observer) == []


async def test_a_detach_that_was_interrupted_is_finished(
    connection, observer, january, tmp_path, database
):
    with connect(database) as reader, connect(database) as other:
        other.execute("set lock_timeout = '100ms'")
        with reader.transaction():
            reader.execute(f"select count(*) from {PARTITION}")
            reader.execute("select count(*) from greek_snapshots")
            with pytest.raises(Exception, match="lock timeout"):
                other.execute(
                    f"alter table greek_snapshots detach partition {PARTITION} concurrently"
                )
    retention = RetentionConfig(archive_dir=tmp_path)
    assert [month for _, month in await due(connection, retention, NOW)] == [JANUARY]

    left = await take(connection, tmp_path)
    assert (left.rows, tables(observer)) == (300, [])


async def test_a_plan_without_a_directory_says_so_and_shows_no_loss(
    database, connection, january
):
    retention = RetentionConfig()
    plan = await make_plan(connection, retention, [JANUARY], NOW)

    assert [step.action.value for step in plan.steps] == ["archive and drop"]
    with pytest.raises(ArchiveFailed, match="no directory for the files of"):
        await run_archive(
            Config(database=database), ArchiveOptions(months=[JANUARY], run=False)
        )


async def test_without_a_directory_only_a_setting_drops(
    database, observer, january, connection
):
    from greeks_trio.archive.retention import Action

    plan, told = plan_of(JANUARY, Action.DROP), []
    with pytest.raises(ArchiveFailed, match="GREEKS_DROP_WITHOUT_ARCHIVE"):
        await run_plan(
            database, RetentionConfig(), plan, keep_detached=False, told=told.append
        )
    assert all_rows(observer, columns=SAME) == january

    retention = RetentionConfig(drop_without_archive=True)
    await run_plan(database, retention, plan, keep_detached=False, told=told.append)
    assert tables(observer) == []
    assert [each.rows for each in told] == [300]
    assert [row[2:4] for row in archived(observer)] == [(150, True)] * 2


async def test_two_runs_do_not_work_at_the_same_time(database, january, tmp_path):
    with connect(database) as other, other.transaction():
        other.execute("select pg_advisory_xact_lock(7402318915520033)")
        with pytest.raises(ArchiveFailed, match="another run"):
            await run_plan(
                database,
                RetentionConfig(archive_dir=tmp_path),
                plan_of(JANUARY),
                keep_detached=False,
                told=print,
            )


async def test_the_columns_of_a_file_are_those_of_the_table(observer):
    found = observer.execute(
        "select attname from pg_attribute where attnum > 0 and not attisdropped"
        " and attrelid = 'greek_snapshots'::regclass order by attnum"
    ).fetchall()

    known = [*(each.name for each in COLUMNS), NOT_ARCHIVED]
    assert [name for (name,) in found] == known
    assert "extra_float_digits" in TEXT_SETTINGS
