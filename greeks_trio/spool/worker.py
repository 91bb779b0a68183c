"""The one thread that uses the disk."""

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
        """Return the result of the function.

        When this call is cancelled it returns at once, although the function goes on:
        a disk that hangs must not delay the end of the service.  The function still
        completes before the next one starts, and its result is lost.  An entry that was
        appended in this way is replayed later.  Storing a tick twice has the effect of
        storing it once.
        """
        return await trio.to_thread.run_sync(
            function, abandon_on_cancel=True, limiter=self._turn
        )
