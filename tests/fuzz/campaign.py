"""A long random campaign against one broker's stream half.

    python -m tests.fuzz.campaign --protocol ibkr --frames 1000000 --seed 1

Frames of every unlikely kind go through the feed's own reader, its protocol and the
normalisation, without sockets.  Good frames between them must lead to exactly their
ticks, so that damage to the memory of the feed is noticed.  Anything that the feed does
not handle ends the campaign with status 1; a seed and an index name the frame.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FunctionType, ModuleType, TracebackType
from typing import Any, Final

import psutil
import trio
from trio.testing import MockClock

from greeks_trio.model.records import UnifiedPositionRecord
from tests.fuzz.dxlink import DxlinkFrames, run_dxlink
from tests.fuzz.ibkr import IbkrFrames, run_ibkr
from tests.fuzz.target import Enough, Lane

PROTOCOLS: Final = ("ibkr", "dxlink")
# The memory of the feed itself: memories of fields, columns, and the last 100 odd frames,
# of which each may have 16 kB.
KEPT_LIMIT_BYTES: Final = 8 * 2**20
# The allocator keeps what frames of several MiB needed; ticks must not add to that.
GROWTH_LIMIT_BYTES: Final = 64 * 2**20
# How often the memory is looked at.
_LOOK_EVERY: Final = 20_000
_SHOWN_CHARACTERS: Final = 20_000
_SHARED: Final = (type, ModuleType, FunctionType, type(trio.lowlevel.current_task))


class Grows(AssertionError):
    """The feed keeps more and more."""


@dataclass(slots=True)
class Memory:
    """How much memory the process has, and the feed keeps, as the campaign goes on."""

    frames: int
    kept: object = None
    resident: list[int] = field(default_factory=list)
    kept_bytes: int = 0

    def watch(self, kept: object) -> None:
        """Look at this from here on."""
        self.kept = kept

    def look(self, index: int) -> None:
        """Measure now and then.

        Raises:
            Grows: it is too much.
        """
        if index % _LOOK_EVERY and index != self.frames:
            return
        self.resident.append(psutil.Process().memory_info().rss)
        self.kept_bytes = max(self.kept_bytes, size_of(self.kept))
        if self.kept_bytes > KEPT_LIMIT_BYTES:
            raise Grows(f"the feed keeps {self.kept_bytes:,} bytes")
        if self.growth > GROWTH_LIMIT_BYTES:
            raise Grows(f"the process has grown by {self.growth:,} bytes")

    @property
    def growth(self) -> int:
        """Return by how much the peak has risen since a tenth of the frames."""
        tenth = max(1, self.frames // 10 // _LOOK_EVERY)
        return max(self.resident) - max(self.resident[:tenth])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The figures of a campaign without a fault."""

    protocol: str
    seed: int
    frames: int
    good: int
    ticks: int
    seconds: float
    peak_bytes: int
    growth_bytes: int
    kept_bytes: int
    kinds: dict[str, int]
    counts: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {
            **{name: getattr(self, name) for name in self.__slots__},
            "frames_per_second": round(self.frames / self.seconds),
        }


class Reporting:
    """Tells which frame it was, when the block ends with an error."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None or isinstance(exc, Enough):
            return
        lane = self._lane
        sys.stderr.write(
            f"seed {lane.seed} index {lane.index - 1}"
            f" frame {repr(lane.latest)[:_SHOWN_CHARACTERS]}\n"
        )


def run_campaign(
    protocol: str,
    frames: int,
    seed: int,
    *,
    keep: Callable[[UnifiedPositionRecord], None] = lambda _: None,
) -> Outcome:
    """Run a campaign and return its figures.

    ``keep`` gets each tick that a bent frame made.  Whatever the feed does not handle,
    and each tick that is not as it must be, comes out as the exception that it is.
    """
    source = IbkrFrames() if protocol == "ibkr" else DxlinkFrames()
    broker = "ibkr" if protocol == "ibkr" else "tastytrade"
    memory = Memory(frames)
    lane = Lane(broker, source.make, frames, seed, keep, memory.look)
    source.lane = lane

    async def run() -> None:
        if isinstance(source, IbkrFrames):
            await run_ibkr(lane, memory.watch)
        else:
            await run_dxlink(lane, source, memory.watch)

    started_at = time.perf_counter()
    with Reporting(lane):
        # Nothing waits, but for pauses between requests, which cost no time so.
        trio.run(run, clock=MockClock(autojump_threshold=0))
    seconds = time.perf_counter() - started_at
    return Outcome(
        protocol=protocol,
        seed=seed,
        frames=lane.index,
        good=lane.good,
        ticks=lane.ticks,
        seconds=round(seconds, 3),
        peak_bytes=max(memory.resident),
        growth_bytes=memory.growth,
        kept_bytes=memory.kept_bytes,
        kinds=dict(sorted(lane.kinds.items())),
        counts=dict(sorted(lane.health.statistics().counts.items())),
    )


def size_of(root: object) -> int:
    """Return the bytes of an object and all that only it leads to."""
    seen: set[int] = set()
    waiting, size = [root], 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, _SHARED):
            continue
        if type(each).__module__.startswith(("trio", "tests", "outcome")):
            continue
        seen.add(id(each))
        size += sys.getsizeof(each)
        waiting += gc.get_referents(each)
    return size


def table(outcome: Outcome) -> str:
    """Return the figures for people."""
    rows = [
        ("frames", f"{outcome.frames:,}"),
        ("good frames, as they must be", f"{outcome.good:,}"),
        ("ticks", f"{outcome.ticks:,}"),
        ("frames a second", f"{outcome.frames / outcome.seconds:,.0f}"),
        ("peak memory", f"{outcome.peak_bytes / 2**20:,.0f} MiB"),
        ("grown since a tenth", f"{outcome.growth_bytes / 2**20:,.1f} MiB"),
        ("kept by the feed", f"{outcome.kept_bytes / 2**10:,.0f} kB"),
        *((f"frames: {name}", f"{n:,}") for name, n in outcome.kinds.items()),
        *((f"counted: {name}", f"{n:,}") for name, n in outcome.counts.items()),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value:>12}" for name, value in rows)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=PROTOCOLS, required=True)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    # The feed logs odd things, as it should; here that is nearly everything.
    logging.disable(logging.CRITICAL)
    outcome = run_campaign(options.protocol, options.frames, options.seed)
    text = json.dumps(outcome.as_dict()) if options.json else table(outcome)
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
