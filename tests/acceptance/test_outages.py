"""PostgreSQL goes away under load, and comes back: the ledger is the table then.

The service is a process with its launcher, the brokers are simulated, the server is one
of its own that may be broken.
"""

from __future__ import annotations

import random
import signal
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from greeks_trio.config.settings import Secret
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.postgres.embedded.restarts import open_restartable_server
from greeks_trio.spool.directory import open_spool
from tests.factories import make_tick
from tests.fix_postgres import QUICK, connect, connect_trio
from tests.fix_processes import Stage, fetch, wait_until

pytestmark = pytest.mark.timeout(120)

LOAD = ("--contracts", "40", "--rate", "200")


@pytest.fixture
async def server(cluster_directory):
    """A server of its own, with nothing of an earlier test."""
    async with open_restartable_server(cluster_directory, settings=QUICK) as server:
        with connect(server.config) as admin:
            admin.execute("drop schema public cascade; create schema public")
        yield server


@asynccontextmanager
async def under_load(tmp_path, database, timeout_s=2):
    """Yield (stage, service) while ticks flow; at the end all of them are stored once.

    The block has to leave the database as it should be, which is given up after two
    seconds: soon enough for a test, and a healthy server answers in milliseconds.
    """
    stage = Stage(tmp_path, database)
    async with stage.simulate(*LOAD) as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints, GREEKS_DB_TIMEOUT_S=timeout_s)
        async with stage.serve() as service:
            await service.wait_line("writer.connected")
            await wait_more_rows(stage, 200)
            yield stage, service
            await wait_more_rows(stage, 200)
            assert await simulators.stop() == 0
            for broker in ("ibkr", "tastytrade"):
                await service.wait_line(f"feed.restarting broker={broker}")
            assert await service.stop() == 0
    stored = await stage.stored()
    assert len(stored) == len(set(stored))
    assert set(stored) == stage.sent()
    assert service.count("CRITICAL") == 0
    assert service.count("left_in_spool") == 0


async def wait_more_rows(stage, number):
    """Wait until fresh ticks of both brokers arrive at the table."""
    [(now,)] = await fetch(stage.database, "select clock_timestamp()")
    for broker in ("ibkr", "tastytrade"):
        await wait_until(
            stage.database,
            f"select count(*) >= {number // 2} from greek_snapshots"
            f" where broker = '{broker}' and received_at > '{now}'",
        )


async def test_a_server_that_is_killed_shut_down_and_frozen_loses_nothing(
    tmp_path, server
):
    async with under_load(tmp_path, server.config) as (stage, service):
        async with coming_back(service):
            await server.kill()
            await service.wait_line("writer.retrying")
            await server.start()

        await wait_more_rows(stage, 200)
        async with coming_back(service):
            said = service.count("writer.retrying")
            await server.stop()
            await service.wait_line("writer.retrying", number=said + 1)
            await server.start()

        await wait_more_rows(stage, 200)
        async with coming_back(service):
            said = service.count("writer.retrying")
            # It is frozen until it has been given up.
            await server.freeze()
            reason = await service.wait_line("writer.retrying", number=said + 1)
            server.thaw()
            assert "does not answer in time" in reason


@asynccontextmanager
async def coming_back(service):
    """Wait for the next connection and the end of its replay, after the block."""
    connected = service.count("writer.connected")
    replayed = service.count("replayer.done")
    yield
    await service.wait_line("writer.connected", number=connected + 1)
    await service.wait_line("replayer.done", number=replayed + 1)


async def test_a_lock_costs_time_and_a_new_password_is_taken_from_the_file(
    tmp_path, server
):
    """That the password is wrong is said once; SIGHUP takes the new one."""
    password = server.config.password.reveal()
    async with under_load(tmp_path, server.config) as (stage, service):
        connected = service.count("writer.connected")
        connection = await connect_trio(stage.database)
        async with connection, connection.transaction():
            await connection.execute("lock table greek_snapshots")
            await connection.execute("select pg_sleep(3)")
        # The server said so before we gave it up: 1.6 s, and again at the next try.
        assert "lock timeout" in await service.wait_line("writer.retrying")
        await service.wait_line("writer.connected", number=connected + 1)

        with connect(server.config) as admin:
            admin.execute("alter role portfolio password 'another'")
            admin.execute(
                "select pg_terminate_backend(pid, 2000) from pg_stat_activity"
                " where application_name like 'greeks_trio/%'"
            )
            said = await wait_writer_says(service, "password authentication failed")
        connected = service.count("writer.connected")
        env = stage.env_file.read_text().replace(password, "another")
        stage.env_file.write_text(env)
        stage.database = replace(stage.database, password=Secret("another"))
        service.send(signal.SIGHUP)
        await service.wait_line("writer.connected", number=connected + 1)

        assert "ERROR" in said
        said_by_writer = [
            line
            for line in service.lines["stderr"]
            if "writer.retrying" in line and "password" in line
        ]
        assert len(said_by_writer) == 1
        assert "another" not in service.transcript()
        assert password not in service.transcript()

    # The next test starts on this cluster.
    with connect(stage.database) as admin:
        admin.execute(f"alter role portfolio password '{password}'")


async def wait_writer_says(service, text):
    """Wait for the writer's line with this text; others may say it too."""
    number = 1
    while True:
        line = await service.wait_line(text, number=number)
        if "writer.retrying" in line:
            return line
        number += 1


async def test_a_damaged_spool_is_saved_in_part_and_the_rest_is_told(
    tmp_path, empty_database
):
    stage = Stage(tmp_path, empty_database)
    payloads = [f'"{random.Random(n).randbytes(5000).hex()}"' for n in range(40)]
    async with open_spool(tmp_path / "spool", max_bytes=2**30) as opened:
        for number, payload in enumerate(payloads):
            tick = make_tick(number, source_payload=payload.encode())
            await opened.spool.append([tick])
    file = tmp_path / "spool" / "spool.sqlite3"
    with file.open("r+b") as writable:
        writable.seek(file.stat().st_size // 4096 // 2 * 4096)
        writable.write(random.Random(0).randbytes(4096))

    # The brokers are away, so that no fresh tick joins them on the disk.
    async with stage.simulate() as simulators:
        stage.configure(await simulators.read_json())
    async with stage.serve() as service:
        said = await service.wait_line("spool.damaged")
        await service.wait_line("replayer.done")
        assert await service.stop() == 0

    assert "salvaged_rows=39 " in said
    assert file.with_name("spool.sqlite3.damaged").exists()
    saved = "select count(*), count(distinct event_time) from greek_snapshots"
    own = f" where account_id = '{make_tick().record.account_id}'"
    first = f" and event_time < '{make_tick(100).record.event_time}'"
    assert await fetch(stage.database, saved + own + first) == [(39, 39)]
    gaps = await fetch(
        stage.database,
        "select broker, ended_at - started_at from feed_gaps"
        f" where reason = '{GapReason.TICKS_LOST}'",
    )
    assert gaps == [("ibkr", timedelta(seconds=2))]
