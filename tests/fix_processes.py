"""Running the launcher as a process, and asking PostgreSQL to wait for what it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio

from greeks_trio.simulators.ledger import read_ledger
from tests.fix_postgres import connect_trio

CHECKOUT = Path(__file__).parent.parent
LAUNCHER = CHECKOUT / "bin" / "run-ingest"

# Far more than anything takes here; a hang should fail with the process's output.
PATIENCE_S = 40.0

# The loop runs in the server, where each statement sees what others committed, so no
# test polls.  Each round is a transaction of its own: a partition that is attached while
# one holds a lock on the table stays unseen in it.  A condition that is slow is asked
# rarely: it must not take the processor from what it waits for.
WAIT_UNTIL = """
do $wait$
declare
    is_true boolean;
    ends_at constant timestamptz = clock_timestamp() + interval '40 s';
    began_at timestamptz;
begin
    loop
        began_at = clock_timestamp();
        execute $condition$select ({condition})$condition$ into is_true;
        if is_true then return; end if;
        commit;
        exit when clock_timestamp() > ends_at;
        perform pg_sleep(0.02 + 5 * extract(epoch from clock_timestamp() - began_at));
    end loop;
    raise exception 'it never came true';
end $wait$
"""


class Process:
    """A started launcher, its output line by line."""

    def __init__(self, process, name):
        self.process = process
        self.name = name
        self.lines = {"stdout": [], "stderr": []}
        self._arrived = trio.Event()
        self._ended = {"stdout": False, "stderr": False}

    async def pump(self, stream_name, stream):
        rest = b""
        async for chunk in stream:
            *lines, rest = (rest + chunk).split(b"\n")
            self.lines[stream_name] += [line.decode() for line in lines]
            self._wake()
        self._ended[stream_name] = True
        self._wake()

    def _wake(self):
        self._arrived.set()
        self._arrived = trio.Event()

    async def wait_line(
        self, text, *, stream="stderr", number=1, patience_s=PATIENCE_S
    ):
        """Wait for the n-th line that holds the text, and return it."""
        with trio.move_on_after(patience_s):
            while True:
                found = [line for line in self.lines[stream] if text in line]
                if len(found) >= number:
                    return found[number - 1]
                if self._ended[stream]:
                    break
                await self._arrived.wait()
        raise AssertionError(f"{self.name} never said {text!r}:\n{self.transcript()}")

    async def read_json(self):
        """Return the first line of stdout, which is JSON."""
        return json.loads(await self.wait_line("{", stream="stdout"))

    def count(self, text):
        return sum(text in line for line in self.lines["stderr"])

    def send(self, number):
        self.process.send_signal(number)

    async def wait_exit(self):
        """Wait for the end and return the exit status."""
        with trio.move_on_after(PATIENCE_S):
            status = await self.process.wait()
            while not all(self._ended.values()):
                await self._arrived.wait()
            return status
        raise AssertionError(f"{self.name} does not end:\n{self.transcript()}")

    async def stop(self, number=signal.SIGTERM):
        """Send the signal, wait for the end and return the exit status."""
        self.send(number)
        return await self.wait_exit()

    def transcript(self):
        return "\n".join(self.lines["stdout"] + self.lines["stderr"][-200:])


@asynccontextmanager
async def run_ingest(*arguments, cwd, environment=None, launcher=(LAUNCHER,)):
    """Start ``bin/run-ingest`` with the arguments; kill it at the end if need be."""
    process = await trio.lowlevel.open_process(
        [*map(str, launcher), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    ours = Process(process, f"run-ingest {' '.join(map(str, arguments))}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.pump, "stdout", process.stdout)
        nursery.start_soon(ours.pump, "stderr", process.stderr)
        try:
            yield ours
        finally:
            if process.poll() is None:
                process.kill()
            with trio.move_on_after(5, shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()
            # pytest shows it when the test fails.
            sys.stdout.write(f"--- {ours.name}\n{ours.transcript()}\n")


def kill_server(data_dir):
    """Kill every process of an embedded server; return them, the postmaster first."""
    pid_file = data_dir / "postgres-18" / "postmaster.pid"
    postmaster = psutil.Process(int(pid_file.read_text().split()[0]))
    postmaster.suspend()  # else it would see its children die
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in reversed(family):
        process.kill()
    return family


async def wait_until(database, condition):
    """Wait until the SQL condition is true."""
    await wait_until_on(await connect_trio(database), condition)


async def wait_until_on(connection, condition):
    """Wait until the SQL condition is true, and close the connection."""
    async with connection:
        with trio.fail_after(PATIENCE_S + 5):
            await connection.execute(WAIT_UNTIL.format(condition=condition))


async def fetch(database, query, parameters=()):
    """Return all rows of a query."""
    connection = await connect_trio(database)
    async with connection:
        cursor = await connection.execute(query, parameters)
        return await cursor.fetchall()


class Stage:
    """One test's directory, database and simulated brokers."""

    def __init__(self, directory, database):
        self.directory = directory
        self.database = database
        self.ledger = directory / "ledger.jsonl"
        self.env_file = directory / ".env"

    def simulate(self, *arguments, **options):
        """Start simulated brokers that write to our ledger."""
        return run_ingest(
            "simulate",
            "--ledger",
            self.ledger,
            *arguments,
            cwd=self.directory,
            **options,
        )

    def serve(self, *arguments, **options):
        """Start the service with our ``.env``."""
        return run_ingest("serve", *arguments, cwd=self.directory, **options)

    def configure(self, endpoints, **changes):
        """Write ``.env`` for the database and the announced simulators."""
        database = self.database
        values = {
            "POSTGRES_HOST": ",".join(database.hosts),
            "POSTGRES_PORT": ",".join(map(str, database.ports)),
            "POSTGRES_USER": database.user,
            "POSTGRES_PASSWORD": database.password.reveal(),
            "POSTGRES_DB": database.dbname,
            "POSTGRES_SSLMODE": database.sslmode,
            "GREEKS_HTTP_BIND": "127.0.0.1:0",
            "GREEKS_EMBEDDED_PORT": "0",
            "GREEKS_SPOOL_DIR": self.directory / "spool",
        }
        if ibkr := endpoints.get("ibkr"):
            values |= {
                "IBKR_ENABLED": "true",
                "IBKR_API_URL": ibkr["rest_url"],
                "IBKR_WS_URL": ibkr["ws_url"],
                "IBKR_CA_FILE": ibkr["ca_file"],
            }
        if tastytrade := endpoints.get("tastytrade"):
            values |= {
                "TASTYTRADE_ENABLED": "true",
                "TT_SECRET": tastytrade["secret"],
                "TT_REFRESH": tastytrade["refresh"],
                "TASTYTRADE_API_URL": tastytrade["api_url"],
                "TASTYTRADE_STREAMER_URL": tastytrade["streamer_url"],
            }
        values |= changes
        self.env_file.touch(mode=0o600)
        self.env_file.write_text(
            "".join(f"{name}={value}\n" for name, value in values.items())
        )

    def sent(self):
        """Return the ledger as a set of comparable rows."""
        return {
            (
                tick.broker,
                tick.account_id,
                tick.contract_key,
                tick.event_time_ms,
                tick.delta,
                tick.gamma,
                tick.theta,
                tick.vega,
                tick.rho,
                tick.implied_volatility,
            )
            for tick in read_ledger(self.ledger)
        }

    async def stored(self):
        """Return the table as a list of rows comparable with `sent`."""
        return await fetch(
            self.database,
            "select broker, account_id, contract_key,"
            " round(extract(epoch from event_time) * 1000)::int8,"
            " delta, gamma, theta, vega, rho, implied_volatility"
            " from greek_snapshots where account_id <> 'watchlist'",
        )

    async def wait_rows(self, broker, number):
        """Wait until the broker has so many rows."""
        await wait_until(
            self.database,
            f"select count(*) >= {number} from greek_snapshots"
            f" where broker = '{broker}'",
        )


@pytest.fixture
def stage(tmp_path, empty_database):
    """A directory and an empty database for one service and its simulators."""
    return Stage(tmp_path, empty_database)
