"""The sessions of exchanges from the library, read by a process of its own.

The library needs pandas: 50 MB of memory and a second of processor time, in which the event
loop of the service could not run.  The process writes the calendars to stdout and ends.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import date, datetime
from subprocess import DEVNULL, CompletedProcess
from typing import Any, Final

import msgspec
import trio

# On a busy machine a process that only gets what nothing else wants may never end, and the
# second attempt needs a share.
_IDLE_LIMIT_S: Final = 30.0
_LIMIT_S: Final = 60.0
_NICENESS: Final = 10
_IDLE: Final = "idle"
_NICE: Final = "nice"


class Calendar(msgspec.Struct, frozen=True):
    """The sessions of one exchange.

    Attributes:
        end: The day after the last one that the library knows; `None` if it knows none.
        sessions: The day of each session, and its moments: the start, the start and the
            end of its break, and its end; `None` for a break that does not exist.
    """

    end: date | None
    sessions: tuple[tuple[date, tuple[datetime | None, ...]], ...] = ()


_DECODER: Final = msgspec.json.Decoder(dict[str, Calendar])


class CalendarsUnavailable(Exception):
    """The calendars could not be read."""


async def read_calendars(
    names: Collection[str], first: date, last: date
) -> Mapping[str, Calendar]:
    """Return the calendars of these names, read by another process.

    Raises:
        CalendarsUnavailable: The process did not start, failed, or took too long.
    """
    arguments = [first.isoformat(), last.isoformat(), *names]
    try:
        done = None
        with trio.move_on_after(_IDLE_LIMIT_S):
            done = await _run([_IDLE, *arguments])
        if done is None:
            with trio.fail_after(_LIMIT_S):
                done = await _run([_NICE, *arguments])
    except (OSError, trio.TooSlowError) as exc:
        raise CalendarsUnavailable(str(exc) or "it took too long") from exc
    try:
        return _DECODER.decode(done.stdout)
    except msgspec.DecodeError as exc:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CalendarsUnavailable(words[-1] if words else str(exc)) from exc


async def _run(arguments: list[str]) -> CompletedProcess[bytes]:
    """Return the end of a process that runs `main`."""
    return await trio.run_process(
        [sys.executable, "-m", __name__, *arguments],
        stdin=DEVNULL,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        # Ctrl-C at a terminal is for the service, which ends the process.  A session of its
        # own would get as much of the processor as the service.
        process_group=0,
    )


def calendar_of(name: str, first: date, last: date) -> Calendar:
    """Return a calendar of the library; imports pandas.

    For some exchanges the library knows the holidays up to a year only.
    """
    import exchange_calendars  # see above

    for end in (last, date(first.year + 1, 12, 31), date(first.year, 12, 31)):
        if not first < end <= last:
            continue
        try:
            with warnings.catch_warnings():
                # The library uses pandas in a deprecated way.
                warnings.simplefilter("ignore", DeprecationWarning)
                calendar = exchange_calendars.get_calendar(
                    name, start=first.isoformat(), end=end.isoformat()
                )
        except ValueError:
            continue
        after = end if end == last else date(end.year + 1, 1, 1)
        sessions = (
            (session.date(), tuple(map(_moment, row)))
            for session, *row in calendar.schedule.itertuples()
        )
        return Calendar(after, tuple(sessions))
    return Calendar(None)


def _moment(value: Any) -> datetime | None:  # noqa: ANN401 - the library has no types
    """Return the time of a pandas timestamp, `None` for none."""
    is_none = value != value
    return None if is_none else value.to_pydatetime()


def _come_last(priority: str) -> None:
    """Take less of the processor than the service: the ticks come first.

    Where a filter of system calls forbids it, the calendars come all the same.

    Args:
        priority: `_IDLE` for only the time that nothing else wants, or `_NICE`.
    """
    with suppress(OSError):
        os.nice(_NICENESS)
        # With a low priority alone, a tick may wait for the end of a slice of 3 ms.
        if priority == _IDLE and sys.platform == "linux":
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(arguments: list[str]) -> None:
    """Write the calendars as JSON: the priority, the first day, the last day, names."""
    priority, first, last, *names = arguments
    _come_last(priority)
    calendars = {
        name: calendar_of(name, date.fromisoformat(first), date.fromisoformat(last))
        for name in names
    }
    sys.stdout.buffer.write(msgspec.json.encode(calendars))


if __name__ == "__main__":
    main(sys.argv[1:])
