"""psycopg on Trio: values, transactions, cancellation and a bad network."""

from __future__ import annotations

import ast
import socket
import sys
import threading
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg.pq import TransactionStatus
from psycopg.waiting import Wait

import greeks_trio.postgres.connection
from greeks_trio.postgres.connect import connection_arguments, open_connection
from greeks_trio.postgres.connection import TrioConnection
from tests.fix_postgres import connect

MANY_ROWS = "select repeat('x', 100) from generate_series(1, 100000000)"


@pytest.fixture
def database(emptied_database):
    """The database of the module, with no table of an earlier test."""
    return emptied_database


@pytest.fixture
async def connection(database):
    """A connection that starts transactions by itself, as psycopg does."""
    async with open_connection(database) as connection:
        yield connection


@pytest.fixture
def observer(database):
    """A second connection, which sees the state of the others."""
    with connect(database) as observer:
        yield observer


def server_state(observer, pid):
    """Return the state of a backend, `None` when it is gone."""
    row = observer.execute(
        "select state from pg_stat_activity where pid = %s", [pid]
    ).fetchone()
    return row and row[0]


async def wait_server_state(observer, pid, state):
    """Wait until the backend is in this state."""
    while True:
        if server_state(observer, pid) == state:
            return
        await trio.lowlevel.checkpoint()


async def wait_asleep(observer, pid):
    """Wait until the backend is in ``pg_sleep``.

    Between the messages of a query it is active as well, and ignores a request to cancel.
    """
    query = "select wait_event = 'PgSleep' from pg_stat_activity where pid = %s"
    while observer.execute(query, [pid]).fetchone() != (True,):
        await trio.lowlevel.checkpoint()


async def cancel_once_active(observer, connection, operation):
    """Run the operation and cancel it once the server is at it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operation)
        await wait_server_state(observer, connection.info.backend_pid, "active")
        nursery.cancel_scope.cancel()


async def one(connection, query, params=None):
    """Return the only value of a query."""
    cursor = await connection.execute(query, params)
    [[value]] = await cursor.fetchall()
    return value


def test_the_module_imports_only_the_standard_library_trio_and_psycopg():
    found = set()
    source = Path(greeks_trio.postgres.connection.__file__).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add(str(node.module).split(".")[0])

    assert found - set(sys.stdlib_module_names) == {"trio", "psycopg"}
    assert "asyncio" not in found


# Without any failure.


async def test_values_go_there_and_come_back(connection):
    assert await one(connection, "select %s::int8 + 1", [41]) == 42


async def test_copy_in_and_out_are_each_others_inverse(connection):
    rows = [(number, f"row {number}") for number in range(20_000)]
    async with connection.cursor() as cursor:
        await cursor.execute("create temp table t (n int4, s text)")
        async with cursor.copy("copy t from stdin (format binary)") as copy:
            copy.set_types(["int4", "text"])
            for row in rows:
                await copy.write_row(row)
        async with cursor.copy("copy t to stdout (format binary)") as copy:
            copy.set_types(["int4", "text"])
            found = [row async for row in copy.rows()]

    assert found == rows


async def test_a_server_cursor_reads_in_steps(connection):
    async with connection.cursor("steps") as cursor:
        await cursor.execute("select generate_series(1, 1000)")
        first = await cursor.fetchmany(10)
        rest = [row async for row in cursor]

    assert len(first) == 10
    assert len(rest) == 990


async def test_a_pipeline_answers_in_order(connection):
    async with connection.pipeline():
        cursors = [
            await connection.execute("select %s::int", [number])
            for number in range(2000)
        ]
        answers = [(await cursor.fetchone())[0] for cursor in cursors]

    assert answers == list(range(2000))


async def test_executemany_inserts_all(connection):
    await connection.execute("create temp table t (n int4)")
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "insert into t values (%s)", [(n,) for n in range(500)]
        )

    assert await one(connection, "select count(*) from t") == 500


async def test_a_transaction_inside_another_is_a_savepoint(connection):
    async with connection.transaction():
        await connection.execute("create temp table t (n int4)")
        async with connection.transaction() as savepoint:
            await connection.execute("insert into t values (1)")
            raise psycopg.Rollback(savepoint)
        await connection.execute("insert into t values (2)")

    assert await one(connection, "select sum(n) from t") == 2


async def test_notifications_arrive(connection, observer):
    await connection.set_autocommit(True)
    await connection.execute("listen word")
    observer.execute("notify word, 'hello'")

    found = [item async for item in connection.notifies(timeout=5, stop_after=1)]

    assert [(item.channel, item.payload) for item in found] == [("word", "hello")]


async def test_waiting_for_notifications_ends_in_time(connection):
    await connection.set_autocommit(True)
    await connection.execute("listen word")

    assert [item async for item in connection.notifies(timeout=0.01)] == []


async def test_a_look_for_notifications_without_waiting_finds_those_that_came(
    connection, observer
):
    await connection.set_autocommit(True)
    await connection.execute("listen word")
    observer.execute("notify word")
    await trio.lowlevel.wait_readable(connection.fileno())

    assert len([item async for item in connection.notifies(timeout=0)]) == 1


async def test_a_two_phase_transaction_begins_and_rolls_back(connection):
    # The server's default allows none to be prepared.
    await connection.tpc_begin(connection.xid(1, "gtrid", "bqual"))
    assert connection.info.transaction_status == TransactionStatus.INTRANS
    await connection.tpc_rollback()

    assert connection.info.transaction_status == TransactionStatus.IDLE


async def test_tasks_that_share_a_connection_take_turns(connection):
    async def ask(number):
        for _ in range(20):
            assert await one(connection, "select %s::int", [number]) == number

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(ask, number)


async def test_a_copy_lets_other_tasks_run(connection):
    """Its socket is nearly always ready, so it has to make way by itself."""
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    await connection.execute("create temp table t (n int4, s text)")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        async with (
            connection.cursor() as cursor,
            cursor.copy("copy t from stdin") as copy,
        ):
            for number in range(20_000):
                await copy.write_row((number, "x" * 100))
            turns_during_copy = turns
        nursery.cancel_scope.cancel()

    assert turns_during_copy > 0


async def test_the_next_host_is_tried_when_one_refuses(database):
    arguments = connection_arguments(database)
    arguments["host"] = f"{database.server.host},{database.server.host}"
    arguments["port"] = f"1,{database.server.port}"

    async with await TrioConnection.connect(**arguments) as connection:
        assert await one(connection, "select 1") == 1


async def test_a_name_is_resolved_without_holding_up_others(monkeypatch):
    release = threading.Event()

    def resolve(*_args, **_kwargs):
        release.wait(10)
        raise OSError("the name is unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with trio.move_on_after(0.05) as scope:
        await TrioConnection.connect(host="name.invalid")
    release.set()

    assert scope.cancelled_caught


async def test_another_task_may_close_a_generator(connection):
    rows = connection.cursor().stream("values (1), (2)")

    begun = trio.Event()

    async def begin():
        assert await anext(rows) == (1,)
        begun.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(begin)
        await begun.wait()
        await rows.aclose()

    await connection.rollback()
    assert await one(connection, "select 1") == 1


async def test_the_lock_is_psycopgs_in_public(connection):
    lock = connection.lock
    assert not lock.locked()
    assert await lock.acquire()
    assert lock.locked()
    lock.release()
    async with lock:
        assert lock.locked()


# Cancellation.


async def test_a_cancelled_query_ends_on_the_server(connection, observer):
    await cancel_once_active(
        observer, connection, lambda: connection.execute("select pg_sleep(60)")
    )

    pid = connection.info.backend_pid
    assert server_state(observer, pid) == "idle in transaction (aborted)"
    await connection.rollback()
    assert await one(connection, "select 1") == 1


class LosesACancel(TrioConnection):
    """Its first request to cancel gets lost on the way."""

    requests = 0

    async def _try_cancel(self, *, timeout=5.0):  # noqa: ASYNC109
        self.requests += 1
        if self.requests > 1:
            await super()._try_cancel(timeout=timeout)


async def test_a_request_to_cancel_that_is_lost_is_repeated(database, observer):
    async with await LosesACancel.connect(
        **connection_arguments(database)
    ) as connection:
        await cancel_once_active(
            observer, connection, lambda: connection.execute("select pg_sleep(60)")
        )

        assert connection.requests == 2
        await connection.rollback()
        assert await one(connection, "select 1") == 1


async def copy_in_for_ever(connection):
    async with connection.cursor() as cursor, cursor.copy("copy t from stdin") as copy:
        while True:
            await copy.write_row(("x" * 1000,))


async def copy_out_for_ever(connection):
    async with connection.cursor() as cursor:
        async with cursor.copy(f"copy ({MANY_ROWS}) to stdout") as copy:
            while await copy.read():
                pass


async def stream_for_ever(connection):
    async for _ in connection.cursor().stream(MANY_ROWS):
        pass


async def pipeline_for_ever(connection):
    async with connection.pipeline() as pipeline:
        await connection.execute("select pg_sleep(60)")
        await connection.execute("select 1")
        await pipeline.sync()


async def transaction_for_ever(connection):
    async with connection.transaction(), connection.transaction():
        await connection.execute("select pg_sleep(60)")


@pytest.mark.parametrize(
    "operation",
    [
        copy_in_for_ever,
        copy_out_for_ever,
        stream_for_ever,
        pipeline_for_ever,
        transaction_for_ever,
    ],
)
async def test_whatever_is_cancelled_leaves_the_connection_in_order(
    connection, observer, operation
):
    await connection.execute("create temp table t (s text)")
    await connection.commit()

    await cancel_once_active(observer, connection, lambda: operation(connection))

    assert server_state(observer, connection.info.backend_pid).startswith("idle")
    await connection.rollback()
    assert await one(connection, "select count(*) from t") == 0


async def test_a_transaction_that_is_cancelled_between_its_statements_is_rolled_back(
    connection,
):
    with trio.CancelScope() as scope:
        async with connection.transaction():
            await connection.execute("create table half_done (n int)")
            scope.cancel()

    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert await one(connection, "select to_regclass('half_done')") is None


async def test_an_operation_in_a_cancelled_scope_sends_nothing(connection):
    await connection.set_autocommit(True)
    with trio.CancelScope() as scope:
        scope.cancel()
        await connection.execute("create table never (n int)")

    assert scope.cancelled_caught
    assert await one(connection, "select to_regclass('never')") is None


async def test_a_connection_that_is_left_by_a_cancellation_is_closed(
    database, observer
):
    with trio.CancelScope() as scope:
        async with await TrioConnection.connect(
            **connection_arguments(database)
        ) as connection:
            pid = connection.info.backend_pid
            await connection.execute("select 1")
            scope.cancel()
            await trio.lowlevel.checkpoint()

    assert connection.closed
    await wait_server_state(observer, pid, None)


async def test_cancel_safe_ends_another_tasks_query(connection, observer):
    async def be_cancelled():
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("select pg_sleep(60)")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_cancelled)
        await wait_asleep(observer, connection.info.backend_pid)
        await connection.cancel_safe()


async def test_closing_wakes_the_task_that_waits(connection, observer):
    async def be_closed():
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("select pg_sleep(60)")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(be_closed)
        await wait_server_state(observer, connection.info.backend_pid, "active")
        await connection.close()


# A bad network.


async def test_a_deaf_server_costs_the_connection_within_the_bound(proxy):
    async with open_connection(proxy.config) as connection:
        connection.cancel_limit_s = 0.2
        proxy.go_deaf()
        started_at = trio.current_time()

        with trio.move_on_after(0.1):
            await connection.execute("select 1")

        assert connection.closed
        assert 0.3 <= trio.current_time() - started_at < 4


async def test_a_deaf_server_costs_a_copy_within_the_bound(proxy, observer):
    async with open_connection(proxy.config) as connection:
        connection.cancel_limit_s = 0.2
        await connection.execute("create temp table t (s text)")
        proxy.go_deaf()
        started_at = trio.current_time()

        with trio.move_on_after(0.1):
            await copy_in_for_ever(connection)

        assert connection.closed
        assert trio.current_time() - started_at < 4


async def test_a_cut_connection_says_so(proxy):
    async with open_connection(proxy.config) as connection:
        await proxy.cut()

        with pytest.raises(psycopg.OperationalError):
            await connection.execute("select 1")
        assert connection.closed


async def test_one_answer_too_many_is_an_error_of_the_connection(connection):
    """As after an error during COPY through PgBouncer, which adds an error of its own."""

    def answers():
        yield Wait.W
        (_,) = [1, 2]

    with pytest.raises(psycopg.OperationalError, match="do not belong together"):
        await connection.wait(answers())
