"""Ticks that come in while the queries run."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime

import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.model.records import Tick
from greeks_trio.postgres.tick_store import CopySink, TickStore
from tests.benchmarks.ticks import PAYLOAD
from tests.factories import make_tick
from tests.fix_postgres import connect

MOST = 2_000  # ticks of one batch


class Ingest:
    """Writes ticks of the live contracts at a steady rate, and keeps the times."""

    def __init__(self, config: DatabaseConfig, rate: float) -> None:
        with connect(config) as connection:
            self._contracts = connection.execute(
                "select broker, account_id, underlying, contract_key, expiration"
                " from bench_contracts where not is_cold and not is_silent"
            ).fetchall()
        self._config = config
        self._rate = rate
        self.rows = 0
        self.write_s: list[float] = []

    async def run(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Write until cancelled; started with the first batch."""
        async with TickStore(self._config).open() as sink:
            await self._write(sink, 1)
            task_status.started()
            behind_from = trio.current_time()
            while self._rate:
                await trio.sleep(0.02)
                due = int(self._rate * (trio.current_time() - behind_from))
                behind_from += due / self._rate
                # A machine that cannot keep up writes fewer ticks.
                await self._write(sink, min(due, MOST))
            await trio.sleep_forever()

    async def _write(self, sink: CopySink, number: int) -> None:
        ticks = [self._make_tick() for _ in range(number)]
        started_at = time.perf_counter()
        self.rows += await sink.write(ticks)
        self.write_s.append(time.perf_counter() - started_at)

    def _make_tick(self) -> Tick:
        broker, account_id, underlying, key, expiration = random.choice(self._contracts)
        now = datetime.now(UTC)
        return make_tick(
            broker=broker,
            account_id=account_id,
            underlying=underlying,
            contract_key=key,
            expiration=expiration,
            event_time=now,
            received_at=now,
            delta=random.random(),
            rho=None if broker == "ibkr" else random.random(),
            underlying_price_at=now,
            price=random.random(),
            source_payload=PAYLOAD,
        )
