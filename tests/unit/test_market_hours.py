from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from greeks_trio.monitoring.markets import MARKETS, market_of
from tests.market_calendars import hours_of, prepare

NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture(scope="module")
def hours():
    return hours_of(date(2026, 11, 20))


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
    hours = hours_of(date(2026, 3, 6))

    assert hours.is_open(datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK))


@pytest.mark.parametrize("year", [2024, 2029])
def test_days_of_other_years_are_known_when_they_are_prepared(year):
    hours = hours_of(date(2026, 11, 20))
    noon = datetime(year, 7, 3, 12, tzinfo=NEW_YORK)

    assert not hours.is_open(noon)
    assert not hours.are_known(SHARE, noon)
    assert hours.unprepared((), noon.date()) == {"equity", "index", "future"}

    prepare(hours, hours.unprepared((), noon.date()), noon.date())

    assert hours.is_open(noon)
    assert hours.are_known(SHARE, noon)
    assert hours.unprepared((), noon.date()) == set()


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
    hours = hours_of(date.fromisoformat(sunday))
    local = datetime.fromisoformat(f"{sunday} {clock}").replace(tzinfo=NEW_YORK)

    assert hours.trades(FUTURE, local) is is_open
    assert not hours.trades(SHARE, local)


def test_calendars_are_due_before_their_last_day():
    hours = hours_of(date(2026, 1, 2))
    markets = {"equity", "index", "future"}

    assert hours.unprepared((), date(2026, 5, 1)) == set()
    assert hours.unprepared((), date(2026, 6, 15)) == markets
    prepare(hours, markets, date(2026, 6, 15))

    assert hours.trades(FUTURE, datetime(2026, 7, 5, 18, 30, tzinfo=NEW_YORK))
    assert hours.unprepared((), date(2026, 7, 5)) == set()


@pytest.fixture(scope="module")
def world():
    hours = hours_of(date(2026, 11, 20))
    prepare(hours, tuple(MARKETS), date(2026, 11, 20))
    return hours


FOREIGN = "ibkr:5001"
OF_EXCHANGES = [
    # Exchange, zone, moment, whether its options trade.
    ("EUREX", "Europe/Berlin", "2026-11-20 08:59", False),
    ("EUREX", "Europe/Berlin", "2026-11-20 09:00", True),
    ("EUREX", "Europe/Berlin", "2026-11-20 17:29", True),
    ("EUREX", "Europe/Berlin", "2026-11-20 17:30", False),
    ("EUREX", "Europe/Berlin", "2026-11-20 20:00", False),
    ("EUREX", "Europe/Berlin", "2026-11-26 12:00", True),  # Thanksgiving
    ("EUREX", "Europe/Berlin", "2026-12-24 12:00", False),
    ("EUREX", "Europe/Berlin", "2026-12-31 12:00", False),
    ("EUREX", "Europe/Berlin", "2027-03-26 12:00", False),  # Good Friday
    ("EUREX", "Europe/Berlin", "2027-03-30 09:00", True),  # after the clocks changed
    ("DTB", "Europe/Berlin", "2026-11-20 12:00", True),
    ("LSE", "Europe/London", "2026-11-20 07:59", False),
    ("LSE", "Europe/London", "2026-11-20 08:00", True),
    ("LSE", "Europe/London", "2026-11-20 16:30", False),
    ("LSE", "Europe/London", "2026-12-24 12:29", True),  # a half-day
    ("LSE", "Europe/London", "2026-12-24 12:30", False),
    ("LSE", "Europe/London", "2026-12-28 12:00", False),  # for Boxing Day
    ("LSE", "Europe/London", "2027-03-30 08:00", True),  # after the clocks changed
    ("LSE", "Europe/London", "2027-05-03 12:00", False),  # early May
    ("LSEETF", "Europe/London", "2026-11-20 12:00", True),
    ("ICEEU", "Europe/London", "2026-11-20 12:00", True),
    ("MONEP", "Europe/Paris", "2026-12-24 14:04", True),  # a half-day
    ("MONEP", "Europe/Paris", "2026-12-24 14:05", False),
    ("FTA", "Europe/Amsterdam", "2026-11-20 17:00", True),
    ("BELFOX", "Europe/Brussels", "2026-12-25 12:00", False),
    ("MEFFRV", "Europe/Madrid", "2026-12-31 13:59", True),
    ("MEFFRV", "Europe/Madrid", "2026-12-31 14:00", False),
    ("IDEM", "Europe/Rome", "2026-12-24 12:00", False),
    ("SFB", "Europe/Stockholm", "2027-01-05 12:59", True),  # before Epiphany
    ("SFB", "Europe/Stockholm", "2027-01-05 13:00", False),
    ("SOFFEX", "Europe/Zurich", "2027-01-04 12:00", True),
    ("CDE", "America/Toronto", "2026-11-26 12:00", True),  # Thanksgiving elsewhere
    ("CDE", "America/Toronto", "2026-12-24 12:59", True),
    ("CDE", "America/Toronto", "2026-12-24 13:00", False),
    ("TSE", "America/Toronto", "2026-12-28 12:00", False),  # for Boxing Day
    ("HKFE", "Asia/Hong_Kong", "2026-11-20 11:59", True),
    ("HKFE", "Asia/Hong_Kong", "2026-11-20 12:30", False),  # the break at noon
    ("HKFE", "Asia/Hong_Kong", "2026-11-20 13:00", True),
    ("HKFE", "Asia/Hong_Kong", "2026-12-24 11:00", True),  # a half-day
    ("HKFE", "Asia/Hong_Kong", "2026-12-24 14:00", False),
    ("OSE.JPN", "Asia/Tokyo", "2026-11-20 15:29", True),
    ("OSE.JPN", "Asia/Tokyo", "2026-11-23 12:45", False),  # a holiday
    ("SGX", "Asia/Singapore", "2026-11-20 10:00", True),
    ("ASX", "Australia/Sydney", "2026-11-20 10:00", True),  # the day before in UTC
    ("SNFE", "Australia/Sydney", "2026-11-20 09:59", False),
    ("ASX", "Australia/Sydney", "2026-12-24 14:09", True),
    ("ASX", "Australia/Sydney", "2026-12-24 14:10", False),
    ("ASX", "Australia/Sydney", "2027-01-26 12:00", False),  # Australia Day
    ("CFE", "America/Chicago", "2026-11-20 15:14", True),
    ("CFE", "America/Chicago", "2026-11-20 15:15", False),
    ("cme", "America/Chicago", "2026-11-20 03:00", True),
    (" CBOT ", "America/Chicago", "2026-11-20 03:00", True),
]


@pytest.mark.parametrize(("exchange", "zone", "moment", "traded"), OF_EXCHANGES)
def test_an_option_trades_in_the_hours_of_its_exchange(
    world, exchange, zone, moment, traded
):
    local = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone))

    assert world.trades(FOREIGN, local, exchange) is traded
    assert world.are_known(FOREIGN, local, exchange)


@pytest.mark.parametrize("exchange", ["MEXDER", "", "SMART", "KSE", None])
def test_an_unknown_exchange_has_no_hours(world, exchange):
    moments = [datetime(2026, 11, 20, hour, tzinfo=NEW_YORK) for hour in range(24)]

    assert market_of(FOREIGN, exchange) is None
    assert not any(world.trades(FOREIGN, each, exchange) for each in moments)
    assert not any(world.are_known(FOREIGN, each, exchange) for each in moments)


@pytest.mark.parametrize("name", MARKETS)
def test_every_market_has_a_calendar(world, name):
    week = [
        datetime(2026, 11, day, hour, minute, tzinfo=NEW_YORK)
        for day in range(16, 23)
        for hour in range(24)
        for minute in (0, 30)
    ]
    is_open = [world.is_open(each, name) for each in week]

    assert 20 < sum(is_open) < 240
    saturday = datetime(2026, 11, 21, 12, tzinfo=NEW_YORK)
    assert not world.is_open(saturday, name)


@pytest.mark.parametrize(
    ("contract_key", "exchange", "market"),
    [
        # The key of an American option says it all.
        (SHARE, None, "equity"),
        (SHARE, "EUREX", "equity"),
        (INDEX, "CBOE", "index"),
        (FUTURE, None, "future"),
        (FUTURE, "NYMEX", "future"),
        ("./EX3 270219C7100", "XCME", "future"),
        ("./OZN 270219C112.5", "CBOT", "future"),
        ("./OZC 270219C450", "CBOT", "grains"),
        ("./ZS2 270108C1050", "XCBT", "grains"),
        ("./LE  270205P210", "CME", "grains"),
        ("./OGBL270219C130", "EUREX", "EUREX"),
        ("./KC  270108C400", "NYBOT", "NYBOT"),
        ("./KC  270108C400", "IFUS", "NYBOT"),
        ("./AP  261217C8500", "SNFE", "ASX"),
        ("./ABC 261217C8500", "MEXDER", None),
        (FOREIGN, "eurex", "EUREX"),
        # An American option that shares its OCC symbol has a key of its broker.
        (FOREIGN, "AMEX", "equity"),
        (FOREIGN, "CBOE", "equity"),
        ("tastytrade:BTC/USD", None, None),
    ],
)
def test_the_market_follows_the_key_or_the_exchange(contract_key, exchange, market):
    assert market_of(contract_key, exchange) == market


@pytest.mark.parametrize(
    ("clock", "traded"),
    [
        ("02:00", False),
        ("08:15", False),  # the break before the day session
        ("08:30", True),
        ("13:00", True),
        ("13:30", False),
        ("18:00", False),
    ],
)
def test_grains_trade_by_day(world, clock, traded):
    local = datetime.fromisoformat(f"2026-11-20 {clock}")
    moment = local.replace(tzinfo=ZoneInfo("America/Chicago"))

    assert world.trades("./OZC 270219C450", moment, "CBOT") is traded


@pytest.mark.parametrize(
    ("clock", "traded"),
    [("07:59", False), ("08:00", True), ("12:59", True), ("13:00", False)],
)
def test_softs_trade_where_their_hours_overlap(world, clock, traded):
    moment = datetime.fromisoformat(f"2026-11-20 {clock}").replace(tzinfo=NEW_YORK)

    assert world.trades("./KC  270108C400", moment, "NYBOT") is traded


def test_days_that_the_library_does_not_know_have_no_hours():
    hours = hours_of(date(2026, 11, 20))
    prepare(hours, ["SGX"], date(2026, 11, 20))
    late = datetime(2027, 1, 5, 10, tzinfo=ZoneInfo("Asia/Singapore"))

    assert not hours.are_known(FOREIGN, late, "SGX")
    assert not hours.trades(FOREIGN, late, "SGX")
    prepare(hours, ["SGX"], late.date())
    assert not hours.are_known(FOREIGN, late, "SGX")
    # They are not asked for again and again.
    assert "SGX" not in hours.unprepared(["SGX"], late.date())
