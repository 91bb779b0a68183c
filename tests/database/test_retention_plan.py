"""Which months are due, and which tables the program refuses to change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from greeks_trio.archive.inspection import inspect_retention
from greeks_trio.archive.months import months_before, present_month, read_months
from greeks_trio.archive.retention import Action, make_plan
from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import Config, RetentionConfig, Secret
from greeks_trio.errors import ArchiveFailed, ConfigError
from greeks_trio.postgres.schema.partitions import ensure_partition
from greeks_trio.postgres.schema.sizes import read_sizes
from tests.database.months import JANUARY, due, fill_january
from tests.fix_postgres import connect, connect_trio

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def parse(**variables):
    return parse_config(variables, need_broker=False).retention


@pytest.mark.parametrize(
    ("month", "number", "expected"),
    [
        (date(2026, 11, 1), 0, date(2026, 11, 1)),
        (date(2026, 11, 1), 11, date(2025, 12, 1)),
        (date(2026, 1, 1), 1, date(2025, 12, 1)),
        (date(2026, 1, 1), 1200, date(1926, 1, 1)),
    ],
)
def test_months_are_counted_over_the_end_of_a_year(month, number, expected):
    assert months_before(month, number) == expected


def test_the_earlier_clock_decides_about_the_present():
    ahead = datetime(2027, 11, 20, tzinfo=UTC)

    assert present_month(ahead, NOW) == present_month(NOW, ahead) == date(2026, 11, 1)


async def test_the_months_before_the_limit_are_due(connection, tmp_path):
    for month in range(1, 12):
        await ensure_partition(connection, date(2026, month, 1))
    archive = {"archive_dir": tmp_path}

    # Later than every clock in the test: the settings alone decide.
    async def months(**settings):
        steps = await due(connection, RetentionConfig(**archive, **settings), NOW)
        return [(action.value.split()[0], month.month) for action, month in steps]

    assert await months() == []
    assert await months(keep_months=9) == [("archive", 1)]
    assert await months(keep_months=8, keep_payload_months=7) == [
        ("archive", 1),
        ("archive", 2),
        ("drop", 3),
    ]
    assert await months(keep_payload_months=9) == [("drop", 1)]
    # The present month never leaves.
    assert len(await months(keep_months=1)) == 9


async def test_a_month_that_is_not_over_cannot_be_chosen(connection):
    await ensure_partition(connection, date(2026, 11, 1))
    for month, words in ((11, "not over"), (12, "not over"), (3, "no month")):
        with pytest.raises(ArchiveFailed, match=words):
            await make_plan(connection, RetentionConfig(), [date(2026, month, 1)], NOW)


async def test_partitions_of_other_programs_are_listed_and_left_alone(
    connection, database, tmp_path
):
    with connect(database) as observer:
        for name, bounds in (
            ("greek_snapshots_p20240101", "from ('2024-01-01') to ('2024-02-01')"),
            ("greek_snapshots_2024_03", "from ('2024-03-01') to ('2024-06-01')"),
        ):
            observer.execute(
                f"set timezone = 'UTC'; create table {name} partition of greek_snapshots"
                f" for values {bounds}"
            )
        fill_january(observer, rows=2)
    plan = await make_plan(
        connection, RetentionConfig(keep_months=1, archive_dir=tmp_path), [], NOW
    )

    assert sorted(plan.months.foreign) == [
        "greek_snapshots_2024_03",
        "greek_snapshots_p20240101",
    ]
    assert [(s.action, s.month) for s in plan.steps] == [(Action.ARCHIVE, JANUARY)]


async def test_a_table_without_partitions_is_refused(connection, database):
    with connect(database) as observer:
        observer.execute("drop table greek_snapshots cascade")
        with pytest.raises(ArchiveFailed, match="no table greek_snapshots"):
            await read_months(connection)
        observer.execute("create table greek_snapshots (id bigint)")

    with pytest.raises(ArchiveFailed, match="has no partitions by month"):
        await read_months(connection)


async def test_a_column_that_is_not_known_is_refused(connection, database):
    with connect(database) as observer:
        observer.execute("alter table greek_snapshots add column mine text")

    with pytest.raises(ArchiveFailed, match="mine"):
        await read_months(connection)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"GREEKS_KEEP_MONTHS": "3"}, "GREEKS_DROP_WITHOUT_ARCHIVE"),
        (
            {
                "GREEKS_KEEP_MONTHS": "3",
                "GREEKS_KEEP_PAYLOAD_MONTHS": "4",
                "GREEKS_ARCHIVE_DIR": "/srv",
            },
            "is not larger",
        ),
        ({"GREEKS_KEEP_MONTHS": "-1"}, "from 0 to 1200"),
    ],
)
def test_settings_that_could_lose_ticks_are_refused(variables, words):
    with pytest.raises(ConfigError, match=words):
        parse(**variables)


def test_settings_that_say_it_are_taken():
    assert parse().keep_months == 0
    assert parse(GREEKS_KEEP_MONTHS="3", GREEKS_DROP_WITHOUT_ARCHIVE="true")
    assert parse(GREEKS_KEEP_PAYLOAD_MONTHS="4").keep_payload_months == 4


async def test_sizes_come_from_the_catalog(connection, database):
    with connect(database) as observer:
        empty = await read_sizes(connection)
        assert (empty.months, empty.bytes_per_day, empty.payload_share) == (
            [],
            None,
            None,
        )

        fill_january(observer, rows=3000)
        observer.execute("analyze greek_snapshots")
    sizes = await read_sizes(connection)

    [(month, size)] = sizes.months
    assert month == JANUARY
    assert sizes.database_bytes > size > 500_000
    assert sizes.bytes_per_day == pytest.approx(size / 31)
    assert 0.1 < sizes.payload_share < 0.9
    assert sizes.archived_months == 0
    assert sizes.data_directory


async def test_check_tells_what_retention_lacks(database, tmp_path):
    async def verdicts(role=database, **settings):
        config = Config(database=role, retention=RetentionConfig(**settings))
        return [(f.verdict, f.sentence) for f in await inspect_retention(config)]

    [(verdict, sentence)] = await verdicts()
    assert (verdict, "every month stays" in sentence) == ("fine", True)
    with connect(database) as observer:
        fill_january(observer, rows=2)
        [(verdict, sentence)] = await verdicts(keep_months=1, archive_dir=tmp_path)
        assert verdict == "fine"
        assert "2025-01 (archive and drop)" in sentence

        tmp_path.chmod(0o777)
        found = await verdicts(keep_months=1, archive_dir=tmp_path)
        assert ("failed", True) in [(v, "GREEKS_ARCHIVE_DIR" in s) for v, s in found]

        name = f"other_{database.dbname}"
        observer.execute(
            f"create role {name} login password 'x'; revoke temporary on database"
            f" {database.dbname} from public; grant select on all tables in schema"
            f" public to {name}"
        )
        try:
            role = replace(database, user=name, password=Secret("x"))
            found = await verdicts(role, keep_payload_months=1)
            # The sizes are read without any right on the table of archives.
            observer.execute(f"revoke all on archived_months from {name}")
            async with await connect_trio(role) as connection:
                sizes = await read_sizes(connection)
        finally:
            observer.execute(f"drop owned by {name}; drop role {name}")
    assert [v for v, _ in found] == ["failed", "failed", "fine"]
    assert "does not own" in found[0][1]
    assert "temporary" in found[1][1]
    assert sizes.archived_months is None
    assert sizes.data_directory is None
