"""``check`` and ``migrate``, from the launcher to the simulated brokers."""

from __future__ import annotations

import signal
import socket
from functools import partial

import pytest
import trio

from greeks_trio.commands.check import CheckOptions, run_check
from greeks_trio.commands.cli import main
from greeks_trio.commands.target import existing_target, open_target, spool_of_target
from greeks_trio.config.load import Loaded
from greeks_trio.config.settings import (
    Config,
    IbkrConfig,
    Secret,
    SpoolConfig,
    TastytradeConfig,
)
from greeks_trio.errors import StoreUnavailable
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


def by_subject(lines) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines)


async def test_check_prints_a_line_for_each_part_and_changes_nothing(stage):
    """First everything is right, then a password, a secret and an address are wrong."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    wrong = {
        "POSTGRES_USER": "nobody",
        "POSTGRES_PASSWORD": "wr0ng",
        "TT_SECRET": "wr0ng",
        "IBKR_API_URL": f"https://localhost:{port}/v1/api",
    }
    async with stage.simulate("--contracts", "20") as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints)
        async with run_ingest("check", cwd=stage.directory) as check:
            status, lines = await output_of(check)
        stage.configure(endpoints, **wrong)
        async with run_ingest("check", cwd=stage.directory) as failed:
            failed_status, failed_lines = await output_of(failed)

    assert status == 0
    said = by_subject(lines)
    assert len(said) == len(lines)
    assert next(iter(said)) == "configuration"
    assert list(said)[-2:] == ["ibkr", "tastytrade"]
    sync = said.pop("time of a sync")  # slow while other tests use the disk
    assert "fsync" in said.pop("durability")  # off, see `QUICK`
    assert not any(text.startswith(("FAILED", "WARNING")) for text in said.values())
    assert "it lacks 0001" in said["database"]
    assert said["spool"] == f"{stage.directory / 'spool'}, which serve makes"
    assert "GB are free" in said["space for the spool"]
    assert "95 % of 20 syncs" in sync
    assert said["http"] == "any free port of 127.0.0.1"
    for broker in ("ibkr", "tastytrade"):
        assert "logged in" in said[broker]
        assert "10 option positions" in said[broker]
    assert not (stage.directory / "spool").exists()

    assert failed_status == 1
    said = by_subject(failed_lines)
    assert said["database"].startswith("FAILED: ")
    assert "correct POSTGRES_USER or POSTGRES_PASSWORD" in said["database"]
    assert said["ibkr"].startswith("FAILED: no IBKR gateway answers")
    assert said["tastytrade"].startswith("FAILED: ")
    assert "Traceback" not in failed.transcript()
    assert "wr0ng" not in failed.transcript()


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

    status = await run_check(lambda: Loaded(config, []), CheckOptions(limit_s=0.5))

    assert status == 1
    lines = capsys.readouterr().out.splitlines()
    assert "database: PostgreSQL " in "\n".join(lines)
    assert lines[-2:] == [
        "ibkr: FAILED: no answer within 0.5 seconds",
        "tastytrade: FAILED: no answer within 0.5 seconds",
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


def test_migrate_and_check_know_the_bundled_database_of_serve(
    tmp_path, monkeypatch, capfd
):
    (tmp_path / ".env").write_text(
        "TASTYTRADE_ENABLED=false\nIBKR_ENABLED=true\n"
        "IBKR_API_URL=https://localhost:1/v1/api\nGREEKS_EMBEDDED_PORT=0\n"
    )
    monkeypatch.chdir(tmp_path)
    statuses = []
    for command in ("migrate", "check"):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([command, "--embedded", "--data-dir", str(tmp_path / "data")])
        statuses.append(ended.value.code)

    said = by_subject(capfd.readouterr().out.splitlines())
    assert statuses == [0, 1]
    assert "the schema is in place" in said["database"]
    assert said["spool"] == f"{tmp_path}/data-spool, which serve makes"
    assert said["ibkr"].startswith("FAILED: no IBKR gateway answers")
    assert said["tastytrade"] == "not enabled"


async def test_check_makes_no_bundled_database(tmp_path):
    directory = tmp_path / "data"
    target = existing_target(Config(), embedded=True, data_dir=directory)
    async with target as found:
        [finding] = found.findings

    assert finding.sentence == (
        f"the bundled PostgreSQL, in {directory}, which serve makes"
    )
    assert not found.is_there
    assert list(tmp_path.iterdir()) == []


async def test_check_tells_that_the_port_of_a_new_bundled_database_is_taken(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = Config(embedded_port=listener.getsockname()[1])
        target = existing_target(config, embedded=True, data_dir=tmp_path / "data")
        async with target as found:
            [finding] = found.findings

    assert finding.verdict == "failed"
    assert "in use by another program" in finding.sentence


async def test_a_wrong_data_directory_is_refused_and_not_made(tmp_path):
    wrong = tmp_path / "dtaa"
    with pytest.raises(StoreUnavailable, match="has no data"):
        async with open_target(
            Config(), embedded=True, data_dir=wrong, must_exist=True
        ):
            pass

    assert not wrong.exists()


def test_the_quarantine_of_the_bundled_database_is_that_of_serve(tmp_path):
    target = {"embedded": True, "data_dir": tmp_path / "data"}

    assert spool_of_target(Config(), **target) == tmp_path / "data-spool"
    configured = Config(spool=SpoolConfig(directory=tmp_path / "own"))
    assert spool_of_target(configured, **target) == tmp_path / "own"
