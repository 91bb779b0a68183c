"""The lasting faults that are active now at one simulated broker.

A lasting fault keeps its name here while it is active.  The parts of the broker call
`Conditions.holds` wherever a fault changes their behaviour.  The same fault may be
active several times; it is over when the last of these has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


class Conditions:
    """The active faults of one broker; `watchers` are called at each change."""

    def __init__(self) -> None:
        self.watchers: set[Callable[[], None]] = set()
        self._held: dict[object, tuple[str, float, float]] = {}

    def holds(self, *names: str) -> bool:
        """Tell whether any of these faults is active."""
        # Called for every event; nearly always there is no fault.
        return bool(self._held) and any(
            name in names for name, _, _ in self._held.values()
        )

    def smallest(self, name: str, otherwise: float) -> float:
        """Return the smallest value of the active faults of this name."""
        values = (value for held, _, value in self._held.values() if held == name)
        return min(values, default=otherwise)

    def seconds_left(self, name: str) -> float:
        """Return how long the fault stays active; 0 when it is not active."""
        ends = (until for held, until, _ in self._held.values() if held == name)
        return max(0.0, max(ends, default=0.0) - trio.current_time())

    async def hold(self, name: str, seconds: float) -> None:
        """Keep the fault active for this many seconds, or until cancelled."""
        with self.holding(name, seconds):
            await trio.sleep(seconds)

    @contextmanager
    def holding(
        self, name: str, seconds: float, *, value: float = 0.0
    ) -> Iterator[None]:
        """Keep the fault active within the block, which should last ``seconds``."""
        token = object()
        self._held[token] = name, trio.current_time() + seconds, value
        self._tell()
        try:
            yield
        finally:
            self._held.pop(token, None)
            self._tell()

    async def wait_over(self, name: str) -> None:
        """Return when the fault is not active."""
        while self.holds(name):
            changed = trio.Event()
            self.watchers.add(changed.set)
            try:
                await changed.wait()
            finally:
                self.watchers.discard(changed.set)

    def end_all(self) -> None:
        """End all faults at once, also those with time left."""
        self._held.clear()
        self._tell()

    def _tell(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()
