"""Signals as tasks: SIGTERM and SIGINT stop, SIGHUP reloads."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

import trio

logger = logging.getLogger(__name__)


async def run_stop_on_signal(
    stop: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Set ``stop`` at the first SIGTERM or SIGINT, then return.

    After that, a second SIGINT or SIGTERM has the operating system's default effect: it
    ends the process at once, for whoever does not want to wait for the drain.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        number = await anext(aiter(signals))
        logger.info("service.stopping signal=%s", signal.Signals(number).name)
        stop.set()
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def run_on_hangup(
    reload: Callable[[], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``reload`` once per SIGHUP, until cancelled."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            reload()
