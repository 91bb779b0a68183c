"""The service as its users run it: the launcher, a .env, signals."""

from __future__ import annotations

import signal
import socket
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from greeks_trio.postgres.embedded.server import open_embedded_server
from tests.fix_postgres import connect_trio
from tests.fix_processes import Stage, fetch, kill_server, wait_until

pytestmark = pytest.mark.timeout(120)

SMALL = ("--contracts", "20", "--rate", "60")


@asynccontextmanager
async def serving(stage, *arguments, environment=None, **changes):
    """Yield (simulators, service) when both brokers have rows."""
    async with stage.simulate(*SMALL) as simulators:
        stage.configure(await simulators.read_json(), **changes)
        async with stage.serve(*arguments, environment=environment) as service:
            await service.wait_line("writer.connected")
            await stage.wait_rows("ibkr", 20)
            await stage.wait_rows("tastytrade", 20)
            yield simulators, service


async def stop_at_the_end_of_the_streams(simulators, service):
    """Stop the simulators, let the service read to the end, and stop it."""
    before = service.count("feed.restarting")
    assert await simulators.stop() == 0
    for broker in ("ibkr", "tastytrade"):
        await service.wait_line(f"feed.restarting broker={broker}")
    assert service.count("feed.restarting") > before
    return await service.stop()


async def test_a_stop_loses_nothing_systemd_is_told_and_the_time_of_it_is_a_gap(stage):
    notify = stage.directory / "notify"
    environment = {"NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": "2000000"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(notify))
        async with serving(stage, environment=environment) as (simulators, service):
            assert await service.stop(signal.SIGTERM) == 0
            rows = await fetch(stage.database, "select count(*) from greek_snapshots")
            async with stage.serve() as second:
                for broker in ("ibkr", "tastytrade"):
                    await second.wait_line(f"feed.connected broker={broker}")
                await second.wait_line("writer.connected")
                assert await second.stop(signal.SIGINT) == 0
            await simulators.stop()
        systemd.setblocking(False)
        told = [systemd.recv(4096).decode() for _ in range(3)]

    assert told[0].startswith("READY=1\nSTATUS=")
    assert told[1].startswith("WATCHDOG=1\n")

    line = await service.wait_line("service.stopped")
    counts = dict(word.split("=") for word in line.split() if "=" in word)
    assert int(counts["received"]) == rows[0][0] + int(counts["duplicates"])
    assert set(await stage.stored()) <= stage.sent()
    for each in (service, second):
        assert "Traceback" not in each.transcript()

    gaps = await fetch(
        stage.database,
        "select broker, reason, ended_at > started_at from feed_gaps"
        " order by ended_at is null, broker",
    )
    assert [gap[:2] for gap in gaps] == [
        ("ibkr", "stopped"),
        ("tastytrade", "stopped"),
    ] * 2
    assert [gap[2] for gap in gaps] == [True, True, None, None]


async def test_a_start_without_a_database_and_an_end_with_a_locked_table(stage):
    """Between them a bad configuration is refused.

    The table is locked, so that the drain would take its ten seconds; a second SIGINT
    ends it at once.
    """
    database = replace(stage.database, dbname="not_there_yet")
    async with stage.simulate(*SMALL) as simulators:
        stage.configure(await simulators.read_json(), POSTGRES_DB=database.dbname)
        async with stage.serve() as service:
            await service.wait_line("writer.retrying")
            await service.wait_line("feed.connected broker=ibkr")
            good = stage.env_file.read_text()
            stage.env_file.write_text("IBKR_ENABLED=perhaps\nPOSTGRES_PORT=many\n")
            service.send(signal.SIGHUP)
            await service.wait_line("IBKR_ENABLED")
            await service.wait_line("POSTGRES_PORT")
            stage.env_file.write_text(good)
            async with made(stage.database, database.dbname):
                service.send(signal.SIGHUP)
                await service.wait_line("writer.connected")
                await end_with_a_locked_table(service, database)


async def end_with_a_locked_table(service, database):
    await wait_until(database, "select to_regclass('greek_snapshots') is not null")
    [(rows,)] = await fetch(database, "select count(*) from greek_snapshots")
    await wait_until(database, f"select count(*) > {rows + 30} from greek_snapshots")
    async with holding(database, "lock table greek_snapshots in access exclusive mode"):
        await wait_until(
            database, "select count(*) > 0 from pg_locks where not granted"
        )
        service.send(signal.SIGINT)
        await service.wait_line("service.stopping")
        service.send(signal.SIGINT)
        assert await service.wait_exit() == -signal.SIGINT


@asynccontextmanager
async def made(server, name):
    """Make a database, and drop it at the end."""
    await execute(server, f"create database {name}")
    try:
        yield
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(10):
            await execute(server, f"drop database {name} with (force)")


async def execute(database, statement):
    async with await connect_trio(database) as connection:
        await connection.execute(statement)


@asynccontextmanager
async def holding(database, statement):
    """Hold a transaction open in which the statement was executed."""
    connection = await connect_trio(database)
    async with connection, connection.transaction():
        await connection.execute(statement)
        yield


async def test_every_tick_is_stored_once_and_sighup_only_adds_a_watched_contract(stage):
    async with serving(stage) as (simulators, service):
        await stage.wait_rows("ibkr", 100)
        before = stage.env_file.read_text()
        [(watched,)] = await fetch(
            stage.database,
            "select contract_key from greek_snapshots group by contract_key"
            " having min(broker) = 'tastytrade' limit 1",
        )
        stage.env_file.write_text(before + f"GREEKS_WATCHLIST=ibkr:{watched}\n")
        service.send(signal.SIGHUP)
        await service.wait_line("config.reloaded")
        await wait_until(
            stage.database,
            "select count(*) > 2 from greek_snapshots"
            f" where account_id = 'watchlist' and contract_key = '{watched}'",
        )
        status = await stop_at_the_end_of_the_streams(simulators, service)

    assert status == 0, service.transcript()
    assert service.count("feed.connected broker=ibkr") == 1
    others = {row for row in stage.sent() if row[::2][:2] != ("ibkr", watched)}
    stored = await stage.stored()
    assert len(stored) == len(set(stored))
    assert set(stored) == others


async def test_one_broker_killed_and_back_never_disturbs_the_other(stage):
    async with (
        stage.simulate("--only", "ibkr", *SMALL) as ibkr,
        stage.simulate("--only", "tastytrade", *SMALL) as tastytrade,
    ):
        first, second = await ibkr.read_json(), await tastytrade.read_json()
        port = first["ibkr"]["rest_url"].split(":")[2].split("/")[0]
        stage.configure(first | second)
        async with stage.serve() as service:
            await service.wait_line("writer.connected")
            await stage.wait_rows("ibkr", 20)
            await stage.wait_rows("tastytrade", 20)
            await ibkr.stop(signal.SIGKILL)
            await service.wait_line("feed.restarting broker=ibkr")
            [(down_at,)] = await fetch(stage.database, "select clock_timestamp()")
            await wait_until(
                stage.database,
                "select count(*) > 60 from greek_snapshots"
                f" where broker = 'tastytrade' and received_at > '{down_at}'",
            )
            async with stage.simulate(
                "--only", "ibkr", "--ibkr-port", port, *SMALL
            ) as back:
                await back.read_json()
                await service.wait_line("feed.connected broker=ibkr", number=2)
                await wait_until(
                    stage.database,
                    "select count(*) > 20 from greek_snapshots"
                    f" where broker = 'ibkr' and received_at > '{down_at}'",
                )
                assert await service.stop() == 0
    gaps = await fetch(
        stage.database,
        "select broker, reason, ended_at is null from feed_gaps where contract_key is null",
    )
    assert ("ibkr", "disconnected", False) in gaps
    # Its only gap is the one that begins with the end of the test.
    assert [gap for gap in gaps if gap[0] == "tastytrade"] == [
        ("tastytrade", "stopped", True)
    ]
    assert service.count("feed.connected broker=tastytrade") == 1


async def test_an_embedded_postgresql_that_is_killed_comes_back(tmp_path, stage):
    data = tmp_path / "data"
    async with stage.simulate(*SMALL) as simulators:
        stage.configure(await simulators.read_json())
        async with stage.serve("--embedded", "--data-dir", data) as service:
            for broker in ("ibkr", "tastytrade"):
                await service.wait_line(f"feed.connected broker={broker}")
            await service.wait_line("writer.connected")
            kill_server(data)
            await service.wait_line("embedded.started_again")
            await service.wait_line("writer.connected", number=2)
            assert await stop_at_the_end_of_the_streams(simulators, service) == 0

    async with open_embedded_server(data) as database:
        stored = await Stage(tmp_path, database).stored()
    assert service.count("CRITICAL") == service.count("embedded.ended") == 1
    assert len(stored) == len(set(stored))
    assert set(stored) == stage.sent()
