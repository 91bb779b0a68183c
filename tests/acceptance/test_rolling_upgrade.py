"""A rolling upgrade: the last release and this program, side by side on one database."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest

from greeks_trio.postgres.schema.schema_files import load_migrations
from greeks_trio.simulators.ledger import read_ledger
from tests import last_release
from tests.fix_processes import Stage, fetch, wait_until

pytestmark = pytest.mark.timeout(120)

LOAD = ("--contracts", "12", "--rate", "60", "--ibkr-gateways", "2")
# A service that ends may leave frames unread that the gateway has just sent.
UNREAD_S = 0.5
END_CONNECTIONS = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid()
"""


@pytest.fixture(scope="session")
def old_program(tmp_path_factory):
    """Where the last release is."""
    directory = tmp_path_factory.mktemp("last-release")
    last_release.unpack_last_release(directory)
    return directory


class Place:
    """One of two services: its spool, its settings, and its gateway at IBKR."""

    def __init__(self, stage, number, endpoints):
        self.stage = Stage(stage.directory / f"place-{number}", stage.database)
        self.stage.directory.mkdir()
        first, port = (endpoints["ibkr"]["gateway_ports"][each] for each in (0, number))
        ibkr = {
            name: value.replace(f":{first}/", f":{port}/") if "url" in name else value
            for name, value in endpoints["ibkr"].items()
        }
        self.stage.configure(endpoints | {"ibkr": ibkr})

    @asynccontextmanager
    async def run(self, program=None):
        """Run this program, or the one in a directory; yield it once it streams."""
        old = {} if program is None else {"launcher": launch_from(program)}
        async with self.stage.serve(**old) as service:
            await service.wait_line("feed.connected broker=tastytrade")
            yield service


def launch_from(program):
    """Return the words that start the program of a directory."""
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(program)!r});"
        f"import greeks_trio; assert greeks_trio.__file__.startswith({str(program)!r});"
        "runpy.run_module('greeks_trio', run_name='__main__', alter_sys=True)"
    )
    return (sys.executable, "-P", "-c", code)


async def wait_more_rows(stage, *brokers):
    """Wait until fresh ticks arrive at the table."""
    [(now,)] = await fetch(stage.database, "select clock_timestamp()")
    for broker in brokers:
        await wait_until(
            stage.database,
            f"select count(*) >= 20 from greek_snapshots"
            f" where broker = '{broker}' and received_at > '{now}'",
        )


async def test_the_last_release_and_this_program_run_side_by_side(stage, old_program):
    async with stage.simulate(*LOAD) as simulators:
        endpoints = await simulators.read_json()
        first, second = (Place(stage, number, endpoints) for number in (0, 1))
        async with first.run(old_program) as old:
            await wait_more_rows(stage, "ibkr", "tastytrade")
            async with second.run() as new:
                await wait_more_rows(stage, "ibkr", "tastytrade")
                assert await applied(stage) == [each.name for each in load_migrations()]
                # The old one connects again, and finds the schema of the new one.
                await fetch(stage.database, END_CONNECTIONS)
                await wait_more_rows(stage, "ibkr", "tastytrade")
                stopped_s = time.monotonic()
                assert await old.stop() == 0
                errors = [each for each in old.lines["stderr"] if " ERROR " in each]
                # It may have looked at the whole schema since.
                assert all("kind=schema_differs" in each for each in errors)
                assert old.count(" CRITICAL ") == 0
                async with first.run() as successor:
                    await wait_more_rows(stage, "ibkr", "tastytrade")
                    assert await simulators.stop() == 0
                    assert await successor.stop() == await new.stop() == 0
    stored = await stage.stored()
    assert len(stored) == len(set(stored))
    assert set(stored) <= stage.sent()
    missing = {row[:4] for row in stage.sent() - set(stored)}
    assert missing <= unread(stage, stopped_s)


async def applied(stage):
    rows = await fetch(stage.database, "select name from schema_migrations order by 1")
    return [name for (name,) in rows]


def unread(stage, stopped_s):
    """Return the names of the ticks of IBKR that the old service may not have read."""
    return {
        name_of(each)
        for each in read_ledger(stage.ledger)
        if each.broker == "ibkr" and abs(each.sent_monotonic - stopped_s) < UNREAD_S
    }


def name_of(tick):
    return tick.broker, tick.account_id, tick.contract_key, tick.event_time_ms


def test_a_clone_without_history_is_told_how_to_get_it(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(last_release, "_CHECKOUT", tmp_path)

    with pytest.raises(pytest.fail.Exception, match="git fetch --unshallow"):
        last_release.unpack_last_release(tmp_path)
