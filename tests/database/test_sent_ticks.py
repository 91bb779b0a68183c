"""The comparison of a benchmark finds each tick that is not exactly one row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from greeks_trio.postgres.tick_store import TickStore
from tests.benchmarks.generator.__main__ import ANSWERS
from tests.benchmarks.generator.ledger import VALUE_SETS, Contract, Ledger
from tests.benchmarks.generator.values import NAMES, value_sets
from tests.benchmarks.sent_ticks import compare
from tests.factories import SPY_CALL, START, make_tick
from tests.fix_postgres import connect

START_MS = int(START.timestamp() * 1000)


@pytest.fixture
def ledgers(tmp_path):
    """Ledgers of four ticks of IBKR, 0.4 s apart, and of one of Tastytrade."""
    for broker, number in (("ibkr", 4), ("tastytrade", 1)):
        ledger = Ledger(tmp_path, broker)
        ledger.write_contracts([Contract("U1", SPY_CALL)])
        for tick in range(number):
            ledger.ticks.extend((tick, START_MS + 400 * tick))
            ledger.note_batch(1, (START_MS + 400 * tick) * 1000)
        ledger.flush()
    (tmp_path / ANSWERS).write_bytes(b"")
    return tmp_path


def row(number, broker="ibkr", **changes):
    """Return the tick that the row of a sent tick would be."""
    greeks = dict(zip(NAMES, value_sets()[number % VALUE_SETS], strict=True))
    if broker == "ibkr":
        greeks["rho"] = None
    moment = datetime.fromtimestamp(START_MS / 1000, UTC)
    values = {
        "broker": broker,
        "account_id": "U1",
        "event_time": moment + timedelta(milliseconds=400 * number),
        **greeks,
    }
    return make_tick(**(values | changes))


ALL = [*(row(number) for number in range(4)), row(0, "tastytrade")]


@pytest.mark.parametrize(
    ("stored", "lost", "unexpected"),
    [
        (ALL, 0, 0),
        (ALL[1:], 1, 0),
        ([*ALL, row(7)], 0, 1),
        ([*ALL[1:], row(0, delta=0.25)], 1, 1),
    ],
    ids=["all", "one lost", "one not sent", "one with another value"],
)
async def test_differences_are_counted(database, ledgers, stored, lost, unexpected):
    async with TickStore(database, today=START.date).open() as sink:
        await sink.write(stored)

    with connect(database) as connection:
        found = compare(connection, ledgers)

    assert found.sent == 5
    assert (found.lost, found.twice, found.unexpected) == (lost, 0, unexpected)
    assert found.first_second.ticks + found.rest.ticks == 5 - lost


async def test_a_tick_that_is_stored_twice_is_counted(database, ledgers):
    async with TickStore(database, today=START.date).open() as sink:
        await sink.write(ALL)

    with connect(database) as connection:
        columns = ", ".join(
            name
            for (name,) in connection.execute(
                "select column_name from information_schema.columns"
                " where table_name = 'greek_snapshots' and column_name <> 'id'"
            )
        )
        copied = columns.replace("fingerprint", "fingerprint + 1")
        connection.execute(
            f"insert into greek_snapshots ({columns}) select {copied}"
            " from greek_snapshots limit 1"
        )
        found = compare(connection, ledgers)

    assert (found.lost, found.twice, found.unexpected) == (0, 1, 0)


async def test_latency_is_the_time_from_the_hand_over_to_the_row(database, ledgers):
    async with TickStore(database, today=START.date).open() as sink:
        await sink.write(ALL)

    with connect(database) as connection:
        connection.execute(
            "update greek_snapshots"
            " set persisted_at = event_time + interval '7 milliseconds'"
        )
        found = compare(connection, ledgers)

    assert found.rest.ticks == 1  # the tick of the second second
    assert found.rest.ms == pytest.approx((7.0,) * 4, abs=0.01)
    assert [each.ticks for each in found.minutes] == [5]
