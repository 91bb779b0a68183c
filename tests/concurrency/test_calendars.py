from __future__ import annotations

import errno
import os
import sys
from datetime import date

import pytest

from greeks_trio.monitoring import calendars
from greeks_trio.monitoring.calendars import (
    CalendarsUnavailable,
    calendar_of,
    read_calendars,
)

DAYS = (date(2026, 11, 16), date(2026, 12, 31))


async def test_another_process_reads_the_same_calendars():
    found = await read_calendars({"XNYS"}, *DAYS)

    assert found == {"XNYS": calendar_of("XNYS", *DAYS)}
    assert date(2026, 11, 26) not in dict(found["XNYS"].sessions)  # Thanksgiving


async def test_a_process_that_gets_no_processor_is_followed_by_one_with_a_share(
    monkeypatch,
):
    monkeypatch.setattr(calendars, "_IDLE_LIMIT_S", 0.0)

    found = await read_calendars({"XNYS"}, *DAYS)

    assert date(2026, 11, 25) in dict(found["XNYS"].sessions)


def test_a_filter_of_system_calls_costs_the_priority_and_no_calendar(
    monkeypatch, capfdbinary
):
    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "nice", refuse)
    days = [day.isoformat() for day in DAYS]

    calendars.main(["idle", *days, "XNYS"])

    assert b"2026-11-25" in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    ("program", "why"), [("/nowhere/python", "No such file"), ("/bin/sh", "sh: ")]
)
async def test_a_process_that_fails_is_told_with_its_last_words(
    monkeypatch, program, why
):
    monkeypatch.setattr(sys, "executable", program)

    with pytest.raises(CalendarsUnavailable, match=why):
        await read_calendars({"XNYS"}, *DAYS)
