"""The metrics of the service as users run it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import httpx2
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.fix_postgres import connect_trio
from tests.fix_processes import fetch, wait_until
from tests.monitoring_parts import (
    dashboard_queries,
    expressions,
    label_names,
    metric_names,
)

pytestmark = pytest.mark.timeout(120)

BROKERS = {"ibkr", "tastytrade"}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@asynccontextmanager
async def serving(stage, **changes):
    """Yield (simulators, service, client) when both brokers have rows."""
    async with stage.simulate("--contracts", "20", "--rate", "60") as simulators:
        stage.configure(await simulators.read_json(), **changes)
        async with stage.serve() as service:
            line = await service.wait_line("http.listening")
            await service.wait_line("writer.connected")
            await stage.wait_rows("ibkr", 20)
            await stage.wait_rows("tastytrade", 20)
            url = line.split("url=")[1].split()[0]
            async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
                yield simulators, service, client


async def scrape(client):
    """Return every sample as (name, labels, value)."""
    text = (await client.get("/metrics")).text
    return [
        (sample.name, sample.labels, sample.value)
        for family in parse_text(text)
        for sample in family.samples
    ]


def values(samples, name, **labels):
    """Return the values of a metric whose labels include these."""
    return [
        value
        for found, has, value in samples
        if found == name and labels.items() <= has.items()
    ]


async def test_the_numbers_are_those_of_the_table_in_both_formats(stage):
    """Every metric of the dashboard and of the alerts is among them.

    The SLO is one that no tick meets, and it is breached once.
    """
    changes = {"GREEKS_LATENCY_SLO_MS": "1", "GREEKS_SPOOL_AFTER_MS": "5000"}
    async with serving(stage, **changes) as (simulators, service, client):
        await breach_the_slo(stage, service, client)
        for broker in BROKERS:
            await stage.wait_rows(broker, 50)
        await service.wait_line("hours.read markets=equity")
        assert await simulators.stop() == 0
        for broker in BROKERS:
            await service.wait_line(f"feed.restarting broker={broker}")
        samples = await scrape(client)
        text = await client.get("/metrics")
        open_text = await client.get("/metrics", headers={"Accept": OPENMETRICS})
        rows = dict(
            await fetch(
                stage.database,
                "select broker, count(*) from greek_snapshots group by broker",
            )
        )
        assert await service.stop() == 0

    assert service.count("slo.breached") == 1
    for broker in BROKERS:
        [persisted] = values(samples, "greeks_ticks_persisted_total", broker=broker)
        [durable] = values(samples, "greeks_ticks_durable_total", broker=broker)
        [received] = values(samples, "greeks_ticks_received_total", broker=broker)
        [twice] = values(samples, "greeks_ticks_duplicates_total", broker=broker)
        assert persisted == durable == rows[broker] == received - twice
        assert values(samples, "greeks_ticks_lost_total", broker=broker) == [0.0]
        states = values(samples, "greeks_session_status", broker=broker)
        assert sorted(states) == [0.0, 0.0, 0.0, 1.0]
    # Ticks that came before the first connection took the spool.
    [flushed] = values(samples, "greeks_flush_rows_sum")
    replayed = sum(values(samples, "greeks_ticks_replayed_total"))
    assert flushed + replayed == sum(rows.values())
    assert flushed > 0
    assert values(samples, "greeks_database_connected") == [1.0]
    assert values(samples, "greeks_loop_lag_seconds_count")[0] > 0
    assert values(samples, "process_resident_memory_bytes")[0] > 10**7
    assert_complete(samples)
    assert_same_metrics(text, open_text)


def assert_complete(samples):
    """Every metric of dashboard and alerts exists."""
    names = {name for name, _, _ in samples}
    labels = {label for _, has, _ in samples for label in has}
    for expression in expressions():
        if "greeks_fleet_" in expression:
            continue  # of a fleet, which has the metrics of its services beside them
        assert metric_names(expression) <= names, expression
        # Prometheus adds two of these itself, and a fleet the third.
        added = {"job", "instance", "service"}
        assert label_names(expression) <= labels | added, expression
    for query in dashboard_queries():
        assert "$" in query, "not limited to what was chosen"


def assert_same_metrics(text, open_text):
    """Both formats have the same metrics."""
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert open_text.headers["content-type"].startswith(OPENMETRICS)
    families = list(openmetrics.text_string_to_metric_families(open_text.text))
    assert all(family.documentation for family in families)
    names = {sample.name for each in families for sample in each.samples}
    assert names == {
        sample.name for each in parse_text(text.text) for sample in each.samples
    }


async def breach_the_slo(stage, service, client):
    """While the table is locked nothing is durable within a millisecond."""
    connection = await connect_trio(stage.database)
    async with connection, connection.transaction():
        await connection.execute("lock table greek_snapshots in access exclusive mode")
        line = await service.wait_line("slo.breached")
    [(rows,)] = await fetch(stage.database, "select count(*) from greek_snapshots")
    await wait_until(
        stage.database, f"select count(*) > {rows + 30} from greek_snapshots"
    )
    ready = await client.get("/readyz")
    status = (await client.get("/v1/streaming/status")).json()
    samples = await scrape(client)

    assert "slo_ms=1.0 " in line
    assert ready.status_code == 200
    assert status["slo"]["is_breached"] is True
    assert values(samples, "greeks_slo_is_breached") == [1.0]
    assert values(samples, "greeks_slo_breaches_total") == [1.0]
    assert sum(values(samples, "greeks_ticks_slow_total")) > 0
    assert values(samples, "greeks_slo_target_seconds") == [0.001]
