"""Signals as tasks: SIGTERM and SIGINT stop, SIGHUP reloads."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Final

import trio

logger = logging.getLogger(__name__)

# Each SIGHUP since `hold_hangups`, outside of `run_on_hangup`.
_held: Final[list[int]] = []


async def run_stop_on_signal(
    stop: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Set ``stop`` at the first SIGTERM or SIGINT, then return.

    A second SIGTERM or SIGINT has the default effect of the operating system: it ends the
    process at once, without the drain.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        number = await anext(aiter(signals))
        logger.info("service.stopping signal=%s", signal.Signals(number).name)
        stop.set()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def hold_hangups() -> None:
    """Keep a SIGHUP for `run_on_hangup` instead of ending the process.

    The start takes seconds.
    """
    signal.signal(signal.SIGHUP, lambda number, frame: _held.append(number))


async def run_on_hangup(
    reload: Callable[[], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``reload`` at each SIGHUP and once for those that were kept, until cancelled."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        if _held:
            _held.clear()
            reload()
        async for _ in signals:
            reload()
