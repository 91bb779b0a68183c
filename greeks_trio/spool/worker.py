"""The one thread that uses the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from greeks_trio.errors import SpoolUnavailable

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

        Raises:
            SpoolUnavailable: the operating system gives this process no more threads or
                memory.
        """
        began = False

        def begin() -> T:
            nonlocal began
            began = True
            return function()

        try:
            return await trio.to_thread.run_sync(
                begin, abandon_on_cancel=True, limiter=self._turn
            )
        except (RuntimeError, MemoryError) as exc:
            if began and isinstance(exc, RuntimeError):
                raise
            raise SpoolUnavailable(
                f"the process gets no thread or memory for the disk: {exc}"
            ) from exc
