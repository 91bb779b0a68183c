from __future__ import annotations

import sys
from datetime import date

import pytest

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


@pytest.mark.parametrize(
    ("program", "why"), [("/nowhere/python", "No such file"), ("/bin/sh", "sh: ")]
)
async def test_a_process_that_fails_is_told_with_its_last_words(
    monkeypatch, program, why
):
    monkeypatch.setattr(sys, "executable", program)

    with pytest.raises(CalendarsUnavailable, match=why):
        await read_calendars({"XNYS"}, *DAYS)
