"""Refused rows on a real disk, between the service and a command beside it."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys

import pytest
import trio

from greeks_trio.errors import ConfigError, SpoolUnavailable
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.model.records import FeedGap
from greeks_trio.spool.directory import QUARANTINE_FILE, open_spool
from greeks_trio.spool.quarantine import (
    QuarantineFile,
    RefusalCount,
)
from greeks_trio.spool.quarantine_on_disk import QuarantineOnDisk
from greeks_trio.spool.worker import DiskWorker
from tests.factories import START, make_tick
from tests.fix_processes import CHECKOUT

ROOM = 2**30


@pytest.fixture
def path(tmp_path):
    return tmp_path / QUARANTINE_FILE


async def test_a_row_is_kept_once_however_often_it_is_refused(tmp_path, path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert not path.exists()
        for number in (1, 2, 1, 1):
            await opened.quarantine.add(
                make_tick(number, read_at=7.0), sqlstate="22003", reason="out of range"
            )
        assert opened.quarantine.waiting() == 2

    with QuarantineFile(path) as file:
        rows = file.list(10)
        assert [row.tick for row in rows] == [make_tick(1), make_tick(2)]
        assert (rows[0].sqlstate, rows[0].reason) == ("22003", "out of range")
        assert file.list(1) == rows[:1]


async def test_rows_are_not_counted_again_for_each_that_is_added(tmp_path, path):
    """Counting takes longer with each row when PostgreSQL refuses all of them."""
    counts = []

    class CountingFile(QuarantineFile):
        def count(self):
            counts.append(super().count())
            return counts[-1]

    with CountingFile(path, is_owner=True) as file:
        quarantine = QuarantineOnDisk(file, DiskWorker())
        for number in (1, 2, 2, 3):
            await quarantine.add(make_tick(number), sqlstate=None, reason="odd")

        assert quarantine.waiting() == 3
        assert counts == [1]


async def test_a_command_takes_rows_out_while_the_service_runs(tmp_path, path):
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        for number in range(3):
            await opened.quarantine.add(make_tick(number), sqlstate=None, reason="odd")
        remove = (
            "import sys; from pathlib import Path;"
            "from greeks_trio.spool.quarantine import QuarantineFile\n"
            "with QuarantineFile(Path(sys.argv[1])) as file:"
            " file.remove([row.id for row in file.list(2)] + [99])"
        )
        subprocess.run([sys.executable, "-c", remove, path], cwd=CHECKOUT, check=True)  # noqa: ASYNC221

        assert opened.quarantine.waiting() == 3
        assert await opened.quarantine.recount() == 1
        await opened.quarantine.add(make_tick(9), sqlstate=None, reason="odd")
        assert opened.quarantine.waiting() == 2


async def test_the_service_notices_the_changes_of_a_command(path):
    worker = DiskWorker()
    with QuarantineFile(path, is_owner=True) as file, QuarantineFile(path) as command:
        quarantine = QuarantineOnDisk(file, worker)
        await quarantine.take_notice()
        assert quarantine.waiting() == 0
        for number in range(3):
            await quarantine.add(make_tick(number), sqlstate=None, reason="odd")
        await quarantine.take_notice()
        command.remove([1, 2])
        await quarantine.take_notice()
        assert quarantine.waiting() == 1


async def test_waiting_rows_are_counted_and_logged_at_the_start(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        await opened.spool.append([make_tick(1), make_tick(2)])
        await opened.quarantine.add(make_tick(3), sqlstate=None, reason="odd")

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        assert opened.quarantine.waiting() == 1
    said = caplog.messages[-1]
    assert said.startswith(f"spool.opened directory={tmp_path} rows=2 oldest_at=20")
    assert said.endswith(" quarantined=1")


def test_rows_are_counted_by_sqlstate_and_reason(path):
    with QuarantineFile(path) as file:
        for number, (sqlstate, reason) in enumerate(
            [("23514", "a"), (None, "b"), (None, "b"), ("23514", "b")]
        ):
            file.add(make_tick(number), sqlstate=sqlstate, reason=reason)

        assert file.count() == 4
        counts = file.counts()

    assert counts[0] == RefusalCount(sqlstate=None, reason="b", rows=2)
    assert {(each.sqlstate, each.rows) for each in counts[1:]} == {("23514", 1)}


def test_reading_a_missing_quarantine_does_not_make_one(path):
    with QuarantineFile(path) as file:
        file.remove([1])
        assert (file.list(5), file.count(), list(file.counts())) == ([], 0, [])

    assert not path.exists()


def test_text_that_postgresql_refuses_is_kept(path):
    odd = make_tick(account_id="U\ud800", contract_key="\0", underlying="\udfff")

    with QuarantineFile(path) as file:
        file.add(odd, sqlstate=None, reason="surrogates: \ud800")

        [row] = file.list(5)
    assert row.tick == odd
    assert row.reason == "surrogates: ?"


def test_beyond_the_bound_the_oldest_rows_go(path, caplog):
    noise = b'"%s"' % os.urandom(3000).hex().encode()
    with QuarantineFile(path, max_bytes=1_000_000) as file:
        for number in range(300):
            file.add(
                make_tick(number, source_payload=noise), sqlstate=None, reason="odd"
            )
        rows = file.list(1000)

    assert rows[-1].tick == make_tick(299, source_payload=noise)
    assert 0 < len(rows) < 300
    assert "quarantine.full dropped_rows=100" in caplog.text


async def test_the_service_puts_a_damaged_quarantine_aside(tmp_path, path, caplog):
    path.write_bytes(b"not a database" * 1000)

    async with open_spool(tmp_path, max_bytes=ROOM) as opened:
        await opened.quarantine.add(make_tick(), sqlstate=None, reason="odd")
        assert opened.quarantine.waiting() == 1

    [kept] = tmp_path.glob("quarantine.sqlite3.damaged*")
    assert kept.read_bytes() == b"not a database" * 1000
    assert caplog.records[0].levelno == logging.CRITICAL


def test_a_command_leaves_a_damaged_quarantine_alone(path):
    path.write_bytes(b"not a database" * 1000)

    with QuarantineFile(path) as file, pytest.raises(SpoolUnavailable, match="damaged"):
        file.count()

    assert path.read_bytes() == b"not a database" * 1000


def test_a_quarantine_of_a_newer_version_is_refused(path):
    with QuarantineFile(path) as file:
        file.add(make_tick(), sqlstate=None, reason="odd")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()

    with QuarantineFile(path) as file, pytest.raises(ConfigError, match="newer"):
        file.count()


def test_a_row_that_cannot_be_decoded_does_not_hide_the_others(path, caplog):
    with QuarantineFile(path) as file:
        file.add(make_tick(1), sqlstate=None, reason="odd")
        file.add(make_tick(2), sqlstate=None, reason="odd")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE rows SET blob = x'00' WHERE id = 1")
    connection.close()

    with QuarantineFile(path) as file:
        assert [row.tick for row in file.list(5)] == [make_tick(2)]
        assert file.count() == 2
    assert "quarantine.unreadable id=1" in caplog.text


async def test_a_disk_without_a_thread_is_a_disk_that_refuses(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("can't start new thread")

    worker = DiskWorker()
    with monkeypatch.context() as patch:
        patch.setattr(trio.to_thread, "run_sync", refuse)
        with pytest.raises(SpoolUnavailable, match="can't start new thread"):
            await worker.run(lambda: 1)

    def fail():
        raise RuntimeError("a fault of this program")

    with pytest.raises(RuntimeError):
        await worker.run(fail)
    assert await worker.run(lambda: 1) == 1


async def test_a_journal_entry_is_kept_once_and_counted(tmp_path):
    gap = FeedGap(broker="ibkr", started_at=START, reason=GapReason.SILENCE)
    with QuarantineFile(tmp_path / "quarantine.sqlite3") as file:
        quarantine = QuarantineOnDisk(file, DiskWorker())
        await quarantine.recount()
        for _ in range(2):
            await quarantine.add_entry(gap, sqlstate="42501", reason="no right")
        assert quarantine.waiting() == 1
        [kept] = file.entries()
        assert (kept.entry, kept.sqlstate, kept.reason) == (gap, "42501", "no right")
        assert [count.rows for count in file.counts()] == [1]

        file.remove_entries([kept.id])
        assert await quarantine.recount() == 0
