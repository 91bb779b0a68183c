"""``check`` and ``migrate``, from the launcher to the simulated brokers."""

from __future__ import annotations

import signal
import socket
from functools import partial

import pytest
import trio

from greeks_trio.commands.check import run_check
from greeks_trio.config.settings import Config, IbkrConfig, Secret, TastytradeConfig
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.schema.migrate import migrate
from tests.fix_processes import run_ingest

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def silent_port(nursery):
    """A port that accepts connections and sends nothing."""

    async def say_nothing(_):
        await trio.sleep_forever()

    serve = partial(trio.serve_tcp, say_nothing, 0, host="127.0.0.1")
    [listener] = await nursery.start(serve)
    return listener.socket.getsockname()[1]


async def output_of(process) -> tuple[int, list[str]]:
    status = await process.wait_exit()
    return status, process.lines["stdout"]


async def test_check_prints_a_line_for_each_part_and_changes_nothing(stage):
    async with stage.simulate() as simulators:
        stage.configure(await simulators.read_json())
        async with run_ingest("check", cwd=stage.directory) as check:
            status, lines = await output_of(check)

    assert status == 0
    assert [line.split(":")[0] for line in lines] == [
        "configuration",
        "database",
        "spool",
        "ibkr",
        "tastytrade",
    ]
    assert "it lacks 0001" in lines[1]
    assert lines[2] == f"spool: {stage.directory / 'spool'}, which serve makes"
    assert "logged in" in lines[3]
    assert "logged in" in lines[4]
    assert not (stage.directory / "spool").exists()


async def test_migrate_applies_once_and_check_sees_it(stage):
    stage.configure({}, IBKR_ENABLED="false")

    outputs = []
    for _ in range(2):
        async with run_ingest("migrate", cwd=stage.directory) as migrate:
            outputs.append(await output_of(migrate))

    assert [status for status, _ in outputs] == [0, 0]
    assert "applied 0001" in outputs[0][1][0]
    assert outputs[1][1] == ["database: nothing to apply"]


async def test_a_failure_is_described_in_words_and_gives_status_1(stage):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stage.configure(
        {},
        POSTGRES_PASSWORD="wr0ng",
        POSTGRES_USER="nobody",
        IBKR_ENABLED="true",
        IBKR_API_URL=f"https://localhost:{port}/v1/api",
    )

    async with run_ingest("check", cwd=stage.directory) as check:
        status, lines = await output_of(check)

    assert status == 1
    assert len(lines) == 5
    assert lines[4] == "tastytrade: not enabled"
    assert "Traceback" not in check.transcript()
    assert "wr0ng" not in check.transcript()


async def test_check_gives_up_a_part_that_never_answers(silent_port, database, capsys):
    config = Config(
        database=database,
        ibkr=IbkrConfig(api_url=f"http://127.0.0.1:{silent_port}/v1/api"),
        tastytrade=TastytradeConfig(
            api_url=f"http://127.0.0.1:{silent_port}",
            secret=Secret("s"),
            refresh=Secret("r"),
        ),
    )

    status = await run_check(config, limit_s=0.5)

    assert status == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("database: PostgreSQL ")
    assert lines[3:] == [
        "ibkr: no answer within 0.5 seconds",
        "tastytrade: no answer within 0.5 seconds",
    ]


async def test_ctrl_c_prints_no_traceback(silent_port, stage):
    stage.configure(
        {},
        IBKR_ENABLED="true",
        IBKR_API_URL=f"http://127.0.0.1:{silent_port}/v1/api",
    )
    async with run_ingest("check", cwd=stage.directory) as check:
        await check.wait_line("database", stream="stdout")
        check.send(signal.SIGINT)
        status = await check.wait_exit()

    assert status == 130
    assert "Traceback" not in check.transcript()


async def test_a_schema_that_is_newer_than_the_program_is_a_failure(database, capsys):
    async with open_connection(database, autocommit=True) as connection:
        await migrate(connection)
        await connection.execute(
            "insert into schema_migrations (name, sha256) values ('9999_later', 'x')"
        )

    status = await run_check(Config(database=database))

    assert status == 1
    assert "newer than this program" in capsys.readouterr().out.splitlines()[1]
