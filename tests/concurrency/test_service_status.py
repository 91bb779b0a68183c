from __future__ import annotations

import logging
import math
from datetime import UTC, datetime, timedelta

import pytest
import trio

from greeks_trio.model.contracts import ContractKey
from greeks_trio.monitoring.readings import Readings
from greeks_trio.monitoring.watches import (
    run_minute_line,
    run_slo_watch,
    run_staleness_watch,
)
from greeks_trio.pipeline.replayer import Replayer
from greeks_trio.waiting import WakeUp
from tests.concurrency.fakes import TICK_BYTES, ListSink
from tests.concurrency.status_parts import (
    make_status,
    minute_line_of,
    status_of,
    survey_of,
)
from tests.factories import (
    SPY_CALL,
    SPY_PUT,
    make_frame,
    make_record,
    make_tick,
    tick_bytes,
)


@pytest.fixture
def status():
    return make_status()


async def test_it_is_ready_when_nothing_is_missing(status, autojump_clock):
    for health in status.feeds.values():
        health.connected()
    status.feeds["ibkr"].degraded("5 contracts without a line")

    assert status.readiness() == ["database: not connected yet"]


async def test_it_names_the_feed_that_is_missing(status, autojump_clock):
    status.feeds["ibkr"].connected()
    status.feeds["tastytrade"].disconnected("no route to host")

    assert status.readiness()[1:] == ["tastytrade: no route to host"]


async def test_it_is_not_ready_while_all_rows_of_a_broker_are_refused(
    status, nursery, autojump_clock
):
    for health in status.feeds.values():
        health.connected()
    sink, odd = ListSink(), make_tick(1)
    sink.refuse(odd)
    nursery.start_soon(status.writer.run, sink.open, WakeUp())
    nursery.start_soon(run_staleness_watch, status)
    status.backlog.put([odd])
    await trio.sleep(20)

    [problem] = status.readiness()
    assert problem.startswith("ibkr: PostgreSQL refuses every row, 1 so far")

    status.backlog.put([make_tick(2)])
    await trio.sleep(20)

    assert status.readiness() == []


async def test_subscribed_contracts_without_ticks_are_stale(status, autojump_clock):
    status.feeds["ibkr"].contracts_streamed([SPY_CALL, SPY_PUT])
    status.feeds["tastytrade"].contracts_streamed([SPY_PUT])
    await trio.sleep(50)
    frame = make_frame(make_record(), read_at=trio.current_time())
    status.processor.process(frame)
    await trio.sleep(20)

    stale = survey_of(status).stale
    assert [(each.broker, each.contract_key) for each in stale] == [
        ("ibkr", SPY_PUT),
        ("tastytrade", SPY_PUT),
    ]
    staleness = status_of(status)["staleness"]
    assert staleness["stale"] == {"ibkr": 1, "tastytrade": 1}
    assert staleness["oldest"][0]["age_s"] == 70.0
    assert " stale=2 " in minute_line_of(status)


async def test_subscribed_contracts_with_delayed_greeks_are_counted(
    status, autojump_clock
):
    """Each contract counts once, by its newest tick, whether it is stale or not."""
    ibkr, tastytrade = status.feeds.values()
    ibkr.contracts_streamed([SPY_CALL, SPY_PUT])
    tastytrade.contracts_streamed([SPY_CALL])
    put = {"contract_key": SPY_PUT}
    for record in (
        make_record(1, availability="frozen"),
        make_record(2, availability="realtime", account_id="U7654321"),
        make_record(3, availability="delayed", **put),
        make_record(3, availability="delayed", account_id="U7654321", **put),
        make_record(4, availability="unknown", broker="tastytrade", **put),
        make_record(5, availability="realtime", broker="tastytrade"),
    ):
        status.processor.process(make_frame(record))

    counts = status_of(status)["staleness"]["not_realtime"]
    assert counts == {"ibkr": 1, "tastytrade": 0}

    status.processor.process(make_frame(make_record(9, **put)))

    assert status_of(status)["staleness"]["not_realtime"] == {
        "ibkr": 0,
        "tastytrade": 0,
    }


async def test_each_stale_contract_has_one_reason(status, autojump_clock):
    keys = [ContractKey(f"SPY   261218C{n:08d}") for n in range(8)]
    none, earlier, old, delayed, frozen, unknown, late, fresh = keys
    status.feeds["ibkr"].contracts_streamed(keys)
    now = datetime.now(UTC)

    def record(key, availability="realtime", *, age_s=0):
        at = now - timedelta(seconds=age_s)
        return make_record(
            contract_key=key, availability=availability, event_time=at, received_at=now
        )

    # Of an earlier run.
    status.processor.latest.seed([record(earlier, "delayed", age_s=90)])
    status.processor.process(make_frame(record(old, "delayed")))
    await trio.sleep(70)
    for tick in (
        record(delayed, "delayed"),
        record(frozen, "frozen"),
        record(unknown, "unknown"),
        record(late, "delayed", age_s=61),
        record(fresh),
    ):
        status.processor.process(make_frame(tick, read_at=trio.current_time()))

    staleness = status_of(status)["staleness"]

    assert staleness["by_reason"]["ibkr"] == {
        "no tick": 1,
        "old": 3,
        "delayed": 1,
        "frozen": 1,
        "unknown": 1,
    }
    assert set(staleness["by_reason"]["tastytrade"].values()) == {0}
    reasons = {
        each["contract_key"]: each["stale_reason"] for each in staleness["oldest"]
    }
    assert reasons == {none: "no tick", earlier: "old", old: "old"}


async def test_a_contract_without_any_tick_has_its_reason_at_once(status):
    with_tick, without = (ContractKey(f"SPY   261218C{n:08d}") for n in range(2))
    status.feeds["ibkr"].contracts_streamed([with_tick, without])
    status.processor.process(make_frame(make_record(contract_key=with_tick)))

    staleness = status_of(status)["staleness"]

    assert staleness["by_reason"]["ibkr"]["no tick"] == 1
    # As an alert it counts only after the limit of staleness.
    assert staleness["stale"]["ibkr"] == 0


async def test_warming_contracts_and_contracts_without_greeks_are_two_figures(status):
    status.feeds["ibkr"].greeks_awaited(warming=3, without_greeks=2)

    feed = status_of(status)["feeds"]["ibkr"]

    assert (feed["warming"], feed["without_greeks"]) == (3, 2)


async def test_a_contract_that_is_not_subscribed_is_not_stale(status, autojump_clock):
    health = status.feeds["ibkr"]
    health.connected()
    health.contracts_streamed([SPY_CALL])
    await trio.sleep(100)
    assert len(survey_of(status).stale) == 1

    health.disconnected("reset")

    assert survey_of(status).stale == []


async def test_the_status_has_the_spooled_and_the_replayed_ticks(
    status, nursery, autojump_clock
):
    """Without a database two ticks go to disk; with it they come back."""
    sink = ListSink()
    sink.is_down = True
    retry_now = WakeUp()
    replayer = Replayer(
        status.backlog, status.spooler, status.refused_rows, status.tick_counts
    )
    nursery.start_soon(status.writer.run, sink.open, retry_now)
    nursery.start_soon(status.spooler.run)
    nursery.start_soon(replayer.run, sink.open)
    status.backlog.put([make_tick(0), make_tick(1)])
    await trio.sleep(0.01)

    details = status_of(status)
    assert details["spool"] == {
        "entries": 1,
        "rows": 2,
        "bytes": 2 * TICK_BYTES,
        "max_bytes": status.spool_max_bytes,
        "oldest_at": make_tick(0).record.received_at,
        "replaying": False,
        "last_error": None,
    }
    assert details["ticks"]["spooled"] == {"ibkr": 2}
    assert details["ticks"]["replayed"] == {}

    sink.is_down = False
    sink.refuse(make_tick(1))
    await trio.sleep(1)

    details = status_of(status)
    assert (details["spool"]["rows"], details["spool"]["replaying"]) == (0, False)
    assert details["ticks"]["spooled"] == {"ibkr": 2}
    assert details["ticks"]["replayed"] == {"ibkr": 1}
    assert details["ticks"]["quarantined"] == {"ibkr": 1}
    assert details["quarantine"] == {"waiting": 1}


async def test_the_status_has_the_last_error_of_the_disk(
    status, nursery, autojump_clock
):
    status.spool.disk.is_full = True
    nursery.start_soon(status.spooler.run)
    status.backlog.put([make_tick()])
    await trio.sleep(1)

    assert status_of(status)["spool"]["last_error"] == "told to be full"


async def test_the_status_has_the_memory_of_the_buffers(status):
    status.backlog.put([make_tick(0), make_tick(1)])

    memory = status_of(status)["memory"]

    assert memory["backlog_bytes"] == tick_bytes(2)
    assert memory["backlog_max_bytes"] == tick_bytes(10)
    assert memory["buffers_max_bytes"] == 10**6
    assert memory["resident_bytes"] > 10**6


def put_now(status, *numbers):
    """Put ticks of a frame that is read now."""
    read_at = trio.current_time()
    status.backlog.put([make_tick(number, read_at=read_at) for number in numbers])


async def test_a_breach_is_a_warning_and_no_reason_not_to_be_ready(
    status, nursery, autojump_clock, caplog
):
    """Database and disk take a second, so that each tick is durable too late."""
    caplog.set_level(logging.INFO)
    sink = ListSink()
    sink.delay, status.spool.disk.delay = 1.0, 1.0
    for health in status.feeds.values():
        health.connected()
    nursery.start_soon(status.writer.run, sink.open, WakeUp())
    nursery.start_soon(status.spooler.run)
    nursery.start_soon(run_slo_watch, status)
    for number in range(30):
        put_now(status, number)
        await trio.sleep(1)

    assert status.readiness() == []
    [warning] = status.warnings()
    assert warning.startswith("latency: above the SLO of 500 ms for ")
    slo = status_of(status)["slo"]
    assert (slo["is_breached"], slo["breaches"], slo["target_ms"]) == (True, 1, 500.0)
    assert slo["p95_ms"] >= 1000.0

    sink.delay = status.spool.disk.delay = 0.0
    for number in range(30, 120):
        put_now(status, number)
        await trio.sleep(1)

    assert status.warnings() == []
    assert status_of(status)["slo"]["is_breached"] is False
    news = [text for text in caplog.messages if text.startswith("slo.")]
    assert [text.split()[0] for text in news] == ["slo.breached", "slo.recovered"]


async def test_the_oldest_tick_shows_that_database_and_disk_hang(
    status, nursery, autojump_clock
):
    """Neither the database nor the disk answers, and no tick follows."""
    sink = ListSink()
    sink.delay = status.spool.disk.delay = math.inf
    nursery.start_soon(status.writer.run, sink.open, WakeUp())
    nursery.start_soon(status.spooler.run)
    nursery.start_soon(run_slo_watch, status)
    put_now(status, 0, 1)
    await trio.sleep(5)
    assert status_of(status)["slo"]["is_breached"] is False

    await trio.sleep(3)

    slo = status_of(status)["slo"]
    assert (slo["is_breached"], slo["overdue"]) == (True, 2)
    assert slo["oldest_undurable_age_ms"] == pytest.approx(8_000, abs=1_001)


async def test_the_watch_of_the_slo_ends_when_it_is_cancelled(status, autojump_clock):
    with trio.move_on_after(2.5) as scope:
        await run_slo_watch(status)

    assert scope.cancelled_caught
    assert trio.current_time() == 2.5


async def test_ticks_that_could_not_be_handed_over_are_lost(status):
    status.feeds["ibkr"].count("ticks.lost", 3)
    status.backlog.losses.add_ticks([make_tick()])

    assert Readings(status).lost == {"ibkr": 4, "tastytrade": 0}
    assert status_of(status)["ticks"]["lost"] == 4


async def test_the_minute_line_has_the_lag_of_the_loop(
    status, nursery, autojump_clock, caplog
):
    caplog.set_level(logging.INFO)
    nursery.start_soon(run_minute_line, status)
    await trio.sleep(50)
    status.loop_lag.record(0.0123, now=trio.current_time())

    await trio.sleep(11)

    [line] = [text for text in caplog.messages if text.startswith("service.minute")]
    assert " loop_p99_ms=12.3 loop_max_ms=12.3 " in line
    assert status_of(status)["loop_lag_ms"]["last_minute"]["max"] == 12.3


async def test_a_feed_that_was_stopped_by_request_is_a_note(status):
    ibkr, tastytrade = status.feeds.values()
    ibkr.connected()
    tastytrade.connected()
    assert status.warnings() == []

    ibkr.stopped_by_request()

    assert status.warnings() == []
    assert status.notes() == ["ibkr: stopped by request"]
    assert not [each for each in status.readiness() if each.startswith("ibkr")]


async def test_when_all_feeds_are_stopped_each_is_a_problem_and_no_note(status):
    for health in status.feeds.values():
        health.stopped_by_request()

    assert status.readiness()[1:] == [
        "ibkr: stopped by request",
        "tastytrade: stopped by request",
    ]
    assert status.warnings() == status.notes() == []


async def test_a_feed_that_lacks_something_is_a_warning(status):
    ibkr, tastytrade = status.feeds.values()
    tastytrade.connected()

    ibkr.degraded("28 subscriptions with delayed market data")

    assert status.warnings() == ["ibkr: 28 subscriptions with delayed market data"]
    assert not [each for each in status.readiness() if each.startswith("ibkr")]


async def test_a_note_of_a_connected_feed_is_no_warning(status):
    ibkr, tastytrade = status.feeds.values()
    ibkr.connected()
    tastytrade.connected()

    ibkr.noted(["delayed data are accepted"])

    assert status.notes() == ["ibkr: delayed data are accepted"]
    assert status.warnings() == []
    assert not [each for each in status.readiness() if each.startswith("ibkr")]
