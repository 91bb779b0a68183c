"""Keeps Python's collector of reference cycles away from objects that stay.

A full collection looks at every object of the process, and everything else waits: 20 ms
after the imports, 150 ms with ten thousand contracts.  Nearly all of these objects stay as
long as the process.  The collector leaves out frozen objects.  One without any reference
is removed as before.  Only a cycle among frozen objects stays for good,
so they are frozen when contracts were added, not again and again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final, NoReturn

import trio

_INTERVAL_S: Final = 5.0
# Fewer additional contracts are not worth it.
_ADDITIONAL_SHARE: Final = 0.1


async def run_garbage_watch(count_contracts: Callable[[], int]) -> NoReturn:
    """Freeze the objects of the start, and again after contracts were added; until cancelled.

    Args:
        count_contracts: Returns how many contracts are subscribed.
    """
    gc.freeze()
    frozen_with = last = 0
    while True:
        await trio.sleep(_INTERVAL_S)
        before, last = last, count_contracts()
        is_settled = last == before
        if is_settled and last > frozen_with * (1.0 + _ADDITIONAL_SHARE):
            gc.freeze()
            frozen_with = last
