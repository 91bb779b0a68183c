from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import trio

from greeks_trio.alerts.limit_watch import LimitWatch
from greeks_trio.config.settings import Config, Secret
from greeks_trio.errors import ConfigError
from greeks_trio.estimates.task import Estimator
from greeks_trio.feeds.switches import FeedSwitches
from greeks_trio.model.records import FeedGap
from greeks_trio.monitoring.betas import Betas
from greeks_trio.monitoring.buffers import buffers_max_bytes
from greeks_trio.parts import Service
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.journal import Journal
from greeks_trio.pipeline.leftovers import record_leftovers
from greeks_trio.pipeline.market_metrics import MetricsBoard
from greeks_trio.postgres.database_watch import DatabaseWatch
from greeks_trio.postgres.journal_store import JournalStore
from greeks_trio.postgres.lease import Lease
from greeks_trio.postgres.schema.partition_keeper import PartitionKeeper
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.waiting import utc_now
from tests.concurrency.pipeline_parts import Pipeline
from tests.factories import START, make_tick


def refused_by_mistake():
    raise AssertionError("no broker was asked")


@pytest.fixture
def service():
    return Service(
        config=Config(),
        started_with=Config(),
        load=Config,
        brokers=[],
        kinds={},
        status=None,
        switches=FeedSwitches({}, on_all_refused=refused_by_mistake),
        tick_store=TickStore(Config().database),
        journal_store=JournalStore(Config().database),
        database_watch=DatabaseWatch(),
        partition_keeper=PartitionKeeper(Conditions()),
        reader=None,
        primary_reader=None,
        standstills=None,
        offer_again=None,
        leases={},
        limits=LimitWatch(
            Conditions(),
            None,
            None,
            utc_now,
            source="test",
            stale_after_s=300.0,
            benchmark="SPY",
            lease=Lease("alerts", "test", lasts_s=40),
        ),
        worker=None,
        betas=Betas(MetricsBoard(), Conditions(), utc_now),
        estimator=Estimator(Config, None, Conditions(), stale_after_s=300),
        stop=trio.Event(),
    )


def named(caplog):
    messages = [record.getMessage() for record in caplog.records]
    return [text for text in messages if text.startswith("config.needs_restart")]


async def test_settings_that_need_a_restart_are_named_until_there_is_one(
    service, caplog
):
    service.load = lambda: replace(Config(), log_json=True)

    service.reload()
    service.reload()

    assert named(caplog) == ["config.needs_restart name=GREEKS_LOG_JSON"] * 2


async def test_a_change_that_is_taken_back_needs_no_restart(service, caplog):
    service.load = lambda: replace(Config(), log_level="DEBUG")
    service.reload()
    caplog.clear()
    service.load = Config

    service.reload()

    assert named(caplog) == []


def test_another_database_is_logged_with_the_number_of_waiting_ticks(service, caplog):
    pipeline = Pipeline()
    service.status = SimpleNamespace(spool=pipeline.spool, backlog=pipeline.backlog)
    pipeline.backlog.put([make_tick()])
    old = service.config.database
    passwords = replace(Config(), database=replace(old, password=Secret("s3cret")))
    another = replace(Config(), database=replace(old, dbname="another"))

    for config in (passwords, another, another):
        service.load = lambda config=config: config
        service.reload()

    said = [m for m in caplog.messages if m.startswith("config.database_changed")]
    assert said == [
        "config.database_changed from=localhost:5432/portfolio_engine "
        "to=localhost:5432/another waiting_rows=1 what-waits=goes-to-the-new-one"
    ]


async def test_a_refused_configuration_wakes_no_task(service, nursery):
    def load():
        raise ConfigError(["Bad."])

    service.load = load
    woken = trio.Event()

    async def wait():
        await service.retry_now.wait()
        woken.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()

    service.reload()
    await trio.testing.wait_all_tasks_blocked()

    assert not woken.is_set()
    assert service.config == Config()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_full", [False, True])
async def test_the_next_run_writes_the_gap_of_ticks_that_are_lost_at_the_end(
    autojump_clock, caplog, is_full
):
    pipeline = Pipeline()
    pipeline.backlog.losses.add_ticks([make_tick(1)])
    pipeline.backlog.put([make_tick(5)])
    pipeline.spool.disk.is_full = is_full

    told = await record_leftovers(pipeline.backlog, Journal(), pipeline.spool)
    assert told != is_full

    gap = FeedGap(
        broker="ibkr",
        started_at=make_tick(1).record.received_at,
        ended_at=make_tick(5).record.received_at,
        reason="ticks lost",
    )
    assert list(pipeline.spool.journal.values()) == ([] if is_full else [gap])
    assert pipeline.backlog.losses.total == 2
    assert "service.ticks_lost reason=not-drained rows=1" in caplog.messages
    assert ("service.journal_lost" in caplog.text) == is_full


async def test_journal_entries_that_only_memory_has_are_on_disk_at_the_end(caplog):
    pipeline, journal = Pipeline(), Journal()
    gap = FeedGap(broker="ibkr", started_at=START, reason="stopped")
    journal.record(gap)

    assert await record_leftovers(pipeline.backlog, journal, pipeline.spool)

    assert list(pipeline.spool.journal.values()) == [gap]
    assert "journal_lost" not in caplog.text


def test_the_worst_case_of_memory_is_added_up_from_the_configured_bounds():
    def worst(**changes):
        return buffers_max_bytes(replace(Config().pipeline, **changes))

    usual = worst()

    assert Config().pipeline.backlog_max_bytes < usual < 450 * 2**20
    assert (
        worst(backlog_max_bytes=10**9) - worst(backlog_max_bytes=10**6) == 999 * 10**6
    )
    assert worst(batch_rows=10_000) > usual
    assert worst(intake_frames=2_000) > usual
