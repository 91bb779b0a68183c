"""A broker that the program does not know becomes part of the service by one line."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import httpx2
import pytest
import trio

from greeks_trio.brokers.registry import FEEDS
from greeks_trio.config.settings import BROKERS, Config, HttpConfig, SpoolConfig
from greeks_trio.errors import ConfigError
from greeks_trio.feeds.feed import FeedKind, enabled_kinds
from greeks_trio.feeds.hand_over import hand_over
from greeks_trio.model.gap_reasons import GapReason
from greeks_trio.pipeline.tick_counts import TickListeners
from greeks_trio.service import run_service
from tests.factories import SPY_CALL, START, make_frame, make_position, make_record
from tests.fix_postgres import connect

THIRD = "thirdbroker"
TICKS = 3


class ThirdFeed:
    """Sends three ticks of one position, then waits for the end."""

    def __init__(self, section, outputs):
        self.section = section
        self._outputs = outputs

    async def run_connection(self):
        health = self._outputs.health
        health.connecting()
        self._outputs.positions.read(["T1"], [make_position(broker=THIRD)])
        health.connected()
        health.gaps.started(GapReason.NO_GREEKS, SPY_CALL)
        for number in range(TICKS):
            health.frames_read(1, START)
            frame = make_frame(
                make_record(number, broker=THIRD), read_at=trio.current_time()
            )
            await hand_over(self._outputs.ticks, frame, health)
        health.gaps.ended(SPY_CALL)
        await trio.sleep_forever()

    def reload(self, section):
        raise AssertionError(f"there is no reload in these tests: {section}")


async def check_login(section):
    await trio.lowlevel.checkpoint()
    return f"logged in as {section}"


@pytest.fixture
def made():
    return []


@pytest.fixture
def third(made):
    def make(section, outputs):
        made.append(ThirdFeed(section, outputs))
        return made[-1]

    return FeedKind(
        name="thirdbroker-socket",
        broker=THIRD,
        section=lambda config: f"the settings of {config.database.user}",
        make=make,
        check_login=check_login,
    )


@pytest.fixture
def service(database, third, tmp_path):
    """The service with the third feed; no other feed is enabled."""
    config = Config(
        database=database,
        http=HttpConfig(port=0),
        spool=SpoolConfig(directory=tmp_path / "spool"),
    )
    return Stage(config, (*FEEDS, third))


class Stage:
    def __init__(self, config, kinds):
        self._config = config
        self._kinds = kinds
        self._ticks = 0
        self._has_all = trio.Event()

    @asynccontextmanager
    async def running(self):
        """Yield when every tick is committed; the end is the end of a drain."""
        stop = trio.Event()
        run = partial(
            run_service,
            self._config,
            load=lambda: self._config,
            kinds=self._kinds,
            stop=stop,
            listeners=TickListeners(committed=self._count),
        )
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                running = await nursery.start(run)
                await self._has_all.wait()
                yield running
                stop.set()

    def _count(self, ticks):
        self._ticks += len(ticks)
        if self._ticks == TICKS:
            self._has_all.set()


async def test_its_rows_are_in_every_table(database, service):
    async with service.running():
        pass

    with connect(database) as observer:
        ticks = observer.execute("select broker, delta from greek_snapshots").fetchall()
        positions = observer.execute("select broker, quantity from positions")
        gaps = observer.execute(
            "select broker, contract_key, reason, ended_at is null from feed_gaps"
            " order by reason"
        )
        assert ticks == [(THIRD, 0.5)] * TICKS
        assert positions.fetchall() == [(THIRD, -3)]
        assert gaps.fetchall() == [
            (THIRD, SPY_CALL, "no greeks", False),
            (THIRD, None, "stopped", True),
        ]


async def test_it_is_in_every_answer_and_can_be_stopped_by_hand(
    database, service, made
):
    async with (
        service.running() as running,
        httpx2.AsyncClient(base_url=running.http_url) as client,
    ):
        status = (await client.get("/v1/streaming/status")).json()
        metrics = (await client.get("/metrics")).text
        ticks = await client.get("/v1/greeks/snapshots", params={"broker": THIRD})
        unknown = await client.get("/v1/greeks/snapshots", params={"broker": "fourth"})
        stopped = await client.post("/v1/streaming/stop", json={"brokers": [THIRD]})

    assert [each["broker"] for each in status["sessions"]] == [THIRD]
    assert status["feeds"].keys() == {THIRD}
    assert f'greeks_ticks_received_total{{broker="{THIRD}"}} 3.0' in metrics
    assert [each["broker"] for each in ticks.json()["items"]] == [THIRD] * TICKS
    assert unknown.status_code == 422
    assert stopped.status_code == 200
    assert stopped.json()["sessions"][0]["last_error"] == "stopped by request"
    assert made[0].section == f"the settings of {database.user}"


def test_every_registered_broker_has_settings_and_a_name_of_its_own():
    assert {kind.broker for kind in FEEDS} == set(BROKERS)
    assert len({kind.name for kind in FEEDS}) == len(FEEDS)


def test_a_broker_has_one_feed_at_a_time(third):
    another = replace(third, name="thirdbroker-http")

    with pytest.raises(ConfigError, match="thirdbroker-socket and thirdbroker-http"):
        enabled_kinds([third, another], Config())


def test_a_feed_without_settings_is_not_enabled(third):
    nothing = replace(third, section=lambda config: None)

    assert enabled_kinds([*FEEDS, nothing], Config()) == {}
    assert enabled_kinds([*FEEDS, third], Config()) == {THIRD: third}
