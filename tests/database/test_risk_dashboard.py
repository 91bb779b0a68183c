"""The queries of the dashboard on PostgreSQL, as the role that may read the views."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from docs.tools.blocks import read_blocks
from greeks_trio.config.settings import DatabaseConfig, Secret
from tests.database.risk_rows import CALL, MOMENT, PUT, hold, hold_shares, rows, tick
from tests.fix_postgres import apply_schema, connect
from tests.grafana import interpolated, risk_panels, risk_queries

ROOT = Path(__file__).parents[2]
START = MOMENT - timedelta(hours=1)
NEAREST = "SPY   251219C00650000"
PASSWORD = "of the reader"
FLOAT, NUMERIC, TEXT, TIME = 701, 1700, 25, 1184
NUMBERS = {20, 23, FLOAT, NUMERIC}
# Price, price of the underlying, implied volatility of a call, ten seconds before each moment.
PATH = [(10.0, 650.0, 0.183), (11.0, 652.0, 0.19), (12.5, 651.0, 0.18)]
TICKS = 100_000
_MANY = """
insert into greek_snapshots
    (event_time, received_at, broker, account_id, underlying, contract_key, expiration,
     strike, option_type, quantity, delta, gamma, theta, vega, rho, implied_volatility,
     underlying_price, price, availability, source_payload, fingerprint)
select %(start)s + i * interval '1 second' / 10, %(start)s + i * interval '1 second' / 10,
    'tastytrade', 'T1', 'QQQ', 'QQQ   251219C00' || 100 + i %% 20 || '000', '2025-12-19',
    100 + i %% 20, 'call', 1, 0.5, 0.01, -0.1, 0.2, 0.1, 0.2, 110, 5, 'realtime', '{}', i
from generate_series(1, %(ticks)s) i
"""
_HELD = """
insert into positions (broker, account_id, contract_key, observed_at, kind, quantity,
    multiplier, currency, underlying, expiration, strike, option_type)
select 'tastytrade', 'T1', 'QQQ   251219C00' || 100 + i || '000', %s, 'option', 1, 100, null,
    'QQQ', '2025-12-19', 100 + i, 'call'
from generate_series(0, 19) i
"""
_EVENT = """
insert into alert_events (at, rule, figure, scope, unit, threshold, severity, kind,
    from_state, to_state, value, positions, missing, stale, message, message_id)
values (%s, 'SPY delta', 'delta', 'SPY', 'units', 'above 500', 'warning', %s, %s, %s, 600, 3,
    1, 0, 'SPY delta is 600', %s::uuid)
"""
_STATE = """
insert into alert_states (rule, figure, scope, unit, threshold, severity, state, since,
    positions, missing, stale, beyond_s, unknown_s, evaluated_at)
values (%s, 'delta', 'SPY', 'units', 'above 500', 'warning', %s, %s, 3, 1, 0, 0, 0, now())
"""
FIRST, SECOND = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2))


@dataclass
class Stage:
    """A database with data, and two connections to it."""

    owner: psycopg.Connection
    reader: psycopg.Connection

    def ask(self, name: str, start: datetime = START, **options) -> list[dict]:
        """Return the rows of a query of the dashboard, as the reader."""
        query = interpolated(risk_queries()[name], start, MOMENT, **options)
        return self.reader.cursor(row_factory=dict_row).execute(query).fetchall()


def _fill(db: psycopg.Connection) -> None:
    db.execute("create table ticks partition of greek_snapshots default")
    db.execute(_MANY, {"start": START - timedelta(hours=2), "ticks": TICKS})
    db.execute(_HELD, [START - timedelta(days=1)])
    for number, (price, underlying_price, volatility) in enumerate(PATH):
        of_tick = {
            "event_time": START + timedelta(minutes=30 * number, seconds=-10),
            "price": price,
            "underlying_price": underlying_price,
        }
        tick(db, implied_volatility=volatility, **of_tick)
        of_other = of_tick | {"account_id": "U2"}
        tick(db, NEAREST, strike=650, implied_volatility=0.25, vega=None, **of_other)
        tick(db, PUT, option_type="put", delta=-0.3, **of_other | {"price": None})
    hold(db, 2, at=START - timedelta(hours=1))
    hold(db, 3, at=START + timedelta(minutes=40))
    hold_shares(db, 100)
    hold(db, 1, NEAREST, strike=650, account_id="U2")
    hold(db, 5, PUT, option_type="put", account_id="U2")
    # No tick at all.
    hold(db, 1, "SPY   251219C00700000", strike=700, account_id="U2")
    db.execute(
        "insert into position_tags values ('ibkr', 'U1', %s, 'long call', now(), null)",
        [CALL],
    )
    gap = "insert into feed_gaps values ('ibkr', %s, %s, %s, %s, 'disconnected')"
    db.execute(
        gap, [None, None, START + timedelta(minutes=5), START + timedelta(minutes=9)]
    )
    db.execute(gap, ["U1", CALL, START + timedelta(minutes=20), None])
    db.execute(
        gap, [None, None, START - timedelta(minutes=5), START - timedelta(minutes=1)]
    )
    db.execute(
        _EVENT, [START + timedelta(minutes=9), "breach", "ok", "breached", FIRST]
    )
    since = START + timedelta(minutes=30)
    db.execute(_EVENT, [since, "recovery", "breached", "ok", SECOND])
    db.execute(_STATE, ["SPY delta", "ok", since])
    db.execute(_STATE, ["Book vega", "unknown", START - timedelta(days=1)])
    for channel, outcome, reason in (
        ("desk", "sent", None),
        ("phone", "failed", "no way"),
    ):
        db.execute(
            "insert into alert_deliveries (message_id, channel, outcome, reason)"
            " values (%s::uuid, %s, %s, %s)",
            [FIRST, channel, outcome, reason],
        )
    db.execute("analyze")


def _grants(role: str) -> str:
    """Return the statement of ``docs/database.md`` for a role that reads the views."""
    blocks = read_blocks(ROOT.joinpath("docs/database.md").read_text("utf-8"))
    [statement] = [
        each
        for block in blocks
        for each in block.text.split(";")
        if each.strip().endswith("to portfolio_reader") and "grant select" in each
    ]
    return statement.replace("portfolio_reader", role)


@pytest.fixture(scope="module")
def stage(module_database) -> Iterator[Stage]:
    database: DatabaseConfig = module_database[0]
    role = f"{database.dbname}_reader"
    with connect(database) as owner:
        _fill(owner)
        owner.execute(f"create role {role} login password '{PASSWORD}'")
        try:
            owner.execute(_grants(role).encode())
            # As docs/grafana.md says.
            owner.execute(f"alter role {role} set jit = off")
            with connect(
                replace(database, user=role, password=Secret(PASSWORD))
            ) as reader:
                yield Stage(owner, reader)
        finally:
            owner.execute(f"drop owned by {role}")
            owner.execute(f"drop role {role}")


def _scans(db: psycopg.Connection) -> tuple[int, int]:
    [counts] = db.execute(
        "select sum(seq_scan)::bigint, sum(idx_scan)::bigint from pg_stat_user_tables"
        " where relid in (select relid from pg_partition_tree('greek_snapshots'))"
    )
    return counts


@pytest.mark.parametrize("chosen", ["all", "some"])
def test_every_query_has_rows_and_reads_ticks_by_their_indexes(stage, chosen):
    options = (
        {}
        if chosen == "all"
        else {
            "broker": ["ibkr", "O'Neil"],
            "account": ["U1"],
            "underlying": ["SPY"],
            "strategy": ["long call"],
        }
    )
    before = _scans(stage.owner)

    for name, query in risk_queries().items():
        text = interpolated(query, START, MOMENT, **options)
        cursor = stage.reader.execute(text)
        assert cursor.fetchall(), name

    stage.reader.execute("select pg_stat_force_next_flush()")
    stage.reader.execute("select 1")
    after = _scans(stage.owner)
    assert after[0] == before[0]
    assert after[1] > before[1]


def test_a_panel_gets_the_columns_that_it_shows(stage):
    for panel in risk_panels():
        target = panel["targets"][0]
        source = next(
            each
            for each in risk_panels()
            if each["id"] in (target.get("panelId"), panel["id"])
            and "rawSql" in each["targets"][0]
        )
        query = interpolated(source["targets"][0]["rawSql"], START, MOMENT)
        columns = stage.reader.execute(query).description
        assert columns is not None
        types = {column.name: column.type_code for column in columns}
        if source["targets"][0]["format"] == "time_series":
            first, second, *values = types.values()
            assert list(types)[:2] == ["time", "metric"]
            assert (first, second) == (TIME, TEXT), panel["title"]
            assert set(values) <= NUMBERS, panel["title"]
            # Grafana makes the metric the name if there is one value, a label otherwise.
            name = panel["fieldConfig"]["defaults"].get("displayName", "")
            assert ("labels.metric" in name) == (len(values) > 1)
        for change in panel.get("transformations", ()):
            pattern = change["options"]["include"]["pattern"]
            assert pattern.removeprefix("/^([Tt]ime$|").removesuffix(")/") in types
    for note in ("Gaps", "Gaps of contracts", "Limits"):
        query = interpolated(risk_queries()[f"annotation {note}"], START, MOMENT)
        names = [each.name for each in stage.reader.execute(query).description or ()]
        assert set(names) <= {"time", "timeend", "text", "tags"}
        assert {"time", "text"} <= set(names)


def test_the_sums_over_time_are_those_of_the_views_with_their_counts(stage):
    found = stage.ask("Dollar delta", moments=2)

    times = sorted({row["time"] for row in found})
    assert times == [START, START + timedelta(minutes=30), MOMENT]
    for moment in times:
        of_view = rows(
            stage.owner,
            "select * from risk_totals_asof(%s, '{underlying}') where underlying = 'SPY'",
            moment,
        )[0]
        shown = {row["metric"]: row for row in found if row["time"] == moment}
        assert list(shown) == ["QQQ", "SPY", "missing", "stale"]
        for column, count in (
            ("dollar_delta", "missing_dollar_delta"),
            ("net_delta", "missing_net_delta"),
            ("vega", "missing_vega"),
            ("market_value", "missing_value"),
        ):
            assert shown["SPY"][column] == pytest.approx(of_view[column])
            assert shown["missing"][column] == of_view[count] > 0
        assert shown["stale"]["vega"] >= of_view["stale"] > 0
    only = stage.ask("Dollar delta", moments=2, account=["U1"], strategy=["(none)"])
    assert [row["net_delta"] for row in only if row["metric"] == "SPY"] == [100.0] * 3
    table = stage.ask("Totals by underlying", underlying=["SPY"])
    assert [row["missing_vega"] for row in table] == [2]
    [whole] = stage.ask("Is it whole?")
    assert (whole["Positions"], whole["Without a tick"]) == (25, 1)


def test_profits_are_explained_by_the_greeks_at_the_start_of_each_step(stage):
    one = {"moments": 2, "account": ["U1"], "strategy": ["long call"]}
    path = stage.ask("Profit and loss since the start of the range", **one)

    # Two contracts; the third counts from the next moment on.
    expected = [
        {"profit_loss": 0, "delta": 0, "gamma": 0, "theta": 0, "vega": 0},
        {"profit_loss": 200, "delta": 200, "gamma": 4, "theta": -5 / 6, "vega": 84},
        {"profit_loss": 500, "delta": 100, "gamma": 5, "theta": -5 / 3, "vega": -36},
    ]
    for row, parts in zip(path, expected, strict=True):
        assert {name: row[name] for name in parts} == pytest.approx(parts)
        explained = sum(value for name, value in parts.items() if name != "profit_loss")
        assert row["residual"] == pytest.approx(parts["profit_loss"] - explained)
        assert (row["metric"], row["missing"], row["partial"]) == ("USD", 0, 0)

    [of_spy, of_qqq] = stage.ask("By underlying", moments=2)
    assert (of_spy["underlying"], of_qqq["underlying"]) == ("SPY", "QQQ")
    # The call, the other call, and the shares.
    assert of_spy["profit_loss"] == pytest.approx(500 + 250 + 100)
    parts = ("delta", "gamma", "theta", "vega", "residual")
    assert sum(of_spy[name] for name in parts) == pytest.approx(of_spy["profit_loss"])
    counts = ("positions", "explained", "missing", "partial")
    assert [of_spy[name] for name in counts] == [5, 3, 2, 1]
    assert of_qqq["profit_loss"] == 0


def test_a_position_that_was_closed_between_has_no_step_over_the_closed_time(stage):
    with stage.owner.transaction(force_rollback=True):
        hold(stage.owner, 0, at=START + timedelta(minutes=20))
        hold(stage.owner, 2, at=START + timedelta(minutes=50))
        query = interpolated(
            risk_queries()["By underlying"],
            *(START, MOMENT),
            moments=2,
            account=["U1"],
            strategy=["long call"],
        )
        [row] = stage.owner.cursor(row_factory=dict_row).execute(query)
    assert (row["profit_loss"], row["positions"], row["explained"]) == (None, 1, 0)


def test_implied_volatility_is_that_of_the_views_with_its_counts(stage):
    found = stage.ask("At the money for 30 days", moments=2)
    term = stage.ask("By expiration at the end of the range", underlying=["SPY"])

    shown = {row["time"]: {} for row in found}
    for row in found:
        shown[row["time"]][row["metric"]] = row["implied_volatility"]
    # Two calls of the same delta; the ticks of QQQ end before the last moment.
    assert [set(each) for each in shown.values()] == [
        {"QQQ", "SPY", "missing", "not used"},
        {"QQQ", "SPY", "missing", "not used"},
        {"SPY", "missing", "not used"},
    ]
    for each, (_, _, volatility) in zip(shown.values(), PATH, strict=True):
        assert each["SPY"] == pytest.approx((0.25 + volatility) / 2)
    assert [each["missing"] for each in shown.values()] == [0, 0, 1]
    assert [each["not used"] for each in shown.values()] == [1, 1, 21]
    assert [row["at_the_money"] for row in term] == [pytest.approx((0.25 + 0.18) / 2)]
    assert [(row["options"], row["not_used"]) for row in term] == [(3, 1)]


def test_limits_have_their_states_messages_and_deliveries(stage):
    states = stage.ask("States of the limits")
    messages = stage.ask("Messages")

    path = [(row["time"], row["metric"], row["state"]) for row in states]
    assert path == [
        (START, "Book vega", 1),
        (START, "SPY delta", 0),
        (START + timedelta(minutes=9), "SPY delta", 2),
        (START + timedelta(minutes=30), "SPY delta", 0),
    ]
    counts = [
        (row["kind"], row["sent"], row["failed"], row["reasons"]) for row in messages
    ]
    assert counts == [("recovery", 0, 0, None), ("breach", 1, 1, "phone: no way")]
    assert [row["rule"] for row in stage.ask("Limits now")] == [
        "Book vega",
        "SPY delta",
    ]


def test_gaps_are_marked_where_they_lie_in_the_range(stage):
    [gap] = stage.ask("annotation Gaps")
    [of_contract] = stage.ask("annotation Gaps of contracts")

    start, end = START + timedelta(minutes=5), START + timedelta(minutes=9)
    assert (gap["time"], gap["timeend"]) == (start, end)
    assert gap["text"] == "ibkr: disconnected"
    assert of_contract["text"] == f"ibkr U1 {CALL}: disconnected (lasts)"
    assert of_contract["timeend"] == MOMENT
    assert len(stage.ask("Intervals without data")) == 2
    assert stage.ask("annotation Gaps", broker=["tastytrade"]) == []


def test_a_large_book_has_fewer_moments(stage):
    with stage.owner.transaction(force_rollback=True):
        stage.owner.execute(
            "insert into positions (broker, account_id, contract_key, observed_at, kind,"
            " quantity) select 'ibkr', 'U3', n::text, %s, 'equity', 1"
            " from generate_series(1, 3975) n",
            [START],
        )
        query = interpolated(risk_queries()["Dollar delta"], START, MOMENT, moments=240)
        text = query.partition("totals as")[0].rstrip().removesuffix(",")
        [(moments,)] = stage.owner.execute(f"{text} select count(*) from moments")
    assert moments == 11


def test_the_reader_of_the_containers_may_read_and_not_write(empty_database):
    script = ROOT.joinpath("greeks_trio/deployment/grafana/reader.sql").read_text(
        "utf-8"
    )
    role = f"{empty_database.dbname}_reader"
    lines = [line for line in script.splitlines() if not line.startswith("\\set")]
    text = "\n".join(lines).replace(":'password'", f"'{PASSWORD}'")
    with connect(empty_database) as owner:
        owner.execute(text.replace("portfolio_reader", role).encode())
        apply_schema(empty_database)
        try:
            config = replace(empty_database, user=role, password=Secret(PASSWORD))
            with connect(config) as reader:
                for query in risk_queries().values():
                    reader.execute(interpolated(query, START, MOMENT))
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    reader.execute("delete from positions")
                reader.execute("set default_transaction_read_only = off")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    reader.execute("delete from positions")
        finally:
            owner.execute(f"drop owned by {role}")
            owner.execute(f"drop role {role}")


def test_the_numbers_of_the_states_have_their_names():
    [panel] = [each for each in risk_panels() if each["type"] == "state-timeline"]
    [mapping] = panel["fieldConfig"]["defaults"]["mappings"]

    names = [mapping["options"][str(number)]["text"] for number in range(5)]
    assert json.dumps(names) == '["ok", "unknown", "breached", "new", "removed"]'
    assert f"{{{','.join(names)}}}" in risk_queries()["States of the limits"]
