"""The channels of alerts: the thread, the queue and the retries of each.

The package apprise knows the services behind the addresses.  Its calls block, so each
channel has a thread.  The thread is a daemon: the end of the program waits for it only a
moment.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeAlias

from greeks_trio.config.secret import Secret
from greeks_trio.errors import ConfigError
from greeks_trio.foreign_text import clean, register_secret
from greeks_trio.program import installation_command

logger = logging.getLogger(__name__)

VARIABLE: Final = "GREEKS_ALERT_URLS"
# The end of the service waits so long for the last messages.
CLOSE_LIMIT_S: Final = 2.0
_MOST_QUEUED: Final = 100
# The pauses between the tries of one message.
RETRY_DELAYS_S: Final = (5.0, 30.0, 120.0)
# A part of a path of this length is a token and no word.
_TOKEN: Final = 20
_QUEUE_FULL: Final = "the queue is full"
# The time-outs of apprise are some seconds for each step of a connection.
_SLOW_S: Final = 60.0
# A receiver can tell by it that it has a message already.
_KEY_HEADER: Final = "Idempotency-Key"
# The kinds of addresses whose headers can be set.
_WITH_HEADERS: Final = ("json", "form", "xml", "mailto")
# The kinds of error that the code of a service in apprise raises instead of an answer, such
# as a UnicodeError for a password with a letter that the protocol cannot write.
_FAULTS_OF_APPRISE: Final = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError),
    *(LookupError, OSError, RuntimeError, TypeError, ValueError),
)
_NAMED: Final = re.compile(r"([a-z][a-z0-9_-]{0,31})=(?=[a-z0-9]+://)")

# Gets the number of attempts, and the reason if the channel did not take the message.
Done: TypeAlias = Callable[[int, str | None], None]


class Notifier(Protocol):
    """The part of an address of apprise that a channel needs."""

    def notify(self, body: str, *, title: str, **more: object) -> bool:
        """Send one message; return whether it was accepted."""


@dataclass(frozen=True, slots=True)
class _Queued:
    title: str
    text: str
    key: str | None
    done: Done | None


class Channel:
    """Sends messages to one address from a thread.

    The thread begins with the first message.  It ends after `close`.

    Args:
        name: Its name in rules and in tables.
        notifier: Sends one message and blocks meanwhile.
        kind: The kind of its address.  No other part of the address is shown.
        retry_delays_s: The pauses between the tries of one message.
    """

    def __init__(
        self,
        name: str,
        notifier: Notifier,
        kind: str = "test",
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    ) -> None:
        self.name = name
        self.shown = f"{name} ({kind})"
        self._notifier = notifier
        self._has_headers = kind.startswith(_WITH_HEADERS)
        self._retry_delays_s = retry_delays_s
        self._changed = threading.Condition()
        self._queue: deque[_Queued] = deque()
        self._is_closing = False
        self._thread: threading.Thread | None = None
        self._undelivered = 0
        self._reason: str | None = None
        self._trying_since: float | None = None

    def send(
        self,
        title: str,
        text: str,
        *,
        key: str | None = None,
        done: Done | None = None,
    ) -> None:
        """Queue one message; with a full queue, drop and count it.  Never waits.

        Args:
            title: One line.
            text: May have several lines.
            key: The same for the same message, so that the receiver can tell.
            done: Called in some thread at the end of the last attempt.  It is not called
                for a message that waits when the channel is closed.
        """
        with self._changed:
            is_full = len(self._queue) >= _MOST_QUEUED or self._is_closing
            if is_full:
                self._failed(_QUEUE_FULL)
            else:
                self._queue.append(_Queued(title, text, key, done))
                self._changed.notify_all()
                if self._thread is None or not self._thread.is_alive():
                    self._start_thread()
        if is_full and done is not None and not self._is_closing:
            done(0, _QUEUE_FULL)

    def deliver(self, title: str, text: str, key: str | None = None) -> str | None:
        """Send one message now and wait; return the reason if it was not accepted."""
        headers = getattr(self._notifier, "headers", None)
        if self._has_headers and isinstance(headers, dict):
            headers.pop(_KEY_HEADER, None)
            if key is not None:
                headers[_KEY_HEADER] = key
        self._trying_since = time.monotonic()
        try:
            with _Reasons() as reasons:
                if self._notifier.notify(text, title=title):
                    return None
        except _FAULTS_OF_APPRISE as exc:
            return _words_of(exc)
        finally:
            self._trying_since = None
        return clean(reasons.last or "it was not accepted")

    def fault(self) -> str | None:
        """Return why messages were not delivered since the last one that was."""
        with self._changed:
            reason, number = self._reason, self._undelivered
            if self._trying_since is not None:
                tried_s = time.monotonic() - self._trying_since
                if tried_s > _SLOW_S:
                    reason = f"an attempt has taken {tried_s:.0f} s so far"
        if reason is None:
            return None
        words = f"alerts do not reach {self.shown}: {reason}"
        return f"{words} ({number} not sent)" if number else words

    def open(self) -> None:
        """Take messages again after a `close`."""
        with self._changed:
            self._is_closing = False

    def close(self, limit_s: float) -> None:
        """Wait until the queue is empty, at most for the limit; then the thread ends."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            if self._thread is None or not self._thread.is_alive():
                return
            self._changed.wait_for(lambda: not self._queue, limit_s)
            if number := len(self._queue) + self._undelivered:
                logger.error("alerts.not_sent to=%s number=%d", self.shown, number)

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
            attempts, reason = self._try_often(message)
            is_over = reason is None or attempts > len(self._retry_delays_s)
            if message.done is not None and is_over:
                # Before it leaves the queue, because `close` waits for that.
                message.done(attempts, reason)
            with self._changed:
                self._queue.popleft()
                if reason is None:
                    self._undelivered, self._reason = 0, None
                else:
                    self._failed(reason)
                self._changed.notify_all()

    def _next(self) -> _Queued | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closing)
            return self._queue[0] if self._queue else None

    def _try_often(self, message: _Queued) -> tuple[int, str | None]:
        """Return the number of attempts, and the reason of the last one if it failed."""
        attempts = 1
        reason = self.deliver(message.title, message.text, message.key)
        for delay_s in self._retry_delays_s:
            if reason is None:
                break
            with self._changed:
                # The status shows it from the first try.
                self._reason = reason
                self._changed.wait_for(lambda: self._is_closing, delay_s)
                if self._is_closing:
                    break
            attempts += 1
            reason = self.deliver(message.title, message.text, message.key)
        return attempts, reason

    def _failed(self, reason: str) -> None:
        self._undelivered += 1
        self._reason = reason


def _words_of(fault: Exception) -> str:
    """Return the reason for people, without the text of the error: it may have a secret."""
    name = type(fault).__name__
    if isinstance(fault, UnicodeError):
        return (
            f"the address has a letter that its protocol cannot send ({name}); use ASCII "
            "letters in the user, the password and the headers"
        )
    return f"the package apprise failed ({name})"


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


def channel_names(urls: Secret) -> list[str]:
    """Return the names of the channels of the setting, without a look at the addresses.

    A channel without a name is ``address 1`` and the like, by its place.
    """
    return [name for name, _ in _parts(urls)]


def open_channels(urls: Secret) -> list[Channel]:
    """Return the channels of the setting; nothing is sent yet.

    Raises:
        ConfigError: One is no address, two have one name, or the package apprise is
            missing.  The message does not show the addresses, because they have secrets.
    """
    parts = _parts(urls)
    if not parts:
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
    found: list[Channel] = []
    problems = []
    for number, (name, url) in enumerate(parts, start=1):
        _register_parts(url)
        notifier: Any = apprise.Apprise.instantiate(
            url, asset=asset, suppress_exceptions=True
        )
        place = f"{VARIABLE}: address {number} of {len(parts)}"
        if notifier is None:
            problems.append(
                f"{place} is not one that apprise knows; write it like "
                "mailto://USER:PASSWORD@HOST or jsons://HOST/PATH"
            )
        elif name in [each.name for each in found]:
            problems.append(f"{place} has the name {name}, as an earlier one has")
        else:
            # No other part of the address is certainly no secret: it may begin with a
            # token.
            kind = clean(url.partition("://")[0], limit=20)
            found.append(Channel(name, notifier, kind))
    if problems:
        raise ConfigError(problems)
    return found


def close_channels(channels: Iterable[Channel]) -> None:
    """Wait for the last messages, at most for `CLOSE_LIMIT_S`.  Blocks."""
    deadline = time.monotonic() + CLOSE_LIMIT_S
    for each in channels:
        each.close(max(0.0, deadline - time.monotonic()))


def _parts(urls: Secret) -> list[tuple[str, str]]:
    """Return the name and the address of each channel."""
    found = []
    for number, text in enumerate(urls.reveal().replace(",", " ").split(), start=1):
        named = _NAMED.match(text)
        if named is None:
            found.append((f"address {number}", text))
        else:
            found.append((named[1], text[named.end() :]))
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
