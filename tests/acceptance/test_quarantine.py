"""Rows that PostgreSQL refuses, from the service into quarantine and out again."""

from __future__ import annotations

import json
import subprocess

import pytest
import trio

from greeks_trio.spool.directory import QUARANTINE_FILE
from greeks_trio.spool.quarantine import QuarantineFile
from tests.factories import make_tick
from tests.fix_postgres import connect
from tests.fix_processes import LAUNCHER, fetch, run_ingest, wait_until

pytestmark = pytest.mark.timeout(120)

# The contracts of two simulated underlyings have puts, so almost every batch has some.
REFUSE_PUTS = (
    "alter table greek_snapshots"
    " add constraint no_puts check (option_type <> 'put') not valid"
)
ALLOW_PUTS = "alter table greek_snapshots drop constraint no_puts"


async def quarantine(stage, *arguments, **environment):
    """Return the exit status and the output of a command that prints no error."""
    process = run_ingest(
        "quarantine", *arguments, cwd=stage.directory, environment=environment
    )
    async with process as command:
        status = await command.wait_exit()
        assert command.lines["stderr"] == []
        return status, command.lines["stdout"]


async def test_refused_rows_wait_in_quarantine_and_are_stored_when_offered_again(stage):
    async with stage.simulate("--rate", 40, "--contracts", 20) as simulators:
        stage.configure(await simulators.read_json())
        async with stage.serve() as service:
            await service.wait_line("writer.connected")
            await stage.wait_rows("ibkr", 20)
            with connect(stage.database) as admin:
                admin.execute(REFUSE_PUTS)
            await service.wait_line("writer.row_refused")
            stored = await fetch(stage.database, "select max(id) from greek_snapshots")
            # PostgreSQL still stores the calls.
            await wait_until(
                stage.database,
                f"select count(*) > 40 from greek_snapshots where id > {stored[0][0]}",
            )
            await simulators.stop()
            assert await service.stop() == 0

    status, [first, *_] = await quarantine(stage, "--json")
    assert status == 0
    row = json.loads(first)
    assert (row["sqlstate"], row["option_type"]) == ("23514", "put")
    assert "no_puts" in row["reason"]

    status, lines = await quarantine(stage, "--retry")
    assert status == 1
    assert "no_puts" in lines[0]
    assert lines[-1].startswith("quarantine: stored 0,")

    with connect(stage.database) as admin:
        admin.execute(ALLOW_PUTS)
    status, lines = await quarantine(stage, "--retry")
    assert status == 0
    assert lines[-1].endswith(" 0 remain")

    rows = await stage.stored()
    assert len(rows) == len(set(rows))
    assert set(rows) == stage.sent()
    assert (await quarantine(stage))[1][0].startswith("quarantine: empty")


async def test_the_table_shows_contracts_whole(stage):
    stage.configure({})
    put_aside(stage, 3)

    status, lines = await quarantine(stage, COLUMNS="80")

    assert status == 0
    assert sum(make_tick().record.contract_key in line for line in lines) == 3


@pytest.mark.parametrize("arguments", [(), ("--json",)])
async def test_a_reader_that_leaves_early_causes_no_error(stage, arguments):
    stage.configure({})
    put_aside(stage, 500)

    command = await trio.lowlevel.open_process(
        [str(LAUNCHER), "quarantine", *arguments],
        cwd=stage.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    await command.stdout.aclose()
    said = await command.stderr.receive_some()

    assert said == b""
    assert await command.wait() in (0, 1)


def put_aside(stage, number):
    directory = stage.directory / "spool"
    directory.mkdir()
    with QuarantineFile(directory / QUARANTINE_FILE) as file:
        for each in range(number):
            file.add(make_tick(each), sqlstate="22003", reason="out of range")
