"""Which lasting faults hold at present at one simulated broker.

A fault that lasts holds its name here for its time; the parts of the broker ask
`Conditions.holds` where they would behave otherwise.  The same fault may be held more
than once, and is over when the last has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


class Conditions:
    """The faults of one broker that hold now; `watchers` are called at each change."""

    def __init__(self) -> None:
        self.watchers: set[Callable[[], None]] = set()
        self._held: dict[object, tuple[str, float, float]] = {}

    def holds(self, *names: str) -> bool:
        """Tell whether any of these faults holds."""
        # Asked for every event, and nearly always without any fault.
        return bool(self._held) and any(
            name in names for name, _, _ in self._held.values()
        )

    def smallest(self, name: str, otherwise: float) -> float:
        """Return the smallest number with which the fault is held."""
        values = (value for held, _, value in self._held.values() if held == name)
        return min(values, default=otherwise)

    def seconds_left(self, name: str) -> float:
        """Return for how long the fault still holds; 0 when it does not."""
        ends = (until for held, until, _ in self._held.values() if held == name)
        return max(0.0, max(ends, default=0.0) - trio.current_time())

    async def hold(self, name: str, seconds: float) -> None:
        """Let the fault hold for so long, or until cancelled."""
        with self.holding(name, seconds):
            await trio.sleep(seconds)

    @contextmanager
    def holding(
        self, name: str, seconds: float, *, value: float = 0.0
    ) -> Iterator[None]:
        """Let the fault hold within this block, which is meant to last so long."""
        token = object()
        self._held[token] = name, trio.current_time() + seconds, value
        self._tell()
        try:
            yield
        finally:
            self._held.pop(token, None)
            self._tell()

    async def wait_over(self, name: str) -> None:
        """Return when the fault does not hold."""
        while self.holds(name):
            changed = trio.Event()
            self.watchers.add(changed.set)
            try:
                await changed.wait()
            finally:
                self.watchers.discard(changed.set)

    def end_all(self) -> None:
        """Let none hold any more, whatever their time."""
        self._held.clear()
        self._tell()

    def _tell(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()
