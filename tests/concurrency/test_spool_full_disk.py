"""A full disk, made by a limit of the kernel on the size of a process's files."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from greeks_trio.errors import SpoolUnavailable
from greeks_trio.spool.database import transaction, translated
from greeks_trio.spool.store import SpoolStore
from tests.factories import make_tick
from tests.fix_processes import CHECKOUT


def test_a_full_disk_costs_no_entry_and_works_again_when_there_is_room(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "tests.concurrency.spool_child", "fill_disk", tmp_path],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )

    said = dict(line.split(" ", 1) for line in ended.stdout.splitlines())
    assert ended.returncode == 0, ended.stderr
    assert "spool.sqlite3: the disk" in said["full:"]
    assert "quarantine.sqlite3: the disk" in said["quarantine:"]
    kept, appended, counted = said["kept"].split()
    assert int(kept) == int(appended) == int(counted) > 10
    assert said["released"] == "-10"
    assert said["waiting"] == "1"
    assert said["again"] == "True"


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "spool.sqlite3"
    store = SpoolStore(path, max_bytes=2**30)
    store.open()
    yield store
    store.close()


def append_each(store, ticks):
    for tick in ticks:
        store.append([tick], release=(), protected=0)


def limit_pages(store, pages):
    connection = store._database._connection
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()


def test_a_full_database_is_unavailable_until_it_may_grow(store):
    noise = b'"%s"' % (b"7" * 3000)
    limit_pages(store, 20)
    with pytest.raises(SpoolUnavailable, match="the disk is full"):
        append_each(
            store, [make_tick(number, source_payload=noise) for number in range(100)]
        )
    before = store.size().entries

    limit_pages(store, 1000)
    store.append([make_tick()], release=[1], protected=0)

    assert store.size().entries == before
    assert len(store.read(upto=2**62, max_rows=1000)) == before


def test_a_failed_transaction_leaves_nothing_and_no_transaction(tmp_path):
    path = tmp_path / "file"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE t (a)")
    connection.execute("PRAGMA max_page_count = 3").fetchall()

    def insert():
        with translated(path), transaction(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            connection.execute("INSERT INTO t VALUES (zeroblob(100000))")

    with pytest.raises(SpoolUnavailable):
        insert()

    assert not connection.in_transaction
    assert connection.execute("SELECT * FROM t").fetchall() == []
    connection.close()


def test_an_error_of_our_own_ends_the_transaction_too(tmp_path):
    connection = sqlite3.connect(tmp_path / "file", isolation_level=None)
    connection.execute("CREATE TABLE t (a)")

    def insert():
        with transaction(connection):
            connection.execute("INSERT INTO t VALUES (1)")
            raise ValueError("a surprise")

    with pytest.raises(ValueError, match="a surprise"):
        insert()

    assert not connection.in_transaction
    assert connection.execute("SELECT * FROM t").fetchall() == []
    connection.close()
