"""The process is killed at every step, and the next run goes on without a loss."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.database.archive_child import MOMENTS
from tests.database.months import all_rows, fill_january, tables
from tests.fix_postgres import connect

CHECKOUT = Path(__file__).parents[2]
# In the order in which a run passes them; the second call where the first is too early.
OF_ARCHIVE = {
    "in a file": 2,
    "before the name": 2,
    "before the record": 1,
    "before the detach": 1,
    "before the rename": 1,
    "before the second comparison": 1,
    "before the drop": 1,
    "before the commit of the drop": 1,
}
OF_PAYLOADS = ("before the exchange", "after the exchange")


@pytest.fixture
def run(database, tmp_path):
    """Run the command as a process; return its status and its output."""
    environment = {
        "PYTHONPATH": str(CHECKOUT),
        "GREEKS_ARCHIVE_DIR": str(tmp_path / "files"),
        "POSTGRES_HOST": database.server.host,
        "POSTGRES_PORT": str(database.server.port),
        "POSTGRES_USER": database.user,
        "POSTGRES_PASSWORD": database.password.reveal(),
        "POSTGRES_DB": database.dbname,
        "POSTGRES_SSLMODE": database.sslmode,
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.database.archive_child"],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:

        def run(*arguments, moment="never", occurrence=1, **settings):
            order = {
                "moment": moment,
                "occurrence": occurrence,
                "arguments": ["archive", *arguments],
                "settings": settings,
            }
            child.stdin.write(json.dumps(order) + "\n")
            child.stdin.flush()
            status, output = json.loads(child.stdout.readline())
            assert status == (0 if moment == "never" else -signal.SIGKILL), output
            return output

        yield run
        child.stdin.close()


def rows_somewhere(observer, files):
    """Return the fingerprints that are in tables of the month, and in whole files."""
    found = set()
    for table in tables(observer):
        found |= set(observer.execute(f"select fingerprint from {table}").fetchall())
    if list(files.glob("*.parquet")):
        found |= set(
            duckdb.sql(f"select fingerprint from '{files}/*.parquet'").fetchall()
        )
    return {number for (number,) in found}


def test_a_kill_at_any_step_loses_nothing(run, database, tmp_path):
    files = tmp_path / "files"
    with connect(database) as observer:
        fill_january(observer)
        january = all_rows(observer)
        settings = {"GREEKS_KEEP_MONTHS": "1"}
        for moment, occurrence in OF_ARCHIVE.items():
            run("--run", moment=moment, occurrence=occurrence, **settings)
            assert rows_somewhere(observer, files) == set(range(1, 301)), moment
            is_visible = moment in list(OF_ARCHIVE)[:4]
            assert all_rows(observer) == (january if is_visible else []), moment
        run("--run", **settings)

        assert tables(observer) == []
        assert sorted(path.name for path in files.iterdir()) == [
            "greek_snapshots-2025-01-ibkr-1.parquet",
            "greek_snapshots-2025-01-tastytrade-1.parquet",
        ]
        run("--load", *map(str, files.glob("*.parquet")))
        assert len(all_rows(observer)) == 300


def test_a_kill_while_payloads_are_dropped_loses_no_other_value(run, database):
    with connect(database) as observer:
        fill_january(observer)
        january = all_rows(observer, columns="fingerprint, delta, strike")
        settings = {"GREEKS_KEEP_PAYLOAD_MONTHS": "1"}
        for moment in OF_PAYLOADS:
            run("--run", moment=moment, **settings)
            assert all_rows(observer, columns="fingerprint, delta, strike") == january
        done = run("--run", **settings)

        assert "300 payloads dropped" in done
        assert all_rows(observer, columns="fingerprint, delta, strike") == january
        assert tables(observer) == ["greek_snapshots_2025_01"]


def test_without_run_nothing_changes(run, database, tmp_path):
    with connect(database) as observer:
        fill_january(observer)
        done = run("--month", "2025-01")

        assert "archive and drop" in done
        assert "Nothing was changed. Add --run to do it." in done
        assert len(all_rows(observer)) == 300
    assert not (tmp_path / "files").exists()


def test_every_moment_is_tried():
    assert {*OF_ARCHIVE, *OF_PAYLOADS} == set(MOMENTS)
