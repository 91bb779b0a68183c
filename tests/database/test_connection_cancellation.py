"""Cancel at each point where an operation of a connection can be cancelled.

An operation is run again and again, cancelled first where it waits for the first time,
then where it waits for the second, and so on until it ends before it is cancelled.  Each
time the connection has to be either in order, which a query and its answer prove, or
closed; and in the end no file descriptor may be left over.
"""

from __future__ import annotations

import os
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import count

import psycopg
import pytest
import trio
from psycopg import errors
from psycopg.pq import PipelineStatus, TransactionStatus

from greeks_trio.postgres.connect import connection_arguments
from greeks_trio.postgres.connection import TrioConnection
from tests.fix_postgres import connect

# More places to wait than any of the operations has.
MOST = 400
# A healthy server never needs so long.
LIMIT_S = 10


@pytest.fixture
def database(emptied_database):
    """The database of the module, with no table of an earlier test."""
    return emptied_database


class CancelsAtStep(trio.abc.Instrument):
    """Cancels a scope when a task has come to wait for the ``step``-th time."""

    def __init__(self, step, scope):
        self._left = step
        self._scope = scope
        self._task = trio.lowlevel.current_task()
        self.has_fired = False

    def after_task_step(self, task):
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self.has_fired = True
                self._scope.cancel()
                self.on_fire()

    def on_fire(self):
        """What else has to happen at that moment."""


async def cancelled_at(step, operation, on_fire=lambda: None):
    """Run the operation; return whether it was cancelled where it waits so often."""
    with trio.CancelScope() as scope:
        instrument = CancelsAtStep(step, scope)
        instrument.on_fire = on_fire
        trio.lowlevel.add_instrument(instrument)
        try:
            await operation()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return instrument.has_fired


def open_files():
    return len(os.listdir("/proc/self/fd"))


# The operations.  Each has its whole effect, or none.


async def execute(connection):
    await connection.execute("select pg_sleep(0.001), generate_series(1, 3)")


async def execute_big(connection):
    """More than the socket takes at once, so that it waits to write as well."""
    await connection.execute("select length(%s)", ["x" * 3_000_000])


async def commit(connection):
    await connection.execute("insert into t values ('committed')")
    await connection.commit()


async def transaction(connection):
    async with connection.transaction():
        await connection.execute("insert into t values ('outer')")
        async with connection.transaction():
            await connection.execute("insert into t values ('inner')")


async def copy_in(connection):
    async with connection.cursor() as cursor, cursor.copy("copy t from stdin") as copy:
        for _ in range(30):
            await copy.write_row(("x" * 100_000,))


async def copy_in_between_rows(connection):
    async with connection.cursor() as cursor, cursor.copy("copy t from stdin") as copy:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            await copy.write_row(("x",))


async def copy_out(connection):
    query = "copy (select repeat('x', 100000) from generate_series(1, 30)) to stdout"
    async with connection.cursor() as cursor, cursor.copy(query) as copy:
        async for _ in copy:
            pass


async def copy_out_between_rows(connection):
    query = "copy (select generate_series(1, 3)) to stdout"
    async with connection.cursor() as cursor, cursor.copy(query) as copy:
        for row in (b"1\n", b"2\n", b"3\n", b""):
            assert await copy.read() == row
            await trio.lowlevel.checkpoint()


async def pipeline(connection):
    async with connection.pipeline() as pipeline:
        await connection.execute("insert into t values ('first')")
        cursor = await connection.execute("select pg_sleep(0.001)")
        await pipeline.sync()
        await cursor.fetchall()
        await connection.execute("insert into t values ('second')")


async def pipeline_in_transaction(connection):
    async with connection.pipeline(), connection.transaction():
        await connection.execute("insert into t values ('first')")
        async with connection.transaction():
            await connection.execute("insert into t values ('second')")


async def executemany(connection):
    async with connection.cursor() as cursor:
        await cursor.executemany("insert into t values (%s)", [["x" * 1000]] * 50)


async def stream(connection):
    query = "select generate_series(1, 3)"
    async with aclosing(connection.cursor().stream(query)) as rows:
        async for _ in rows:
            await trio.lowlevel.checkpoint()


async def server_cursor(connection):
    async with connection.cursor("steps", scrollable=True) as cursor:
        await cursor.execute("select generate_series(1, 30)")
        await cursor.fetchmany(10)
        await cursor.scroll(-5)
        await cursor.fetchall()


async def notifies(connection):
    await connection.execute("listen word")
    await connection.execute("notify word, 'hello'")
    await connection.commit()
    async with aclosing(connection.notifies(timeout=0.01)) as found:
        async for _ in found:
            await trio.lowlevel.checkpoint()
    await connection.execute("unlisten word")


async def two_phase(connection):
    await connection.tpc_begin("word")
    await connection.execute("insert into t values ('two phases')")
    await connection.tpc_rollback()


async def settings(connection):
    await connection.set_autocommit(True)
    await connection.execute("select 1")
    await connection.set_autocommit(False)
    await connection.set_read_only(False)


OPERATIONS = [
    execute,
    execute_big,
    commit,
    transaction,
    copy_in,
    copy_in_between_rows,
    copy_out,
    copy_out_between_rows,
    pipeline,
    pipeline_in_transaction,
    executemany,
    stream,
    server_cursor,
    notifies,
    two_phase,
    settings,
]


@pytest.fixture
def table(database):
    """A database with an empty table, and a connection that sees committed rows."""
    with connect(database) as observer:
        observer.execute("create table t (s text)")
        yield observer


@asynccontextmanager
async def connected(config, limit_s=LIMIT_S):
    """Yield a connection and close it in any case."""
    connection = await TrioConnection.connect(**connection_arguments(config))
    connection.cancel_limit_s = limit_s
    try:
        yield connection
    finally:
        connection.close_nowait()


async def assert_in_order(connection):
    """Fail unless the next answers belong to the next questions."""
    assert connection.info.pipeline_status == PipelineStatus.OFF
    assert connection.info.transaction_status != TransactionStatus.ACTIVE
    assert not connection.lock.locked()
    try:
        await connection.rollback()
    except psycopg.ProgrammingError:
        await connection.tpc_rollback()
    assert connection.info.transaction_status == TransactionStatus.IDLE
    for number in (7, 8):
        cursor = await connection.execute("select %s::int", [number])
        assert await cursor.fetchall() == [(number,)]
    async with connection.transaction():
        await connection.execute("select 1")
    await connection.rollback()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_cancelling_wherever_it_waits_leaves_the_connection_in_order(
    database, table, operation
):
    before = open_files()
    for step in count(1):
        assert step < MOST
        async with connected(database) as connection:
            fired = await cancelled_at(step, lambda: operation(connection))

            assert not connection.closed, f"closed by the cancellation at {step}"
            await assert_in_order(connection)
        if not fired:
            break
    assert step > 1
    assert open_files() == before


class CancelsAtOperation(TrioConnection):
    """Cancels ``scope`` before the n-th exchange, as the task that uses it might."""

    scope = None
    left = 0

    async def wait(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()
        return await super().wait(*args, **kwargs)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_cancelling_between_two_exchanges_leaves_the_connection_in_order(
    database, table, operation
):
    for number in count(1):
        assert number < MOST
        connection = await CancelsAtOperation.connect(**connection_arguments(database))
        try:
            with trio.CancelScope() as scope:
                connection.scope, connection.left = scope, number
                await operation(connection)
            is_over, connection.left = connection.left > 0, 0

            assert not connection.closed, f"closed by the cancellation at {number}"
            await assert_in_order(connection)
        finally:
            connection.close_nowait()
        if is_over:
            break
    assert number > 1


@pytest.mark.parametrize(
    ("operation", "whole"),
    [(commit, 1), (transaction, 2), (copy_in_between_rows, 0), (executemany, 0)],
)
async def test_a_cancelled_operation_has_its_whole_effect_or_none(
    database, table, operation, whole
):
    for step in count(1):
        table.execute("truncate t")
        async with connected(database) as connection:
            fired = await cancelled_at(step, lambda: operation(connection))
        [[found]] = table.execute("select count(*) from t").fetchall()

        assert found in {0, whole}
        if not fired:
            break
    assert found == whole


async def test_a_copy_that_is_cancelled_before_its_end_copies_nothing(database, table):
    """Also in autocommit, where no rollback follows."""
    async with connected(database) as connection:
        await connection.set_autocommit(True)
        with trio.CancelScope() as scope:
            async with (
                connection.cursor() as cursor,
                cursor.copy("copy t from stdin") as copy,
            ):
                await copy.write_row(("x",))
                scope.cancel()

        assert scope.cancelled_caught
        await connection.execute("select 1")
    assert table.execute("select count(*) from t").fetchall() == [(0,)]


async def test_a_statement_of_a_pipeline_that_is_cancelled_before_is_not_sent(
    database, table
):
    async with connected(database) as connection:
        await connection.set_autocommit(True)
        with trio.CancelScope() as scope:
            async with connection.pipeline():
                scope.cancel()
                await connection.execute("insert into t values ('never')")

        assert scope.cancelled_caught
        await connection.execute("select 1")
    assert table.execute("select count(*) from t").fetchall() == [(0,)]


@pytest.mark.parametrize("how", ["copy", "stream"])
async def test_a_server_that_goes_deaf_between_two_rows_costs_no_more_than_the_limit(
    proxy, how
):
    """What psycopg allows for a request to cancel is more than our limit."""
    query = "select generate_series(1, 1000000)"
    async with connected(proxy.config, limit_s=0.05) as connection:
        started_at = trio.current_time()
        with trio.CancelScope() as scope:
            if how == "copy":
                cursor = connection.cursor()
                async with cursor.copy(f"copy ({query}) to stdout") as copy:
                    await copy.read()
                    proxy.go_deaf()
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
            else:
                async with aclosing(connection.cursor().stream(query)) as rows:
                    await anext(rows)
                    proxy.go_deaf()
                    scope.cancel()
                    await trio.lowlevel.checkpoint()

        assert connection.closed
        assert trio.current_time() - started_at < 4


async def test_cancelling_connect_wherever_it_waits_leaves_nothing_open(database):
    arguments = connection_arguments(database)
    arguments |= {"host": f"{database.server.host},{database.server.host}"}
    arguments |= {"port": f"1,{database.server.port}"}

    async def operation():
        nonlocal connection
        connection = await TrioConnection.connect(**arguments)
        connection.close_nowait()

    connection = None
    await trio.to_thread.run_sync(
        lambda: None
    )  # has the files of its own that it keeps
    before = open_files()
    for step in count(1):
        assert step < MOST
        if not await cancelled_at(step, operation):
            break
        assert open_files() == before
    assert step > 2


async def test_cancelling_a_request_to_cancel_leaves_nothing_open(database):
    async with connected(database) as connection:
        before = open_files()
        for step in count(1):
            if not await cancelled_at(step, connection.cancel_safe):
                break
            assert open_files() == before
        # A request that has left may arrive late, and ends the statement of that moment.
        with suppress(errors.QueryCanceled):
            await connection.execute("select pg_sleep(0.5)")
        await assert_in_order(connection)
    assert step > 1


@pytest.mark.parametrize(
    "operation",
    [execute, execute_big, commit, copy_in, copy_out, pipeline, executemany, stream],
)
async def test_a_server_that_stops_answering_costs_the_connection_and_no_more_time(
    proxy, table, operation
):
    """It goes deaf at the moment of the cancellation, wherever that is."""
    for step in range(1, 8):
        proxy.hear_new_connections()
        async with connected(proxy.config, limit_s=0.05) as connection:
            started_at = trio.current_time()
            fired = await cancelled_at(
                step,
                lambda: operation(connection),
                on_fire=proxy.go_deaf,
            )

            assert trio.current_time() - started_at < 4
            if not connection.closed:
                # It had nothing under way, or the answer was there already.
                assert connection.info.transaction_status != TransactionStatus.ACTIVE
                assert connection.info.pipeline_status == PipelineStatus.OFF
        if not fired:
            break
        await proxy.cut()
    assert step > 1
