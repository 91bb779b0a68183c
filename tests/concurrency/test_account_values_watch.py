"""The values of the accounts are read beside the stream, and never disturb it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import partial

import trio

from greeks_trio.errors import StoreRejected, StoreUnavailable
from greeks_trio.model.account_values import AccountValues, AccountValuesSnapshot
from greeks_trio.model.records import FeedGap
from greeks_trio.pipeline.journal import PACKED, Journal
from tests.concurrency.fakes import MemoryQuarantine, MemorySpool
from tests.concurrency.ibkr_gateway import CONFIG, KeptJournal, Scene
from tests.concurrency.tastytrade_fakes import (
    ACCOUNT,
    CALL,
    Tastytrade,
    make_item,
    quoted,
    started,
)
from tests.concurrency.test_journal import ListJournalSink, keep_journal
from tests.factories import SPY_CALL, START
from tests.unit.test_account_values import balances, summary, value

EACH_MINUTE = replace(CONFIG, account_values_s=60.0)
U1, U2 = "/portfolio/U1/summary", "/portfolio/U2/summary"
BALANCES = f"/accounts/{ACCOUNT}/balances/USD"


def rows_of(journal):
    """Return (account, seconds since the first, cash) of each row."""
    rows = [
        row
        for entry in journal.recorded
        if isinstance(entry, AccountValuesSnapshot)
        for row in entry.rows
    ]
    return [
        (
            row.account_id,
            (row.observed_at - rows[0].observed_at).total_seconds(),
            row.cash,
        )
        for row in rows
    ]


async def start(nursery, config=EACH_MINUTE, **answers):
    """Return a scene that streams; ``answers`` by account."""
    scene = Scene(nursery, config)
    scene.gateway.answers[U1] = answers.get("U1", (200, summary()))
    scene.gateway.answers[U2] = answers.get(
        "U2", (200, summary(totalcashvalue=value(7)))
    )
    await scene.start_streaming()
    await trio.sleep(2)
    return scene


async def ticks_go_on(scene):
    await scene.gateway.send_fields(f7308="0.5", f6509="R")
    with trio.fail_after(1):
        [tick] = await scene.frames.receive()
    return tick.record.delta == 0.5


async def test_each_account_has_a_row_each_minute(autojump_clock, nursery):
    scene = await start(nursery)
    await trio.sleep(119)

    assert [
        (account, round(at), cash) for account, at, cash in rows_of(scene.journal)
    ] == [
        ("U1", 0, -1500),
        ("U2", 0, 7),
        ("U1", 60, -1500),
        ("U2", 60, 7),
        ("U1", 120, -1500),
        ("U2", 120, 7),
    ]
    assert "values" not in scene.last_error
    assert scene.health.account_values.age_s() < 2


async def test_an_account_that_is_refused_is_named_and_hides_no_other(
    autojump_clock, nursery
):
    scene = await start(nursery, U1=(500, {"error": "no summary"}))

    assert [account for account, *_ in rows_of(scene.journal)] == ["U2"]
    assert scene.last_error.startswith("1 account without values (U1): ")
    assert "500" in scene.last_error
    assert scene.counts["values.unread"] == 1
    assert await ticks_go_on(scene)
    # Once more soon, and then each minute.
    await trio.sleep(75)
    assert [
        round(at - scene.gateway.times_of(U1)[0]) for at in scene.gateway.times_of(U1)
    ] == [
        *(0, 10, 70),
    ]

    scene.gateway.answers[U1] = 200, summary()
    await trio.sleep(60)
    assert "without values" not in scene.last_error
    assert ("U1", -1500) in [
        (account, cash) for account, _, cash in rows_of(scene.journal)
    ]


async def test_impossible_values_are_named_and_cost_no_other_account(
    autojump_clock, nursery
):
    odd = summary(totalcashvalue=value(float("nan")), netliquidation=value(1e308))
    scene = await start(nursery, U1=(200, json.dumps(odd).encode()))

    assert [(account, cash) for account, _, cash in rows_of(scene.journal)] == [
        ("U1", None),
        ("U2", 7),
    ]
    assert scene.last_error == (
        "2 account values that cannot be read (net_liquidation of U1, cash of U1)"
    )
    assert scene.counts["values.unreadable"] == 2
    assert await ticks_go_on(scene)


async def test_answers_without_values_are_named(autojump_clock, nursery):
    scene = await start(nursery, U1=(200, {}), U2=(200, []))

    assert rows_of(scene.journal) == []
    assert scene.health.account_values.last.unread == {
        "U1": "the broker sends none",
        "U2": "the answer is not understood",
    }


async def test_a_lock_out_ends_the_reading_and_ticks_go_on(autojump_clock, nursery):
    scene = await start(nursery, U1=(429, {}, {"Retry-After": "300"}))

    assert "2 accounts without values (U1, U2)" in scene.last_error
    assert len(scene.gateway.times_of(U1)) == 1
    assert not scene.gateway.times_of(U2)
    assert await ticks_go_on(scene)
    await trio.sleep(280)
    assert len(scene.gateway.times_of(U1)) == 1


async def test_the_interval_is_that_of_the_settings(autojump_clock, nursery):
    scene = await start(nursery, CONFIG)
    await trio.sleep(200)
    assert not scene.gateway.times_of(U1)

    scene.feed.reload(replace(CONFIG, account_values_s=5.0))
    await trio.sleep(11)
    assert len(scene.gateway.times_of(U1)) == 3

    scene.gateway.answers[U1] = 500, {}
    await trio.sleep(5)
    assert "without values" in scene.last_error
    scene.feed.reload(CONFIG)
    await trio.sleep(100)
    assert len(scene.gateway.times_of(U1)) == 4
    assert "without values" not in scene.last_error
    assert scene.health.account_values.age_s() is None


async def test_a_new_connection_reads_no_sooner_and_still_names_what_is_missing(
    autojump_clock, nursery
):
    scene = await start(nursery, U1=(500, {}))
    await trio.sleep(10)
    assert len(scene.gateway.times_of(U1)) == 2

    await scene.gateway.close()
    await scene.wait_ended()
    await scene.start_streaming()
    await trio.sleep(2)

    assert len(scene.gateway.times_of(U1)) == 2
    assert "1 account without values (U1)" in scene.last_error


async def test_tastytrade(autojump_clock, nursery):
    journal = KeptJournal()
    tasty = Tastytrade(
        nursery, make_item(SPY_CALL), journal=journal, account_values_s=60.0
    )
    tasty.api.positions["5WT00002"] = []
    answer = json.dumps({"data": json.loads(balances(cash_balance="NaN"))}).encode()
    tasty.api.answers[BALANCES] = 200, {}, answer
    tasty.api.answers["/accounts/5WT00002/balances/USD"] = 403, {}, b"{}"
    await started(nursery, tasty)
    await trio.sleep(2)

    assert rows_of(journal) == [(ACCOUNT, 0, None)]
    reason = tasty.health.session().last_error
    assert "1 account without values (5WT00002)" in reason
    assert f"1 account value that cannot be read (cash of {ACCOUNT})" in reason
    assert len(await quoted(tasty, CALL)) == 1

    assert tasty.health.positions.account_ids == (ACCOUNT, "5WT00002")

    # An account that is gone is read no more.
    tasty.api.closed_accounts.append("5WT00002")
    del tasty.api.positions["5WT00002"]
    good = json.dumps({"data": json.loads(balances())}).encode()
    tasty.api.answers[BALANCES] = 200, {}, good
    await trio.sleep(130)
    assert tasty.health.session().last_error is None
    assert rows_of(journal)[-1][::2] == (ACCOUNT, -1500)
    assert tasty.health.positions.account_ids == (ACCOUNT,)


async def test_a_broker_that_asks_for_a_pause_gets_it(autojump_clock, nursery):
    tasty = Tastytrade(nursery, make_item(SPY_CALL), account_values_s=60.0)
    tasty.api.positions["5WT00002"] = []
    tasty.api.answers[BALANCES] = 429, {"Retry-After": "300"}, b"{}"
    await started(nursery, tasty)
    await trio.sleep(290)

    assert tasty.api.paths().count(BALANCES) == 1
    assert "/accounts/5WT00002/balances/USD" not in tasty.api.paths()
    assert "2 accounts without values" in tasty.health.session().last_error
    await trio.sleep(20)
    assert tasty.api.paths().count(BALANCES) == 2


def make_entry(number, broker="ibkr"):
    row = AccountValues(
        broker=broker, account_id="U1", observed_at=START + timedelta(minutes=number)
    )
    return AccountValuesSnapshot(broker=broker, rows=(row,))


async def test_an_outage_of_days_does_not_fill_the_journal(autojump_clock, nursery):
    spool, quarantine = MemorySpool(), MemoryQuarantine()
    sink = ListJournalSink(*[StoreUnavailable("away")] * 1_000)
    journal = Journal(100)
    gap = FeedGap(broker="ibkr", started_at=START, reason="disconnected")
    journal.record(gap)
    nursery.start_soon(partial(keep_journal, journal, sink, spool, quarantine))
    readings = 20 * PACKED + 7
    for number in range(readings):
        journal.record(make_entry(number))
        if not number % PACKED:
            journal.record(make_entry(number, "tastytrade"))
        await trio.sleep(0.5)

    assert len(journal) < 20 + PACKED + 25
    assert not quarantine.entries
    # A killed service loses nothing: the disk has every row.
    assert rows_in(spool.restarted().inherited_journal) == readings

    sink.failures.clear()
    await trio.sleep(30)
    assert len(journal) == 0
    stored = [
        row
        for entry in sink.entries
        if isinstance(entry, AccountValuesSnapshot)
        for row in entry.rows
    ]
    assert len({(row.broker, row.observed_at) for row in stored}) == readings + 21
    assert gap in sink.entries
    assert not spool.restarted().inherited_journal


async def test_an_entry_under_way_may_become_part_of_another(autojump_clock):
    journal = Journal()
    journal.record(make_entry(0))
    under_way = await journal.wait_due()
    for number in range(1, PACKED):
        journal.record(make_entry(number))
    assert len(journal) == 1

    journal.failed(under_way, StoreRejected("no"))
    packed = await journal.wait_due()
    assert len(packed.entry.rows) == PACKED
    journal.stored(packed)
    assert (len(journal), journal.set_aside) == (0, [])


def rows_in(inherited):
    """Return how many rows of IBKR these entries have, each counted once."""
    return len(
        {
            row.observed_at
            for _, entry in inherited
            if isinstance(entry, AccountValuesSnapshot) and entry.broker == "ibkr"
            for row in entry.rows
        }
    )
