"""The hours of subscribed contracts: alarms by their exchange, and exchanges without hours."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trio

from greeks_trio.model.contracts import ContractKey
from greeks_trio.monitoring import contract_hours, watches
from greeks_trio.monitoring.calendars import CalendarsUnavailable
from greeks_trio.monitoring.contract_hours import (
    UnknownHoursLog,
    prepare_hours,
    trading_at,
)
from greeks_trio.monitoring.contract_survey import survey_contracts
from greeks_trio.monitoring.market_hours import calendars_of
from tests.concurrency.status_parts import (
    make_status,
    minute_line_of,
    status_of,
    survey_of,
)
from tests.factories import SPY_CALL
from tests.market_calendars import calendars_here, prepare

EUREX_OPTION = ContractKey("ibkr:5001")
LONDON_OPTION = ContractKey("ibkr:5002")
STRANGE_OPTION = ContractKey("ibkr:5003")
NAMELESS_OPTION = ContractKey("ibkr:5004")
EXCHANGES = {
    SPY_CALL: "AMEX",
    EUREX_OPTION: "EUREX",
    LONDON_OPTION: "ICEEU",
    STRANGE_OPTION: "MEXDER",
    NAMELESS_OPTION: None,
}
# A Friday.
BERLIN_MORNING = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
NEW_YORK_AFTERNOON = datetime(2026, 11, 20, 19, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def calendars_read(monkeypatch):
    """Let this process read the calendars; gives the names of each reading."""
    names_read = []

    async def read(names, first, last):
        await trio.lowlevel.checkpoint()
        names_read.append(names)
        return calendars_here(names, first, last)

    monkeypatch.setattr(contract_hours, "read_calendars", read)
    return names_read


@pytest.fixture
async def status():
    status = make_status()
    status.feeds["ibkr"].contracts_streamed(EXCHANGES, EXCHANGES)
    return status


def trading(status, moment):
    is_trading = trading_at(status, moment)
    return {
        contract_key
        for broker, health in status.feeds.items()
        for contract_key in health.streamed()
        if is_trading(broker, contract_key)
    }


async def test_each_contract_trades_in_the_hours_of_its_own_exchange(status):
    await prepare_hours(status, BERLIN_MORNING)

    assert trading(status, BERLIN_MORNING) == {EUREX_OPTION, LONDON_OPTION}
    assert trading(status, NEW_YORK_AFTERNOON) == {SPY_CALL}
    numbers = survey_of(status, BERLIN_MORNING).numbers
    assert [each.trading for each in numbers.values()] == [2, 0]


async def test_a_calendar_that_is_not_made_yet_raises_no_alarm(status):
    assert trading(status, BERLIN_MORNING) == set()
    # Its hours are about to be known, so the log says nothing either.
    without = survey_of(status, BERLIN_MORNING).without_hours
    assert {each.contract_key for each in without} == {STRANGE_OPTION, NAMELESS_OPTION}


async def test_calendars_are_read_once(status, calendars_read):
    for _ in range(3):
        await prepare_hours(status, BERLIN_MORNING)

    assert calendars_read == [calendars_of({"EUREX", "LSE"})]


async def test_calendars_that_cannot_be_read_are_told_and_read_again_later(
    status, monkeypatch, caplog, autojump_clock
):
    times = []

    async def fail(*_):
        times.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        raise CalendarsUnavailable("no memory")

    monkeypatch.setattr(contract_hours, "read_calendars", fail)
    with trio.move_on_after(700):
        await watches.run_hours_watch(status)

    assert times == [10, 610]
    # Each contract counts as one without hours, until the calendars are there.
    assert {
        each.exchange for each in survey_of(status, BERLIN_MORNING).without_hours
    } == {*("EUREX", "ICEEU", "MEXDER", None)}
    monkeypatch.undo()
    hours, day = status.hours, BERLIN_MORNING.date()
    prepare(hours, hours.unprepared(["EUREX"], day), day)
    assert hours.are_readable
    assert "hours.not_read reason=no memory" in caplog.text


async def test_the_calendars_in_use_are_made_anew_before_their_days_end(status):
    summer = datetime(2027, 7, 15, 9, tzinfo=UTC)
    await prepare_hours(status, BERLIN_MORNING)
    assert trading(status, summer) == set()

    await prepare_hours(status, summer)

    assert trading(status, summer) == {EUREX_OPTION, LONDON_OPTION}


async def test_the_log_says_once_of_each_exchange_that_its_hours_are_not_known(
    status, caplog
):
    log = UnknownHoursLog()
    for _ in range(3):
        log.update(survey_of(status, BERLIN_MORNING).without_hours)

    said = sorted(record.getMessage() for record in caplog.records)
    assert [text.partition(": there is no warning")[0] for text in said] == [
        "contracts.hours_unknown broker=ibkr exchange=MEXDER contracts=1 "
        "first=ibkr:5003",
        "contracts.hours_unknown broker=ibkr exchange=not-named contracts=1 "
        "first=ibkr:5004",
    ]


async def test_the_status_and_the_minute_line_count_contracts_without_hours(status):
    staleness = status_of(status)["staleness"]

    assert staleness["hours_unknown"] == {
        "ibkr": {"MEXDER": 1, "not-named": 1},
        "tastytrade": {},
    }
    assert " hours_unknown=2 " in minute_line_of(status)


@pytest.mark.parametrize(
    ("moment", "stale"),
    [(BERLIN_MORNING, [EUREX_OPTION, LONDON_OPTION]), (NEW_YORK_AFTERNOON, [SPY_CALL])],
)
async def test_the_watch_warns_only_about_contracts_whose_exchange_is_open(
    autojump_clock, status, caplog, monkeypatch, moment, stale
):
    monkeypatch.setattr(status.clock, "now", lambda: moment)
    await prepare_hours(status, moment)
    with trio.move_on_after(status.stale_after_s + 60):
        await watches.run_staleness_watch(status)

    texts = [record.getMessage() for record in caplog.records]
    [warned] = [text for text in texts if text.startswith("contracts.stale")]
    assert f"broker=ibkr new={len(stale)} " in warned
    assert any(f"oldest={key} " in warned for key in stale)
    assert sum("hours_unknown" in text for text in texts) == 2


async def test_the_watch_makes_the_calendars_of_the_contracts_in_use(
    status, monkeypatch, nursery
):
    looked = trio.Event()

    def look(status, moment):
        looked.set()
        return survey_contracts(status, moment)

    monkeypatch.setattr(status.clock, "now", lambda: BERLIN_MORNING)
    monkeypatch.setattr(watches, "_STALENESS_INTERVAL_S", 0.01)
    monkeypatch.setattr(watches, "_FIRST_CALENDARS_S", 0.0)
    monkeypatch.setattr(watches, "survey_contracts", look)
    nursery.start_soon(watches.run_hours_watch, status)
    nursery.start_soon(watches.run_staleness_watch, status)

    with trio.fail_after(20):
        await looked.wait()
    assert trading(status, BERLIN_MORNING) == {EUREX_OPTION, LONDON_OPTION}
    nursery.cancel_scope.cancel()
