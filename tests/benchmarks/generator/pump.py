"""Sends prepared frames at the pace of the clock, and notes when each was handed over."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import trio

from tests.benchmarks.generator.ledger import Ledger

# Ticks that are due within this time are sent together.
INTERVAL_S = 0.001
# More are split: a broker does not send a second's market in one piece.
MOST_IN_ONE_SEND = 5_000


class Load(msgspec.Struct, frozen=True):
    """What one broker sends: ``ticks`` at a rate a second, 0 for all at once."""

    ticks: int
    rate: float


class Sent(msgspec.Struct, frozen=True):
    """What was sent; seconds.

    Attributes:
        late_p99_s: How much later than due 99 % of the ticks were handed over at most.
    """

    ticks: int
    seconds: float
    late_p99_s: float
    late_max_s: float


class Frames(Protocol):
    """Makes the bytes of a connection: prepared frames of the next ticks."""

    def take(self, count: int, now_ms: int) -> list[bytes]:
        """Return the frames of the next ticks, which it also adds to the ledger."""


class Pump:
    """The load on one connection."""

    def __init__(
        self,
        ledger: Ledger,
        frames: Frames,
        send: Callable[[list[bytes]], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._frames = frames
        self._send = send
        self._late: list[tuple[float, int]] = []

    async def run(self, load: Load) -> Sent:
        """Send it all, and return when the kernel has it."""
        self._late.clear()
        start = trio.current_time()
        sent = 0
        while sent < load.ticks:
            now = trio.current_time()
            due = load.ticks
            if load.rate:
                due = min(due, int((now - start) * load.rate) + 1)
                self._late.append((now - start - sent / load.rate, due - sent))
            while sent < due:
                count = min(due - sent, MOST_IN_ONE_SEND)
                await self._hand_over(count)
                sent += count
            if load.rate:
                await trio.sleep_until(max(start + sent / load.rate, now + INTERVAL_S))
        self._ledger.flush()
        p99, most = self._lateness(sent)
        return Sent(sent, trio.current_time() - start, p99, most)

    async def _hand_over(self, count: int) -> None:
        data = self._frames.take(count, time.time_ns() // 1_000_000)
        self._ledger.note_batch(count, time.time_ns() // 1_000)
        await self._send(data)

    def _lateness(self, ticks: int) -> tuple[float, float]:
        """Return the p99 and the most of the first tick's delay in each batch."""
        if not self._late:
            return 0.0, 0.0
        beyond = ticks // 100
        ordered = sorted(self._late, reverse=True)
        for late, count in ordered:
            beyond -= count
            if beyond < 0:
                return late, ordered[0][0]
        return 0.0, ordered[0][0]
