"""``latest_ticks``: the present views give the same with it as without it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.inspect_latest import inspect_latest
from greeks_trio.postgres.latest_refresh import FEW_CONTRACTS, run_latest_refresh
from greeks_trio.postgres.schema.schema_files import schema_directory
from greeks_trio.waiting import Backoff, WakeUp
from tests.database.risk_rows import hold, hold_shares, risk_database, seconds, tick
from tests.fix_postgres import connect

COLUMNS = """
    broker, account_id, contract_key, kind, underlying, expiration, strike, option_type,
    quantity, multiplier, currency, instrument_id, exchange, underlying_id, price_factor,
    event_time, received_at, delta, gamma, theta, vega, rho, implied_volatility,
    underlying_price, underlying_price_at, price, bid, ask, in_rotation, availability,
    is_future, units, money, premium
"""
# In one statement, so that both have the same clock and the same snapshot.
DIFFERENCE = f"""
with used as materialized (select {COLUMNS} from series_asof('infinity')),
    looked_up as materialized (select {COLUMNS} from newest_by_lookup('infinity'))
(select 'only used', u.* from (table used except all table looked_up) u)
union all
(select 'only looked up', l.* from (table looked_up except all table used) l)
"""
SESSIONS = "select pid from pg_stat_activity where query like '%refresh_latest%' and pid <> pg_backend_pid()"
IS_KEPT = "select is_latest_kept()"
COUNT = "select count(*) from latest_ticks"
CALL_2030 = "SPY   301220C00600000"
# Whether the views take a row directly.
ARE_COMPLETE_SHOWN = """
select is_latest_complete() and exists (
    select from kept_ticks where is_complete
      and place not in (
          select place from greeks_beside(false, 300) where place is not null))
"""
NAMES = (
    "newest_asof",
    "prices_asof",
    "holdings_asof",
    "greeks_asof",
    "portfolio_asof",
)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        connection.execute("delete from latest_state")
        yield connection


def refresh(connection: psycopg.Connection) -> str:
    (done,) = connection.execute("select refresh_latest()").fetchone() or ("",)
    return str(done)


def may_rebuild(connection: psycopg.Connection) -> None:
    """Let the next refresh look everything up, as it may after a few seconds."""
    connection.execute(
        "update latest_state set rebuilt_at = rebuilt_at - interval '6 seconds'"
    )


def is_kept(connection: psycopg.Connection) -> bool:
    return connection.execute(IS_KEPT).fetchone() == (True,)


def watched_deltas(connection: psycopg.Connection) -> list[tuple]:
    return connection.execute(
        "select delta from latest_greeks where account_id = 'watchlist'"
    ).fetchall()


def difference(connection: psycopg.Connection) -> list[tuple]:
    return connection.execute(DIFFERENCE).fetchall()


def hold_now(connection: psycopg.Connection, key: str = "A", **changes: object) -> None:
    at = now() - seconds(60)
    expiration = now().date() + timedelta(days=30)
    hold(
        connection, contract_key=key, **{"at": at, "expiration": expiration, **changes}
    )


def tick_now(
    connection: psycopg.Connection,
    key: str = "A",
    age_s: float = 1.0,
    **changes: object,
) -> None:
    expiration = now().date() + timedelta(days=30)
    values = {"event_time": now() - seconds(age_s), "expiration": expiration, **changes}
    tick(connection, key, **values)  # type: ignore[arg-type]


def test_a_tick_is_visible_in_the_next_statement_before_any_refresh(db):
    hold_now(db)
    tick_now(db, age_s=3, delta=0.5)
    assert refresh(db) == "rebuilt"

    tick_now(db, age_s=1, delta=0.25)

    assert is_kept(db)
    assert db.execute("select delta from latest_greeks").fetchall() == [(0.25,)]
    assert (refresh(db), refresh(db)) == ("added", "idle")
    assert db.execute("select delta from latest_ticks").fetchall() == [(0.25,)]
    assert is_kept(db)
    assert difference(db) == []


def test_a_transaction_that_was_open_during_the_refresh_is_not_lost(database, db):
    hold_now(db)
    tick_now(db, age_s=5, delta=0.5)
    with connect(database) as other:
        other.autocommit = False
        tick_now(other, age_s=2, delta=0.25)
        assert refresh(db) == "rebuilt"
        tick_now(db, age_s=4, delta=0.75)
        assert refresh(db) == "added"
        assert db.execute("select delta from latest_greeks").fetchall() == [(0.75,)]

        other.commit()

    assert is_kept(db)
    assert db.execute("select delta from latest_greeks").fetchall() == [(0.25,)]
    assert refresh(db) == "added"
    assert db.execute("select delta from latest_ticks").fetchall() == [(0.25,)]


def test_a_late_tick_does_not_displace_a_newer_one(db):
    hold_now(db)
    tick_now(db, age_s=5, delta=0.5)
    refresh(db)

    tick_now(db, age_s=50, delta=0.25)

    assert is_kept(db)
    assert db.execute("select delta from latest_greeks").fetchall() == [(0.5,)]
    refresh(db)
    assert db.execute("select delta from latest_ticks").fetchall() == [(0.5,)]


@pytest.mark.parametrize(
    "change",
    [
        "delete from greek_snapshots where delta = 0.25",
        "delete from only ticks where delta = 0.25",
        "update greek_snapshots set event_time = event_time - interval '1 hour'"
        " where delta = 0.25",
        "truncate ticks",
        "alter table greek_snapshots detach partition ticks",
        "update positions set quantity = 0",
    ],
)
def test_a_change_that_is_no_new_tick_is_looked_up(db, change):
    hold_now(db)
    tick_now(db, age_s=5, delta=0.5)
    tick_now(db, age_s=1, delta=0.25)
    refresh(db)
    assert is_kept(db)

    db.execute(change)

    assert not is_kept(db)
    assert difference(db) == []
    assert refresh(db) == "waiting"
    assert difference(db) == []
    may_rebuild(db)
    assert refresh(db) == "rebuilt"
    assert is_kept(db)
    assert difference(db) == []


def test_a_tick_from_the_future_counts_when_its_time_has_come(db):
    hold_now(db)
    tick_now(db, age_s=5, delta=0.5)
    refresh(db)
    tick_now(db, age_s=-600, delta=0.25)

    refresh(db)

    assert not is_kept(db)
    assert difference(db) == []
    may_rebuild(db)
    assert refresh(db) == "rebuilt"
    assert not is_kept(db)
    db.execute("delete from greek_snapshots where delta = 0.25")
    may_rebuild(db)
    assert refresh(db) == "rebuilt"
    assert is_kept(db)


@pytest.mark.parametrize("moved", ["- interval '11 seconds'", "+ interval '1 minute'"])
def test_without_a_refresh_or_after_a_clock_was_set_back_everything_is_looked_up(
    db, moved
):
    hold_now(db)
    tick_now(db)
    refresh(db)
    assert is_kept(db)

    db.execute(f"update latest_state set refreshed_at = refreshed_at {moved}")

    assert not is_kept(db)


def test_a_server_that_counts_no_changes_is_looked_up(db):
    hold_now(db)
    tick_now(db)
    db.execute("set track_counts = off")

    assert refresh(db) == "rebuilt"

    assert not is_kept(db)


def test_a_newly_watched_contract_is_added_without_a_rebuild(db):
    hold_now(db)
    tick_now(db)
    refresh(db)

    for delta, age_s in ((0.5, 1), (0.75, 0.5)):
        tick_now(
            db, "W", account_id="watchlist", age_s=age_s, quantity=None, delta=delta
        )

        assert is_kept(db)
        assert watched_deltas(db) == [(delta,)]
        assert difference(db) == []
        assert refresh(db) == "added"
        assert db.execute(COUNT).fetchone() == (2,)
        assert is_kept(db)
        assert difference(db) == []


@pytest.mark.parametrize("quantity", [0, 3])
@pytest.mark.parametrize("key", ["A", "B"])
def test_a_new_position_is_added_without_a_rebuild(db, key, quantity):
    hold_now(db)
    tick_now(db, age_s=5)
    tick_now(db, "B", age_s=900, price=None)
    tick_now(db, "B", age_s=700)
    refresh(db)

    hold(db, quantity, key, at=now(), expiration=None)
    tick_now(db, key, age_s=0.5, delta=0.75)

    held = {"A", key} if quantity != 0 else {"A"} - {key}
    for done in ("added", "idle"):
        assert is_kept(db)
        assert difference(db) == []
        assert refresh(db) == done
        assert db.execute(COUNT).fetchone() == (len(held),)
    tick_now(db, key, age_s=0.2, delta=0.25)
    assert difference(db) == []


def test_a_position_of_an_open_transaction_is_added_when_it_commits(database, db):
    hold_now(db)
    tick_now(db, age_s=5)
    with connect(database) as other:
        other.autocommit = False
        hold(other, 7, "B", at=now(), expiration=None)
        assert refresh(db) == "rebuilt"
        hold(db, 2, "A", at=now(), expiration=None)
        assert refresh(db) == "added"
        assert db.execute(COUNT).fetchone() == (1,)

        other.commit()

    assert is_kept(db)
    assert difference(db) == []
    assert refresh(db) == "added"
    assert db.execute(COUNT).fetchone() == (2,)


def test_a_new_position_with_a_tick_that_counts_later_is_looked_up(db):
    hold_now(db)
    tick_now(db, "B", received_at=now() + timedelta(minutes=9))
    db.execute("update greek_snapshots set persisted_at = received_at")
    tick_now(db)
    refresh(db)
    assert is_kept(db)

    hold_now(db, "B")

    assert refresh(db) == "added"
    assert not is_kept(db)
    assert difference(db) == []


def test_ticks_that_come_during_a_rebuild_do_not_spoil_it(database, db):
    for number in range(200):
        hold_now(db, f"K{number}")
    stop = threading.Event()

    def write() -> None:
        with connect(database) as other:
            while not stop.is_set():
                tick_now(other, f"K{random.randrange(200)}", age_s=0)

    with ThreadPoolExecutor() as pool:
        writer = pool.submit(write)
        try:
            for _ in range(10):
                may_rebuild(db)
                db.execute("update latest_state set tables = ''")
                assert refresh(db) == "rebuilt"
                assert is_kept(db)
                assert difference(db) == []
        finally:
            stop.set()
        writer.result()


def test_two_refreshes_at_a_time_do_not_wait_for_each_other(database, db):
    with connect(database) as other, other.transaction():
        assert refresh(other) == "rebuilt"

        assert refresh(db) == "busy"


def pages(connection: psycopg.Connection, query: str) -> int:
    """Return how many pages a query reads, also in its functions."""
    explained = connection.execute(
        f"explain (analyze, buffers, format json) {query}"  # type: ignore[arg-type]
    ).fetchone()
    assert explained is not None
    plan = explained[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def conditions_on(connection: psycopg.Connection, function: str) -> list[str]:
    """Return how the plan of this function uses the ids of transactions."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"alter function {function}(xid8, xid8[]) reset all")  # type: ignore[arg-type]
        connection.execute(
            "set local enable_seqscan = off; set local enable_bitmapscan = off"
        )
        found = connection.execute(
            "explain select f.* from kept_state s"
            f" cross join lateral {function}(s.snapshot_xmax, s.snapshot_xip) f"  # type: ignore[arg-type]
        ).fetchall()
    return [line.strip() for (line,) in found if "transaction_id " in line]


@pytest.mark.parametrize("plans", ["auto", "force_generic_plan"])
def test_neither_a_refresh_nor_a_view_reads_the_history(db, plans):
    """From the sixth call on a session may use plans that fit any snapshot."""
    db.execute(f"set plan_cache_mode = {plans}")
    hold_now(db)
    tick_now(db, age_s=100)
    db.execute(
        "insert into positions (broker, account_id, contract_key, observed_at, kind,"
        "  quantity, recorded_at)"
        " select 'ibkr', 'U1', 'S', now() - n * interval '1 s', 'equity', 1, now()"
        " from generate_series(1, 60000) n"
    )
    db.execute(
        "insert into greek_snapshots (event_time, received_at, broker, account_id,"
        "  underlying, contract_key, delta, availability, source_payload, fingerprint)"
        " select event_time - n * interval '1 s', received_at, broker, account_id,"
        "  underlying, contract_key, delta, availability, source_payload, n"
        " from greek_snapshots, generate_series(1, 60000) n"
    )
    db.execute("analyze positions, greek_snapshots")
    refresh(db)
    for number in range(8):
        tick_now(db, age_s=90 - number)
        assert refresh(db) == "added"

    tick_now(db, delta=0.25)

    queries = (
        "select * from latest_greeks",
        "select * from portfolio_greeks",
        "select refresh_latest()",
    )
    for query in queries:
        for _ in range(8):
            db.execute(query)
        tick_now(db, age_s=0.5)
        assert pages(db, query) < 500, query
    for function in ("rows_since", "positions_since"):
        found = conditions_on(db, function)
        assert len(found) == 2
        assert all(line.startswith("Index Cond: ") for line in found), found


async def sentence_of_check(database: DatabaseConfig) -> tuple[str, str]:
    async with open_connection(database, autocommit=True) as connection:
        [finding] = await inspect_latest(connection, database)
    return finding.verdict, finding.sentence


async def test_check_compares_the_table_with_the_history(database, db, monkeypatch):
    hold_now(db)
    hold_now(db, "B")
    tick_now(db)
    verdict, sentence = await sentence_of_check(database)
    assert (verdict, "no service keeps" in sentence) == ("fine", True)

    refresh(db)
    tick_now(db, "B", age_s=0.5)
    verdict, sentence = await sentence_of_check(database)
    assert (verdict, "history of 2 contracts" in sentence) == ("fine", True)

    db.execute("update latest_ticks set quantity = 9 where contract_key = 'B'")
    verdict, sentence = await sentence_of_check(database)
    assert (verdict, "1 of 2 contracts differ" in sentence) == ("failed", True)

    slow = "select 2, count(pg_sleep(9)) from compare_latest()"
    monkeypatch.setattr("greeks_trio.postgres.inspect_latest._COMPARE", slow)
    monkeypatch.setattr("greeks_trio.postgres.inspect_latest._LIMIT_S", 0.1)
    verdict, sentence = await sentence_of_check(database)
    assert (verdict, "more than 0.1 seconds" in sentence) == ("fine", True)

    db.execute("drop view kept_state cascade")
    verdict, sentence = await sentence_of_check(database)
    assert (verdict, "may not read" in sentence) == ("fine", True)


class Story:
    """Random changes of ticks and positions, and of what the clocks said."""

    def __init__(
        self,
        connection: psycopg.Connection,
        other: psycopg.Connection,
        chance: random.Random,
    ) -> None:
        self.connection = connection
        self.other = other
        self.chance = chance

    def step(self) -> None:
        ways: list[tuple[int, Callable[[], object]]] = [
            (60, self.tick),
            (8, self.hold),
            (2, self.close),
            (6, self.other.commit),
            (1, self.delete),
            (20, lambda: refresh(self.connection)),
            (12, self.rebuild),
        ]
        weights = [weight for weight, _ in ways]
        self.chance.choices([way for _, way in ways], weights)[0]()

    def _writer(self) -> psycopg.Connection:
        """Return a connection that commits at once, or one that does so later."""
        return self.other if self.chance.random() < 0.2 else self.connection

    def _series(self) -> dict[str, object]:
        broker, account = self.chance.choice(
            [("ibkr", "U1")] * 2 + [("tastytrade", "T1"), ("ibkr", "watchlist")]
        )
        return {"broker": broker, "account_id": account}

    def _key(self) -> str:
        return self.chance.choice(
            [
                *[CALL_2030] * 3,
                "SPY   301220P00600000",
                "./ES 301220 C 6000",
                "9",
            ]
        )

    def _value(self, is_possible: bool) -> float | None:
        impossible = [] if is_possible else [None, float("nan"), 7e300]
        return self.chance.choice([0.25, 0.5, 0.75, *impossible])

    def tick(self) -> None:
        late = self.chance.choice([0.01, 1, 20, 400, 8 * 86400.0])
        ahead = self.chance.choice([0] * 400 + [-200, -280, -900])
        names = ("gamma", "theta", "vega", "rho", "underlying_price", "price", "bid")
        is_possible = self.chance.random() < 0.8
        tick(
            self._writer(),
            self._key(),
            event_time=now() - seconds(ahead or late * self.chance.random()),
            received_at=now() - seconds(self.chance.choice([0, 0, 0, 1, 500])),
            **self._series(),
            **{name: self._value(is_possible) for name in names},
            underlying=self.chance.choice(["SPY", "/ESZ30", "QQQ"]),
            expiration=self.chance.choice([None, "2030-12-20", "2020-12-20"]),
            underlying_price_at=now() + seconds(self.chance.choice([0, -90, 4000])),
            availability=self.chance.choice(["realtime", "realtime", "delayed"]),
        )

    def hold(self) -> None:
        series = {**self._series(), "account_id": self.chance.choice(["U1", "T1"])}
        key = self._key()
        if self.chance.random() < 0.3:
            hold_shares(self._writer(), 8, at=now(), contract_key="SPY", **series)
            return
        hold(
            self._writer(),
            self.chance.choice([1, -2, 4, None]) if key == "9" else 2,
            key,
            at=now() - seconds(self.chance.random() * 100),
            kind={"9": "unknown", ".": "future_option"}.get(key[0], "option"),
            underlying=self.chance.choice([None, "SPY", "/ESZ30"]),
            expiration=self.chance.choice(["2030-12-20", None, now().date()]),
            premium_multiplier=self.chance.choice([None, 50]),
            **series,
        )

    def close(self) -> None:
        self.connection.execute(
            "insert into positions (broker, account_id, contract_key, observed_at, kind,"
            " quantity) select broker, account_id, contract_key, now(), kind, 0"
            " from positions order by random() limit 1 on conflict do nothing"
        )

    def delete(self) -> None:
        self.connection.execute(
            "delete from greek_snapshots where id in (select id from greek_snapshots"
            " order by event_time desc limit %s)",
            [self.chance.randint(0, 2)],
        )

    def rebuild(self) -> None:
        if self.chance.random() < 0.5:
            self.connection.execute(
                "delete from greek_snapshots where event_time > now() + interval '3 min'"
            )
        may_rebuild(self.connection)
        refresh(self.connection)


def old_functions() -> list[str]:
    """Return the functions as the migrations before latest_ticks left them."""
    files = sorted(schema_directory().joinpath("migrations").iterdir(), key=str)
    texts = [each.read_text() for each in files if each.name < "0012"]
    found = {}
    for text in texts:
        for name in NAMES:
            for opening in (
                f"create function {name}(",
                f"create or replace function {name}(",
            ):
                if opening in text:
                    start = text.index(opening)
                    body = text[start : text.index("\nend;\n", start) + 5]
                    found[name] = body.replace("or replace ", "")
    return [found[name] for name in NAMES]


def make_old_functions(connection: psycopg.Connection) -> None:
    connection.execute("create schema old; set search_path = old, public")
    for text in old_functions():
        connection.execute(text)
    connection.execute("reset search_path")


# The sums are exact, because the values are multiples of an eighth.
OLD_AND_NEW = """
with old_rows as materialized (
        select row_to_json(r)::jsonb as r from old.{0}_asof('infinity') r),
    new_rows as materialized (select row_to_json(r)::jsonb as r from {0}_greeks r)
(select 'old', o.r from (table old_rows except all table new_rows) o)
union all
(select 'new', n.r from (table new_rows except all table old_rows) n)
"""


@pytest.mark.parametrize("seed", range(3))
def test_the_views_are_those_of_the_lookup_whatever_happens(database, db, seed):
    chance = random.Random(seed)
    make_old_functions(db)
    db.execute("create view greeks_greeks as select * from latest_greeks")
    hold_now(db, CALL_2030)
    tick_now(db, CALL_2030, price=0.5)
    refresh(db)
    assert db.execute(ARE_COMPLETE_SHOWN).fetchone() == (True,)
    kept = 0
    with connect(database) as other:
        other.autocommit = False
        story = Story(db, other, chance)
        for _ in range(80):
            kept += is_kept(db)
            assert difference(db) == []
            assert db.execute(OLD_AND_NEW.format("greeks")).fetchall() == []
            assert db.execute(OLD_AND_NEW.format("portfolio")).fetchall() == []
            for _ in range(chance.choice([1, 1, 5])):
                story.step()
    assert kept > 40


async def wait_until(done: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not done():  # noqa: ASYNC110 - the database tells nobody
            await trio.sleep(0.05)


async def test_the_task_refreshes_until_cancelled_and_follows_another_database(
    database, nursery
):
    again = WakeUp()
    with risk_database(database) as connection:
        hold_now(connection)
        nursery.start_soon(run_latest_refresh, lambda: database, again)
        await wait_until(lambda: is_kept(connection))
        tick_now(connection, delta=0.25)
        await wait_until(
            lambda: (
                connection.execute("select delta from latest_ticks").fetchall()
                == [(0.25,)]
            )
        )
        [(before,)] = connection.execute(SESSIONS).fetchall()
        again.wake()
        await wait_until(
            lambda: connection.execute(SESSIONS).fetchall() not in ([], [(before,)])
        )

    nursery.cancel_scope.cancel()


async def test_a_role_that_may_not_refresh_is_told_once(database, nursery, caplog):
    with connect(database) as connection:
        connection.execute("alter function refresh_latest() rename to elsewhere")
        caplog.set_level("INFO")
        nursery.start_soon(
            partial(
                run_latest_refresh,
                lambda: database,
                WakeUp(),
                backoff=Backoff(min_delay_s=0.01, max_delay_s=0.01),
            )
        )
        await wait_until(lambda: "latest.not_kept" in caplog.text)
        await trio.sleep(0.2)
        connection.execute("alter function elsewhere() rename to refresh_latest")
        await wait_until(
            lambda: connection.execute("select from latest_state").rowcount == 1
        )

    assert caplog.text.count("latest.not_kept") == 1
    nursery.cancel_scope.cancel()


async def test_few_contracts_are_not_kept(database, nursery):
    counts = iter([1, FEW_CONTRACTS - 1])
    start = partial(run_latest_refresh, contracts=lambda: next(counts, FEW_CONTRACTS))
    with connect(database) as connection:
        nursery.start_soon(start, lambda: database, WakeUp())
        await trio.sleep(1)
        assert connection.execute("select from latest_state").rowcount == 0
        await wait_until(
            lambda: connection.execute("select from latest_state").rowcount == 1
        )

    nursery.cancel_scope.cancel()


def test_a_reader_of_a_view_reads_it_after_the_migration_too(empty_database):
    files = sorted(schema_directory().joinpath("migrations").iterdir(), key=str)
    reader = f"{empty_database.dbname}_reader"
    with connect(empty_database) as admin:
        for file in files:
            if file.name >= "0012":
                break
            admin.execute(file.read_text())
        admin.execute(f"create role {reader}")
        try:
            views = "portfolio_greeks, tick_history, position_history"
            admin.execute(f"grant select on {views} to {reader}")
            admin.execute(file.read_text())
            admin.execute(f"set role {reader}")

            assert admin.execute("table portfolio_greeks").fetchall() == []
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute("table latest_ticks")
        finally:
            admin.execute("reset role")
            admin.execute(f"drop owned by {reader}; drop role {reader}")
