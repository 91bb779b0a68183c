"""Reads in worker threads: their limits, their failures, their end."""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greeks_trio.config.settings import HttpConfig, Secret
from greeks_trio.errors import (
    ReadsBusy,
    ReadTooLong,
    StoreRejected,
    StoreUnavailable,
)
from greeks_trio.postgres.reads.reader import STEP_ROWS, Reader
from tests.fix_postgres import connect, fresh_database
from tests.timeline import APPLICATION, reading, sessions, wait_sessions

LONG = "select pg_sleep(600)"
# Far above the time of a cancellation, and below the server's own time-out.
CANCEL_LIMIT_S = 10
ACTIVE = "state = 'active'"
IN_EXPORT = "state = 'idle in transaction'"


def run(query, *params):
    """Return work that gives the first value of the query's first row."""

    def work(connection):
        [value, *_] = connection.execute(query, params).fetchone()
        return value

    return work


@pytest.fixture
def observer(database):
    with connect(database) as connection:
        yield connection


async def test_a_read_returns_the_result_of_its_work(database):
    async with reading(database) as reader:
        assert await reader.read(run("select %s + 1", 41)) == 42


async def test_there_is_no_connection_before_the_first_read(database, observer):
    async with reading(database):
        await wait_all_tasks_blocked()

        assert sessions(observer) == set()


async def test_a_read_cannot_write(database, observer):
    async with reading(database) as reader:
        with pytest.raises(StoreUnavailable):
            await reader.read(run("delete from trades returning 1"))
        assert await reader.read(run("show transaction_read_only")) == "on"


async def test_postgresql_is_told_to_stop_after_the_time_out(database, observer):
    async with reading(database, read_timeout_s=0.1) as reader:
        with pytest.raises(ReadTooLong):
            await reader.read(run(LONG))

        assert await reader.read(run("select 1")) == 1
        assert sessions(observer, ACTIVE) == set()


async def test_reads_beyond_the_limit_are_refused_at_once(database, observer):
    """One read runs, four wait, and the sixth is refused."""
    refused = []

    async def read(reader):
        try:
            await reader.read(run(LONG))
        except ReadsBusy:
            refused.append(trio.current_time())

    async with reading(database, max_reads=1, read_timeout_s=600) as reader:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(read, reader)
            await wait_sessions(observer, 1, ACTIVE)
            await wait_all_tasks_blocked()

            assert refused == []
            with pytest.raises(ReadsBusy):
                await reader.read(run("select 1"))
            nursery.cancel_scope.cancel()


async def test_a_read_that_waits_too_long_is_refused(database):
    async with reading(database, max_reads=1, read_timeout_s=0.1) as reader:
        with connect(database) as other, other.transaction():
            other.execute("lock table trades")

            async with trio.open_nursery() as nursery:
                errors = []

                async def read():
                    try:
                        await reader.read(run("select count(*) from trades"))
                    except (ReadsBusy, ReadTooLong) as exc:
                        errors.append(type(exc))

                for _ in range(4):
                    nursery.start_soon(read)
        assert errors.count(ReadTooLong) >= 1
        assert set(errors) <= {ReadTooLong, ReadsBusy}
        assert len(errors) == 4


async def test_a_cancelled_read_ends_its_query(database, observer):
    async with reading(database, read_timeout_s=600) as reader:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read, run(LONG))
            await wait_sessions(observer, 1, ACTIVE)
            nursery.cancel_scope.cancel()

        with trio.fail_after(CANCEL_LIMIT_S):
            await wait_sessions(observer, 0, ACTIVE)
        assert await reader.read(run("select 1")) == 1


@pytest.fixture
def unused_tcp_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


async def test_a_database_that_is_away_is_said_so(database, unused_tcp_port):
    away = replace(database, hosts=("127.0.0.1",), ports=(unused_tcp_port,))
    async with reading(away) as reader:
        with pytest.raises(StoreUnavailable):
            await reader.read(run("select 1"))


async def test_reads_go_on_as_soon_as_the_database_is_back(database, proxy):
    async with reading(proxy.config, read_timeout_s=0.5) as reader:
        proxy.go_deaf()
        with pytest.raises(StoreUnavailable):
            await reader.read(run("select 1"))

        proxy.hear_new_connections()
        await proxy.cut()

        assert await _read_until_it_works(reader) == 1


async def _read_until_it_works(reader):
    while True:
        try:
            return await reader.read(run("select 1"))
        except (StoreUnavailable, ReadTooLong, ReadsBusy):
            await trio.lowlevel.checkpoint()


async def test_a_database_that_does_not_answer_any_more_costs_a_deadline(proxy):
    async with reading(proxy.config, read_timeout_s=0.2) as reader:
        assert await reader.read(run("select 1")) == 1
        proxy.go_deaf()

        with pytest.raises((ReadTooLong, StoreUnavailable)):
            await reader.read(run("select 1"))
        await proxy.cut()


async def test_connections_that_a_restart_has_ended_are_not_noticed(database, observer):
    async with reading(database) as reader:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(reader.read, run("select pg_sleep(0.05)"))
        observer.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            f" where application_name = '{APPLICATION}' and datname = current_database()"
        )

        assert await reader.read(run("select 1")) == 1


async def test_another_database_is_read_once_it_is_configured(
    database, postgres_server
):
    with fresh_database(postgres_server) as other:
        configured = [database]
        reader = Reader(lambda: configured[0], HttpConfig())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run)
            before = await reader.read(run("select current_database()"))
            configured[0] = other
            after = await reader.read(run("select current_database()"))
            nursery.cancel_scope.cancel()

    assert (before, after) == (database.dbname, other.dbname)


async def test_reads_that_wait_while_another_database_is_configured_go_there(
    database, postgres_server, observer
):
    with fresh_database(postgres_server) as other:
        configured, read_from = [database], []
        reader = Reader(lambda: configured[0], HttpConfig(max_reads=1))

        async def read():
            read_from.append(await reader.read(run("select current_database()")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run)
            async with trio.open_nursery() as reads:
                async with trio.open_nursery() as holding:
                    holding.start_soon(reader.read, run(LONG))
                    await wait_sessions(observer, 1, ACTIVE)
                    for _ in range(3):
                        reads.start_soon(read)
                    await wait_all_tasks_blocked()
                    configured[0] = other
                    reads.start_soon(read)
                    await wait_no_pool_threads()
                    holding.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    assert read_from == [other.dbname] * 4


def pool_threads():
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith(APPLICATION)
    ]


async def wait_no_pool_threads():
    """Wait until a thread of the reader has closed the pool."""
    with trio.fail_after(CANCEL_LIMIT_S):
        while pool_threads():  # noqa: ASYNC110 - threads send no event
            await trio.sleep(0.01)


async def test_its_end_leaves_no_thread_and_no_connection(database, observer):
    async with reading(database) as reader:
        assert await reader.read(run("select 1")) == 1
        assert sessions(observer)

    await wait_sessions(observer, 0)
    assert not pool_threads()


async def test_its_end_does_not_wait_for_a_read(database, observer):
    async with reading(database, read_timeout_s=600) as reader:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read, run(LONG))
            await wait_sessions(observer, 1, ACTIVE)
            nursery.cancel_scope.cancel()

    with trio.fail_after(CANCEL_LIMIT_S):
        await wait_sessions(observer, 0)
    assert not sessions(observer)


async def test_the_password_is_in_no_log_line_and_no_error(database, caplog):
    wrong = replace(database, password=Secret("s3cret"), user="nobody_at_all")
    with caplog.at_level(logging.DEBUG):
        async with reading(wrong) as reader:
            with pytest.raises(StoreUnavailable) as caught:
                await reader.read(run("select 1"))

    assert "s3cret" not in caplog.text
    assert "s3cret" not in repr(caught.value)


async def all_lines(export):
    lines = b""
    while chunk := await export.next_lines():
        lines += chunk
    return lines.decode().splitlines()


async def test_an_export_has_every_row_in_order(database):
    query = "select i::text from generate_series(1, %s) i order by i.i"
    async with reading(database) as reader, reader.export(query, [1234]) as export:
        lines = await all_lines(export)

    assert lines == [str(number) for number in range(1, 1235)]


async def test_an_export_comes_in_steps(database):
    query = "select i::text from generate_series(1, 1234) i"
    async with reading(database) as reader, reader.export(query, []) as export:
        first = await export.next_lines()

    assert first.count(b"\n") == STEP_ROWS


async def test_an_export_that_fails_midway_does_not_look_complete(database):
    query = "select (1 / (1200 - i))::text from generate_series(1, 5000) i"
    async with reading(database) as reader, reader.export(query, []) as export:
        first = await export.next_lines()
        await export.next_lines()

        with pytest.raises(StoreRejected):
            await export.next_lines()

    assert first
    assert not export.is_complete


async def test_an_export_whose_connection_breaks_does_not_look_complete(
    database, observer
):
    query = "select i::text from generate_series(1, 100000) i"
    async with reading(database) as reader, reader.export(query, []) as export:
        await export.next_lines()
        await wait_sessions(observer, 1, IN_EXPORT)
        [pid] = sessions(observer)
        observer.execute("select pg_terminate_backend(%s, 5000)", [pid])

        with pytest.raises(StoreUnavailable):
            await all_lines(export)


async def test_an_export_that_is_left_early_gives_its_connection_back(
    database, observer
):
    query = "select i::text from generate_series(1, 100000) i"
    async with reading(database, max_exports=1) as reader:
        for _ in range(3):
            async with reader.export(query, []) as export:
                assert await export.next_lines()
            await wait_sessions(observer, 0, IN_EXPORT)


async def test_an_export_that_is_left_while_it_is_sorted_ends_its_query(
    database, observer
):
    async with reading(database) as reader:
        async with reader.export("select pg_sleep(600)::text", []):
            await wait_sessions(observer, 1, ACTIVE)

        with trio.fail_after(CANCEL_LIMIT_S):
            await wait_sessions(observer, 0, ACTIVE)
        assert await reader.read(run("select 1")) == 1


async def test_there_are_no_more_exports_at_a_time_than_may_be(database):
    query = "select i::text from generate_series(1, 100000) i"
    async with reading(database, max_exports=1) as reader:
        async with reader.export(query, []) as export:
            assert await export.next_lines()
            with pytest.raises(ReadsBusy):
                async with reader.export(query, []):
                    pass

            # The others continue.
            assert await reader.read(run("select 1")) == 1


async def test_an_export_is_one_state_of_the_table(database, observer):
    observer.execute("create table numbers as select i from generate_series(1, 2000) i")
    query = "select i::text from numbers order by numbers.i"
    async with reading(database) as reader, reader.export(query, []) as export:
        first = await export.next_lines()
        observer.execute("insert into numbers select generate_series(3000, 4000)")
        rest = await all_lines(export)

    assert first.count(b"\n") + len(rest) == 2000
