"""Tell systemd that the service is ready, works, and stops (``Type=notify``).

Without systemd nothing happens.  Source of the protocol: sd_notify(3).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, MutableMapping
from typing import Final

import trio

logger = logging.getLogger(__name__)

# How often the state is sent when systemd has set no watchdog.
_INTERVAL_S: Final = 10.0
# systemd expects a message at least once in the time that it names.
_WATCHDOG_SHARE: Final = 0.4


class Notifier:
    """Sends messages to the service manager.

    Args:
        environment: By default that of the process.  ``NOTIFY_SOCKET`` and the watchdog's
            variables are taken out, so that no child process inherits them.
        pid: Our process.

    Attributes:
        watchdog_s: The time in which systemd expects a message, `None` without a watchdog.
    """

    def __init__(
        self,
        environment: MutableMapping[str, str] | None = None,
        pid: int | None = None,
    ) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.pop("NOTIFY_SOCKET", "")
        limit_us = environment.pop("WATCHDOG_USEC", "")
        wanted_pid = environment.pop("WATCHDOG_PID", "")
        is_ours = wanted_pid in ("", str(os.getpid() if pid is None else pid))
        self.watchdog_s = (
            int(limit_us) / 1e6 if is_ours and limit_us.isdecimal() else None
        )

    @property
    def is_wanted(self) -> bool:
        """Return whether a service manager listens."""
        return self._address.startswith(("/", "@"))

    def send(self, **variables: object) -> None:
        """Send the variables in one message; it never blocks.

        A message that cannot be sent is logged at DEBUG level.  If it is the watchdog's,
        systemd acts when the next ones are missing too.
        """
        if not self.is_wanted:
            return
        text = "\n".join(f"{name}={value}" for name, value in variables.items())
        # A name in the abstract name space has a NUL in place of the @.
        address = self._address
        target = f"\0{address[1:]}" if address.startswith("@") else address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.setblocking(False)
                connection.sendto(text.encode(), target)
        except OSError as exc:
            logger.debug("systemd.not_told reason=%s", exc)


async def run_systemd_notify(
    notifier: Notifier,
    in_words: Callable[[], str],
    is_stuck: Callable[[], bool],
    stop: trio.Event,
) -> None:
    """Send READY at once and the state regularly; end when it is cancelled.

    Without a service manager it returns at once.  The watchdog's message is left out
    while a loop is stuck, so that systemd restarts the service.

    Args:
        notifier: The way to systemd.
        in_words: Returns the health of the service in one line.
        is_stuck: Returns whether any loop has stopped.
        stop: Set when the service begins to stop.
    """
    if not notifier.is_wanted:
        return
    notifier.send(READY=1, STATUS=in_words())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say_stopping, notifier, stop)
        limit_s = notifier.watchdog_s
        interval_s = _INTERVAL_S if limit_s is None else limit_s * _WATCHDOG_SHARE
        while True:
            if is_stuck():
                notifier.send(STATUS=in_words())
            else:
                notifier.send(WATCHDOG=1, STATUS=in_words())
            await trio.sleep(min(interval_s, _INTERVAL_S))


async def _say_stopping(notifier: Notifier, stop: trio.Event) -> None:
    await stop.wait()
    notifier.send(STOPPING=1, STATUS="storing the remaining ticks")
