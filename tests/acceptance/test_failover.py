"""The primary dies under load and a standby takes over: two real servers, and the service."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import pytest
import trio

from greeks_trio.drill.standby import open_servers
from greeks_trio.postgres.connection import TrioConnection
from tests.fix_postgres import QUICK, connect_options
from tests.fix_processes import Stage, fetch, wait_until

pytestmark = pytest.mark.timeout(150)

LOAD = ("--contracts", "24", "--rate", "80")
TERMINATE = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where application_name like 'greeks_trio/%%' and pid <> pg_backend_pid()
"""
POSITION = {
    "broker": "ibkr",
    "account_id": "DU7654321",
    "contract_key": "SPY   261211C00663000",
}


@pytest.fixture
async def servers(tmp_path):
    """A primary and its synchronous standby."""
    async with open_servers(tmp_path / "servers", settings=QUICK) as servers:
        await servers.follow(is_synchronous=True)
        yield servers


def both(servers):
    """Return the configuration that names both servers, the first primary first."""
    hosts, ports = zip(*(each.address for each in servers.places), strict=True)
    return replace(servers.primary.config, hosts=hosts, ports=ports)


async def fetch_on_standby(standby, query):
    """Return all rows of a query; `connect_trio` would refuse a server without writes."""
    options = connect_options(standby.config)
    async with await TrioConnection.connect(**options) as connection:
        return await (await connection.execute(query)).fetchall()


async def lag_when(client, condition):
    """Return the lag of the reads in the status, once the condition holds for it."""
    with trio.fail_after(60):
        while True:
            status = (await client.get("/v1/streaming/status")).json()
            if condition(lag := status["database"]["read_lag_s"]):
                return lag
            await trio.sleep(0.2)


async def newest(client):
    """Return the time of the newest stored tick as the HTTP interface has it."""
    answer = await client.get("/v1/greeks/latest", params={"limit": 5000})
    return max(each["received_at"] or "" for each in answer.json()["items"])


@asynccontextmanager
async def under_load(stage, **settings):
    """Yield the service while ticks flow; at the end all of them are stored once."""
    async with stage.simulate(*LOAD) as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints, GREEKS_DB_TIMEOUT_S=2, **settings)
        async with stage.serve() as service:
            await service.wait_line("writer.connected")
            yield service
            assert await simulators.stop() == 0
            for broker in ("ibkr", "tastytrade"):
                await service.wait_line(f"feed.restarting broker={broker}")
            assert await service.stop() == 0


async def wait_more_rows(database, number):
    """Wait until fresh ticks of both brokers arrive at the table."""
    [(now,)] = await fetch(database, "select clock_timestamp()")
    for broker in ("ibkr", "tastytrade"):
        await wait_until(
            database,
            f"select count(*) >= {number // 2} from greek_snapshots"
            f" where broker = '{broker}' and received_at > '{now}'",
        )


async def assert_stored_once(stage, database):
    """Compare the ticks that were sent with the table of this server."""
    stage.database = database
    stored = await stage.stored()
    assert len(stored) == len(set(stored))
    assert set(stored) == stage.sent()


async def test_nothing_is_lost_whatever_becomes_of_primary_and_standby(
    tmp_path, servers
):
    """One service through all of it: to start it and the servers takes longest."""
    stage = Stage(tmp_path, both(servers))
    async with under_load(stage) as service:
        await wait_more_rows(servers.primary.config, 40)
        await _the_standby_is_away(servers, service)
        await _the_standby_takes_over(servers, service)
        assert service.count("rows_missing") == 0
        await _the_old_primary_returns(servers)
        await _a_standby_takes_over_that_lacks_rows(servers, service)
    await assert_stored_once(stage, servers.primary.config)


async def _the_standby_is_away(servers, service):
    """The primary waits for it at each commit; ticks go to disk."""
    await servers.standby.stop()
    await service.wait_line("writer.retrying")
    await trio.sleep(1)
    await servers.standby.start()
    await service.wait_line("writer.connected", number=2)
    await wait_more_rows(servers.primary.config, 40)


async def _the_standby_takes_over(servers, service):
    await servers.primary.kill()
    await service.wait_line("writer.retrying", number=2)
    await servers.fail_over()
    await service.wait_line("writer.connected", number=3)
    await wait_more_rows(servers.primary.config, 40)


async def _the_old_primary_returns(servers):
    """As a standby, at the address that the service tries first."""
    await servers.follow(is_synchronous=True)
    await fetch(servers.primary.config, TERMINATE)
    await wait_more_rows(servers.primary.config, 40)


async def _a_standby_takes_over_that_lacks_rows(servers, service):
    """They were acknowledged, so the service stores them again and says so."""
    await servers.follow(is_synchronous=False)
    await servers.standby.stop()
    await wait_more_rows(servers.primary.config, 40)
    await servers.primary.kill()
    await servers.standby.start()
    await servers.fail_over()
    await service.wait_line("acknowledged.offered_again")
    await wait_more_rows(servers.primary.config, 40)


async def test_reads_come_from_a_replica_that_says_how_far_it_is_behind(
    tmp_path, servers
):
    await servers.follow(is_synchronous=False)
    primary, standby = servers.primary, servers.standby
    stage = Stage(tmp_path, primary.config)
    read_from = {
        "GREEKS_READ_HOST": standby.config.server.host,
        "GREEKS_READ_PORT": standby.config.server.port,
    }
    async with under_load(stage, **read_from) as service:
        url = (await service.wait_line("http.listening")).rpartition("url=")[2]
        await wait_more_rows(primary.config, 40)
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            assert await lag_when(client, lambda lag: lag is not None) < 10
            await fetch_on_standby(standby, "select pg_wal_replay_pause()")
            await service.wait_line("condition.began kind=replica_behind")
            assert await lag_when(client, lambda lag: lag is not None) > 10
            total = await newest(client)
            await wait_more_rows(primary.config, 40)
            assert await newest(client) == total
            await fetch_on_standby(standby, "select pg_wal_replay_resume()")
            await service.wait_line("condition.ended kind=replica_behind")

            tag = POSITION | {"strategy_tag": "hedge"}
            answer = await client.put("/v1/position-tags", json=tag)
            assert answer.is_success, answer.text

            await standby.stop()
            await service.wait_line("replica.away")
            assert await newest(client) > total
    await assert_stored_once(stage, primary.config)
