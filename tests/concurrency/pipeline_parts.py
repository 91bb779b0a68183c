"""The pipeline from backlog to table, put together as the service does it, on fakes."""

from __future__ import annotations

from functools import partial

import trio

from greeks_trio.pipeline.backlog import Backlog
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.pipeline.refused_rows import RefusedRows
from greeks_trio.pipeline.replayer import Replayer
from greeks_trio.pipeline.spooler import Spooler
from greeks_trio.pipeline.tick_counts import TickCounts, TickListeners
from greeks_trio.pipeline.writer import Writer
from greeks_trio.waiting import WakeUp
from tests.concurrency.fakes import ListSink, MemoryQuarantine, MemorySpool
from tests.factories import make_tick, tick_bytes

AFTER_S = 0.05


class Pipeline:
    """Writer, spooler and replayer over a table and a disk.

    Args:
        memory_rows: How many of `make_tick`'s ticks may wait in memory.

    Attributes:
        sink: The writer's connection to the table.
        replay_sink: The replayer's.
        durable: (time, tick) in the order in which they were told.
        committed: The same of commits.
    """

    def __init__(
        self, spool=None, *, quarantine=None, table=None, memory_rows=10_000, batch=100
    ):
        self.spool = spool or MemorySpool()
        self.quarantine = quarantine or MemoryQuarantine()
        self.sink = ListSink(table)
        self.replay_sink = ListSink(self.sink)
        # As the real ones: what is in flight may have been replayed, and the other way.
        self.sink.takes_duplicates = self.replay_sink.takes_duplicates = True
        self.durable, self.committed = [], []
        self.backlog = Backlog(tick_bytes(memory_rows))
        self.tick_counts = TickCounts(
            TickListeners(
                durable=partial(_note, self.durable),
                committed=partial(_note, self.committed),
            )
        )
        self.conditions = Conditions()
        self.refused_rows = RefusedRows(self.quarantine, self.conditions)
        self.spooler = Spooler(
            self.backlog,
            self.spool,
            self.tick_counts,
            after_s=AFTER_S,
            inherited_to=lambda: self.spool.inherited_id,
        )
        self.writer = Writer(
            self.backlog,
            self.refused_rows,
            self.tick_counts,
            batch_rows=batch,
            has_more_to_replay=lambda: self.spooler.has_more_to_replay,
        )
        self.replayer = Replayer(
            self.backlog, self.spooler, self.refused_rows, self.tick_counts
        )
        self.retry_now = WakeUp()

    async def run(self):
        """Run until the backlog is closed and empty."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.writer.run, self.sink.open, self.retry_now)
            nursery.start_soon(self.spooler.run)
            nursery.start_soon(self.replayer.run, self.replay_sink.open)

    def put(self, *numbers, **changes):
        """Put ticks that were read at this moment, and return them."""
        now = trio.current_time()
        ticks = [make_tick(number, read_at=now, **changes) for number in numbers]
        self.backlog.put(ticks)
        return ticks

    def database_goes(self):
        """Let both connections fail, and no new one be made."""
        self.sink.is_down = self.replay_sink.is_down = True

    def database_comes(self):
        """Let connections be made again, and the writer look at once."""
        self.sink.is_down = self.replay_sink.is_down = False
        self.retry_now.wake()


def _note(where, ticks):
    now = trio.current_time()
    where.extend((now, tick) for tick in ticks)
