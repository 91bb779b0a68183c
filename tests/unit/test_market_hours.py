from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from greeks_trio.monitoring.market_hours import MarketHours, market_of

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
def test_calendars_of_other_years_are_made_when_they_are_needed(hours, year):
    noon = datetime(year, 7, 3, 12, tzinfo=NEW_YORK)

    assert hours.is_open(noon)
    assert hours.is_open(datetime(2026, 11, 20, 12, tzinfo=NEW_YORK))


SHARE = "SPY   261218C00600000"
INDEX = "SPXW  261218C06600000"
FUTURE = "./LO  261217P56"


@pytest.mark.parametrize(
    ("contract_key", "market"),
    [
        (SHARE, "equity"),
        ("AAPL1 261218C00200000", "equity"),
        (INDEX, "index"),
        ("SPX   261218C06600000", "index"),
        ("VIXW  261216C00020000", "index"),
        ("XSP   261218C00660000", "index"),
        ("RUT   261218C02300000", "index"),
        (FUTURE, "future"),
        ("./EW4 261225P6000", "future"),
    ],
)
def test_a_contract_follows_the_market_of_its_kind(contract_key, market):
    assert market_of(contract_key) == market


@pytest.mark.parametrize(
    ("moment", "traded"),
    [
        ("2026-11-20 16:10", {INDEX, FUTURE}),  # Friday
        ("2026-11-20 16:15", {FUTURE}),
        ("2026-11-20 17:00", set()),
        ("2026-11-21 12:00", set()),
        ("2026-11-22 17:59", set()),  # Sunday night
        ("2026-11-22 18:00", {FUTURE}),
        ("2026-11-23 03:00", {FUTURE}),
        ("2026-11-23 12:00", {SHARE, INDEX, FUTURE}),
        ("2026-11-23 17:30", set()),  # the hour of maintenance
        ("2026-11-23 20:30", {FUTURE}),
        ("2026-11-26 12:00", {FUTURE}),  # Thanksgiving, until noon in Chicago
        ("2026-11-26 14:00", set()),
        ("2026-11-26 18:30", {FUTURE}),
        ("2026-11-27 12:59", {SHARE, INDEX, FUTURE}),  # the half-day after it
        ("2026-11-27 13:10", {INDEX}),
        ("2026-11-27 13:15", set()),
        ("2026-12-24 13:10", {INDEX}),
        ("2026-12-24 14:00", set()),
        ("2026-12-25 12:00", set()),
    ],
)
def test_each_kind_of_option_has_its_own_hours(hours, moment, traded):
    local = datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK)

    assert {key for key in (SHARE, INDEX, FUTURE) if hours.trades(key, local)} == traded


@pytest.mark.parametrize("sunday", ["2026-03-08", "2026-11-01"])
@pytest.mark.parametrize(
    ("clock", "is_open"), [("17:59", False), ("18:00", True), ("23:59", True)]
)
def test_futures_open_by_the_new_clock_on_the_day_it_changes(sunday, clock, is_open):
    hours = MarketHours(date.fromisoformat(sunday))
    local = datetime.fromisoformat(f"{sunday} {clock}").replace(tzinfo=NEW_YORK)

    assert hours.trades(FUTURE, local) is is_open
    assert not hours.trades(SHARE, local)


def test_calendars_are_made_anew_at_the_end_of_their_days():
    hours = MarketHours(date(2026, 1, 2))
    sunday = datetime(2026, 7, 5, 18, 30, tzinfo=NEW_YORK)

    assert hours.trades(FUTURE, sunday)
    assert hours.trades(FUTURE, datetime(2026, 7, 1, 18, 30, tzinfo=NEW_YORK))
