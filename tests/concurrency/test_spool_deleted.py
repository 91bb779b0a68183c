"""The spool of a running service is deleted, or its disk is full."""

from __future__ import annotations

import logging
import shutil
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio

from greeks_trio.errors import ConfigError, SpoolUnavailable
from greeks_trio.model.condition_kinds import Severity
from greeks_trio.model.records import FeedGap
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.spool.directory import open_spool
from tests.factories import START, make_tick

ROOM = 2**30
GAP = FeedGap(broker="ibkr", started_at=START, reason="disconnected")


class Waiting(logging.Handler):
    """Keeps an event for a text in the log."""

    def __init__(self, text):
        super().__init__()
        self.text = text
        self.found = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    def emit(self, record):
        if self.text in record.getMessage():
            self._token.run_sync_soon(self.found.set)  # maybe from the disk's thread


@asynccontextmanager
async def alive(opened, conditions=None):
    """Run the mark of life, with short intervals."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened.run_alive_mark, dict, conditions)
        yield
        nursery.cancel_scope.cancel()


@contextmanager
def waiting_for(text):
    said = Waiting(text)
    logger = logging.getLogger("greeks_trio")
    logger.addHandler(said)
    yield said.found
    logger.removeHandler(said)


async def test_a_deleted_directory_is_told_and_made_again_with_its_content(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("greeks_trio.spool.directory._ALIVE_INTERVAL_S", 0.01)
    directory = tmp_path / "spool"
    ticks = [make_tick(n) for n in range(3)]
    async with open_spool(directory, max_bytes=ROOM) as opened:
        first = await opened.spool.append(ticks)
        [note] = await opened.spool.append_journal([GAP])
        shutil.rmtree(directory)
        with waiting_for("spool.file_deleted") as found:
            async with alive(opened):
                with trio.fail_after(20):
                    await found.wait()
        second = await opened.spool.append([make_tick(9)])
        with pytest.raises(ConfigError, match="in use by process"):
            async with open_spool(directory, max_bytes=ROOM):
                pass

    assert f"spool.directory_deleted directory={directory}" in caplog.messages
    async with open_spool(directory, max_bytes=ROOM) as opened:
        found = await opened.spool.read(upto=2**62, max_rows=100)
        assert [entry.id for entry in found] == [first, second]
        assert found[0].ticks == ticks
        assert opened.inherited_journal == [(note, GAP)]
        assert opened.spool.pop_dropped() == []


@pytest.mark.parametrize("name", ["spool.sqlite3", "spool.sqlite3-wal"])
async def test_a_deleted_file_is_noticed_by_the_next_call(tmp_path, caplog, name):
    async with open_spool(tmp_path / "spool", max_bytes=ROOM) as opened:
        ids = [await opened.spool.append([make_tick(n)]) for n in range(2)]
        (tmp_path / "spool" / name).unlink()
        await opened.spool.append([make_tick(2)], release=ids[:1])
        assert opened.spool.size().entries == 2
        copy = shutil.copytree(tmp_path / "spool", tmp_path / "copy")

    assert caplog.text.count("spool.file_deleted") == 1
    # The state of the disk at a kill right after the call.
    async with open_spool(copy, max_bytes=ROOM) as opened:
        left = await opened.spool.read(upto=2**62, max_rows=100)
    assert [entry.id for entry in left] == [ids[1], ids[1] + 1]


async def test_another_file_in_its_place_is_put_aside(tmp_path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        entry_id = await opened.spool.append([make_tick()])
        (tmp_path / "spool.sqlite3").unlink()
        (tmp_path / "spool.sqlite3").write_text("not ours")
        [entry] = await opened.spool.read(upto=entry_id, max_rows=10)

    assert entry.ticks == [make_tick()]
    assert (tmp_path / "spool.sqlite3.damaged").read_text() == "not ours"


async def test_a_deleted_file_stays_in_use_while_the_disk_takes_no_new_one(
    tmp_path, monkeypatch
):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        entry_id = await opened.spool.append([make_tick()])
        (tmp_path / "spool.sqlite3").unlink()
        with monkeypatch.context() as patch:
            patch.setattr("greeks_trio.spool.store.remake_deleted", refuse)
            with pytest.raises(SpoolUnavailable, match="No space left"):
                await opened.spool.append([make_tick(1)])
        [entry] = await opened.spool.read(upto=entry_id, max_rows=10)

    assert entry.ticks == [make_tick()]


async def test_a_deleted_quarantine_is_made_again(tmp_path, caplog):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        await opened.quarantine.add(make_tick(1), sqlstate=None, reason="odd")
        (tmp_path / "quarantine.sqlite3").unlink()
        await opened.quarantine.add(make_tick(2), sqlstate=None, reason="odd")
        assert await opened.quarantine.recount() == 1

    assert "spool.file_deleted" in caplog.text


async def test_a_disk_that_refuses_at_the_start_is_a_condition_until_it_works(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("greeks_trio.spool.directory._ALIVE_INTERVAL_S", 0.01)
    # Nobody can make a file where a directory is.
    (tmp_path / "spool.sqlite3").mkdir()
    conditions = Conditions()
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        with waiting_for("condition.began kind=spool_unavailable") as began:
            async with alive(opened, conditions):
                with trio.fail_after(20):
                    await began.wait()
                [sentence] = conditions.sentences(Severity.DEGRADED)
                (tmp_path / "spool.sqlite3").rmdir()
                with (
                    waiting_for("condition.ended kind=spool_unavailable") as ended,
                    trio.fail_after(20),
                ):
                    await ended.wait()

    assert str(tmp_path / "spool.sqlite3") in sentence
