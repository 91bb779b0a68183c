"""Damaged files: the service starts, saves the readable rows, and tells of the others."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from contextlib import closing

import pytest

from greeks_trio.config.settings import BROKERS
from greeks_trio.errors import ConfigError, SpoolUnavailable
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.spool.directory import open_spool
from greeks_trio.spool.format import encode_ticks
from greeks_trio.spool.store import SpoolStore
from tests.factories import START, make_tick

ROOM = 2**30
PAGE = 4096
ENTRIES = 30
GAP = FeedGap(broker="ibkr", started_at=START, reason=GapReason.DISCONNECTED)
EVERY_TICK = range(ENTRIES)


def incompressible_tick(number):
    noise = random.Random(number).randbytes(6000).hex().encode()
    return make_tick(number, source_payload=b'"%s"' % noise)


def received_at(number):
    return make_tick(number).record.received_at


async def fill(directory, entries=ENTRIES):
    """Leave a spool with entries of one tick and several pages each, and one gap."""
    async with open_spool(directory, max_bytes=ROOM) as opened:
        for number in range(entries):
            await opened.spool.append([incompressible_tick(number)])
        await opened.spool.append_journal([GAP])
    return directory / "spool.sqlite3"


async def fill_and_kill(directory, entries=ENTRIES):
    """Leave the files as a killed process does: most entries are in the log alone."""
    path = directory / "alive" / "spool.sqlite3"
    async with open_spool(path.parent, max_bytes=ROOM) as opened:
        for number in range(entries):
            await opened.spool.append([incompressible_tick(number)])
        opened._store.write_totals()
        for each in path.parent.glob("spool.sqlite3*"):
            shutil.copy(each, directory / each.name)
    shutil.rmtree(path.parent)
    return directory / path.name


async def read_all(opened):
    """Read and release all entries; return the numbers of their ticks."""
    found = []
    while entries := await opened.spool.read(upto=2**62, max_rows=100):
        found += [tick for entry in entries for tick in entry.ticks]
        await opened.spool.release([entry.id for entry in entries])
    numbers = [round((t.record.event_time - START).total_seconds()) for t in found]
    assert found == [incompressible_tick(number) for number in numbers]
    return numbers


def overwrite(path, offset, content):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def change(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement)


def critical(caplog):
    return [
        record.message
        for record in caplog.records
        if record.levelno == logging.CRITICAL
    ]


def gaps_of(dropped):
    """Return the rows of feed_gaps that the pipeline makes, and the lost ticks."""
    backlog = Backlog(max_bytes=ROOM)
    for each in dropped:
        backlog.dropped_from_disk(each)
    return backlog.losses.pop_gaps(), backlog.losses.total


def damaged_files(directory):
    return sorted(each.name for each in directory.glob("*.damaged*"))


def truncate(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwrite_middle_page(path):
    middle = path.stat().st_size // PAGE // 2
    overwrite(path, middle * PAGE, random.Random(1).randbytes(PAGE))


def overwrite_header(path):
    overwrite(path, 0, random.Random(2).randbytes(100))


def write_zeros(path):
    path.write_bytes(bytes(3 * PAGE))


def write_garbage(path):
    path.write_bytes(random.Random(3).randbytes(50_000))


def write_another_database(path):
    path.unlink()
    change(path, "CREATE TABLE entries (id INTEGER PRIMARY KEY)")


DAMAGES = {
    "truncated": (truncate, 10),
    "a middle page": (overwrite_middle_page, ENTRIES - 1),
    "the header": (overwrite_header, 0),
    "zeros": (write_zeros, 0),
    "no bytes": (lambda path: path.write_bytes(b""), 0),
    "text": (lambda path: path.write_bytes(b"not a database"), 0),
    "garbage": (write_garbage, 0),
    "another database": (write_another_database, 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file_costs_its_unreadable_ticks_and_tells_of_them(
    tmp_path, caplog, damage
):
    work, least_saved = DAMAGES[damage]
    path = await fill(tmp_path)
    work(path)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await read_all(opened)
        gaps, lost = gaps_of(opened.spool.pop_dropped())
        new_id = await opened.spool.append([make_tick()])

    assert least_saved <= len(found) < ENTRIES
    assert found == sorted(set(found))
    assert lost == ENTRIES - len(found)
    [gap] = gaps
    assert (gap.broker, gap.reason) == ("ibkr", GapReason.TICKS_LOST)
    for number in set(EVERY_TICK) - set(found):
        assert gap.started_at <= received_at(number) <= gap.ended_at
    assert new_id == ENTRIES + 1
    assert damaged_files(tmp_path) == ["spool.sqlite3.damaged"]
    assert critical(caplog)[0].startswith(
        f"spool.damaged kept={path}.damaged salvaged_entries={len(found)} "
    )
    assert f"rows_lost entries_or_more={lost} rows={lost}" in critical(caplog)[1]


async def test_an_undamaged_half_of_a_file_is_saved_with_the_journal(tmp_path):
    path = await fill(tmp_path)
    truncate(path)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await read_all(opened)
        [lost] = opened.spool.pop_dropped()

    assert found == list(range(len(found)))
    assert lost.first_at == received_at(found[-1])
    assert lost.last_at == received_at(ENTRIES - 1)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted"])
async def test_a_damaged_log_costs_its_ticks_and_tells_of_them(
    tmp_path, caplog, damage
):
    path = await fill_and_kill(tmp_path)
    log = path.with_name("spool.sqlite3-wal")
    half = log.stat().st_size // 2
    if damage == "truncated":
        truncate(log)
    elif damage == "flipped":
        overwrite(log, half, random.Random(4).randbytes(100))
    else:
        log.unlink()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await read_all(opened)
        gaps, lost = gaps_of(opened.spool.pop_dropped())
        new_id = await opened.spool.append([make_tick()])

    assert found == list(range(len(found)))
    assert lost == ENTRIES - len(found) > 0
    assert (len(found) > 5) == (damage != "deleted")
    [gap] = gaps
    assert gap.started_at <= received_at(len(found))
    assert gap.ended_at == received_at(ENTRIES - 1)
    assert new_id == ENTRIES + 1
    assert damaged_files(tmp_path) == ["spool.sqlite3.damaged"]
    assert "spool.damaged" in critical(caplog)[0]


async def test_a_killed_process_leaves_nothing_that_looks_damaged(tmp_path, caplog):
    await fill_and_kill(tmp_path)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert await read_all(opened) == list(EVERY_TICK)
        assert opened.spool.pop_dropped() == []

    assert critical(caplog) == []
    assert damaged_files(tmp_path) == []


async def test_without_totals_the_number_of_lost_ticks_is_said_to_be_unknown(
    tmp_path, caplog
):
    path = await fill(tmp_path)
    (tmp_path / "spool.sqlite3.contents").unlink()
    overwrite_header(path)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        gaps, lost = gaps_of(opened.spool.pop_dropped())
        assert opened.spool.size().entries == 0

    assert lost == 0
    assert {gap.broker for gap in gaps} == set(BROKERS)
    assert "lost_entries=unknown" in critical(caplog)[0]
    assert critical(caplog)[1] == "spool.rows_lost entries_or_more=1 rows=unknown"


async def test_a_damaged_file_that_was_empty_has_no_gap(tmp_path, caplog):
    path = await fill(tmp_path, entries=0)
    overwrite_header(path)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.spool.pop_dropped() == []

    assert len(critical(caplog)) == 1


@pytest.mark.parametrize("seed", range(8))
async def test_overwritten_pages_cost_no_more_than_their_own_ticks(
    tmp_path, seed, caplog
):
    path = await fill(tmp_path, 40)
    chance = random.Random(seed)
    # The first pages lead to all others.
    for page in chance.sample(range(8, path.stat().st_size // PAGE), 3):
        overwrite(
            path, page * PAGE, chance.choice([bytes(PAGE), chance.randbytes(PAGE)])
        )

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await read_all(opened)
        gaps, lost = gaps_of(opened.spool.pop_dropped())
        assert await opened.spool.append([make_tick()]) == 41

    assert found == sorted(set(found))
    assert 40 - 3 * 4 <= len(found) < 40
    assert len(found) + lost == 40
    assert len(gaps) == 1


async def test_a_page_of_many_entries_costs_only_these(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        for number in range(300):
            await opened.spool.append([make_tick(number)])
    path = tmp_path / "spool.sqlite3"
    overwrite(path, path.stat().st_size // PAGE // 2 * PAGE, bytes(PAGE))
    on_a_page = PAGE // len(encode_ticks([make_tick()]))

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        [lost] = opened.spool.pop_dropped()
        found = await opened.spool.read(upto=300, max_rows=300)

    [ids] = lost.ids
    assert on_a_page // 2 < len(ids) <= on_a_page + 1
    assert lost.rows == {"ibkr": len(ids)}
    assert [entry.id for entry in found] == [i for i in range(1, 301) if i not in ids]


@pytest.mark.parametrize("page", range(8))
async def test_an_overwritten_first_page_costs_ticks_and_not_the_start(tmp_path, page):
    path = await fill(tmp_path, 40)
    overwrite(path, page * PAGE, random.Random(page).randbytes(PAGE))

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await read_all(opened)
        _, lost = gaps_of(opened.spool.pop_dropped())
        assert await opened.spool.append([make_tick()]) == 41

    assert found == sorted(set(found))
    assert len(found) + lost == 40


async def test_damage_under_a_running_service_is_mended_and_told(tmp_path, caplog):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        for number in range(600):
            await opened.spool.append([incompressible_tick(number)])
        before = opened.spool.size()
        path = tmp_path / "spool.sqlite3"
        for page in range(10, path.stat().st_size // PAGE, 70):
            overwrite(path, page * PAGE, bytes(PAGE))

        await opened.spool.read(upto=2**62, max_rows=1000)
        left = opened.spool.size()
        found = await read_all(opened)
        [lost] = opened.spool.pop_dropped()
        new_id = await opened.spool.append([make_tick()])

    assert before.rows == 600
    assert left.rows == len(found)
    assert 0 < len(found) < 600
    assert len(found) + lost.rows["ibkr"] == 600
    missing = set(range(600)) - set(found)
    assert all(any(n + 1 in ids for ids in lost.ids) for n in missing)
    assert not any(n + 1 in ids for ids in lost.ids for n in found)
    assert (lost.reason, new_id) == ("spool-damaged", 601)
    assert critical(caplog)


async def test_damage_does_not_cost_ticks_that_memory_still_has(tmp_path):
    ticks = [incompressible_tick(number) for number in range(20)]
    backlog = Backlog(max_bytes=ROOM)
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        for tick in ticks:
            backlog.put([tick])
            spooling = backlog.start_spooling(1)
            backlog.end_spooling(await opened.spool.append(spooling))
        for _ in range(5):
            backlog.take(1)
            backlog.settle()
        opened._store._database.close()
        overwrite_header(tmp_path / "spool.sqlite3")
        assert await read_all(opened) == []
        [dropped] = opened.spool.pop_dropped()
        new_id = await opened.spool.append([make_tick()])

    assert dropped.rows == {"ibkr": 20}
    assert not any(new_id in ids for ids in dropped.ids)
    assert backlog.dropped_from_disk(dropped) == {}
    assert backlog.not_on_disk() == ticks[5:]
    assert backlog.losses.pop_gaps() == []


async def test_an_entry_with_a_wrong_checksum_costs_itself_only(tmp_path, caplog):
    path = await fill(tmp_path, 3)
    change(path, "UPDATE entries SET blob = x'6d00' WHERE id = 2")

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await opened.spool.read(upto=3, max_rows=10)
        [lost] = opened.spool.pop_dropped()

    assert [entry.id for entry in found] == [1, 3]
    assert (lost.ids, lost.rows) == ((range(2, 3),), {"ibkr": 1})
    assert (lost.first_at, lost.last_at) == (received_at(0), received_at(2))
    assert "entry 2 cannot be decoded" in critical(caplog)[0]
    with closing(sqlite3.connect(tmp_path / "spool.sqlite3.damaged")) as kept:
        [[blob]] = kept.execute("SELECT blob FROM entries WHERE id = 2").fetchall()
    assert blob == b"m\0"


async def test_entries_that_cannot_be_read_do_not_hide_those_behind_them(tmp_path):
    path = await fill(tmp_path, 5)
    change(path, "UPDATE entries SET blob = x'6d00' WHERE id < 5")

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await opened.spool.read(upto=5, max_rows=2)
        [lost] = opened.spool.pop_dropped()

        assert [entry.id for entry in found] == [5]
        assert lost.rows == {"ibkr": 4}
        assert opened.spool.size().entries == 1


@pytest.mark.parametrize("entry_id", [1, 2, 3])
@pytest.mark.parametrize(
    "numbers",
    [
        "rows_by_broker = '{'",
        "rows_by_broker = CAST(x'ff' AS TEXT)",
        "first_at = 'x'",
        f"first_at = {2**62}",
    ],
)
async def test_an_entry_with_wrong_numbers_costs_itself_only(
    tmp_path, entry_id, numbers
):
    path = await fill(tmp_path, 3)
    change(path, f"UPDATE entries SET {numbers} WHERE id = {entry_id}")

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await opened.spool.read(upto=3, max_rows=10)
        size = opened.spool.size()

    assert [entry.id for entry in found] == [i for i in (1, 2, 3) if i != entry_id]
    assert size.rows == 2


async def test_a_journal_entry_that_cannot_be_read_is_put_aside(tmp_path, caplog):
    path = await fill(tmp_path, 1)
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        await opened.spool.append_journal([GAP, GAP])
    change(path, "UPDATE notes SET blob = x'6d00' WHERE id = 3")

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.inherited_journal == [(1, GAP), (2, GAP)]
        assert opened.spool.pop_dropped() == []
        assert await opened.spool.append_journal([GAP]) == [4]

    said = critical(caplog)
    assert [line.split(" ")[0] for line in said] == ["spool.note_lost", "spool.damaged"]
    assert damaged_files(tmp_path) == ["spool.sqlite3.damaged"]
    async with open_spool(tmp_path, max_bytes=ROOM):
        assert critical(caplog) == said


class Killed(BaseException):
    """Ends the work in the middle, as a kill does."""


@pytest.mark.parametrize(
    "step", ["_copy_entries", "_copy_journal", "_complete", "put_aside", "_install"]
)
async def test_saving_that_was_killed_is_done_again_or_completed(
    tmp_path, monkeypatch, step
):
    path = await fill(tmp_path)
    overwrite_middle_page(path)

    def kill(*arguments, **options):
        raise Killed

    monkeypatch.setattr(f"greeks_trio.spool.file.{step}", kill)
    store = SpoolStore(path, max_bytes=ROOM)
    with pytest.raises(Killed):
        store.read(upto=2**62, max_rows=10**6)
    store._database.close()
    monkeypatch.undo()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.inherited_journal == [(1, GAP)]
        found = await read_all(opened)
        _, lost = gaps_of(opened.spool.pop_dropped())

    assert len(found) == ENTRIES - 1
    assert lost == 1
    assert damaged_files(tmp_path) == ["spool.sqlite3.damaged"]
    assert not (tmp_path / "spool.sqlite3.new").exists()


async def test_a_full_disk_keeps_the_damaged_file_until_there_is_room(
    tmp_path, monkeypatch
):
    path = await fill(tmp_path)
    overwrite_middle_page(path)

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        monkeypatch.setattr("greeks_trio.spool.file._create", fail)
        with pytest.raises(SpoolUnavailable, match="No space left"):
            await read_all(opened)
        assert damaged_files(tmp_path) == []
        monkeypatch.undo()
        assert len(await read_all(opened)) == ENTRIES - 1


async def test_few_damaged_files_are_kept(tmp_path):
    for number in range(5):
        (tmp_path / "spool.sqlite3").write_bytes(b"%d" % number * 5000)
        async with open_spool(tmp_path, max_bytes=ROOM):
            pass

    names = damaged_files(tmp_path)
    assert names == [f"spool.sqlite3.damaged-{number}" for number in (3, 4, 5)]
    assert (tmp_path / names[-1]).read_bytes() == b"4" * 5000


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    path = await fill(tmp_path, 1)
    change(path, "PRAGMA user_version = 2")
    before = path.read_bytes()

    with pytest.raises(ConfigError, match="newer version"):
        async with open_spool(tmp_path, max_bytes=ROOM):
            pass

    assert path.read_bytes() == before
    assert damaged_files(tmp_path) == []


async def test_a_deleted_spool_is_told_as_a_loss(tmp_path, caplog):
    path = await fill(tmp_path, 3)
    path.unlink()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        [lost] = opened.spool.pop_dropped()
        assert lost.rows == {"ibkr": 3}
        assert lost.ids == (range(1, 4),)
        assert opened.inherited_id == 3
        assert (lost.first_at, lost.last_at) == (received_at(0), received_at(2))
        assert await opened.spool.append([make_tick()]) == 4

    assert "spool.rows_lost" in critical(caplog)[0]
    assert damaged_files(tmp_path) == []
