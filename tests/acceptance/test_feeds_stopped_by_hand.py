"""Stopping one broker's feed of a running service by hand, and starting it again."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.fix_processes import fetch, wait_until

pytestmark = pytest.mark.timeout(120)

SMALL = ("--contracts", "20", "--rate", "60")

# Frames that the broker sends during the stop stay unread in the socket.
ON_ITS_WAY = timedelta(seconds=1)


class Control:
    """A running service, its simulators, and the switches that it has over HTTP."""

    def __init__(self, stage, simulators, service, http, ibkr_port):
        self.stage = stage
        self.simulators = simulators
        self.service = service
        self._http = http
        self._ibkr_port = ibkr_port

    async def turn(self, verb, *brokers):
        """Return the sessions that the answer shows, by broker."""
        answer = await self._http.post(
            f"/v1/streaming/{verb}", json={"brokers": brokers}
        )
        assert answer.status_code == 200, answer.text
        return {each["broker"]: each for each in answer.json()["sessions"]}

    async def session(self, broker):
        """Return the broker's session as the status shows it."""
        answer = await self._http.get("/v1/streaming/status")
        [found] = [
            each for each in answer.json()["sessions"] if each["broker"] == broker
        ]
        return found

    async def readiness(self):
        """Return the status of ``/readyz``, and the problems that it names."""
        answer = await self._http.get("/readyz")
        return answer.status_code, answer.json()["problems"]

    def ibkr_connections(self):
        """Return how many connections the simulated gateway has."""
        process = psutil.Process(self.simulators.process.pid)
        return sum(
            each.laddr.port == self._ibkr_port
            and each.status == psutil.CONN_ESTABLISHED
            for each in process.net_connections("tcp")
        )

    async def wait_more_rows(self, broker):
        """Wait until some more rows of the broker are stored."""
        [(rows,)] = await fetch(
            self.stage.database,
            "select count(*) from greek_snapshots where broker = %s",
            [broker],
        )
        await self.stage.wait_rows(broker, rows + 30)

    async def gaps(self, broker):
        """Return (reason, start, end) of the broker's gaps, oldest first."""
        return await fetch(
            self.stage.database,
            "select reason, started_at, ended_at from feed_gaps"
            " where broker = %s and contract_key is null order by started_at",
            [broker],
        )


@asynccontextmanager
async def controlled(stage):
    """Yield a `Control` when both brokers have rows."""
    async with stage.simulate(*SMALL) as simulators:
        endpoints = await simulators.read_json()
        stage.configure(endpoints)
        async with stage.serve() as service:
            listening = await service.wait_line("http.listening")
            await service.wait_line("writer.connected")
            for broker in ("ibkr", "tastytrade"):
                await stage.wait_rows(broker, 20)
            async with httpx2.AsyncClient(
                base_url=listening.partition("url=")[2], timeout=30, trust_env=False
            ) as http:
                port = urlsplit(endpoints["ibkr"]["rest_url"]).port
                yield Control(stage, simulators, service, http, port)


def times_of(rows):
    """Return the events' times of ledger rows."""
    return [datetime.fromtimestamp(row[3] / 1000, UTC) for row in rows]


async def test_a_feed_is_stopped_by_hand_and_started_again(stage):
    """What is configured meanwhile counts when it starts.

    Then all feeds are stopped, and a restart of the service starts them.
    """
    async with controlled(stage) as control:
        service = control.service
        before = control.ibkr_connections()
        [(watched,)] = await fetch(
            stage.database,
            "select contract_key from greek_snapshots group by contract_key"
            " having min(broker) = 'tastytrade' limit 1",
        )
        stopped = await control.turn("stop", "ibkr")
        after = control.ibkr_connections()
        await control.wait_more_rows("tastytrade")

        with stage.env_file.open("a") as env_file:
            env_file.write(f"GREEKS_WATCHLIST=ibkr:{watched}\n")
        service.send(signal.SIGHUP)
        await service.wait_line("streaming.stays_stopped broker=ibkr")
        await service.wait_line("config.reloaded")
        await control.wait_more_rows("tastytrade")
        still_stopped = await control.session("ibkr")
        readiness = await control.readiness()
        after_reload = control.ibkr_connections()

        started = await control.turn("start", "ibkr")
        await service.wait_line("feed.connected broker=ibkr", number=2)
        await control.wait_more_rows("ibkr")
        await wait_until(
            stage.database,
            "select count(*) > 2 from greek_snapshots where broker = 'ibkr'"
            f" and account_id = 'watchlist' and contract_key = '{watched}'",
        )
        connected = service.count("feed.connected broker=tastytrade")
        gaps = [await control.gaps(broker) for broker in ("ibkr", "tastytrade")]

        all_stopped = await stop_all_feeds(control)
        assert await service.stop() == 0
        await let_a_restart_start_them(control)

    assert (before > 0, after, after_reload) == (True, 0, 0)
    assert stopped.keys() == {"ibkr"}
    assert stopped["ibkr"] == still_stopped
    assert still_stopped["status"] == "disconnected"
    assert still_stopped["last_error"] == "stopped by request"
    assert readiness == (200, [])
    assert started["ibkr"]["status"] in ("connecting", "connected")
    # The other one has noticed nothing.
    assert connected == 1
    assert [[gap[0] for gap in each] for each in gaps] == [["stopped by request"], []]
    assert all_stopped == (
        503,
        ["ibkr: stopped by request", "tastytrade: stopped by request"],
    )
    assert service.count("streaming.stopped") == 3
    await assert_only_stops_are_missing(control)


async def stop_all_feeds(control):
    """Stop both, twice, and return what ``/readyz`` says."""
    await control.turn("stop", "ibkr", "tastytrade")
    repeated = await control.turn("stop", "tastytrade", "ibkr")
    await wait_until(
        control.stage.database,
        "select count(*) = 3 from feed_gaps where reason = 'stopped by request'",
    )
    assert {each["last_error"] for each in repeated.values()} == {"stopped by request"}
    return await control.readiness()


async def let_a_restart_start_them(control):
    """Start the service again, and read to the end of the streams."""
    async with control.stage.serve() as service:
        for broker in ("ibkr", "tastytrade"):
            await service.wait_line(f"feed.connected broker={broker}")
        await wait_until(
            control.stage.database,
            "select bool_and(ended_at is not null) from feed_gaps"
            " where reason = 'stopped by request'",
        )
        assert await control.simulators.stop() == 0
        for broker in ("ibkr", "tastytrade"):
            await service.wait_line(f"feed.restarting broker={broker}")
        assert await service.stop() == 0


async def assert_only_stops_are_missing(control):
    """Each tick is stored once, but for those that were sent during a stop."""
    stage = control.stage
    stored = await stage.stored()
    sent = {row for row in stage.sent() if row[1] != "watchlist"}
    assert len(stored) == len(set(stored))
    assert set(stored) <= sent
    for broker in ("ibkr", "tastytrade"):
        stops = [
            (start - ON_ITS_WAY, end)
            for reason, start, end in await control.gaps(broker)
            if reason == "stopped by request"
        ]
        missing = {row for row in sent - set(stored) if row[0] == broker}
        assert all(
            any(start <= sent_at <= end for start, end in stops)
            for sent_at in times_of(missing)
        )
