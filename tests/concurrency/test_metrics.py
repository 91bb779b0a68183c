"""The metrics of a service that does not run, in memory and over a socket."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import httpx2
import pytest
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from greeks_trio.api.routes import metrics
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import HttpConfig, Secret
from greeks_trio.monitoring.metrics import read_metrics
from greeks_trio.pipeline.refused_rows import BatchOutcome
from greeks_trio.waiting import utc_now
from tests.concurrency.status_parts import make_status
from tests.factories import SPY_CALL, SPY_PUT, make_frame, make_record, make_tick


@pytest.fixture
def status():
    return make_status()


class OneReading(Collector):
    def __init__(self, status):
        self._status = status

    def collect(self):
        return filter(None, read_metrics(self._status))


def families_of(status):
    registry = CollectorRegistry(auto_describe=False)
    registry.register(OneReading(status))
    return list(parse_text(generate_latest(registry).decode()))


def value_of(status, name, /, **labels):
    """Return the one value of a metric with exactly these labels."""
    [value] = [
        sample.value
        for family in families_of(status)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return value


@asynccontextmanager
async def serving(status, **config):
    """Yield a client of an HTTP interface with the metrics only."""
    async with trio.open_nursery() as nursery:
        url = await nursery.start(
            run_http,
            HttpConfig(port=0, **config),
            [metrics.make_router(partial(read_metrics, status))],
        )
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            yield client
        nursery.cancel_scope.cancel()


async def test_names_and_kinds_follow_the_conventions(status):
    for family in families_of(status):
        assert family.documentation.endswith(".")
        assert family.name.startswith(("greeks_", "process_"))
        # The parser takes the ending from the names of counters.
        assert not family.name.endswith(("_total", "_count", "_sum", "_ms", "_millis"))
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total")


async def test_before_the_first_tick_every_counter_is_there_and_0(status):
    for family in families_of(status):
        if family.type == "counter" and family.name.startswith("greeks_ticks_"):
            assert [sample.value for sample in family.samples] in ([0.0], [0.0, 0.0])
    assert math.isnan(value_of(status, "greeks_slo_p95_seconds"))
    assert value_of(status, "greeks_database_connected") == 0.0


async def test_ticks_are_counted_by_broker(status):
    first, late = make_record(5), make_record(1)
    status.processor.process(make_frame(first))
    status.processor.process(make_frame(first))
    status.processor.process(make_frame(late))
    status.tick_counts.committed(
        BatchOutcome(ticks=[make_tick(broker="tastytrade")], new=1)
    )
    status.refused_rows.quarantined["ibkr"] += 2
    status.backlog.losses.add_ticks([make_tick()] * 3)

    found = {
        name: [
            value_of(status, f"greeks_ticks_{name}_total", broker=broker)
            for broker in ("ibkr", "tastytrade")
        ]
        for name in (
            "received",
            "duplicates",
            "late",
            "persisted",
            "quarantined",
            "lost",
        )
    }
    assert found == {
        "received": [3, 0],
        "duplicates": [1, 0],
        "late": [1, 0],
        "persisted": [0, 1],
        "quarantined": [2, 0],
        "lost": [3, 0],
    }


async def test_latencies_have_a_bucket_for_the_target(autojump_clock):
    status = make_status(slo_target_s=0.3)
    await trio.sleep(1)
    status.tick_counts.durable([make_tick(0, read_at=0.8), make_tick(1, read_at=0.6)])

    name = "greeks_latency_to_durable_seconds"
    assert value_of(status, f"{name}_bucket", broker="ibkr", le="0.3") == 1
    assert value_of(status, f"{name}_bucket", broker="ibkr", le="0.5") == 2
    assert value_of(status, f"{name}_bucket", broker="ibkr", le="+Inf") == 2
    assert value_of(status, f"{name}_sum", broker="ibkr") == pytest.approx(0.6)
    assert value_of(status, "greeks_ticks_slow_total", broker="ibkr") == 1
    assert value_of(status, "greeks_ticks_durable_total", broker="ibkr") == 2
    age = value_of(status, "greeks_event_age_seconds_sum", broker="ibkr")
    assert age == pytest.approx(0.04)


async def test_a_session_has_one_status(status):
    health = status.feeds["ibkr"]
    health.connected()
    health.degraded("5 contracts without a line")
    health.frames_read(1, utc_now())

    values = {
        each: value_of(status, "greeks_session_status", broker="ibkr", status=each)
        for each in ("connecting", "connected", "degraded", "disconnected")
    }
    assert [each for each, value in values.items() if value] == ["degraded"]
    heard = "greeks_session_last_message_timestamp_seconds"
    assert value_of(status, heard, broker="ibkr") == pytest.approx(
        utc_now().timestamp(), abs=60
    )
    brokers = [
        sample.labels["broker"]
        for family in families_of(status)
        for sample in family.samples
        if sample.name == heard
    ]
    assert brokers == ["ibkr"]


async def test_subscriptions_and_stale_contracts_are_counted(status, autojump_clock):
    health = status.feeds["ibkr"]
    health.connected()
    health.subscriptions(wanted=5, subscription_count=2)
    health.rotation([SPY_PUT], lines=1, seen_within_s=150.0, longest_s=12.5)
    health.greeks_awaited(warming=1, without_greeks=1)
    health.contracts_streamed([SPY_CALL, SPY_PUT])
    status.processor.process(make_frame(make_record(availability="delayed")))
    await trio.sleep(100)

    found = {
        name: value_of(status, f"greeks_subscriptions{name}", broker="ibkr")
        for name in ("_wanted", "", "_in_rotation", "_warming", "_without_greeks")
    }
    assert list(found.values()) == [5, 2, 1, 1, 1]
    rotation = ("lines", "seen_within_seconds", "longest_seconds")
    assert [
        value_of(status, f"greeks_rotation_{name}", broker="ibkr") for name in rotation
    ] == [1, 150.0, 12.5]
    # The other one is not expected to tick before its turn.
    assert value_of(status, "greeks_contracts_stale", broker="ibkr") == 1
    assert value_of(status, "greeks_contracts_stale", broker="tastytrade") == 0
    assert value_of(status, "greeks_contracts_not_realtime", broker="ibkr") == 1
    assert value_of(status, "greeks_contracts_not_realtime", broker="tastytrade") == 0


async def test_waiting_frames_ticks_and_rows_are_counted(status):
    send, receive = trio.open_memory_channel(10)
    status.intake.channel = receive
    await send.send(make_frame(make_record()))
    status.backlog.put([make_tick(0), make_tick(1)])
    hour_ago = utc_now() - timedelta(hours=1)
    await status.spool.append([make_tick(2, received_at=hour_ago)])
    await status.quarantine.add(make_tick(3), sqlstate="22003", reason="too large")

    assert value_of(status, "greeks_intake_waiting") == 1
    assert value_of(status, "greeks_backlog") == 2
    assert value_of(status, "greeks_backlog_bytes") == status.backlog.bytes
    assert value_of(status, "greeks_spool_rows") == 1
    assert value_of(status, "greeks_spool_oldest_age_seconds") == pytest.approx(
        3600, abs=60
    )
    assert value_of(status, "greeks_quarantine_waiting") == 1
    assert value_of(status, "greeks_spool_up") == 1


async def test_the_number_of_series_does_not_grow_with_the_contracts(status):
    def series():
        return sum(len(family.samples) for family in families_of(status))

    before = series()
    keys = [f"SPY   261218C{strike:08d}" for strike in range(1000)]
    status.feeds["ibkr"].contracts_streamed(keys)
    for key in keys:
        record = make_record(contract_key=key, account_id=key[-8:])
        status.processor.process(make_frame(record))
        status.tick_counts.durable([make_tick(contract_key=key)])

    assert series() == before
    labels = {
        label
        for family in families_of(status)
        for sample in family.samples
        for label in sample.labels
    }
    ours = {"broker", "status", "market", "stale_reason", "kind", "outcome"}
    assert labels == {*ours, "le", "version", "python"}


async def test_metrics_are_text_by_default(status):
    async with serving(status) as client:
        response = await client.get("/metrics")

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "greeks_build_info{" in response.text


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain; version=x",
        "application/openmetrics-text; version=1.x",
        "application/openmetrics-text; version=2.x; escaping=",
        "text/plain;version=1.0.0;escaping=no-such-thing, */*;q=0.1",
        ",;=,",
        "\xff" * 100,
    ],
)
async def test_an_odd_accept_header_is_answered_as_well(status, accept):
    async with serving(status) as client:
        headers = {"accept": accept.encode("latin-1")}
        response = await client.get("/metrics", headers=headers)

    assert response.status_code == 200
    assert "greeks_build_info{" in response.text


async def test_openmetrics_has_an_end(status):
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    async with serving(status) as client:
        response = await client.get("/metrics", headers={"accept": accept})

    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


async def test_metrics_need_the_token_where_there_is_one(status):
    async with serving(status, token=Secret("abc")) as client:
        refused = await client.get("/metrics")
        bearer = {"Authorization": "Bearer abc"}
        answered = await client.get("/metrics", headers=bearer)

    assert (refused.status_code, answered.status_code) == (401, 200)
    assert "greeks_" not in refused.text


async def test_the_description_has_an_example(status):
    async with serving(status) as client:
        description = (await client.get("/openapi.json")).json()

    content = description["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert all("greeks_" in each["example"] for each in content.values())
