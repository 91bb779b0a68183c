"""More options than market-data lines: the service, real sockets, a real PostgreSQL."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise

import pytest
import trio

from greeks_trio.brokers.ibkr.lines import rotation
from greeks_trio.config.settings import Config, IbkrConfig, SpoolConfig
from greeks_trio.pipeline.tick_counts import TickListeners
from greeks_trio.service import run_service
from greeks_trio.simulators.book.textbook import textbook_market
from greeks_trio.simulators.ibkr.broker import SimulatedIbkr
from greeks_trio.simulators.ledger import Ledger
from tests.fix_processes import Stage, fetch

pytestmark = pytest.mark.timeout(120)

OPTIONS, LINES = 60, 20
TURN_S = 1.0


@pytest.fixture
def short_turns(monkeypatch):
    """Make the turns ten times shorter; the simulated Greeks come as much faster."""
    monkeypatch.setattr(rotation, "TURN_S", TURN_S)
    monkeypatch.setattr(rotation, "SETTLE_S", 0.3)
    monkeypatch.setattr(rotation, "GREEKS_WAIT_S", 6.0)
    monkeypatch.setattr(rotation, "LONGEST_TURN_S", 6.3)
    monkeypatch.setattr(rotation, "CHANGE_S", 0.02)


class Turns:
    """When each contract had durable ticks."""

    def __init__(self):
        self._read_at = {}
        self._news = trio.Event()

    def durable(self, ticks):
        for tick in ticks:
            self._read_at.setdefault(tick.record.contract_key, []).append(tick.read_at)
        self._news.set()
        self._news = trio.Event()

    async def wait(self, number):
        """Return when each option was seen in so many turns."""
        while len(self._read_at) < OPTIONS or self._fewest < number:
            await self._news.wait()

    @property
    def _fewest(self):
        """The smallest number of turns, which have pauses between them."""
        return 1 + min(
            sum(b - a > TURN_S for a, b in pairwise(at))
            for at in self._read_at.values()
        )


@asynccontextmanager
async def streaming(stage, turns):
    """Yield the running service and the market; at the end all is sent and written."""
    market = textbook_market(contracts=OPTIONS, seed=7, today=datetime.now(UTC).date())
    stop = trio.Event()
    listeners = TickListeners(durable=turns.durable)
    with Ledger(stage.ledger) as ledger:
        simulator = SimulatedIbkr(
            market, market.options, ledger, rate=200.0, seed=7, line_limit=LINES
        )
        async with trio.open_nursery() as brokers, trio.open_nursery() as nursery:
            endpoints = await brokers.start(simulator.run, 0)
            config = Config(
                database=stage.database,
                ibkr=IbkrConfig(
                    api_url=endpoints.rest_url,
                    ws_url=endpoints.ws_url,
                    ca_file=endpoints.ca_file,
                    market_data_lines=LINES,
                ),
                http=None,
                spool=SpoolConfig(directory=stage.ledger.with_name("spool")),
            )
            service = partial(run_service, config, stop=stop, listeners=listeners)
            running = await nursery.start(service)
            yield running, market
            simulator.stop()
            health = running.status.feeds["ibkr"]
            await health.wait_status("disconnected")
            stop.set()


async def test_sixty_options_share_twenty_lines(tmp_path, empty_database, short_turns):
    stage, turns = Stage(tmp_path, empty_database), Turns()
    async with streaming(stage, turns) as (running, market):
        with trio.fail_after(60):
            await turns.wait(2)
        health = running.status.feeds["ibkr"]
        session, statistics = health.session(), health.statistics()
        [(contract_gaps,)] = await fetch(
            stage.database,
            "select count(*) from feed_gaps where contract_key is not null",
        )

    stored = await stage.stored()
    assert len(stored) == len(set(stored))
    assert set(stored) == stage.sent()
    assert contract_gaps == 0
    assert session.status == "connected"
    [note] = session.notes
    shared = LINES - len(market.underlyings)
    assert note.startswith(f"{OPTIONS} contracts share {shared} lines: each is seen")
    assert statistics.in_rotation == OPTIONS
    assert 0 < statistics.rotation_longest_s < statistics.rotation_seen_within_s
    [(contracts, turned, without_price)] = await fetch(
        stage.database,
        "select count(distinct contract_key), bool_and(in_rotation),"
        " count(*) filter (where underlying_price is null) from greek_snapshots",
    )
    assert (contracts, turned, without_price) == (OPTIONS, True, 0)
