"""The timeline over HTTP: real sockets, a real PostgreSQL, clients that misbehave."""

from __future__ import annotations

import base64
import csv
import io
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlencode

import httpx2
import pytest
import trio

from greeks_trio.config.settings import Secret
from tests.database.risk_rows import (
    CALL,
    MOMENT,
    PUT,
    hold,
    hold_shares,
    risk_database,
    seconds,
    tick,
)
from tests.fix_postgres import connect, fresh_database
from tests.timeline import asking, serving, sessions, wait_sessions

# Far below any deadline of a client.
END_LIMIT_S = 5.0

TICKS = "/v1/greeks/snapshots"
AS_OF = urlencode({"at": MOMENT.isoformat()})
LISTS = [
    TICKS,
    "/v1/greeks/latest",
    f"/v1/greeks/asof?{AS_OF}",
    f"/v1/positions?{AS_OF}",
    f"/v1/portfolio?{AS_OF}",
    "/v1/divergence",
    f"/v1/risk/beta-weighted?benchmark=qqq&{AS_OF}",
    "/v1/risk/beta-weighted/totals",
    "/v1/market-metrics?symbol=AAPL",
    f"/v1/risk/skew?underlying=SPY&{AS_OF}",
    f"/v1/risk/term-structure?{AS_OF}",
    "/v1/accounts/values",
    "/v1/accounts/values/history?account_id=U1&start=2020-01-01T00:00:00Z",
    "/v1/gaps",
    "/v1/outages",
    "/v1/trades",
    "/v1/alerts?severity=warning",
    "/v1/alerts/events?kind=breach",
]


# Many megabytes, more than all buffers between the service and a client.
MANY_PAYLOADS = (
    "insert into greek_snapshots (event_time, received_at, broker, account_id,"
    " underlying, contract_key, delta, availability, source_payload, fingerprint)"
    " select now() + i * interval '1 us', now(), 'ibkr', 'U1', repeat('x', 2000), 'C',"
    " 0.5, 'realtime', '{}', i from generate_series(1, 20000) i"
)


@pytest.fixture
def database(emptied_database):
    """To empty a database costs less than to make one for each test."""
    return emptied_database


@pytest.fixture
def db(database):
    with risk_database(database) as connection:
        yield connection


@asynccontextmanager
async def answering(database, **limits):
    """Yield a client of the timeline in the database."""
    async with asking(database, **limits) as timeline, serving(timeline) as client:
        yield client


@pytest.fixture
def some_rows(db):
    """At least one row for each list."""
    in_years = {"expiration": "2099-12-18"}
    for broker in ("ibkr", "tastytrade"):
        hold(db, broker=broker, **in_years)
        tick(db, broker=broker, **in_years)
    hold(db, -2, PUT, option_type="put")
    tick(db, PUT, option_type="put", delta=-0.5)
    hold_shares(db, 100)
    db.execute(
        "insert into feed_gaps values ('ibkr', null, null, now(), null, 'silence')"
    )
    db.execute(
        "insert into market_metrics (symbol, source, observed_at, beta, beta_date)"
        " values ('AAPL', 'file', %s, 1.25, '2025-11-03')",
        [MOMENT],
    )
    db.execute(
        "insert into account_values (broker, account_id, observed_at, net_liquidation,"
        " maintenance_margin) values ('ibkr', 'U1', now(), 1000.5, 250.125),"
        " ('ibkr', 'U1', now() - interval '1 minute', -5, 0)"
    )
    db.execute(
        "insert into trades (broker, account_id, symbol, action, quantity)"
        " values ('ibkr', 'U1', 'SPY', 'buy', 1.25)"
    )
    same = "'d', 'delta', 'SPY', 'units', 'above 5', 'warning'"
    message = "'0b8d1f0e-7c1f-4f0e-9d55-3f5a5d3a7a11'"
    db.execute(
        "insert into alert_states (rule, figure, scope, unit, threshold, severity, state,"
        " since, value, positions, missing, stale, beyond_s, unknown_s, evaluated_at)"
        f" values ({same}, 'breached', now(), 6.5, 1, 0, 0, 0, 0, now())"
    )
    db.execute(
        "insert into alert_events (rule, figure, scope, unit, threshold, severity, kind,"
        " at, from_state, to_state, value, positions, missing, stale, message, message_id)"
        f" values ({same}, 'breach', now(), 'ok', 'breached', 6.5, 1, 0, 0, 'it',"
        f" {message})"
    )
    db.execute(
        "insert into alert_deliveries (message_id, channel, outcome, finished_at)"
        f" values ({message}, 'desk', 'sent', now()), ({message}, 'phone', 'waiting', null)"
    )


async def test_rows_have_the_columns_that_the_description_promises(database, some_rows):
    async with answering(database) as client:
        answers = {path: await client.get(path) for path in LISTS}
        description = (await client.get("/openapi.json")).json()

    for path, answer in answers.items():
        operation = description["paths"][path.partition("?")[0]]["get"]
        page = operation["responses"]["200"]["content"]["application/json"]["schema"]
        row = page["properties"]["items"]["items"]
        items = answer.json()["items"]
        assert items, path
        for item in items:
            assert set(item) == set(row["required"]) == set(row["examples"][0]), path


async def test_the_three_formats_say_the_same(database, some_rows):
    async with answering(database) as client:
        for path in LISTS:
            items = (await client.get(path)).json()["items"]
            lines = await client.get(path, headers={"Accept": "application/x-ndjson"})
            table = await client.get(path, headers={"Accept": "text/csv"})
            assert_same(path, items, lines.text, table.text)


def assert_same(path, items, lines, table):
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    for item, line, row in zip(items, lines.splitlines(), rows, strict=True):
        from_line = json.loads(line)
        # The ages differ, because each request has its own present moment.
        for name in item:
            if not name.endswith("age_s"):
                assert from_line[name] == item[name], path
                # A list of objects is JSON in its cell.
                is_json = name == "deliveries"
                cell = json.loads(row[name]) if is_json else row[name]
                value = item[name] if is_json else _as_csv(item[name])
                assert cell == value, path


def _as_csv(value):
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


async def walk(client, path, while_walking):
    """Return all rows of a list, from page to page."""
    rows, cursor = [], None
    while True:
        query = {} if cursor is None else {"cursor": cursor}
        answer = await client.get(f"{path}&{urlencode(query)}")
        assert answer.status_code == 200, answer.text
        rows += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return rows
        while_walking()


@pytest.mark.parametrize(
    "query", ["limit=7", f"limit=7&{urlencode({'contract_key': CALL})}"]
)
async def test_a_walk_misses_nothing_and_repeats_nothing(database, db, query):
    for number in range(30):
        tick(db, event_time=MOMENT + seconds(number // 4))

    def insert():
        tick(db, event_time=MOMENT - seconds(1))  # late, behind the walk
        tick(db, event_time=MOMENT + seconds(1))

    async with answering(database) as client:
        rows = await walk(client, f"{TICKS}?{query}", insert)

    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids))
    assert set(range(1, 31)) <= set(ids)


@pytest.fixture(scope="module")
def database_of_many_ticks(postgres_server, database_template):
    """More than all buffers of a connection hold, some 20 MB; tests only read it."""
    with (
        fresh_database(postgres_server, database_template.dbname) as database,
        risk_database(database) as connection,
    ):
        connection.execute(
            "insert into greek_snapshots (event_time, received_at, broker, account_id,"
            " underlying, contract_key, delta, availability, source_payload, fingerprint)"
            " select %s + i * interval '1 ms', now(), 'ibkr', 'U1', 'SPY', 'C', 0.5,"
            " 'realtime', '{}', i from generate_series(1, 50000) i",
            [MOMENT],
        )
        yield database, connection


@pytest.fixture
async def many_ticks(database_of_many_ticks):
    """The database of many ticks and a connection to it, when no test reads it."""
    database, db = database_of_many_ticks
    await wait_sessions(db, 0)
    return database, db


async def test_an_export_has_every_row(many_ticks):
    database, _ = many_ticks
    async with answering(database) as client:
        csv_answer = await client.get(f"{TICKS}?format=csv")
        json_lines = await client.get(f"{TICKS}?format=ndjson")

    assert len(csv_answer.text.splitlines()) == 50_001
    assert len(json_lines.text.splitlines()) == 50_000


async def test_a_client_that_leaves_midway_gives_the_connection_back(many_ticks):
    # Its slot is free a moment after PostgreSQL has ended the query.
    database, db = many_ticks
    async with answering(database, max_exports=3) as client:
        for _ in range(3):
            async with await _begin_export(client) as stream:
                assert await stream.receive_some()
                assert sessions(db, "state <> 'idle'")
            await wait_sessions(db, 0, "state <> 'idle'")


async def _begin_export(client):
    stream = await trio.open_tcp_stream("127.0.0.1", client.base_url.port)
    request = f"GET {TICKS}?format=ndjson HTTP/1.1\r\nHost: localhost\r\n\r\n"
    await stream.send_all(request.encode())
    return stream


async def test_a_client_that_does_not_read_keeps_only_its_own_export(many_ticks):
    """The rows wait in PostgreSQL; other requests are answered."""
    database, db = many_ticks
    async with answering(database, max_exports=1) as client:
        async with client.stream("GET", f"{TICKS}?format=ndjson") as slow:
            assert slow.status_code == 200
            await wait_sessions(db, 1, "state = 'idle in transaction'")

            page = await client.get(f"{TICKS}?limit=1")
            other_export = await client.get(f"{TICKS}?format=ndjson")

    assert page.status_code == 200
    assert other_export.status_code == 503
    assert other_export.headers["retry-after"] == "1"


async def test_an_export_that_loses_its_database_is_broken_off(many_ticks):
    received = []
    database, db = many_ticks
    async with answering(database) as client:
        async with client.stream("GET", f"{TICKS}?format=csv") as answer:
            await wait_sessions(db, 1, "state = 'idle in transaction'")
            [pid] = sessions(db)
            db.execute("select pg_terminate_backend(%s, 5000)", [pid])
            with pytest.raises(httpx2.RemoteProtocolError):
                await _read_into(received, answer)

    assert 0 < b"".join(received).count(b"\n") < 50_000


async def _read_into(received, answer):
    async for chunk in answer.aiter_bytes():
        received.append(chunk)


async def test_reads_beyond_the_limits_are_refused_and_the_others_answered(
    database, db
):
    """One read runs and four wait, so of eight at least three are refused."""
    statuses = []

    async def ask(client):
        answer = await client.get(TICKS)
        statuses.append((answer.status_code, answer.headers.get("retry-after")))

    async with answering(database, max_reads=1) as client:
        db.execute("begin")
        db.execute("lock table greek_snapshots")
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(ask, client)
            while len(statuses) < 3:
                await trio.lowlevel.checkpoint()
            db.execute("rollback")

    assert sorted(statuses, key=str) == [(200, None)] * 5 + [(503, "1")] * 3


async def test_a_read_that_takes_too_long_is_ended(database, db):
    async with answering(database, read_timeout_s=0.2) as client:
        db.execute("begin")
        db.execute("lock table greek_snapshots")
        answer = await client.get(TICKS)
        db.execute("rollback")
        after = await client.get(TICKS)

    assert answer.status_code == 504
    assert "shorter time" in answer.json()["detail"]
    assert after.status_code == 200


async def test_without_a_database_it_says_so(database):
    away = replace(
        database, hosts=("127.0.0.1",), ports=(1,), password=Secret("s3cret")
    )
    async with answering(away) as client:
        page = await client.get(TICKS)
        export = await client.get(f"{TICKS}?format=csv")

    for answer in (page, export):
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "s3cret" not in answer.text


LIKE_SQL = ("' or true --", "'; drop table trades; --", "%s", "%(x)s", "\\", "{}")


async def test_text_that_looks_like_sql_is_a_value(database, db, some_rows):
    async with answering(database) as client:
        for text in LIKE_SQL:
            by_account = await client.get(f"{TICKS}?{urlencode({'account_id': text})}")
            by_key = [
                await client.get(f"{TICKS}?{urlencode({name: text})}")
                for name in ("contract_key", "underlying")
            ]
            assert by_account.json() == {"items": [], "next_cursor": None}, text
            assert [answer.status_code for answer in by_key] == [422, 422], text
            trades = db.execute("select count(*) from trades").fetchone()
            assert trades == (1,), text


async def test_a_forged_position_in_a_cursor_is_refused(database, db):
    tick(db)
    tick(db)
    async with answering(database) as client:
        page = await client.get(f"{TICKS}?limit=1")
        cursor = page.json()["next_cursor"]
        forged = _forge(cursor)
        answer = await client.get(f"{TICKS}?cursor={forged}")

    assert answer.status_code == 422


def _forge(cursor):
    version, digest, position = json.loads(
        base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    )
    position[0] = "' or true --"
    forged = json.dumps([version, digest, position]).encode()
    return base64.urlsafe_b64encode(forged).decode().rstrip("=")


async def test_a_trade_that_is_recorded_can_be_read(database, db):
    trade = {
        "id": "0b8d1f0e-7c1f-4f0e-9d55-3f5a5d3a7a11",
        "broker": "ibkr",
        "account_id": "U1",
        "symbol": "SPY",
        "action": "buy",
        "quantity": "0.10",
        "metadata": {"fee": 0.65},
        "created_at": "2026-11-20T10:30:00-05:00",
    }
    async with answering(database) as client:
        created = await client.post("/v1/trades", json=trade)
        again = await client.post("/v1/trades", json=trade)
        other = await client.post("/v1/trades", json=trade | {"quantity": 2})
        listed = await client.get("/v1/trades?symbol=SPY")

    assert [created.status_code, again.status_code, other.status_code] == [
        201,
        200,
        409,
    ]
    assert again.json() == created.json()
    assert listed.json()["items"] == [created.json()]
    assert created.json()["created_at"] == "2026-11-20T15:30:00.000000Z"
    assert '"quantity":0.10,' in created.text


async def test_a_trade_joins_the_ticks_of_its_contract_however_it_was_spelt(
    database, db
):
    tick(db)
    trade = {
        "id": "0b8d1f0e-7c1f-4f0e-9d55-3f5a5d3a7a11",
        "broker": "ibkr",
        "account_id": "U1",
        "symbol": "SPY",
        "action": "buy",
        "quantity": 1,
    }
    async with answering(database) as client:
        answers = [
            (await client.post("/v1/trades", json=trade | {"contract_key": spelt}))
            for spelt in (CALL.replace(" ", ""), CALL)
        ]

    # The same trade twice, with and without spaces between root and date.
    assert [answer.status_code for answer in answers] == [201, 200]
    joined = "select count(*) from trades join greek_snapshots using (contract_key)"
    assert db.execute(joined).fetchone() == (1,)


async def test_the_end_of_the_service_ends_exports(many_ticks):
    """At once, although its client does not read."""
    database, db = many_ticks
    async with answering(database) as client:
        stream = await _begin_export(client)
        await wait_sessions(db, 1, "state = 'idle in transaction'")
        ended_at = trio.current_time()

    assert trio.current_time() - ended_at < END_LIMIT_S
    await wait_sessions(db, 0)
    await stream.aclose()


@pytest.mark.timeout(120)
async def test_a_running_service_answers_and_stops_although_a_client_does_not_read(
    stage,
):
    """Every list while ticks come in; then SIGTERM in the middle of an export."""
    async with stage.simulate("--contracts", "20", "--rate", "60") as simulators:
        stage.configure(await simulators.read_json())
        async with stage.serve() as service:
            listening = await service.wait_line("http.listening")
            await service.wait_line("writer.connected")
            for broker in ("ibkr", "tastytrade"):
                await stage.wait_rows(broker, 20)
            async with httpx2.AsyncClient(
                base_url=listening.partition("url=")[2], timeout=30, trust_env=False
            ) as client:
                answers = [await client.get(path) for path in LISTS]
                with connect(stage.database) as db:
                    db.execute(MANY_PAYLOADS)
                stream = await _begin_export(client)
                async with stream:
                    assert await stream.receive_some()
                    status = await service.stop()

    counts = [len(answer.json()["items"]) for answer in answers]
    assert [answer.status_code for answer in answers] == [200] * len(LISTS)
    assert counts[0] >= 40  # ticks
    assert counts[1] >= 20  # contracts
    assert status == 0, service.transcript()
