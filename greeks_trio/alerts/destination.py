"""One address of alerts: its thread, its queue and its retries.

The package apprise knows the services behind the addresses.  Its calls block, so each
address has a thread.  The thread is a daemon: the end of the program waits for it only a
moment.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol, Self

from greeks_trio.config.secret import Secret
from greeks_trio.errors import ConfigError
from greeks_trio.foreign_text import clean, register_secret
from greeks_trio.program import installation_command

logger = logging.getLogger(__name__)

VARIABLE: Final = "GREEKS_ALERT_URLS"
_MOST_QUEUED: Final = 100
# The pauses between the tries of one message.
RETRY_DELAYS_S: Final = (5.0, 30.0, 120.0)
# A part of a path of this length is a token and no word.
_TOKEN: Final = 20


class Notifier(Protocol):
    """The part of an address of apprise that a destination needs."""

    def notify(self, body: str, *, title: str, **more: object) -> bool:
        """Send one message; return whether it was accepted."""


class Destination:
    """Sends messages to one address from a thread.

    The thread begins with the first message.  It ends after `close`.

    Args:
        name: The name of the address in messages, without its secrets.
        notifier: Sends one message and blocks meanwhile.
        retry_delays_s: The pauses between the tries of one message.
    """

    def __init__(
        self,
        name: str,
        notifier: Notifier,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    ) -> None:
        self.name = name
        self._notifier = notifier
        self._retry_delays_s = retry_delays_s
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, str]] = deque()
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._undelivered = 0
        self._reason: str | None = None

    def send(self, title: str, text: str) -> None:
        """Queue one message; with a full queue, drop and count it.  Never waits."""
        with self._changed:
            if len(self._queue) >= _MOST_QUEUED or self._is_closing:
                self._failed("the queue is full")
                return
            self._queue.append((title, text))
            self._changed.notify_all()
            if self._thread is None or not self._thread.is_alive():
                self._start_thread()

    def deliver(self, title: str, text: str) -> str | None:
        """Send one message now and wait; return the reason if it was not accepted."""
        with _Reasons() as reasons:
            if self._notifier.notify(text, title=title):
                return None
        return clean(reasons.last or "it was not accepted")

    def fault(self) -> str | None:
        """Return why messages were not delivered since the last one that was."""
        with self._changed:
            if self._reason is None:
                return None
            words = f"alerts do not reach {self.name}: {self._reason}"
            number = self._undelivered
            return f"{words} ({number} not sent)" if number else words

    def close(self, limit_s: float) -> None:
        """Wait until the queue is empty, at most for the limit; then the thread ends."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            if self._thread is None or not self._thread.is_alive():
                return
            self._changed.wait_for(lambda: not self._queue, limit_s)
            if number := len(self._queue) + self._undelivered:
                logger.error("alerts.not_sent to=%s number=%d", self.name, number)

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as exc:  # no memory for a thread
            self._thread = None
            self._queue.clear()
            self._failed(str(exc))

    def _run(self) -> None:
        while (message := self._next()) is not None:
            reason = self._try_often(*message)
            with self._changed:
                self._queue.popleft()
                if reason is None:
                    self._undelivered, self._reason = 0, None
                else:
                    self._failed(reason)
                self._changed.notify_all()

    def _next(self) -> tuple[str, str] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closing)
            return self._queue[0] if self._queue else None

    def _try_often(self, title: str, text: str) -> str | None:
        reason = self.deliver(title, text)
        for delay_s in self._retry_delays_s:
            if reason is None:
                break
            with self._changed:
                # The status shows it from the first try.
                self._reason = reason
                self._changed.wait_for(lambda: self._is_closing, delay_s)
                if self._is_closing:
                    break
            reason = self.deliver(title, text)
        return reason

    def _failed(self, reason: str) -> None:
        self._undelivered += 1
        self._reason = reason


class _Reasons(logging.Handler):
    """Keeps the last words of apprise in this thread: its calls return no reason."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: str | None = None
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        if record.thread == self._thread:
            self.last = record.getMessage()

    def __enter__(self) -> Self:
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)


def open_destinations(urls: Secret) -> list[Destination]:
    """Return the addresses of the setting; nothing is sent yet.

    Raises:
        ConfigError: One is no address, or the package apprise is missing.  The message
            does not show the addresses, because they have secrets.
    """
    texts = urls.reveal().replace(",", " ").split()
    if not texts:
        return []
    try:
        import apprise
    except ImportError:
        problem = (
            f"{VARIABLE} is set, and the package apprise is not installed: run "
            f"{installation_command('alerts', 'apprise>=2.3,<3')}, or remove the variable"
        )
        raise ConfigError([problem]) from None
    asset = apprise.AppriseAsset(app_id="greeks_trio", app_desc="greeks_trio")
    found = []
    problems = []
    for number, text in enumerate(texts, start=1):
        _register_parts(text)
        notifier: Any = apprise.Apprise.instantiate(
            text, asset=asset, suppress_exceptions=True
        )
        if notifier is None:
            problems.append(
                f"{VARIABLE}: address {number} of {len(texts)} is not one that apprise "
                "knows; write it like mailto://USER:PASSWORD@HOST or jsons://HOST/PATH"
            )
            continue
        # No other part of the address is certainly no secret: it may begin with a token.
        scheme = text.partition("://")[0]
        found.append(Destination(clean(f"address {number} ({scheme})"), notifier))
    if problems:
        raise ConfigError(problems)
    return found


def _register_parts(url: str) -> None:
    """Mask the address, and each long part of it: a token or a password."""
    register_secret(url, lasting=True)
    path = url.partition("://")[2].partition("?")[0]
    host_and_user, *parts = path.split("/")
    user, _, _ = host_and_user.rpartition("@")
    for part in (
        *user.split(":")[1:],
        *(each for each in parts if len(each) >= _TOKEN),
    ):
        register_secret(part, lasting=True)


def wait_for(deadline: float) -> float:
    """Return the seconds until a moment of the monotonic clock, 0 if it is over."""
    return max(0.0, deadline - time.monotonic())
