"""The one thread that talks to the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


class DiskWorker:
    """Runs functions in a thread, one after the other."""

    def __init__(self) -> None:
        self._turn = trio.CapacityLimiter(1)

    async def run(self, function: Callable[[], T]) -> T:
        """Return what the function returns.

        Cancelled, it returns at once although the function goes on: a disk that hangs
        must not hang the end of the service.  What the function does is then done all
        the same, before the next one has its turn, and its result is lost: an entry that
        was appended after all is replayed one day, and storing a tick twice has the
        effect of storing it once.
        """
        return await trio.to_thread.run_sync(
            function, abandon_on_cancel=True, limiter=self._turn
        )
