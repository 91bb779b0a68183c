"""Retention inside the service, and the watch over sizes and disks."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
import trio

import greeks_trio.archive.task as task_module
import greeks_trio.monitoring.storage as storage_module
from greeks_trio.archive.task import check_retention, run_retention
from greeks_trio.config.load import child_environment
from greeks_trio.config.settings import Config, HttpConfig, RetentionConfig, Secret
from greeks_trio.errors import ConfigError
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.monitoring.storage import DiskRoom, Storage, run_storage_watch
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.schema.sizes import DatabaseSizes
from tests.database.months import all_rows, fill_january, tables
from tests.fix_postgres import connect
from tests.fix_processes import wait_until

GB = 1_000_000_000


def config_of(database, directory):
    retention = RetentionConfig(keep_months=1, archive_dir=directory)
    return Config(database=database, retention=retention)


@pytest.fixture
def said(monkeypatch):
    """An event that is set at each change of the conditions."""
    changes, receive = trio.open_memory_channel(10)

    class Told(Conditions):
        def begin(self, kind, sentence, *, subject=""):
            super().begin(kind, sentence, subject=subject)
            changes.send_nowait(sentence)

        def end(self, kind, *, subject=""):
            super().end(kind, subject=subject)
            changes.send_nowait(None)

    return Told(), receive


def refuse(*_):
    raise PermissionError(errno.EPERM, "Operation not permitted")


async def test_the_service_archives_what_is_due_in_a_process_of_its_own(
    database, tmp_path, nursery, said, monkeypatch
):
    conditions, changes = said
    monkeypatch.setattr(task_module, "_AGAIN_AFTER_S", 0.01)
    # A filter of system calls forbids it; and other tests keep this machine busy.
    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(task_module, "_NOT_CONNECTED_S", 0.01)
    directory = tmp_path / "files"
    config = config_of(database, directory)
    connected = []
    with connect(database) as observer:
        fill_january(observer, rows=20)
        nursery.start_soon(
            partial_task(lambda: config, conditions, lambda: bool(connected))
        )
        # A directory that another user can write is a fault, and nothing happens.
        tmp_path.chmod(0o777)
        connected.append(True)
        sentence = await changes.receive()
        assert "tmp" in sentence
        assert len(all_rows(observer)) == 20
        assert conditions.counts()[ConditionKind.RETENTION_FAILED] == 1

        tmp_path.chmod(0o700)
        with trio.fail_after(25):
            while await changes.receive() is not None:
                pass
        assert tables(observer) == []
        assert conditions.counts()[ConditionKind.RETENTION_FAILED] == 0
    assert len(list(directory.glob("*.parquet"))) == 2
    nursery.cancel_scope.cancel()


def partial_task(config, conditions, is_connected):
    async def run():
        await run_retention(config, conditions, is_connected, first_after_s=0)

    return run


async def test_cancelling_ends_the_process(database, tmp_path, said, monkeypatch):
    conditions, _ = said
    started = trio.Event()
    processes = []
    start = task_module._start

    async def remember(config, task_status=trio.TASK_STATUS_IGNORED):
        class Status:
            def started(self, process):
                processes.append(process)
                started.set()
                task_status.started(process)

        await start(config, task_status=Status())

    monkeypatch.setattr(task_module, "_start", remember)
    with connect(database) as observer, observer.transaction():
        fill_january(observer, rows=20)
        observer.execute("lock table greek_snapshots")
        async with trio.open_nursery() as nursery:
            task = partial_task(
                lambda: config_of(database, tmp_path / "f"), conditions, lambda: True
            )
            nursery.start_soon(task)
            await started.wait()
            while os.getpriority(os.PRIO_PROCESS, processes[0].pid) != 19:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    assert processes[0].returncode is not None


def test_the_process_gets_the_settings_that_it_needs_and_no_other_secret(
    monkeypatch, database, tmp_path
):
    monkeypatch.setenv("TT_SECRET", "of the broker")
    monkeypatch.setenv("GREEKS_API_TOKEN", "of the door")
    config = replace(
        config_of(replace(database, password=Secret("of the database")), tmp_path),
        http=HttpConfig(token=Secret("of the door")),
    )
    environment = child_environment(config)

    assert environment["POSTGRES_PASSWORD"] == "of the database"
    assert environment["POSTGRES_PORT"] == str(database.server.port)
    assert environment["GREEKS_KEEP_MONTHS"] == "1"
    assert environment["GREEKS_ARCHIVE_DIR"] == str(tmp_path)
    assert not [text for text in environment.values() if "of the broker" in text]
    assert not [text for text in environment.values() if "of the door" in text]


def test_settings_that_cannot_work_end_the_start(monkeypatch, tmp_path):
    tmp_path.chmod(0o777)
    retention = RetentionConfig(keep_months=1, archive_dir=tmp_path)
    with pytest.raises(ConfigError, match="GREEKS_ARCHIVE_DIR"):
        check_retention(retention)

    tmp_path.chmod(0o700)
    check_retention(retention)
    monkeypatch.setattr("greeks_trio.archive.parquet.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"parquet|pyarrow"):
        check_retention(retention)
    check_retention(RetentionConfig(keep_months=1, drop_without_archive=True))


async def test_the_watch_reads_sizes_and_disks(database, tmp_path, nursery):
    storage, conditions = Storage(), Conditions()
    with connect(database) as observer:
        fill_january(observer, rows=500)
    nursery.start_soon(
        run_storage_watch, storage, conditions, lambda: database, tmp_path
    )
    with trio.fail_after(20):
        while storage.spool_disk is None or storage.sizes is None:
            await wait_until(database, "select true")
    assert storage.sizes.database_bytes > 1_000_000
    assert storage.spool_disk.total > storage.spool_disk.free > 0
    nursery.cancel_scope.cancel()


async def test_without_a_database_the_disks_are_watched(
    tmp_path, database, monkeypatch
):
    monkeypatch.setattr(storage_module, "_INTERVAL_S", 0.0)
    storage = Storage()
    nowhere = replace(database, ports=(1,), timeout_s=0.5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            run_storage_watch, storage, Conditions(), lambda: nowhere, tmp_path
        )
        with trio.fail_after(20):
            while storage.spool_disk is None:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert storage.sizes is None
    assert storage.days_left is None


def sizes_of(month_bytes):
    return DatabaseSizes(
        database_bytes=month_bytes,
        months=[(date(2026, 10, 1), month_bytes), (date(2026, 11, 1), 9_000)],
        archived_months=0,
        payload_share=0.6,
        data_directory=None,
        at=datetime(2026, 11, 2, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("free", "total", "month", "is_full"),
    [
        (40 * GB, 1_000 * GB, 31 * GB, False),
        (9 * GB, 1_000 * GB, 1 * GB, True),
        (9 * GB, 100 * GB, 1 * GB, False),
        (4 * GB, 100 * GB, 1 * GB, True),
        # Ten days at 4 GB a day.
        (40 * GB, 1_000 * GB, 124 * GB, True),
    ],
)
def test_a_disk_is_nearly_full(free, total, month, is_full):
    conditions = Conditions()
    storage = Storage(
        sizes_of(month), DiskRoom(free, total), DiskRoom(50 * GB, 99 * GB)
    )
    storage_module._judge(storage, conditions)

    assert conditions.counts()[ConditionKind.DISK_NEARLY_FULL] == is_full
    storage.database_disk = DiskRoom(900 * GB, 1_000 * GB)
    storage.sizes = sizes_of(GB)
    storage_module._judge(storage, conditions)
    assert conditions.counts()[ConditionKind.DISK_NEARLY_FULL] == 0


def test_the_disk_of_a_server_is_asked_only_if_it_is_that_server(tmp_path):
    (tmp_path / "postmaster.pid").write_text("1\n/data\n0\n5433\n")

    assert storage_module._is_server(tmp_path, 5433)
    assert not storage_module._is_server(tmp_path, 5432)
    assert not storage_module._is_server(tmp_path / "missing", 5433)
