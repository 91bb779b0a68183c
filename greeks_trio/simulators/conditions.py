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
        self._held: dict[object, tuple[str, float]] = {}

    def holds(self, *names: str) -> bool:
        """Tell whether any of these faults holds."""
        return any(name in names for name, _ in self._held.values())

    def seconds_left(self, name: str) -> float:
        """Return for how long the fault still holds; 0 when it does not."""
        ends = (until for held, until in self._held.values() if held == name)
        return max(0.0, max(ends, default=0.0) - trio.current_time())

    async def hold(self, name: str, seconds: float) -> None:
        """Let the fault hold for so long, or until cancelled."""
        with self.holding(name, seconds):
            await trio.sleep(seconds)

    @contextmanager
    def holding(self, name: str, seconds: float) -> Iterator[None]:
        """Let the fault hold within this block, which is meant to last so long."""
        token = object()
        self._held[token] = name, trio.current_time() + seconds
        self._tell()
        try:
            yield
        finally:
            self._held.pop(token, None)
            self._tell()

    def end_all(self) -> None:
        """Let none hold any more, whatever their time."""
        self._held.clear()
        self._tell()

    def _tell(self) -> None:
        for watcher in tuple(self.watchers):
            watcher()
