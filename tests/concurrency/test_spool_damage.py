"""Files that are torn, overwritten or no files of ours: the service starts and goes on."""

from __future__ import annotations

import logging
import random
import sqlite3

import pytest

from greeks_trio.errors import ConfigError
from greeks_trio.model.records import FeedGap
from greeks_trio.spool.directory import open_spool
from tests.factories import START, make_tick

ROOM = 2**30
PAGE = 4096
GAP = FeedGap(broker="ibkr", started_at=START, reason="disconnected")


def incompressible_tick(number):
    noise = random.Random(number).randbytes(6000).hex().encode()
    return make_tick(number, source_payload=b'"%s"' % noise)


async def fill(directory, entries):
    """Leave a spool with entries of one tick and several pages each, and one note."""
    async with open_spool(directory, max_bytes=ROOM) as opened:
        for number in range(entries):
            await opened.spool.append([incompressible_tick(number)])
        await opened.spool.note([GAP])
    return directory / "spool.sqlite3"


async def read_all(opened):
    found = []
    while entries := await opened.spool.read(upto=2**62, max_rows=100):
        found += [tick for entry in entries for tick in entry.ticks]
        await opened.spool.release([entry.id for entry in entries])
    return found


def overwrite(path, offset, content):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def critical(caplog):
    return [
        record.message
        for record in caplog.records
        if record.levelno == logging.CRITICAL
    ]


async def test_a_file_without_its_first_page_loses_nothing(tmp_path, caplog):
    path = await fill(tmp_path, 30)
    overwrite(path, 0, bytes(PAGE))

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.inherited_notes == [(1, GAP)]
        assert await read_all(opened) == [incompressible_tick(n) for n in range(30)]

    assert "spool.damaged" in critical(caplog)[0]
    assert len(list(tmp_path.glob("spool.sqlite3.damaged-*"))) == 1


async def test_what_is_before_the_cut_of_a_truncated_file_is_salvaged(tmp_path, caplog):
    path = await fill(tmp_path, 30)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await read_all(opened)
        new_id = await opened.spool.append([make_tick()])

    assert 10 <= len(found) < 30
    assert found == [incompressible_tick(n) for n in range(len(found))]
    assert critical(caplog)
    assert new_id > 30


@pytest.mark.parametrize("content", [b"", b"not a database", bytes(3 * PAGE), None])
async def test_a_file_that_is_nothing_of_ours_is_moved_aside(tmp_path, caplog, content):
    content = random.Random(1).randbytes(50_000) if content is None else content
    (tmp_path / "spool.sqlite3").write_bytes(content)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        await opened.spool.append([make_tick()])
        assert await read_all(opened) == [make_tick()]

    assert "spool.damaged" in critical(caplog)[0]
    assert list(tmp_path.glob("spool.sqlite3.damaged-*"))


@pytest.mark.parametrize("seed", range(8))
async def test_pages_overwritten_anywhere_cost_at_most_what_they_held(
    tmp_path, seed, caplog
):
    path = await fill(tmp_path, 40)
    chance = random.Random(seed)
    pages = path.stat().st_size // PAGE
    for page in chance.sample(range(pages), 3):
        overwrite(
            path, page * PAGE, chance.choice([bytes(PAGE), chance.randbytes(PAGE)])
        )

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await read_all(opened)
        lost = opened.spool.pop_dropped()
        await opened.spool.append([make_tick()])
        assert await read_all(opened) == [make_tick()]

    everything = [incompressible_tick(n) for n in range(40)]
    assert found == [tick for tick in everything if tick in found]
    assert len(found) >= 40 - 12
    assert len(found) + sum(sum(each.rows.values()) for each in lost) == 40


async def test_damage_under_a_running_service_is_mended_and_told(tmp_path, caplog):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        for number in range(600):
            await opened.spool.append([incompressible_tick(number)])
        before = opened.spool.size()
        path = tmp_path / "spool.sqlite3"
        for page in range(10, path.stat().st_size // PAGE, 7):
            overwrite(path, page * PAGE, bytes(PAGE))

        await opened.spool.read(upto=2**62, max_rows=1000)
        left = opened.spool.size()
        found = await read_all(opened)
        lost = opened.spool.pop_dropped()
        new_id = await opened.spool.append([make_tick()])

    assert before.rows == 600
    assert left.rows == len(found)
    assert 0 < len(found) < 600
    assert len(found) + sum(each.rows["ibkr"] for each in lost) == 600
    assert {each.reason for each in lost} == {"spool-damaged"}
    assert {each.first_at for each in lost}.isdisjoint(
        tick.record.received_at for tick in found
    )
    assert new_id == 601
    assert critical(caplog)


async def test_an_entry_with_a_wrong_checksum_costs_itself_only(tmp_path, caplog):
    path = await fill(tmp_path, 3)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET blob = x'6d00' WHERE id = 2")
    connection.close()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await opened.spool.read(upto=3, max_rows=10)
        [lost] = opened.spool.pop_dropped()

    assert [entry.id for entry in found] == [1, 3]
    assert (lost.id, lost.rows, lost.reason) == (2, {"ibkr": 1}, "spool-damaged")
    assert lost.first_at == lost.last_at == make_tick(1).record.received_at
    [kept] = (tmp_path / "damaged").iterdir()
    assert kept.read_bytes() == b"m\0"
    assert "spool.entry_lost" in critical(caplog)[0]


async def test_entries_that_cannot_be_read_do_not_hide_those_behind_them(tmp_path):
    path = await fill(tmp_path, 5)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET blob = x'6d00' WHERE id < 5")
    connection.close()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await opened.spool.read(upto=5, max_rows=2)

        assert [entry.id for entry in found] == [5]
        assert len(opened.spool.pop_dropped()) == 4
        assert opened.spool.size().entries == 1


@pytest.mark.parametrize("entry_id", [1, 2, 3])
@pytest.mark.parametrize(
    "numbers", ["rows_by_broker = '{'", "first_at = 'x'", f"first_at = {2**62}"]
)
async def test_an_entry_with_wrong_numbers_costs_itself_only(
    tmp_path, entry_id, numbers
):
    path = await fill(tmp_path, 3)
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE entries SET {numbers} WHERE id = {entry_id}")
    connection.close()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        found = await opened.spool.read(upto=3, max_rows=10)
        size = opened.spool.size()

    assert [entry.id for entry in found] == [i for i in (1, 2, 3) if i != entry_id]
    assert size.rows == 2


async def test_a_note_that_cannot_be_read_is_kept_aside(tmp_path, caplog):
    path = await fill(tmp_path, 1)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE notes SET blob = x'6d00'")
    connection.close()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.inherited_notes == []

    assert "spool.note_lost" in critical(caplog)[0]
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert len(critical(caplog)) == 1


async def test_salvaging_goes_on_after_it_was_killed(tmp_path):
    path = await fill(tmp_path, 5)
    path.rename(tmp_path / "spool.sqlite3.salvaging")
    (tmp_path / "spool.sqlite3.new").write_bytes(b"half")

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert len(await read_all(opened)) == 5

    assert list(tmp_path.glob("spool.sqlite3.damaged-*"))
    assert not (tmp_path / "spool.sqlite3.salvaging").exists()


async def test_few_damaged_files_are_kept(tmp_path):
    for _ in range(5):
        (tmp_path / "spool.sqlite3").write_bytes(b"x" * 5000)
        async with open_spool(tmp_path, max_bytes=ROOM):
            pass

    assert len(list(tmp_path.glob("spool.sqlite3.damaged-*"))) == 3


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path):
    path = await fill(tmp_path, 1)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(ConfigError, match="newer version"):
        async with open_spool(tmp_path, max_bytes=ROOM):
            pass

    assert path.read_bytes() == before


async def test_a_spool_that_somebody_deleted_is_told_as_a_loss(tmp_path, caplog):
    path = await fill(tmp_path, 3)
    path.unlink()

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        [lost] = opened.spool.pop_dropped()
        assert lost.rows == {"ibkr": 3}
        assert lost.id <= opened.inherited_id
        assert lost.first_at == make_tick(0).record.received_at
        assert lost.last_at == make_tick(2).record.received_at
        assert await opened.spool.append([make_tick()]) == 4

    assert "spool.rows_lost" in critical(caplog)[0]


async def test_a_log_that_was_torn_off_is_told_as_a_loss(tmp_path):
    async with open_spool(tmp_path / "a", max_bytes=ROOM) as opened:
        for number in range(5):
            await opened.spool.append([make_tick(number)])
        (tmp_path / "b").mkdir()
        for name in ("spool.sqlite3", "spool.sqlite3-wal"):
            (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    contents = "spool.sqlite3.contents"
    (tmp_path / "a" / contents).rename(tmp_path / "b" / contents)
    log = tmp_path / "b" / "spool.sqlite3-wal"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size // 2)

    async with open_spool(tmp_path / "b", max_bytes=ROOM) as opened:
        found = await read_all(opened)
        [lost] = opened.spool.pop_dropped()

    assert found == [make_tick(number) for number in range(len(found))]
    assert 0 < len(found) == 5 - lost.rows["ibkr"] < 5
