"""Our own writer."""

from __future__ import annotations

import time
from collections.abc import Sequence

import trio

from greeks_trio.model.fingerprint import fingerprint
from greeks_trio.model.records import Tick
from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.tick_counts import TickCounts, TickListeners
from greeks_trio.pipeline.writer import Writer
from greeks_trio.postgres.tick_store import TickStore
from greeks_trio.waiting import WakeUp
from tests.benchmarks.write.rows import Need, Rows, in_batches, needed, warm_up_tick
from tests.concurrency.fakes import MemoryQuarantine
from tests.factories import START

# Frames come while a COPY is under way.  So many ticks wait for the writer, in batches.
_WAITING = 2
_FRAME = 100


class OurWriter:
    """From records to commits: fingerprints, backlog, writer, COPY."""

    name = "greeks_trio, writer"
    share = 1.0
    batch = 0

    def store(self, rows: Rows, number: int) -> Need:
        """Let the writer take as many rows at once as it likes."""
        return trio.run(self._store, rows, number)

    async def _store(self, rows: Rows, number: int) -> Need:
        backlog, progress = Backlog(1 << 40), _Progress()
        writer = Writer(
            backlog,
            RefusedRows(MemoryQuarantine()),
            TickCounts(TickListeners(committed=progress.add)),
            batch_rows=rows.batch,
        )
        store = TickStore(rows.config, today=START.date)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run, store.open, WakeUp())
            backlog.put([warm_up_tick(0)])
            await progress.wait(1)
            with needed() as need:
                for put, frame in enumerate(in_batches(rows.records[:number], _FRAME)):
                    await progress.wait(1 + put * _FRAME - _WAITING * rows.batch)
                    now = trio.current_time()
                    backlog.put(
                        [Tick(record, fingerprint(record), now) for record in frame]
                    )
                    await trio.lowlevel.checkpoint()
                backlog.close()
                await progress.wait(1 + number)
        return need

    def commit_each(self, rows: Rows, number: int) -> list[float]:
        """Store each tick when the one before is committed."""
        return trio.run(_commit_each, rows, number)


class OurSink:
    """Only the last part of it, with the fingerprints made before."""

    name = "greeks_trio, CopySink alone"
    share = 1.0
    batch = 0

    def store(self, rows: Rows, number: int) -> Need:
        """Store the rows in full batches."""
        return trio.run(self._store, rows, number)

    async def _store(self, rows: Rows, number: int) -> Need:
        async with TickStore(rows.config, today=START.date).open() as sink:
            await sink.write([warm_up_tick(0)])
            with needed() as need:
                for batch in in_batches(rows.ticks[:number], rows.batch):
                    await sink.write(batch)
        return need

    def commit_each(self, rows: Rows, number: int) -> list[float]:
        """Store each tick when the one before is committed."""
        return trio.run(_commit_each, rows, number)


class _Progress:
    """The number of ticks that are committed."""

    def __init__(self) -> None:
        self._committed = 0
        self._changed = WakeUp()

    def add(self, ticks: Sequence[Tick]) -> None:
        self._committed += len(ticks)
        self._changed.wake()

    async def wait(self, number: int) -> None:
        """Wait until so many are committed."""
        while self._committed < number:
            await self._changed.wait()


async def _commit_each(rows: Rows, number: int) -> list[float]:
    times = []
    async with TickStore(rows.config, today=START.date).open() as sink:
        for each in range(10):
            await sink.write([warm_up_tick(each)])
        for tick in rows.ticks[:number]:
            started_at = time.perf_counter()
            await sink.write([tick])
            times.append(time.perf_counter() - started_at)
    return times
