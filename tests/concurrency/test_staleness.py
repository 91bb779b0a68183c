from __future__ import annotations

import pytest

from greeks_trio.feeds.staleness import StaleContract, StalenessLog, stale_contracts
from tests.factories import SPY_CALL, SPY_PUT

CALL = StaleContract("ibkr", SPY_CALL, 400.0)
PUT = StaleContract("ibkr", SPY_PUT, 350.0)


def always(_broker, _contract_key):
    return True


def never(_broker, _contract_key):
    return False


def put_trades(_broker, contract_key):
    return contract_key == SPY_PUT


def events(caplog):
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return said


@pytest.mark.parametrize(
    ("last_read_at", "stale"),
    [
        ({}, [("C", 500.0), ("P", 300.0)]),
        ({("ibkr", SPY_CALL): 950.0}, [("P", 300.0)]),
        ({("ibkr", SPY_CALL): 600.0}, [("C", 400.0), ("P", 300.0)]),
        ({("tastytrade", SPY_CALL): 950.0}, [("C", 500.0), ("P", 300.0)]),
        ({("ibkr", SPY_CALL): 100.0}, [("C", 500.0), ("P", 300.0)]),
    ],
)
def test_age_counts_from_the_last_tick_or_the_subscription(last_read_at, stale):
    streamed = {SPY_CALL: 500.0, SPY_PUT: 700.0}

    found = stale_contracts(
        "ibkr", streamed, last_read_at, now=1000.0, limit_of=lambda _: 300.0
    )

    assert [(each.contract_key[12], each.age_s) for each in found] == stale


def test_a_contract_younger_than_the_limit_is_not_stale():
    found = stale_contracts(
        "ibkr", {SPY_CALL: 701.0}, {}, now=1000.0, limit_of=lambda _: 300
    )

    assert found == []


def test_each_contract_has_a_limit_of_its_own():
    limits = {SPY_CALL: 300.0, SPY_PUT: 400.0}

    found = stale_contracts(
        "ibkr", dict.fromkeys(limits, 650.0), {}, now=1000.0, limit_of=limits.get
    )

    assert [each.contract_key for each in found] == [SPY_CALL]


def test_each_contract_is_warned_about_once(caplog):
    log = StalenessLog()
    caplog.set_level("INFO")

    log.update([CALL], always)
    assert len(events(caplog)) == 1
    log.update([CALL], always)
    assert events(caplog) == []
    log.update([CALL, PUT], always)
    [said] = events(caplog)
    assert said == f"contracts.stale broker=ibkr new=1 oldest={SPY_CALL} age_s=400"


def test_the_log_says_when_all_contracts_are_fresh_again(caplog):
    log = StalenessLog()
    caplog.set_level("INFO")
    log.update([CALL], always)
    events(caplog)

    log.update([], always)
    assert events(caplog) == ["contracts.fresh"]
    log.update([], always)
    assert events(caplog) == []


def test_a_closed_market_is_no_reason_to_warn(caplog):
    log = StalenessLog()
    caplog.set_level("INFO")

    log.update([CALL, PUT], never)
    assert events(caplog) == []
    log.update([CALL], always)
    assert len(events(caplog)) == 1


def test_the_end_of_a_contracts_session_says_nothing_of_the_others(caplog):
    log = StalenessLog()
    caplog.set_level("INFO")
    log.update([CALL, PUT], always)
    events(caplog)

    # The call's market has closed, so the call is neither stale nor fresh.
    log.update([CALL, PUT], put_trades)
    assert events(caplog) == []
    log.update([CALL], put_trades)
    assert events(caplog) == ["contracts.fresh"]
    log.update([CALL], never)
    log.update([CALL], always)
    assert len(events(caplog)) == 1
