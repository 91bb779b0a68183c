"""Directories of others, links, and files that claim impossible things."""

from __future__ import annotations

import os
import sqlite3
import zlib
from contextlib import closing, suppress

import msgspec
import pytest

from greeks_trio.errors import ConfigError, SpoolUnavailable
from greeks_trio.model.records import FeedGap
from greeks_trio.spool.database import MAX_ID
from greeks_trio.spool.directory import open_spool
from greeks_trio.spool.format import checksum, decode_ticks, encode_ticks
from tests.factories import START, make_tick

ROOM = 2**30
GAP = FeedGap(broker="ibkr", started_at=START, reason="disconnected")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
async def test_a_directory_that_others_may_write_is_refused(tmp_path, mode):
    directory = tmp_path / "spool"
    directory.mkdir()
    os.chown(directory, os.geteuid(), 65_534 if os.geteuid() == 0 else os.getegid())
    directory.chmod(mode if os.geteuid() == 0 else mode | 0o002)

    with pytest.raises(ConfigError, match=r"GREEKS_SPOOL_DIR: .* is not safe"):
        async with open_spool(directory, max_bytes=ROOM):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_a_directory_of_another_user_is_refused(tmp_path):
    directory = tmp_path / "spool"
    directory.mkdir()
    os.chown(directory, 65_534, 65_534)

    with pytest.raises(ConfigError, match=r"GREEKS_SPOOL_DIR: .* is not safe"):
        async with open_spool(directory, max_bytes=ROOM):
            pass


@pytest.mark.parametrize(
    "name",
    [
        "lock",
        "alive",
        "spool.sqlite3",
        "spool.sqlite3-wal",
        "spool.sqlite3.new",
        "spool.sqlite3.contents.new",
        "quarantine.sqlite3",
    ],
)
async def test_no_link_is_followed(tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    directory = tmp_path / "spool"
    directory.mkdir()
    (directory / name).symlink_to(precious)

    # Each of these is refused, or does its work without the link.
    with suppress(ConfigError, SpoolUnavailable):
        async with open_spool(directory, max_bytes=ROOM) as opened:
            opened._owner.touch({"ibkr": START})
            await opened.spool.append([make_tick()])
            opened._store.write_totals()
            await opened.quarantine.add(make_tick(), sqlstate=None, reason="odd")

    assert precious.read_bytes() == b"precious"


async def test_totals_with_an_impossible_number_do_not_fill_the_disk(tmp_path):
    for number in (2**63 - 1, MAX_ID + 1, -1):
        totals = {"newest_id": number, "entries": 1, "rows": {"ibkr": 1}}
        contents = tmp_path / "spool.sqlite3.contents"
        contents.write_bytes(msgspec.json.encode(totals))

        async with open_spool(tmp_path, max_bytes=ROOM) as opened:
            assert await opened.spool.append([make_tick()]) > 0
            assert await opened.spool.append_journal([GAP])
            assert opened._store.last_error is None


@pytest.mark.parametrize("table", ["entries", "notes"])
@pytest.mark.parametrize("where", ["sequence", "row"])
async def test_a_file_with_an_impossible_id_is_replaced(tmp_path, table, where, caplog):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        first = await opened.spool.append([make_tick(1)])
        await opened.spool.append([make_tick(2)])
        await opened.spool.append_journal([GAP, GAP])
    with closing(sqlite3.connect(tmp_path / "spool.sqlite3")) as file, file:
        if where == "row":
            file.execute(f"update {table} set id = {2**63 - 1} where id = 2")
        file.execute(f"update sqlite_sequence set seq = {2**63 - 1}")

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        later = await opened.spool.append([make_tick(3)])
        [note] = await opened.spool.append_journal([GAP])
        found = await opened.spool.read(upto=2**62, max_rows=100)

    assert first < later < 2**32
    assert note < 2**32
    assert {first, later} <= {entry.id for entry in found}
    assert "spool.damaged" in caplog.text


def test_an_entry_that_unpacks_to_gigabytes_is_refused_before_it_does(monkeypatch):
    monkeypatch.setattr("greeks_trio.spool.format._UNPACKED_MAX", 2**20)
    bomb = b"z" + zlib.compress(bytes(2**24), 9)
    assert len(bomb) < 2**15

    with pytest.raises(ValueError, match="unpacks to more than"):
        decode_ticks(bomb)


def test_an_entry_above_the_bound_is_not_compressed_and_can_be_read(monkeypatch):
    ticks = [make_tick(n, source_payload=b'"%s"' % (b"7" * 5_000)) for n in range(9)]
    small = encode_ticks(ticks)
    monkeypatch.setattr("greeks_trio.spool.format._UNPACKED_MAX", 2**14)

    large = encode_ticks(ticks)

    assert small[:1] == b"z"
    assert large[:1] == b"m"
    assert decode_ticks(large) == ticks
    assert checksum(large) != checksum(small)
