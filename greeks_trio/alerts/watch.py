"""The task that turns the state of the service into alerts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import trio

from greeks_trio.alerts.channel import CLOSE_LIMIT_S, AlertChannel
from greeks_trio.logs import message_of
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions

_INTERVAL_S: Final = 5.0
# A reconnection or a restart of the database takes less.
_UNREADY_FOR_S: Final = 60.0
_NOT_READY: Final = "not ready"
# The events that conditions write; these faults are sent by their own way.
_CONDITION_EVENTS: Final = ("condition.", "alerts.")


async def run_alerts(
    channel: AlertChannel,
    conditions: Conditions,
    unready: Callable[[], str],
    *,
    interval_s: float = _INTERVAL_S,
) -> None:
    """Send alerts until cancelled; then the last messages have two seconds.

    Conditions, and a service that has not been ready for a minute, are told at their begin
    and at their end.  Each line of level CRITICAL is told once.  An address that does not
    take the messages is a condition.

    Args:
        channel: Takes the alerts.
        conditions: The present conditions.
        unready: Returns why the service is not ready, empty if it is.
        interval_s: The time between two looks.
    """
    watch = _Watch(conditions, unready)
    try:
        with _critical_lines(channel):
            while True:
                channel.update(watch.faults())
                _note_faults(channel, conditions)
                await trio.sleep(interval_s)
    finally:
        channel.send_lines()
        with trio.move_on_after(CLOSE_LIMIT_S + 1, shield=True):
            await trio.to_thread.run_sync(channel.close, abandon_on_cancel=True)


class _Watch:
    """The present faults; a service that has just become unready is not one yet."""

    def __init__(self, conditions: Conditions, unready: Callable[[], str]) -> None:
        self._conditions = conditions
        self._unready = unready
        self._unready_since: float | None = None

    def faults(self) -> Mapping[str, str]:
        """Return the sentence of each present fault."""
        found = dict(self._conditions.entries())
        words, now = self._unready(), trio.current_time()
        if not words:
            self._unready_since = None
        elif self._unready_since is None:
            self._unready_since = now
        elif now >= self._unready_since + _UNREADY_FOR_S:
            found[_NOT_READY] = words
        return found


def _note_faults(channel: AlertChannel, conditions: Conditions) -> None:
    if faults := channel.faults():
        conditions.begin(ConditionKind.ALERTS_NOT_SENT, "; ".join(faults))
    else:
        conditions.end(ConditionKind.ALERTS_NOT_SENT)


class _CriticalLines(logging.Handler):
    """Gives the lines of level CRITICAL to the channel."""

    def __init__(self, channel: AlertChannel) -> None:
        super().__init__(logging.CRITICAL)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Take the line, without its traceback."""
        line = message_of(record)
        if not line.startswith(_CONDITION_EVENTS):
            self._channel.log_line(line)


@contextmanager
def _critical_lines(channel: AlertChannel) -> Iterator[None]:
    handler = _CriticalLines(channel)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
