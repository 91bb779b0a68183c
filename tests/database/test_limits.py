"""Limits over a real database: their sums, their states, and their messages."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trio

from docs.tools.blocks import read_blocks
from greeks_trio.alerts.channels import Channel
from greeks_trio.alerts.inspection import inspect_limits
from greeks_trio.alerts.limit_book import LimitBook
from greeks_trio.alerts.limit_watch import LimitWatch
from greeks_trio.alerts.rules import parse_rules
from greeks_trio.alerts.task import run_alerts
from greeks_trio.api.lists.alerts import ALERT_EVENTS, ALERTS
from greeks_trio.model.alerts import AlertDelivery
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.alert_store import load_waiting, record
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.lease import Lease, LeaseLost
from greeks_trio.postgres.reads.limits import read_sums
from greeks_trio.risk.figures import FIGURES, Scope
from greeks_trio.risk.limits import Reading
from greeks_trio.waiting import WakeUp
from tests.database.risk_rows import hold, hold_shares, risk_database, rows, tick
from tests.fix_processes import wait_until
from tests.timeline import all_of, asking

PAGE = (Path(__file__).parents[2] / "docs/limits.md").read_text("utf-8")
KEY = "SPY   991218C00600000"
OPTION = {"contract_key": KEY, "expiration": "2099-12-18"}


def now():
    """Return the time of the database's machine, which is this one."""
    return datetime.now(UTC)


DELTA = '[[rule]]\nname = "d"\nfigure = "delta"\nunderlying = "SPY"\n'


@pytest.fixture
def db(emptied_database):
    with risk_database(emptied_database) as connection:
        yield connection


def trade(db, quantity):
    """Hold so many contracts of delta 0.5 from now on."""
    hold(db, quantity, at=datetime.now(UTC), **OPTION)


def fresh(db, **changes):
    usual = {"delta": 0.5, "event_time": datetime.now(UTC)}
    tick(db, **(OPTION | usual | changes))


def lacks(row, column):
    if column != "missing_net_delta":
        return row[column]
    deltas = row["missing_delta"] + row["missing_share_future_delta"]
    return deltas - row["unknown_positions"]


def added(of_view, column):
    values = [row[column] for row in of_view if row[column] is not None]
    return sum(values) if values else None


async def test_the_sums_of_a_scope_are_those_of_the_view(db, emptied_database):
    hold(db, 7, at=now(), **OPTION)
    hold(db, -3, at=now(), account_id="U2", **OPTION)
    hold(
        db,
        5,
        at=now(),
        broker="tastytrade",
        account_id="T1",
        **OPTION | {"currency": None},
    )
    hold_shares(db, 100, at=now())
    canadian = {"contract_key": "RY:CAD", "underlying": "RY:CAD", "currency": "CAD"}
    hold_shares(db, 10, at=now(), **canadian)
    hold(db, 2, at=now() - timedelta(hours=1), account_id="GONE", **OPTION)
    hold(db, 0, at=now(), account_id="GONE", **OPTION)
    tick(db, event_time=now(), **OPTION)
    tick(db, event_time=now(), account_id="U2", gamma=None, **OPTION)
    scopes = [
        Scope(),
        Scope(broker="ibkr"),
        Scope(account_id="U2"),
        Scope(underlying="SPY"),
        Scope(currency="CAD"),
        Scope(broker="tastytrade", currency="USD"),
        Scope(account_id="GONE"),
        Scope(account_id="U99"),
    ]
    async with open_connection(emptied_database, autocommit=True) as connection:
        wanted = [("positions", each) for each in (*scopes, Scope())]
        read = await read_sums(connection, wanted, 300.0, "SPY")
    found = {scope: sums for (_, scope), sums in read.items()}

    assert list(found) == scopes
    for scope, sums in found.items():
        of_view = [
            row
            for row in rows(db, "select * from portfolio_greeks")
            if scope.broker in (None, row["broker"])
            and scope.account_id in (None, row["account_id"])
            and scope.underlying in (None, row["underlying"])
            and scope.currency in (None, row["currency"] or "USD")
        ]
        for name, figure in FIGURES.items():
            if figure.source != "positions":
                continue
            values = [added(of_view, each) for each in figure.columns]
            expected = None if None in values else sum(values)
            if figure.is_greatest:
                assert (sums.values[name] is None) == (expected is None)
            else:
                assert sums.values[name] == pytest.approx(expected), (scope, name)
            missing = sum(
                lacks(row, each) for row in of_view for each in figure.missing
            )
            assert sums.missing[name] == missing, (scope, name)
        assert sums.stale == sum(row["stale"] for row in of_view)

    assert found[Scope()].currencies == ["CAD", "USD"]
    assert found[Scope(account_id="U2")].missing["gamma"] == 1
    known = [scope.account_id for scope, sums in found.items() if not sums.is_known]
    assert known == ["U99"]
    assert found[Scope(account_id="GONE")].positions == 0


async def test_an_unknown_position_is_missing_once_in_every_scope_of_its_account(
    db, emptied_database
):
    hold(db, 7, at=now(), **OPTION)
    hold(db, 7, at=now(), account_id="U2", **OPTION)
    unknown = {"kind": "unknown", "underlying": None, "currency": None}
    hold(db, None, at=now(), **OPTION | unknown | {"contract_key": "?"})
    fresh(db)
    scopes = [
        Scope(underlying="SPY", account_id="U1"),
        Scope(underlying="SPY", currency="USD"),
        Scope(currency="CAD"),
        Scope(account_id="U2"),
    ]
    async with open_connection(emptied_database, autocommit=True) as connection:
        wanted = [("positions", each) for each in scopes]
        found = [*(await read_sums(connection, wanted, 300.0, "SPY")).values()]

    assert [each.missing["delta"] for each in found] == [1, 2, 1, 1]
    assert [each.positions for each in found] == [2, 3, 1, 1]
    assert [each.currencies for each in found] == [["USD"], ["USD"], [], ["USD"]]
    assert found[0].values["delta"] == 350
    of_risk = rows(
        db, "select sum(missing_net_delta) from risk_totals_asof('infinity', '{}')"
    )
    assert of_risk == [{"sum": 2}]


async def test_the_sums_of_a_strategy_are_those_of_its_positions(db, emptied_database):
    other = "SPY   991218P00600000"
    for key, account_id in ((KEY, "U1"), (other, "U1"), (KEY, "U2")):
        hold(db, 7, key, at=now(), account_id=account_id, expiration="2099-12-18")
        tag = (key, account_id, None if key == other else "wheel")
        db.execute(
            "insert into position_tags (broker, contract_key, account_id, strategy_tag)"
            " values ('ibkr', %s, %s, %s)",
            tag,
        )
    fresh(db)
    fresh(db, contract_key=other, delta=-0.4)
    scopes = [
        Scope(),
        Scope(strategy_tag="wheel"),
        Scope(strategy_tag="wheel", account_id="U1", underlying="SPY", currency="USD"),
        Scope(strategy_tag="wheel", underlying="QQQ"),
        Scope(strategy_tag="whele"),
    ]
    wanted = [("positions", each) for each in scopes]
    async with open_connection(emptied_database, autocommit=True) as connection:
        found = await read_sums(connection, wanted, 300.0, "SPY")
        unknown = {"kind": "unknown", "underlying": None, "currency": None}
        hold(db, None, at=now(), **OPTION | unknown | {"contract_key": "?"})
        lacking = await read_sums(connection, wanted, 300.0, "SPY")

    sums = [found["positions", each] for each in scopes]
    assert [each.positions for each in sums] == [3, 2, 1, 0, 0]
    assert [each.missing["delta"] for each in sums] == [1, 1, 0, 0, 0]
    assert [each.values["delta"] for each in sums[:3]] == [70, 350, 350]
    assert [each.is_known for each in sums] == [True, True, True, True, False]
    assert sums[2].currencies == ["USD"]
    sums = [lacking["positions", each] for each in scopes]
    assert [each.missing["delta"] for each in sums] == [2, 2, 1, 1, 1]


async def test_beta_weighted_sums_are_those_of_the_view_and_lack_what_has_no_beta(
    db, emptied_database
):
    other = {"contract_key": "AAPL  991218C00250000", "underlying": "AAPL"}
    european = {"contract_key": "SAP", "underlying": "SAP", "currency": "EUR"}
    hold(db, 2, at=now(), **OPTION)
    hold(db, -1, at=now(), account_id="U2", **OPTION | other)
    hold_shares(db, 10, at=now(), account_id="U2", **european)
    fresh(db, underlying_price=650.0, event_time=now() - timedelta(seconds=400))
    fresh(db, account_id="U2", delta=0.4, underlying_price=250.0, **other)
    book, u2 = Scope(), Scope(account_id="U2")
    dollars, none = Scope(account_id="U2", currency="USD"), Scope(account_id="U99")
    wanted = [("beta_weighted", each) for each in (book, u2, dollars, none)]

    async def read(stale_after_s=600.0):
        async with open_connection(emptied_database, autocommit=True) as connection:
            found = await read_sums(connection, wanted, stale_after_s, "SPY")
        return [found[each] for each in wanted]

    without = await read()
    db.execute(
        "insert into market_metrics (symbol, source, observed_at, beta, beta_date)"
        " values ('AAPL', 'file', now(), 1.3, current_date)"
    )
    with_beta = await read()
    old = await read(300.0)

    assert [each.missing["beta_weighted_delta"] for each in without] == [2, 2, 1, 0]
    assert [each.missing["beta_weighted_delta"] for each in with_beta] == [1, 1, 0, 0]
    assert [each.positions for each in with_beta] == [3, 2, 1, 0]
    assert [each.is_known for each in with_beta] == [True, True, True, False]
    # 2 x 100 x 0.5 x 650 and -1 x 100 x 0.4 x 250 x 1.3
    weighted = [each.values["beta_weighted_dollar_delta"] for each in with_beta]
    assert weighted == pytest.approx([65_000 - 13_000, -13_000, -13_000, None])
    assert with_beta[1].values["beta_weighted_delta"] == pytest.approx(-20)
    totals = "select beta_weighted_delta as d, left_out from beta_weighted_totals"
    assert rows(db, f"{totals} where broker is null") == [{"d": 80.0, "left_out": 1}]
    assert with_beta[0].values["beta_weighted_delta"] == 80.0
    assert [each.stale for each in with_beta] == [1, 1, 0, 0]
    # The price of the benchmark is old, so the number of its shares is.
    assert [each.stale for each in old] == [3, 2, 1, 0]


async def test_the_sums_of_accounts_are_those_of_their_newest_values(
    db, emptied_database
):
    hold(db, 7, at=now(), **OPTION)
    hold(db, 7, at=now(), account_id="NONE", **OPTION)
    db.execute(
        "insert into account_values (broker, account_id, observed_at, currency,"
        " net_liquidation, cash, maintenance_margin, excess_liquidity) values"
        " ('ibkr', 'U1', now() - interval '9 minutes', 'USD', 1, 1, 1, 1),"
        " ('ibkr', 'U1', now(), 'USD', 1000, -50, 400, 600),"
        " ('tastytrade', 'T1', now() - interval '6 minutes', null, 2000, 0, 500, null),"
        " ('ibkr', 'U3', now(), 'CHF', 0, 1, 1, 1)"
    )
    scopes = [
        *(Scope(account_id="U1"), Scope(broker="tastytrade"), Scope(currency="USD")),
        *(Scope(account_id="U3"), Scope(account_id="U99"), Scope()),
    ]
    async with open_connection(emptied_database, autocommit=True) as connection:
        wanted = [("accounts", each) for each in scopes]
        found = await read_sums(connection, wanted, 300.0, "SPY")
    u1, tasty, dollars, u3, u99, book = found.values()

    assert u1.values == {
        "net_liquidation": 1000,
        "cash": -50,
        "excess_liquidity": 600,
        "margin_use": 0.4,
    }
    assert set(u1.missing.values()) == {0}
    assert (tasty.positions, tasty.stale, tasty.currencies) == (1, 1, ["USD"])
    assert tasty.missing["excess_liquidity"] == 1
    # The account without values counts in every currency.
    assert (dollars.positions, dollars.missing["cash"]) == (3, 1)
    assert (dollars.values["net_liquidation"], dollars.values["margin_use"]) == (
        3000,
        0.4,
    )
    assert (u3.values["margin_use"], u3.missing["margin_use"]) == (None, 1)
    assert (u99.positions, u99.is_known) == (0, False)
    assert (book.positions, book.currencies) == (4, ["CHF", "USD"])


class Recorder:
    """A receiver that accepts, refuses or hangs."""

    def __init__(self):
        self.sent = []
        self.accepts = True
        self.hangs = threading.Event()
        self.hangs.set()

    def notify(self, body, *, title, **_):
        self.hangs.wait(20)
        if self.accepts:
            self.sent.append((title, body))
        return self.accepts

    def kinds(self):
        return [title.rpartition(": ")[2] for title, _ in self.sent]


class World:
    """The parts that outlive one run of the service."""

    def __init__(self, database):
        self.database = database
        self.recorder, self.other = Recorder(), Recorder()
        self.rules = ""
        self.conditions = Conditions()
        self.unread = ""
        self.is_open = True
        self.ahead = timedelta(0)

    @asynccontextmanager
    async def run(self, *, is_killed=False, holder="test"):
        """Run the task as the service does; a killed one writes nothing at its end."""
        channels = [
            Channel("desk", self.recorder, retry_delays_s=(0.01,) * 3),
            Channel("phone", self.other, retry_delays_s=(0.01,) * 3),
        ]
        watch = LimitWatch(
            self.conditions,
            lambda _market, _moment: self.is_open,
            lambda _broker: self.unread,
            lambda: datetime.now(UTC) + self.ahead,
            source="test",
            stale_after_s=300.0,
            benchmark="SPY",
            lease=Lease("alerts", holder, lasts_s=40),
        )
        watch.channels = channels
        watch.use(self.parsed())
        run = partial(watch.run, lambda: self.database, lambda: 0.05, WakeUp())
        finish = partial(watch.finish, lambda: self.database)
        async with trio.open_nursery() as nursery:
            if is_killed:
                nursery.start_soon(run)
            else:
                nursery.start_soon(run_alerts, channels, [run], finish)
            yield watch
            nursery.cancel_scope.cancel()

    def parsed(self):
        return parse_rules(self.rules, ["desk", "phone"], "alerts.toml")

    async def wait(self, condition):
        await wait_until(self.database, condition)

    async def wait_state(self, state, rule="d"):
        await self.wait(f"select state = '{state}' from alerts where rule = '{rule}'")

    async def wait_delivered(self, number, channel="desk"):
        await self.wait(
            f"select count(*) = {number} from alert_deliveries"
            f" where channel = '{channel}' and finished_at is not null"
        )


@pytest.fixture
def world(emptied_database):
    return World(emptied_database)


async def test_a_breach_and_its_end_are_told_once_also_over_restarts(db, world):
    world.rules = f"{DELTA}above = 500\nrecovery = 400\nchannels = ['desk']\n"
    trade(db, 20)
    fresh(db)
    async with world.run():
        await world.wait_delivered(1)
    async with world.run():
        await world.wait_state("breached")
        trade(db, 9)  # 450: between recovery and threshold
        await world.wait("select value = 450 from alerts")
        trade(db, 8)
        await world.wait_delivered(2)
        trade(db, -400)
        await world.wait("select value < 0 from alerts")
    events = rows(db, "select * from alert_history order by id")

    assert world.recorder.kinds() == ["breach", "recovery"]
    assert [each["to_state"] for each in events] == ["breached", "ok"]
    assert [each["value"] for each in events] == [1000.0, 400.0]
    assert [each["deliveries"][0]["outcome"] for each in events] == ["sent", "sent"]
    assert {each["deliveries"][0]["attempts"] for each in events} == {1}
    async with asking(world.database) as timeline:
        [state] = await all_of(timeline, ALERTS, severity="warning")
        [breach] = await all_of(timeline, ALERT_EVENTS, kind="breach")
    assert (state["state"], state["last_event"]) == ("ok", "recovery")
    assert breach["deliveries"][0]["channel"] == "desk"

    [removal] = [each for each in read_blocks(PAGE) if each.language == "sql"]
    db.execute(
        "update alert_events set at = at - interval '2 years' where kind = 'breach'"
    )
    db.execute(removal.text)
    left = "select e.kind, d.outcome from alert_events e join alert_deliveries d"
    assert rows(db, f"{left} using (message_id)") == [
        {"kind": "recovery", "outcome": "sent"}
    ]
    assert rows(db, "select count(*) as n from alert_deliveries") == [{"n": 1}]


async def test_a_message_that_was_written_and_not_sent_is_sent_by_the_next_run(
    db, world
):
    world.rules = f"{DELTA}above = 500\n"
    world.recorder.hangs.clear()
    trade(db, 20)
    fresh(db)
    async with world.run(is_killed=True):
        await world.wait_delivered(1, "phone")
    killed = world.recorder
    world.recorder = Recorder()
    async with world.run() as watch:
        await world.wait_delivered(1)
        _, [present] = watch.recent.changes(None)
    killed.hangs.set()

    assert world.recorder.kinds() == ["breach"]
    assert world.other.kinds() == ["breach"]
    assert present.kind == "breach"
    assert rows(db, "select count(*) as n from alert_events") == [{"n": 1}]


async def test_a_channel_that_refuses_or_hangs_does_not_hold_up_the_other(db, world):
    world.rules = f"{DELTA}above = 500\n"
    world.recorder.accepts = False
    trade(db, 20)
    fresh(db)
    async with world.run():
        await world.wait_delivered(1)
        await world.wait_delivered(1, "phone")
        world.other.hangs.clear()
        world.recorder.accepts = True
        trade(db, 2)
        await world.wait_delivered(2)
        world.other.hangs.set()
    found = rows(
        db,
        "select channel, outcome, attempts, reason from alert_deliveries"
        " order by created_at, channel",
    )

    assert [tuple(each.values()) for each in found] == [
        ("desk", "failed", 4, "it was not accepted"),
        ("phone", "sent", 1, None),
        ("desk", "sent", 1, None),
        ("phone", "sent", 1, None),
    ]
    assert world.recorder.kinds() == ["recovery"]


async def test_the_end_of_the_service_waits_for_a_delivery_and_writes_it(db, world):
    world.rules = f"{DELTA}above = 500\nchannels = ['desk']\n"
    world.recorder.hangs.clear()
    trade(db, 20)
    fresh(db)
    async with world.run():
        await world.wait("select count(*) = 1 from alert_deliveries")
        threading.Timer(0.2, world.recorder.hangs.set).start()
    [delivery] = rows(db, "select outcome, attempts from alert_deliveries")

    assert delivery == {"outcome": "sent", "attempts": 1}
    async with world.run():
        await world.wait_state("breached")
    assert world.recorder.kinds() == ["breach"]


async def test_a_write_whose_commit_got_no_answer_can_be_repeated(db, world):
    world.rules = f"{DELTA}above = 500\n"
    book = LimitBook()
    book.rules = world.parsed()
    messages = book.evaluate(lambda _: Reading(value=600.0), now(), ["desk"])
    ended = [
        AlertDelivery(
            message_id=messages[0].id,
            channel="desk",
            attempts=2,
            reason="no answer",
            finished_at=now(),
        )
    ]
    async with open_connection(world.database, autocommit=True) as connection:
        lease = Lease("alerts", "test", lasts_s=40)
        await lease.take(connection)
        for _ in range(2):
            await record(connection, book.rows(), messages, ended, lease)
        waiting = await load_waiting(connection)

    [event] = rows(db, "select kind, deliveries from alert_history")
    [delivery] = event["deliveries"]
    assert (delivery["attempts"], delivery["outcome"]) == (2, "failed")
    assert waiting == []


async def test_partial_and_unread_sums_tell_nothing_but_their_lack(db, world):
    delta = DELTA.replace
    world.rules = f"""
        {DELTA}above = 500
        unknown_hold_s = 0.2
        {delta('"d"', '"patient"')}above = 500
        {delta('"d"', '"closed"')}above = 500
        market_hours = "equity"
        unknown_hold_s = 0
        [[rule]]
        name = "stale"
        figure = "stale"
        above = 0
        """
    world.is_open = False
    trade(db, 20)
    fresh(db, event_time=now() - timedelta(hours=1))
    async with world.run():
        await world.wait_state("unknown")
        await world.wait_state("breached", "stale")
        states = rows(db, "select rule, reason from alerts")
        fresh(db)
        await world.wait_state("breached")
        await world.wait_state("ok", "stale")
        world.unread = "the positions of ibkr were not read since the start"
        trade(db, 0)
        await world.wait_state("unknown")
    events = rows(db, "select rule, kind from alert_events order by id")

    assert {each["rule"]: each["reason"] for each in states} == {
        "d": "1 of 1 positions are stale",
        "patient": "1 of 1 positions are stale",
        "stale": None,
        "closed": "the market is closed",
    }
    assert [each["kind"] for each in events if each["rule"] == "d"] == [
        *("unknown", "breach", "unknown")
    ]
    assert [each["kind"] for each in events if each["rule"] == "patient"] == ["breach"]
    assert "closed" not in [each["rule"] for each in events]


async def test_without_the_database_the_states_are_unknown_and_never_ok(
    db, world, monkeypatch
):
    monkeypatch.setattr("greeks_trio.alerts.limit_watch._AWAY_FOR_S", 0.1)
    world.rules = f"{DELTA}above = 500\nunknown_hold_s = 0.2\nchannels = ['desk']\n"
    trade(db, 20)
    fresh(db)
    there = world.database
    async with world.run() as watch:
        await world.wait_delivered(1)
        world.database = replace(there, ports=(1,))
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
            " and application_name like 'greeks_trio/%'"
        )
        with trio.fail_after(20):
            while len(world.recorder.sent) < 2:  # noqa: ASYNC110 - of a thread
                await trio.sleep(0.02)
        assert world.conditions.has(ConditionKind.LIMITS_NOT_WATCHED)
        trade(db, 2)
        world.database = there
        await world.wait_delivered(3)
        _, sent = watch.recent.changes(0)
    events = rows(db, "select kind, message from alert_events order by id")

    assert world.recorder.kinds() == ["breach", "not known", "recovery"]
    assert [each["kind"] for each in events] == ["breach", "unknown", "recovery"]
    assert "the database gives no sums" in events[1]["message"]
    assert [each.kind for each in sent] == ["breach", "unknown", "recovery"]
    assert not world.conditions.has(ConditionKind.LIMITS_NOT_WATCHED)


async def test_rules_can_be_changed_and_removed_while_it_runs(db, world):
    world.rules = f"{DELTA}above = 500\n"
    trade(db, 20)
    fresh(db)
    async with world.run() as watch:
        await world.wait_state("breached")
        world.rules = '[[rule]]\nname = "e"\nfigure = "missing_tick"\nabove = 0\n'
        watch.use(world.parsed())
        await world.wait_state("ok", "e")
        watch.use(())
        await world.wait("select not exists (select from alerts)")
    [*_, ended] = rows(db, "select * from alert_history order by id")

    assert (ended["rule"], ended["kind"], ended["deliveries"]) == ("d", "ended", [])


async def test_the_check_names_rules_that_tell_nothing_and_missing_rights(db, world):
    world.rules = f"{DELTA}above = 500\naccount_id = 'U99'\n"
    trade(db, 20)
    async with open_connection(world.database, autocommit=True) as connection:
        look = partial(inspect_limits, world.parsed(), 300.0, "SPY", connection)
        [silent] = await look(world.database)
        world.rules = f"{DELTA}above = 500\n".replace("SPY", "SPYY")
        misspelt = partial(inspect_limits, world.parsed(), 300.0, "SPY", connection)
        [empty] = await misspelt(world.database)
        db.execute("create role reader_of_limits")
        try:
            await connection.execute("set role reader_of_limits")
            [lacks] = await look(world.database)
        finally:
            await connection.execute("reset role")
            db.execute("drop role reader_of_limits")

    assert "d: no position is known (U99, SPY)" in silent.sentence
    assert "without an open position" in empty.sentence
    assert "d (SPYY)" in empty.sentence
    assert lacks.verdict == "failed"
    assert "INSERT on alert_events" in lacks.sentence


async def test_of_two_services_one_watches_and_the_other_takes_over(db, world):
    world.rules = f"{DELTA}above = 500\n"
    trade(db, 20)
    fresh(db)
    async with world.run(holder="one"):
        await world.wait_delivered(1)
        async with world.run(holder="two"):
            trade(db, 8)
            await world.wait_delivered(2)
        holders = rows(db, "select holder, epoch from leases")
        assert holders == [{"holder": "one", "epoch": 1}]
    async with world.run(holder="two"):
        trade(db, 20)
        await world.wait_delivered(3)

    assert world.recorder.kinds() == ["breach", "recovery", "breach"]
    assert rows(db, "select holder, epoch from leases") == [
        {"holder": "two", "epoch": 2}
    ]


async def test_a_killed_holder_is_followed_when_its_time_is_over(db, world):
    world.rules = f"{DELTA}above = 500\n"
    trade(db, 20)
    fresh(db)
    async with world.run(holder="one", is_killed=True):
        await world.wait_delivered(1)
    trade(db, 8)
    async with world.run(holder="two"):
        db.execute("update leases set expires_at = now() where holder = 'one'")
        await world.wait_delivered(2)

    assert world.recorder.kinds() == ["breach", "recovery"]


async def test_a_service_that_lost_the_lease_without_knowing_it_writes_nothing(
    db, emptied_database
):
    async with open_connection(emptied_database, autocommit=True) as connection:
        one, two = (Lease("alerts", each, lasts_s=40) for each in ("one", "two"))
        await one.take(connection)
        await two.take(connection)
        assert (one.epoch, two.epoch, two.is_elsewhere) == (1, None, True)
        db.execute("update leases set expires_at = now()")
        await two.take(connection)
        assert (two.epoch, two.is_elsewhere) == (2, False)

        with pytest.raises(LeaseLost):
            await record(connection, [], [], [], one)
        await record(connection, [], [], [], two)
        await one.take(connection)
        assert (one.epoch, one.is_elsewhere) == (None, True)


async def test_a_holder_reads_the_states_again_after_another_one_had_the_lease(
    db, world
):
    """A service that was stopped for a minute goes on with the states of the other one."""
    world.rules = f"{DELTA}above = 500\n"
    trade(db, 20)
    fresh(db)
    async with world.run(holder="one"):
        await world.wait_delivered(1)
        with db.transaction():
            db.execute(
                "update leases set holder = 'two', epoch = epoch + 1,"
                " expires_at = clock_timestamp()"
            )
            db.execute("update alert_states set state = 'ok'")
        await world.wait_delivered(2)

    assert world.recorder.kinds() == ["breach", "breach"]


async def test_a_lease_that_cannot_be_given_back_is_told_at_the_end(db, world, caplog):
    world.rules = f"{DELTA}above = 500\n"
    trade(db, 20)
    fresh(db)
    try:
        async with world.run():
            await world.wait_delivered(1)
            db.execute("alter table leases rename to other")
    finally:
        db.execute("alter table other rename to leases")
    [line] = [each for each in caplog.messages if "not_written" in each]
    assert 'relation "leases" does not exist' in line
