"""Telling waiting tasks to try again now."""

from __future__ import annotations

import trio


class WakeUp:
    """Wakes whoever waits at that moment; who comes later waits for the next call.

    Attributes:
        calls: How often `wake` was called; tells who was busy that it missed one.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._event = trio.Event()

    def wake(self) -> None:
        """Wake every task that is waiting now."""
        self.calls += 1
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        """Wait for the next call of `wake`."""
        await self._event.wait()
