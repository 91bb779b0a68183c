from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from greeks_trio.market_hours import MarketHours

NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture(scope="module")
def hours():
    return MarketHours(date(2026, 11, 20))


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-20 09:29:59", False),
        ("2026-11-20 09:30:00", True),
        ("2026-11-20 15:59:59", True),
        ("2026-11-20 16:00:00", False),
        ("2026-11-21 12:00:00", False),  # Saturday
        ("2026-11-26 12:00:00", False),  # Thanksgiving
        ("2026-11-27 12:59:59", True),  # the half-day after it
        ("2026-11-27 13:00:00", False),
        ("2026-12-25 12:00:00", False),
        ("2027-01-04 12:00:00", True),
    ],
)
def test_sessions_are_those_of_new_york(hours, moment, is_open):
    local = datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK)

    assert hours.is_open(local) is is_open


@pytest.mark.parametrize("moment", ["2026-03-06 09:45:00", "2026-03-09 09:45:00"])
def test_daylight_saving_moves_with_new_york(moment):
    hours = MarketHours(date(2026, 3, 6))

    assert hours.is_open(datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK))


@pytest.mark.parametrize("year", [2024, 2029])
def test_other_years_are_found_when_they_are_asked_for(hours, year):
    noon = datetime(year, 7, 3, 12, tzinfo=NEW_YORK)

    assert hours.is_open(noon)
    assert hours.is_open(datetime(2026, 11, 20, 12, tzinfo=NEW_YORK))
