"""Every block of shell, SQL and Python in the documents runs against one demo.

The blocks of a page run in order.  A comment above a block changes this:

- ``<!-- not run: REASON -->``
- ``<!-- run with: A=B -->``: with B in place of A
- ``<!-- exit status: N -->``: the block ends with this exit status instead of 0
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
import trio

from docs.tools.blocks import read_blocks
from greeks_trio.postgres.connection import TrioConnection
from greeks_trio.postgres.embedded.binaries import find_programs
from tests.fix_processes import CHECKOUT, LAUNCHER, run_ingest, wait_until_on

pytestmark = pytest.mark.timeout(180)

PAGES = (
    "README.md",
    "docs/sql-cookbook.md",
    "docs/schema.md",
    "docs/risk.md",
    "docs/tutorial.md",
    "docs/python.md",
    "docs/http.md",
    "docs/what-if.md",
    "docs/runbook.md",
    "docs/upgrade.md",
    "docs/database.md",
)
BLOCKS = {
    name: read_blocks((CHECKOUT / name).read_text(encoding="utf-8")) for name in PAGES
}
REASONS = {
    "changes the configuration of your shell",
    "changes the password of the demo",
    "does not end",
    "needs a database of your own",
    "needs a month that is over",
    "needs a container engine",
    "needs a data directory of your own",
    "needs accounts at the brokers",
    "needs DuckDB",
    "needs pg_partman",
    "needs polars",
    "needs root and systemd",
    "paths of an installation",
    "test_roles.py runs it with roles of its own",
    "the lines of a configuration file",
    "the demo's comparison counts the ticks on their way as lost",
}
LANGUAGES = ("sh", "sql", "python")
# An answer such as 404 is a failure, too.
STRICT_CURL = 'curl() { command curl --fail-with-body --silent --show-error "$@"; }\n'
DOCUMENTED_ADDRESS = "127.0.0.1:8080"
START = "bin/run-ingest demo"


def start_options():
    """Return how the tutorial starts the demo; its outage comes sooner here."""
    [command] = [
        block.text.strip()
        for block in BLOCKS["docs/tutorial.md"]
        if block.text.startswith(START)
    ]
    command = command.replace(DOCUMENTED_ADDRESS, "127.0.0.1:0").replace(
        "@15:5", "@2:2"
    )
    return shlex.split(command)[1:]


class Reader:
    """Runs blocks as a reader would, in a directory that looks like a clone."""

    def __init__(self, directory, dsn, address):
        self._directory = directory
        self._dsn = dsn
        self._address = address
        self._psql = find_programs(18, None) / "psql"
        (directory / "bin").mkdir()
        (directory / "bin" / "run-ingest").symlink_to(LAUNCHER)
        shutil.copy(CHECKOUT / ".env.example", directory)

    async def run(self, block):
        """Run the block, and return its failure, `None` when there is none."""
        text = block.text_to_run.replace(DOCUMENTED_ADDRESS, self._address)
        if block.language == "sql":
            return await self._ask(text)
        shell = ["sh", "-euc", STRICT_CURL + text]
        command = shell if block.language == "sh" else [sys.executable, "-c", text]
        done = await self._process(command)
        wanted = int(block.note.partition("exit status: ")[2] or 0)
        if done.returncode != wanted:
            return f"exit status {done.returncode}: {done.stderr.decode()}"
        return None

    async def _ask(self, sql):
        command = [self._psql, "--no-psqlrc", "--set=ON_ERROR_STOP=1", self._dsn]
        done = await self._process(command, stdin=sql.encode())
        if done.returncode:
            return done.stderr.decode()
        counts = re.findall(r"^\((\d+) rows?\)$", done.stdout.decode(), re.MULTILINE)
        questions = re.findall(r"^(?:select|with)\b", sql, re.MULTILINE)
        if len(counts) != len(questions) or "0" in counts:
            return f"rows of its {len(questions)} queries: {counts}"
        return None

    async def _process(self, command, stdin=b""):
        return await trio.run_process(
            command,
            stdin=stdin,
            cwd=self._directory,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "PAGER": "cat"},
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


async def test_every_block_runs_in_a_demo_and_every_query_returns_rows(tmp_path):
    failures = []
    async with run_ingest(*start_options(), "--json", cwd=tmp_path) as demo:
        first = await demo.read_json()
        reader = Reader(tmp_path, first["dsn"], first["http"].removeprefix("http://"))
        connection = await TrioConnection.connect(first["dsn"], autocommit=True)
        await wait_until_on(
            connection,
            # The blocks ask for both brokers, and IBKR's positions come last.
            "select exists (select from feed_gaps where ended_at is not null) and"
            " count(distinct broker) = 2 from portfolio_asof(now() - interval '10 s')",
        )
        for name, blocks in BLOCKS.items():
            for block in blocks:
                if block.language not in LANGUAGES or block.not_run:
                    continue
                if block.text.startswith(START):
                    continue  # it is what runs here
                if problem := await reader.run(block):
                    failures.append(f"{name}:{block.line}: {problem}")
                if "kill -9" in block.text:
                    await demo.wait_line("embedded.started_again")
        assert await demo.stop(signal.SIGINT) == 0

    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_that_is_not_run_has_one_of_few_reasons(name):
    reasons = [block.not_run for block in BLOCKS[name] if block.not_run]

    assert set(reasons) <= REASONS


def test_the_shell_understands_the_commands_that_are_not_run():
    for blocks in BLOCKS.values():
        for block in blocks:
            if block.language == "sh":
                subprocess.run(["sh", "-n", "-c", block.text], check=True)
