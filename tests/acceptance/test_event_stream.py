"""The event stream of the service as its users run it."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager

import pytest
import trio

from greeks_trio.api.event_stream import WRITE_LIMIT_S
from tests.event_client import open_events
from tests.fix_processes import fetch

pytestmark = pytest.mark.timeout(120)

SMALL = ("--contracts", "20", "--rate", "60")


@asynccontextmanager
async def serving(stage, *simulation):
    """Yield the service and its URL when both brokers have rows."""
    async with stage.simulate(*(simulation or SMALL)) as simulators:
        stage.configure(await simulators.read_json())
        async with stage.serve() as service:
            line = await service.wait_line("http.listening")
            await service.wait_line("writer.connected")
            await stage.wait_rows("ibkr", 20)
            await stage.wait_rows("tastytrade", 20)
            yield service, line.rpartition("url=")[2]


async def test_the_streamed_ticks_are_the_stored_ones_also_after_a_restart(stage):
    seen = {}
    async with serving(stage) as (service, url):
        async with open_events(url, interval_ms=100) as client:
            names = {(await client.next())[0] for _ in range(3)}
            while len(seen) < 200:
                for tick in await client.value("greeks"):
                    moment = tick["event_time"], tick["received_at"]
                    seen[tick["broker"], tick["contract_key"], *moment] = tick
        async with open_events(url) as client:
            sessions = await client.value("sessions")
            slo = await client.value("slo")
        assert await service.stop() == 0

    stored = await fetch(
        stage.database,
        "select broker, contract_key, to_json(event_time)#>>'{}', delta, gamma, vega"
        " from greek_snapshots",
    )
    rows = {(*row[:2], row[2][:19], *row[3:]) for row in stored}
    streamed = {
        (
            *(tick["broker"], tick["contract_key"], tick["event_time"][:19]),
            *(tick["delta"], tick["gamma"], tick["vega"]),
        )
        for tick in seen.values()
    }
    assert names == {"sessions", "slo", "greeks"}
    assert {broker for broker, *_ in streamed} == {"ibkr", "tastytrade"}
    assert streamed <= rows

    assert [each["broker"] for each in sessions] == ["ibkr", "tastytrade"]
    assert {each["status"] for each in sessions} == {"connected"}
    assert slo["slo"]["is_breached"] is False
    assert slo["latency_ms"]["last_minute"]["p95"] > 0

    await assert_begins_with_the_rows_of_the_table(stage)


async def assert_begins_with_the_rows_of_the_table(stage):
    """The simulators have ended, so no more ticks come."""
    async with stage.serve() as service:
        url = (await service.wait_line("http.listening")).rpartition("url=")[2]
        await service.wait_line("latest.filled")
        async with open_events(url) as client:
            ticks = await client.value("greeks")
        await service.stop()

    held = await fetch(
        stage.database,
        "select broker, contract_key from latest_greeks where event_time is not null",
    )
    assert len(held) >= 10
    assert {(each["broker"], each["contract_key"]) for each in ticks} == set(held)


async def test_open_streams_do_not_hold_up_a_stop(stage):
    """Neither clients that read nor clients that do not."""
    busy = ("--contracts", "500", "--rate", "5000")
    async with serving(stage, *busy) as (service, url):
        async with (
            open_events(url) as reading,
            open_events(url, buffer_bytes=4096, interval_ms=100) as stuck,
        ):
            for _ in range(16):
                await reading.value("greeks")
            stopped_at = trio.current_time()
            status = await service.stop(signal.SIGTERM)
            took_s = trio.current_time() - stopped_at
            await reading.wait_end()

    rows = await fetch(stage.database, "select count(*) from greek_snapshots")
    stored = await stage.stored()
    assert stuck.status == 200
    assert status == 0, service.transcript()
    # The clients have been connected for few seconds, so a stop that waits for the one
    # that does not read takes nearly its whole time-out.
    assert took_s < WRITE_LIMIT_S * 0.7
    assert rows == [(len(stored),)]
    assert len(stored) == len(set(stored))
    assert set(stored) <= stage.sent()
