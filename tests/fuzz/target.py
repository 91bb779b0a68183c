"""The lane of frames and ticks, which both protocols' sides share."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.model.records import Broker, Tick, UnifiedPositionRecord
from greeks_trio.pipeline.journal import Journal
from tests.fuzz import material
from tests.fuzz.tick_rules import WrongTick, check_tick

START: Final = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
START_MS: Final = int(START.timestamp() * 1000)
# Frames between two, so that times differ and a month of partitions is enough.
_STEP: Final = timedelta(milliseconds=1)

# Checks the ticks of a good frame; raises `WrongTick`.
Check = Callable[[list[UnifiedPositionRecord]], None]


class Enough(Exception):
    """The last frame has been taken."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame on its way.

    Attributes:
        kind: A word to count it by.
        check: The check of the ticks of a good frame.
    """

    frame: str | bytes
    kind: str
    check: Check | None = None


def expect_nothing(ticks: list[UnifiedPositionRecord]) -> None:
    """Check that a good frame without Greeks made no tick."""
    if ticks:
        raise WrongTick(f"{len(ticks)} ticks of a frame without Greeks")


@dataclass(slots=True)
class Lane:
    """The frames' way into one feed and the ticks' way out of it.

    A feed that wants the next frame is done with the last one.  At this moment the ticks
    of the last one are checked.

    Attributes:
        make: Makes the frame of an index.
        pending: Frames that have to come before the next made one.
        keep: Told of each tick of a frame that is not a good one.
    """

    broker: Broker
    make: Callable[[int, Random], Sent]
    frames: int
    seed: int
    keep: Callable[[UnifiedPositionRecord], None] = lambda _: None
    progress: Callable[[int], None] = lambda _: None
    health: FeedHealth = field(init=False)
    now: datetime = START
    index: int = 0
    sent: Sent | None = None
    latest: str | bytes | None = None
    ticks: int = 0
    good: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    pending: deque[Sent] = field(default_factory=deque)
    out: trio.MemorySendChannel[list[Tick]] = field(init=False)
    _arrived: trio.MemoryReceiveChannel[list[Tick]] = field(init=False)
    _counted: int = 0

    def __post_init__(self) -> None:
        """Make the health and the channel of the feed."""
        self.health = FeedHealth(self.broker, Journal(), now=lambda: self.now)
        # One frame's ticks are one item, and they are taken before the next frame.
        self.out, self._arrived = trio.open_memory_channel[list[Tick]](1)

    def next_frame(self) -> str | bytes:
        """Check the ticks of the last frame, and return the next one.

        Raises:
            Enough: there is none.
            WrongTick: The ticks of the last frame are wrong.
        """
        self.settle()
        if self.index >= self.frames and not self.pending:
            raise Enough
        if self.pending:
            sent = self.pending.popleft()
        else:
            rng = Random(self.seed * 2**40 + self.index)
            self.now += _STEP
            sent = self.make(self.index, rng)
            self.index += 1
            self.progress(self.index)
        self.sent, self.latest = sent, sent.frame
        self.kinds[sent.kind] += 1
        return sent.frame

    def settle(self, *, ended: bool = False) -> None:
        """Check the ticks of the last frame, if there is one."""
        sent, self.sent = self.sent, None
        ticks = self._take()
        if sent is None:
            return
        for tick in ticks:
            check_tick(tick, self.now)
        self.ticks += len(ticks)
        if sent.check is None:
            self._settle_odd(sent, ticks)
            return
        if ended:
            raise WrongTick("a good frame ended the connection")
        sent.check(ticks)
        self.good += 1

    def _settle_odd(self, sent: Sent, ticks: list[UnifiedPositionRecord]) -> None:
        for tick in ticks:
            self.keep(tick)
        counted = sum(self.health.statistics().counts.values())
        if sent.kind == "not JSON" and counted == self._counted:
            raise WrongTick("a frame that is no JSON was not counted")
        self._counted = counted

    def _take(self) -> list[UnifiedPositionRecord]:
        try:
            return [tick.record for tick in self._arrived.receive_nowait()]
        except trio.WouldBlock:
            return []

    @property
    def now_ms(self) -> int:
        """Return the feed's wall clock in milliseconds since 1970."""
        return round(self.now.timestamp() * 1000)


def bent_frame(
    rng: Random, seeds: Callable[[Random], Any], words: tuple[str, ...]
) -> tuple[str, bytes]:
    """Return a frame that is not as it should be, and the kind that it is of."""
    kind = rng.random()
    if kind < 1 / material.HUGE_EVERY:
        frame = material.huge(rng, seeds(rng))
        return "huge", frame.encode("utf-8", "surrogatepass")
    if kind < 0.12:
        return "bytes", material.any_bytes(rng)
    if kind < 0.25:
        value = material.any_json(rng, words)
        return "JSON", material.encode(rng, value).encode("utf-8", "surrogatepass")
    value = material.mutate(rng, seeds(rng), words)
    data = material.encode(rng, value).encode("utf-8", "surrogatepass")
    if rng.random() < 0.25:
        return "bent text", material.bend_text(rng, data)
    return "mutated", data
