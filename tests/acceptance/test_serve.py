"""The service as its users run it: the launcher, a .env, signals."""

from __future__ import annotations

import signal
import socket
from contextlib import asynccontextmanager

import pytest

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


async def test_from_an_empty_database_every_tick_is_stored_once(stage):
    async with serving(stage) as (simulators, service):
        await stage.wait_rows("ibkr", 100)
        status = await stop_at_the_end_of_the_streams(simulators, service)

    stored = await stage.stored()
    assert status == 0, service.transcript()
    assert len(stored) == len(set(stored))
    assert set(stored) == stage.sent()


async def test_sigterm_loses_nothing_that_was_read_and_systemd_is_told(stage):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(stage.directory / "notify"))
        environment = {
            "NOTIFY_SOCKET": str(stage.directory / "notify"),
            "WATCHDOG_USEC": "2000000",
        }
        async with serving(stage, environment=environment) as (simulators, service):
            assert await service.stop(signal.SIGTERM) == 0
            await simulators.stop()
        systemd.setblocking(False)
        told = [systemd.recv(4096).decode() for _ in range(3)]

    assert told[0].startswith("READY=1\nSTATUS=")
    assert told[1].startswith("WATCHDOG=1\n")

    line = await service.wait_line("service.stopped")
    counts = dict(word.split("=") for word in line.split() if "=" in word)
    rows = await fetch(stage.database, "select count(*) from greek_snapshots")
    assert int(counts["received"]) == rows[0][0] + int(counts["duplicates"])
    assert set(await stage.stored()) <= stage.sent()


async def test_the_time_of_a_stopped_service_is_a_gap(stage):
    async with stage.simulate(*SMALL) as simulators:
        stage.configure(await simulators.read_json())
        for number in (signal.SIGTERM, signal.SIGINT):
            async with stage.serve() as service:
                for broker in ("ibkr", "tastytrade"):
                    await service.wait_line(f"feed.connected broker={broker}")
                await service.wait_line("writer.connected")
                assert await service.stop(number) == 0
                assert "Traceback" not in service.transcript()

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


async def test_a_bad_configuration_is_refused_and_a_second_sigint_ends_at_once(stage):
    """The table is locked, so that the drain would take its ten seconds."""
    async with serving(stage) as (_simulators, service):
        stage.env_file.write_text("IBKR_ENABLED=perhaps\nPOSTGRES_PORT=many\n")
        service.send(signal.SIGHUP)
        await service.wait_line("IBKR_ENABLED")
        await service.wait_line("POSTGRES_PORT")
        [(rows,)] = await fetch(stage.database, "select count(*) from greek_snapshots")
        await wait_until(
            stage.database, f"select count(*) > {rows + 30} from greek_snapshots"
        )

        locked = "lock table greek_snapshots in access exclusive mode"
        async with holding(stage.database, locked):
            await wait_until(
                stage.database,
                "select count(*) > 0 from pg_locks where not granted",
            )
            service.send(signal.SIGINT)
            await service.wait_line("service.stopping")
            service.send(signal.SIGINT)
            assert await service.wait_exit() == -signal.SIGINT


@asynccontextmanager
async def holding(database, statement):
    """Hold a transaction open in which the statement was executed."""
    connection = await connect_trio(database)
    async with connection, connection.transaction():
        await connection.execute(statement)
        yield


async def test_sighup_adds_a_watched_contract_and_touches_nothing_else(stage):
    async with serving(stage) as (simulators, service):
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

    assert status == 0
    assert service.count("feed.connected broker=ibkr") == 1
    others = {row for row in stage.sent() if row[::2][:2] != ("ibkr", watched)}
    assert others == set(await stage.stored())


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


async def test_the_service_starts_without_a_database_and_waits_for_it(stage):
    async with stage.simulate(*SMALL) as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints, POSTGRES_DB="not_there_yet")
        async with stage.serve() as service:
            await service.wait_line("writer.retrying")
            await service.wait_line("feed.connected broker=ibkr")
            await fetch_nothing(stage.database, "create database not_there_yet")
            try:
                service.send(signal.SIGHUP)
                await service.wait_line("writer.connected")
                assert await service.stop() == 0
            finally:
                await fetch_nothing(
                    stage.database, "drop database not_there_yet with (force)"
                )


async def fetch_nothing(database, statement):
    connection = await connect_trio(database)
    async with connection:
        await connection.execute(statement)


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
