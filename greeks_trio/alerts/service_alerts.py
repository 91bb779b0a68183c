"""Alerts about the service itself: each fault once at its begin and once at its end.

A fault that lasts is told again every `REMIND_S` seconds.  At most `MOST_PER_HOUR` messages
leave in an hour; the next one after that tells how many are left out.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from greeks_trio.alerts.channels import Channel
from greeks_trio.foreign_text import clean

logger = logging.getLogger(__name__)

REMIND_S: Final = 6 * 3600.0
MOST_PER_HOUR: Final = 20
_HOUR_S: Final = 3600.0
_LONGEST_TEXT: Final = 2_000
_MOST_WAITING: Final = 200


@dataclass(frozen=True, slots=True)
class Alert:
    """One message.

    Attributes:
        title: One line.
        text: The fault, the place of its cause, and the action against it.
    """

    title: str
    text: str


class ServiceAlerts:
    """Sends alerts to every channel.  For the thread of the event loop.

    Args:
        channels: The channels.
        source: The name of this service in each title, such as the host.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        source: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channels = channels
        self._source = source
        self._clock = clock
        self._sent_at: deque[float] = deque()
        self._left_out = 0
        # The time of the last message about each fault that lasts, and its sentence.
        self._lasting: dict[str, tuple[float, str]] = {}
        # Lines of the log; a thread may add one.
        self._waiting: deque[Alert] = deque(maxlen=_MOST_WAITING)

    def send(self, alert: Alert) -> None:
        """Send one message.  Never waits and never raises."""
        now = self._clock()
        while self._sent_at and self._sent_at[0] <= now - _HOUR_S:
            self._sent_at.popleft()
        if len(self._sent_at) >= MOST_PER_HOUR:
            self._left_out += 1
            return
        self._sent_at.append(now)
        text = clean(alert.text, limit=_LONGEST_TEXT)
        if self._left_out:
            text += f" (and {self._left_out} more alerts in the last hour: see the log)"
            self._left_out = 0
        title = clean(f"{self._source}: {alert.title}", limit=200)
        for each in self._channels:
            each.send(title, text)

    def update(self, faults: Mapping[str, str]) -> None:
        """Send the changes: faults that began or ended, and reminders.

        Args:
            faults: The sentence of each present fault, by a key that stays the same.
        """
        now = self._clock()
        for key, sentence in faults.items():
            told = self._lasting.get(key)
            if told is None:
                self.send(Alert(key, sentence))
            elif now >= told[0] + REMIND_S:
                self.send(Alert(f"{key} (still)", sentence))
            else:
                self._lasting[key] = told[0], sentence
                continue
            self._lasting[key] = now, sentence
        for key in [key for key in self._lasting if key not in faults]:
            _, sentence = self._lasting.pop(key)
            self.send(Alert(f"{key} (over)", f"It is over: {sentence}"))
        self.send_lines()

    def send_lines(self) -> None:
        """Send the lines of the log that wait."""
        while self._waiting:
            self.send(self._waiting.popleft())

    def log_line(self, line: str) -> None:
        """Take a line of level CRITICAL from any thread; `update` sends it."""
        self._waiting.append(Alert(line.split(" ", 1)[0], line))

    def faults(self) -> list[str]:
        """Return a sentence for each channel that does not take the messages."""
        words = [each.fault() for each in self._channels]
        return [each for each in words if each is not None]

    def log_left_out(self) -> None:
        """Log the number of messages beyond the limit that no message has told."""
        if self._left_out:
            logger.warning("alerts.left_out number=%d", self._left_out)
