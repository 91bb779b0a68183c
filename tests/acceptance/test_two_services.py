"""Two services on the same logins: each thing is written once, and no time is a false gap."""

from __future__ import annotations

import signal
from datetime import timedelta

import httpx2
import pytest
import trio

from tests.fix_processes import Stage, fetch, wait_until

pytestmark = pytest.mark.timeout(200)

LOAD = ("--contracts", "12", "--rate", "40", "--ibkr-gateways", "2")
BROKERS = ("ibkr", "tastytrade")
GAPS = """
select broker, reason, started_at, ended_at from feed_gaps
where contract_key is null order by started_at
"""
WRITTEN_TWICE = """
select broker, contract_key from positions
group by broker, account_id, contract_key having count(*) > 1
"""
# Both have said that they have the feed since both have it.
BOTH_KNOWN = """
select count(*) = 2 and min(covered_until) > max(started_at) + interval '2 s'
from feed_coverage where broker = 'tastytrade'
"""
# The shortest time between two rows of one account.
VALUES_APART = """
select min(observed_at - before) from (
    select observed_at, lag(observed_at) over (
        partition by broker, account_id order by observed_at) as before
    from account_values) as pairs
"""
# A service says each 5 s that it has a feed.
RENEWED = timedelta(seconds=7)


class Pair:
    """Two services on one database, each with its directory and its gateway."""

    def __init__(self, directory, database, endpoints):
        self.database = database
        self.stages = [Stage(directory / name, database) for name in ("one", "two")]
        ports = endpoints["ibkr"]["gateway_ports"]
        for stage, port in zip(self.stages, ports, strict=True):
            stage.directory.mkdir()
            stage.configure(
                endpoints,
                IBKR_API_URL=f"https://localhost:{port}/v1/api",
                IBKR_WS_URL=f"wss://localhost:{port}/v1/api/ws",
                GREEKS_ACCOUNT_VALUES_S=5,
            )

    async def now(self):
        [(now,)] = await fetch(self.database, "select clock_timestamp()")
        return now

    async def gaps(self):
        return await fetch(self.database, GAPS)

    async def wait_holder(self, broker, name):
        await wait_until(
            self.database,
            f"select holder like '%/{name}/spool' and expires_at > now()"
            f" from leases where name = 'feed:{broker}'",
        )


async def session_of(service, broker):
    """Return the state of a feed, and whether the service is ready."""
    line = await service.wait_line("http.listening")
    async with httpx2.AsyncClient(base_url=line.split("url=")[1].strip()) as client:
        status = (await client.get("/v1/streaming/status")).json()
        ready = (await client.get("/readyz")).status_code == 200
    [session] = [each for each in status["sessions"] if each["broker"] == broker]
    return session, ready


async def test_each_thing_is_written_once_whichever_service_is_killed(stage, tmp_path):
    """One story, because the time of a lease has to pass."""
    async with stage.simulate(*LOAD) as simulators:
        pair = Pair(tmp_path, stage.database, await simulators.read_json())
        one, two = pair.stages
        async with one.serve() as first:
            for broker in BROKERS:
                await first.wait_line(f"feed.connected broker={broker}")
                await pair.wait_holder(broker, "one")
            async with two.serve() as second:
                await _the_later_one_is_a_standby(pair, second)
                await _the_holder_is_killed(pair, first, second)
                async with one.serve() as first_again:
                    await _the_killed_one_comes_back(pair, first_again)
                    await _the_holder_ends(pair, second, first_again)
                    assert await simulators.stop() == 0
                    for broker in BROKERS:
                        await first_again.wait_line(f"feed.restarting broker={broker}")
                    assert await first_again.stop() == 0
    stored = await stage.stored()
    assert len(stored) == len(set(stored))
    # Frames on their way to a killed service are lost; their time is a gap.
    lost = stage.sent() - set(stored)
    assert not set(stored) - stage.sent()
    assert {tick[0] for tick in lost} <= {"ibkr"}


async def _the_later_one_is_a_standby(pair, later):
    """It streams where the broker allows it, and waits with IBKR."""
    await later.wait_line("feed.connected broker=tastytrade")
    await later.wait_line("lease.elsewhere name=feed:ibkr")
    await wait_until(pair.database, "select count(*) >= 4 from account_values")
    await wait_until(pair.database, BOTH_KNOWN)
    with trio.fail_after(20):
        # The interface tells only if it is asked.
        while not (found := await session_of(later, "ibkr"))[0]["notes"]:  # noqa: ASYNC110
            await trio.sleep(0.1)
    session, is_ready = found

    assert session["notes"][0].startswith("standby: ")
    assert "/one/spool has the lease" in session["notes"][0]
    assert session["status"] == "disconnected"
    assert is_ready
    assert later.count("feed.connected broker=ibkr") == 0
    assert await fetch(pair.database, WRITTEN_TWICE) == []
    [(apart,)] = await fetch(pair.database, VALUES_APART)
    assert apart > timedelta(seconds=3)
    assert await pair.gaps() == []


async def _the_holder_is_killed(pair, holder, other):
    """The other one takes the session; only the time in between is a gap."""
    killed_at = await pair.now()
    holder.send(signal.SIGKILL)
    await other.wait_line("feed.connected broker=ibkr")
    for broker in BROKERS:
        await pair.wait_holder(broker, "two")
    await wait_until(pair.database, "select count(ended_at) = 1 from feed_gaps")
    [(broker, _, started_at, ended_at)] = await pair.gaps()

    assert broker == "ibkr"
    assert killed_at - RENEWED < started_at < killed_at + timedelta(seconds=1)
    assert killed_at < ended_at < await pair.now()


async def _the_killed_one_comes_back(pair, service):
    """It has missed nothing that the other one has not."""
    await service.wait_line("feed.connected broker=tastytrade")
    await service.wait_line("lease.elsewhere name=feed:ibkr")
    # Until then it waits for the other one to say what it has.
    await trio.sleep(13)
    assert len(await pair.gaps()) == 1
    assert service.count("feed.connected broker=ibkr") == 0


async def _the_holder_ends(pair, holder, other):
    """A holder that ends gives its leases back, and the other one need not wait."""
    assert await holder.stop() == 0
    await other.wait_line("feed.connected broker=ibkr")
    for broker in BROKERS:
        await pair.wait_holder(broker, "one")
    await wait_until(pair.database, "select count(ended_at) = 2 from feed_gaps")
    gaps = await pair.gaps()

    assert [gap[0] for gap in gaps] == ["ibkr", "ibkr"]
    assert gaps[1][1] == "stopped"
    assert gaps[1][3] - gaps[1][2] < timedelta(seconds=15)
    assert await fetch(pair.database, WRITTEN_TWICE) == []
