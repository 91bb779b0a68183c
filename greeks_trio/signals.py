"""Signals as tasks: SIGTERM and SIGINT stop, SIGHUP reloads."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

import trio

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1

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


def end_with_parent(parent: int) -> None:
    """Stop as by SIGTERM when the parent ends (Linux), and take the SIGHUPs of the start.

    The parent starts us with SIGHUP blocked, because one would end a process that does not
    handle it yet.

    Args:
        parent: The process id of the parent; it may have ended since.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
    if os.getppid() != parent:
        sys.exit(0)
