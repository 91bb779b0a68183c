"""The service is stopped by SIGSTOP, and asked to end before it goes on."""

from __future__ import annotations

import signal
import time

import pytest
import trio

from greeks_trio.spool.directory import open_spool
from tests.factories import records_of
from tests.fix_processes import fetch

pytestmark = pytest.mark.timeout(120)

# Longer than the process takes for anything on a machine that has other work.
STANDSTILL_S = 7


async def test_a_stop_right_after_a_standstill_loses_no_tick_that_was_sent_before(
    stage,
):
    async with stage.simulate("--contracts", "20", "--rate", "100") as simulators:
        stage.configure(await simulators.read_json())
        async with stage.serve() as service:
            await service.wait_line("writer.connected")
            for broker in ("ibkr", "tastytrade"):
                await stage.wait_rows(broker, 20)
            service.process.send_signal(signal.SIGSTOP)
            suspended_at_ms = 1000 * time.time()
            await trio.sleep(STANDSTILL_S)
            service.process.send_signal(signal.SIGTERM)
            service.process.send_signal(signal.SIGCONT)
            assert await service.wait_exit() == 0
        sent = stage.sent()

    # The answer to the last COPY may come too late; then the spool has the ticks.
    durable = [*await stage.stored(), *await spooled(stage.directory / "spool")]
    missing = sent - set(durable)
    gaps = dict(
        await fetch(
            stage.database,
            "select broker, round(extract(epoch from started_at) * 1000)::int8"
            " from feed_gaps where reason = 'stopped'",
        )
    )
    assert "service.stood_still" in service.transcript()
    unexplained = [row for row in missing if row[3] < gaps[row[0]] - 500]
    assert unexplained == [], (len(missing), len(sent), gaps, spans(unexplained))
    # The stop has read frames of the standstill, and the gap starts where that ended.
    newest = {name: last for name, (_, _, last) in spans(durable).items()}
    for broker, start in gaps.items():
        assert newest[broker] > suspended_at_ms, broker
        assert abs(newest[broker] - start) < 1_000, broker


async def spooled(directory):
    """Return the ticks in the spool as rows comparable with those of the ledger."""
    async with open_spool(directory, max_bytes=10**9) as disk:
        entries = await disk.spool.read(upto=2**62, max_rows=10**6)
    return [
        (
            record.broker,
            record.account_id,
            record.contract_key,
            round(record.event_time.timestamp() * 1000),
            *(record.delta, record.gamma, record.theta, record.vega, record.rho),
            record.implied_volatility,
        )
        for entry in entries
        for record in records_of(entry.ticks)
    ]


def spans(rows):
    """Return number, first and last time of the rows of each broker."""
    times = {}
    for row in rows:
        times.setdefault(row[0], []).append(row[3])
    return {name: (len(each), min(each), max(each)) for name, each in times.items()}
