"""The pool of sessions that only read, without the event loop around it."""

from __future__ import annotations

import gc
import time
import warnings
from functools import partial
from threading import Event, Thread

import pytest
import trio

from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ReadTooLong, StoreUnavailable
from greeks_trio.postgres.reads.pool import Lease, ReadPool
from greeks_trio.postgres.reads.reader import Reader, _export_lines
from tests.fix_postgres import connect


@pytest.fixture
def pool(database):
    pool = ReadPool(database, size=1, statement_timeout_s=10)
    yield pool
    pool.close(patience_s=10)


def select_1(connection):
    return connection.execute("select 1").fetchone()


def test_a_read_that_was_cancelled_before_its_turn_does_not_begin(pool):
    lease, begun = Lease(), []
    lease.cancel()

    with pytest.raises(ReadTooLong):
        pool.run(begun.append, lease)

    assert begun == []
    assert pool.run(select_1, Lease()) == (1,)


def test_the_cancellation_of_a_read_that_has_ended_has_no_effect(pool):
    ended = Lease()
    pool.run(select_1, ended)

    ended.cancel()

    assert pool.run(select_1, Lease()) == (1,)


def test_a_cancellation_between_two_statements_is_repeated(pool):
    lease, has_begun, is_cancelled = Lease(), Event(), Event()

    def work(connection):
        cancel_safe = connection.cancel_safe

        def cancel(**options):
            cancel_safe(**options)
            is_cancelled.set()

        connection.cancel_safe = cancel
        has_begun.set()
        assert is_cancelled.wait(10)
        connection.execute("select pg_sleep(600)")

    reading = Thread(target=partial(run_to_the_end, pool, work, lease))
    reading.start()
    assert has_begun.wait(10)
    cancelled_at = time.monotonic()
    lease.cancel()
    reading.join()

    # Far below the time-out of a statement.
    assert time.monotonic() - cancelled_at < 5


def run_to_the_end(pool, work, lease):
    with pytest.raises(ReadTooLong):
        pool.run(work, lease)


@pytest.mark.parametrize("started", [0, 1])
def test_a_pool_that_got_no_thread_works_once_there_is_one(pool, monkeypatch, started):
    """The pool begins with two threads, and may get neither, or only the first."""
    threads, start = [], Thread.start

    def refuse(thread):
        threads.append(thread)
        if len(threads) > started:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            pool.run(select_1, Lease())

    assert pool.run(select_1, Lease()) == (1,)


@pytest.mark.parametrize("at", ["the thread", "the pool"])
async def test_a_read_without_a_thread_is_refused_and_counted(
    database, monkeypatch, at
):
    """A limit of the process: the service goes on, and the next read works."""
    noted = []
    reader = Reader(lambda: database, HttpConfig(), lambda *each: noted.append(each))

    def refuse(*_, **__):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        if at == "the thread":
            patch.setattr(trio.to_thread, "run_sync", refuse)
        else:
            patch.setattr(ReadPool, "run", refuse)
        with pytest.raises(StoreUnavailable, match="can't start new thread"):
            await reader.read(select_1)
    [(part, failure)] = noted
    assert (part, type(failure)) == ("reads", RuntimeError)

    assert await reader.read(select_1) == (1,)
    await reader._close_pool()


def test_an_export_whose_session_ends_leaves_no_open_cursor(database, pool):
    """Its client leaves at the same moment."""

    def end_session(_):
        with connect(database) as observer:
            observer.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        raise ReadTooLong("the client has left")

    export = partial(_export_lines, "select 'a'", None, end_session)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises((ReadTooLong, StoreUnavailable)):
            pool.run(export, Lease())
        gc.collect()

    assert [each for each in said if each.category is ResourceWarning] == []
