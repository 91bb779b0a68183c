"""Our connection under Trio behaves like psycopg's own under asyncio.

Each operation runs on both and returns its findings: values, states, or the type and the
text of the error.  This module also checks the private parts of psycopg that we use.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import re
import signal
import socket
import threading
from contextlib import aclosing
from pathlib import Path

import psycopg
import pytest
import trio
import trio.testing
from psycopg import capabilities, errors, rows
from psycopg.copy import AsyncQueuedLibpqWriter
from psycopg.pq import TransactionStatus

from greeks_trio.postgres import connection as connection_module
from greeks_trio.postgres.connection import TrioConnection
from tests.fix_postgres import connect_options

# The operations.  Each takes a connection and returns what there is to compare.


@pytest.fixture
def database(emptied_database):
    """The database of the module, with no table of an earlier test."""
    return emptied_database


async def values(connection):
    cursor = await connection.execute("select 1, 'word', null, array[1.5]", binary=True)
    return await cursor.fetchall(), cursor.rowcount, cursor.statusmessage


async def several_results(connection):
    cursor = await connection.execute("select 1; select 2, 3")
    return [await each.fetchall() async for each in cursor.results()]


async def rows_as_dictionaries(connection):
    cursor = connection.cursor(row_factory=rows.dict_row)
    await cursor.execute("select generate_series(1, 3) as n")
    return [row async for row in cursor]


async def a_statement_that_is_wrong(connection):
    await connection.execute("selec 1")


async def a_statement_after_an_error(connection):
    try:
        await connection.execute("select 1/0")
    except errors.DivisionByZero:
        await connection.execute("select 1")


async def a_constraint_at_commit(connection):
    await connection.execute(
        "create temp table t (n int unique deferrable initially deferred)"
    )
    await connection.execute("insert into t values (1), (1)")
    await connection.commit()


async def a_timeout_of_the_server(connection):
    await connection.execute("set statement_timeout = 10")
    await connection.execute("select pg_sleep(5)")


async def a_session_that_is_terminated(connection):
    await connection.execute("select pg_terminate_backend(pg_backend_pid())")


async def a_connection_that_is_closed(connection):
    await connection.close()
    await connection.execute("select 1")


async def settings_in_a_transaction(connection):
    await connection.execute("select 1")
    await connection.set_autocommit(True)


async def an_isolation_level(connection):
    await connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
    await connection.set_read_only(True)
    cursor = await connection.execute("show transaction_isolation")
    return await cursor.fetchone(), connection.isolation_level, connection.read_only


async def a_property_that_is_read_only(connection):  # noqa: ASYNC124
    connection.autocommit = True


async def copy_both_ways(connection):
    await connection.execute("create temp table t (n int, s text)")
    async with connection.cursor() as cursor:
        async with cursor.copy("copy t from stdin") as copy:
            for number in range(100):
                await copy.write_row((number, None))
        count = cursor.rowcount
        async with cursor.copy("copy t to stdout (format binary)") as copy:
            copy.set_types(["int4", "text"])
            return count, [row async for row in copy.rows()]


async def a_copy_of_nonsense(connection):
    await connection.execute("create temp table t (n int)")
    async with (
        connection.cursor() as cursor,
        cursor.copy("copy t from stdin") as copy,
    ):
        await copy.write("word\n")


async def an_error_in_a_copy(connection):
    await connection.execute("create temp table t (n int)")
    async with (
        connection.cursor() as cursor,
        cursor.copy("copy t from stdin") as copy,
    ):
        await copy.write("1\n")
        raise ValueError("ours")


async def an_error_in_a_copy_out(connection):
    query = "copy (select generate_series(1, 1000000)) to stdout"
    async with connection.cursor() as cursor, cursor.copy(query) as copy:
        await copy.read()
        raise ValueError("ours")


async def a_copy_that_is_none(connection):
    async with connection.cursor() as cursor, cursor.copy("select 1") as copy:
        await copy.read()


async def savepoints(connection):
    await connection.execute("create temp table t (n int)")
    async with connection.transaction() as outer:
        await connection.execute("insert into t values (1)")
        async with connection.transaction("named", force_rollback=True) as inner:
            await connection.execute("insert into t values (2)")
    cursor = await connection.execute("select n from t")
    return await cursor.fetchall(), inner.savepoint_name, outer.status, inner.status


async def a_commit_in_a_transaction_block(connection):
    async with connection.transaction():
        await connection.commit()


async def a_pipeline(connection):
    async with connection.pipeline() as pipeline:
        first = await connection.execute("select 1")
        second = await connection.execute("select %s::text", ["word"])
        await pipeline.sync()
        return await first.fetchall(), await second.fetchall()


async def an_error_in_a_pipeline(connection):
    async with connection.pipeline():
        await connection.execute("select 1/0")
        await connection.execute("select 1")


async def a_pipeline_that_is_aborted(connection):
    async with connection.pipeline():
        await connection.execute("select 1/0")
        cursor = await connection.execute("select 1")
        await cursor.fetchone()


async def copy_in_a_pipeline(connection):
    async with connection.pipeline(), connection.cursor() as cursor:
        async with cursor.copy("copy (select 1) to stdout") as copy:
            await copy.read()


async def executemany(connection):
    async with connection.cursor() as cursor:
        await cursor.executemany("select %s::int", [[1], [2]], returning=True)
        return [await each.fetchall() async for each in cursor.results()]


async def a_stream(connection):
    async with aclosing(
        connection.cursor().stream("select generate_series(1, 5)", size=2)
    ) as found:
        return [row async for row in found]


async def a_server_cursor(connection):
    async with connection.cursor("steps", scrollable=True, withhold=True) as cursor:
        await cursor.execute("select generate_series(1, 9)")
        first = await cursor.fetchmany(3)
        await cursor.scroll(-1)
        await connection.commit()
        return first, await cursor.fetchall()


async def prepared_statements(connection):
    connection.prepare_threshold = 1
    for _ in range(3):
        await connection.execute("select %s::int", [1])
    cursor = await connection.execute("select count(*) from pg_prepared_statements")
    return await cursor.fetchone()


async def notifications(connection):
    await connection.set_autocommit(True)
    await connection.execute("listen word")
    for text in ("one", "two"):
        await connection.execute("select pg_notify('word', %s)", [text])
    async with aclosing(connection.notifies(timeout=1, stop_after=2)) as found:
        first = [each.payload async for each in found]
    async with aclosing(connection.notifies(timeout=0)) as found:
        return first, [each async for each in found]


async def two_phases(connection):
    await connection.tpc_begin(connection.xid(1, "gtrid", "bqual"))
    try:
        await connection.commit()
    except psycopg.ProgrammingError as exc:
        refused = str(exc)
    await connection.tpc_rollback()
    return refused, await connection.tpc_recover()


async def a_two_phase_transaction_that_cannot_be_prepared(connection):
    await connection.tpc_begin("word")
    await connection.tpc_prepare()


async def a_wait_with_a_timeout(connection):
    connection.pgconn.send_query(b"select pg_sleep(0.2)")
    generator = psycopg.generators.fetch_many(connection.pgconn)
    try:
        await connection.wait(generator, timeout=0.01)
    except psycopg.OperationalError as exc:
        again = psycopg.generators.fetch_many(connection.pgconn)
        [result] = await connection.wait(again)
        return type(exc), str(exc), result.ntuples


OPERATIONS = [
    each
    for name, each in list(globals().items())
    if inspect.iscoroutinefunction(each) and each.__module__ == __name__
]


async def outcome(cls, options, operation):
    """Return the result or the failure of the operation, and the state afterwards."""
    connection = await cls.connect(**options)
    found, failure = None, None
    try:
        found = await operation(connection)
    except (psycopg.Error, AttributeError, ValueError) as exc:
        pid = connection.pgconn.backend_pid if not connection.closed else 0
        text = str(exc).replace(str(pid), "PID") if pid else str(exc)
        failure = (type(exc), text, getattr(exc, "sqlstate", None))
    state = (
        connection.info.transaction_status,
        connection.closed,
        connection.broken,
        connection.lock.locked(),
    )
    await connection.close()
    return found, failure, state


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)
def test_an_operation_has_the_same_result_as_under_asyncio(database, operation):
    options = connect_options(database)
    theirs = asyncio.run(outcome(psycopg.AsyncConnection, options, operation))
    ours = trio.run(outcome, TrioConnection, options, operation)

    assert ours == theirs
    assert ours != (None, None, ours[2])


@pytest.fixture(scope="module")
def closed_port():
    """Nobody listens there."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        yield busy.getsockname()[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"dbname": "nosuchdb"},
        {"user": "nobody"},
        {"host": "127.0.0.1", "port": "closed"},
        {"host": "127.0.0.1,127.0.0.1", "port": "closed,closed"},
        {"host": "name.invalid"},
        {"host": "a,b", "port": "1,2,3"},
        {"host": "a,b", "hostaddr": "127.0.0.1"},
        {"target_session_attrs": "standby"},
        {"target_session_attrs": "nosuchmode"},
        {"load_balance_hosts": "nosuchmode"},
        {"sslmode": "nosuchmode"},
        {"nosuchparam": "1"},
        {"connect_timeout": "word"},
    ],
    ids=str,
)
def test_a_connection_fails_as_it_does_under_asyncio(database, closed_port, wrong):
    given = {
        name: value.replace("closed", str(closed_port)) for name, value in wrong.items()
    }
    options = {**connect_options(database), **given}

    async def failure(cls):
        with pytest.raises(psycopg.Error) as caught:
            await cls.connect(**options)
        text = re.sub(r"0x[0-9a-f]+", "", str(caught.value))
        return type(caught.value), text

    assert trio.run(failure, TrioConnection) == asyncio.run(
        failure(psycopg.AsyncConnection)
    )


@pytest.mark.parametrize(
    "given",
    [
        {"autocommit": True},
        {"autocommit": "yes", "prepare_threshold": None},
        {"row_factory": rows.dict_row, "cursor_factory": psycopg.AsyncRawCursor},
        {"target_session_attrs": "prefer-standby", "load_balance_hosts": "random"},
        {"hostaddr": "127.0.0.1", "connect_timeout": "3"},
    ],
    ids=" and ".join,
)
def test_arguments_of_connect_have_the_same_effect(database, given):
    options = {**connect_options(database), **given}

    async def effect(cls):
        async with await cls.connect("application_name=word", **options) as connection:
            cursor = await connection.execute(
                "select current_setting('application_name')"
            )
            return (
                await cursor.fetchone(),
                type(cursor),
                connection.autocommit,
                connection.prepare_threshold,
                connection.row_factory,
                connection.info.hostaddr,
            )

    ours = trio.run(effect, TrioConnection)

    assert ours == asyncio.run(effect(psycopg.AsyncConnection))


def test_the_public_interface_is_the_same():
    ours = {name for name in dir(TrioConnection) if not name.startswith("_")}
    theirs = {name for name in dir(psycopg.AsyncConnection) if not name.startswith("_")}

    assert ours == theirs | {"cancel_limit_s", "close_nowait"}
    for name in theirs:
        ours_is, theirs_is = (
            getattr(cls, name) for cls in (TrioConnection, psycopg.AsyncConnection)
        )
        if inspect.isroutine(ours_is):
            assert list(inspect.signature(ours_is).parameters) == list(
                inspect.signature(theirs_is).parameters
            )


# Trio's own rules.


@pytest.mark.parametrize(
    "operation",
    [
        lambda each: each.execute("select 1"),
        lambda each: each.commit(),
        lambda each: each.rollback(),
        lambda each: each.set_autocommit(False),
        lambda each: each.set_read_only(None),
        lambda each: each.set_deferrable(None),
        lambda each: each.set_isolation_level(None),
        lambda each: each.tpc_recover(),
        lambda each: each.cancel_safe(),
        lambda each: each.close(),
        lambda each: anext(each.notifies(timeout=0), None),
    ],
)
async def test_an_operation_is_a_checkpoint_even_if_there_is_nothing_to_do(
    database, operation
):
    async with await TrioConnection.connect(**connect_options(database)) as connection:
        with trio.testing.assert_checkpoints():
            await operation(connection)
    with trio.testing.assert_checkpoints():
        await connection.close()
    with trio.testing.assert_checkpoints():
        await connection.cancel_safe()


@pytest.mark.filterwarnings("ignore:.*was never awaited:RuntimeWarning")
async def test_the_writer_that_is_an_asyncio_task_fails_and_costs_only_its_copy(
    database,
):
    async with await TrioConnection.connect(**connect_options(database)) as connection:
        await connection.execute("create temp table t (n int)")
        await connection.commit()
        cursor = connection.cursor()
        writer = AsyncQueuedLibpqWriter(cursor)
        with pytest.raises(RuntimeError, match="no running event loop"):
            async with cursor.copy("copy t from stdin", writer=writer) as copy:
                await copy.write_row((1,))
        gc.collect()

        await connection.rollback()
        cursor = await connection.execute("select count(*) from t")
        assert await cursor.fetchone() == (0,)


def test_an_unwanted_encryption_is_reported(monkeypatch):
    class Encrypted:
        used_gssapi = True

    monkeypatch.setattr(capabilities, "has_used_gssapi", lambda: True)
    warn = connection_module._warn_of_gssapi

    with pytest.warns(RuntimeWarning, match="gssencmode"):
        warn(Encrypted(), {"host": "localhost"})
    warn(Encrypted(), {"gssencmode": "prefer"})
    monkeypatch.setenv("PGGSSENCMODE", "require")
    warn(Encrypted(), {})


async def test_closing_in_a_cancelled_scope_closes(database):
    connection = await TrioConnection.connect(**connect_options(database))
    with trio.CancelScope() as scope:
        scope.cancel()
        await connection.close()

    assert scope.cancelled_caught
    assert connection.closed


async def test_using_it_in_the_middle_of_using_it_is_an_error(database):
    async with await TrioConnection.connect(**connect_options(database)) as connection:
        async with aclosing(connection.cursor().stream("values (1), (2)")) as found:
            await anext(found)
            with pytest.raises(RuntimeError, match="in the middle"):
                await connection.execute("select 1")
        await connection.execute("select 1")


async def test_closing_wakes_a_task_that_waits_to_write(proxy):
    """It waits for either direction, so for two things at once."""
    options = connect_options(proxy.config)
    async with await TrioConnection.connect(**options, autocommit=True) as connection:
        proxy.go_deaf()

        async def send():
            with pytest.raises(psycopg.OperationalError, match="socket closed"):
                await connection.execute("select %s", ["x" * 50_000_000])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.1)
            await connection.close()


def test_ctrl_c_ends_the_query_and_leaves_the_connection_in_order(database):
    async def main():
        connection = await TrioConnection.connect(**connect_options(database))
        try:
            await connection.execute("select pg_sleep(20)")
        except KeyboardInterrupt:
            status = connection.info.transaction_status
            await connection.rollback()
            cursor = await connection.execute("select 1")
            return status, await cursor.fetchone()
        finally:
            connection.close_nowait()

    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()

    assert trio.run(main) == (TransactionStatus.INERROR, (1,))


# Private names.

SIGNATURES = [
    (psycopg.AsyncConnection, "_connect_gen", "(conninfo: 'str' = '')"),
    (
        psycopg.AsyncConnection,
        "_get_connection_params",
        "(conninfo: 'str', **kwargs: 'Any')",
    ),
    (psycopg.AsyncConnection, "_cancel_gen", "(self)"),
    (psycopg.AsyncConnection, "_should_cancel", "(self)"),
    (psycopg.AsyncConnection, "_try_cancel", "(self, *, timeout: 'float' = 5.0)"),
    (psycopg.AsyncPipeline, "_enter_gen", "(self)"),
    (psycopg.AsyncPipeline, "_exit_gen", "(self)"),
    (psycopg.AsyncServerCursor, "_close_gen", "(self)"),
    (psycopg.AsyncTransaction, "_enter_gen", "(self)"),
]
PRIVATE = {name for _, name, _ in SIGNATURES} | {"_WaitTimeout", "_adapters"}
ADVICE = "psycopg has changed what TrioConnection builds on; read its sources again"


@pytest.mark.parametrize(("owner", "name", "expected"), SIGNATURES)
def test_a_private_method_of_psycopg_is_as_it_was(owner, name, expected):
    assert hasattr(owner, name), f"{owner.__name__}.{name} is gone: {ADVICE}"
    found = str(inspect.signature(getattr(owner, name))).partition(" -> ")[0]
    assert found == expected, f"{owner.__name__}.{name}: {ADVICE}"


def test_private_names_of_psycopg_without_a_signature_are_there(database):
    assert hasattr(errors, "_WaitTimeout"), f"errors._WaitTimeout is gone: {ADVICE}"
    assert issubclass(errors._WaitTimeout, psycopg.OperationalError), ADVICE
    with psycopg.connect(**connect_options(database)) as theirs:
        theirs._adapters = adapters = psycopg.adapt.AdaptersMap(psycopg.adapters)
        assert theirs.adapters is adapters, f"_adapters: {ADVICE}"


def test_the_list_of_private_names_is_complete():
    source = Path(connection_module.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source)
    own = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    } | {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    private = {name for name in used if re.match("_[A-Za-z]", name)}

    assert private - own <= PRIVATE
    text = ast.get_docstring(tree) or ""
    assert [name for name in PRIVATE if name not in text] == []
    assert PRIVATE - private <= {"_try_cancel"}
