"""The task that turns the state of the service into alerts about it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import trio

from greeks_trio.alerts.service_alerts import ServiceAlerts
from greeks_trio.logs import message_of
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions

_INTERVAL_S: Final = 5.0
# A reconnection or a restart of the database takes less.
_UNREADY_FOR_S: Final = 60.0
_NOT_READY: Final = "not ready"
# The events that conditions write; these faults are sent by their own way.
_CONDITION_EVENTS: Final = ("condition.", "alerts.")


async def run_service_alerts(
    alerts: ServiceAlerts,
    conditions: Conditions,
    unready: Callable[[], str],
    *,
    interval_s: float = _INTERVAL_S,
) -> None:
    """Send alerts about the service until cancelled.

    Conditions, and a service that has not been ready for a minute, are told at their begin
    and at their end.  Each line of level CRITICAL is told once.  A channel that does not
    take the messages is a condition.

    Args:
        alerts: Takes them.
        conditions: The present conditions.
        unready: Returns why the service is not ready, empty if it is.
        interval_s: The time between two looks.
    """
    watch = _Watch(conditions, unready)
    try:
        with _critical_lines(alerts):
            while True:
                alerts.update(watch.faults())
                _note_faults(alerts, conditions)
                await trio.sleep(interval_s)
    finally:
        alerts.send_lines()
        alerts.log_left_out()


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


def _note_faults(alerts: ServiceAlerts, conditions: Conditions) -> None:
    if faults := alerts.faults():
        conditions.begin(ConditionKind.ALERTS_NOT_SENT, "; ".join(faults))
    else:
        conditions.end(ConditionKind.ALERTS_NOT_SENT)


class _CriticalLines(logging.Handler):
    """Gives the lines of level CRITICAL to the alerts."""

    def __init__(self, alerts: ServiceAlerts) -> None:
        super().__init__(logging.CRITICAL)
        self._alerts = alerts

    def emit(self, record: logging.LogRecord) -> None:
        """Take the line, without its traceback."""
        line = message_of(record)
        if not line.startswith(_CONDITION_EVENTS):
            self._alerts.log_line(line)


@contextmanager
def _critical_lines(alerts: ServiceAlerts) -> Iterator[None]:
    handler = _CriticalLines(alerts)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
