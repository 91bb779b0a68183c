"""The pool of sessions that only read, without the event loop around it."""

from __future__ import annotations

import pytest

from greeks_trio.errors import ReadTooLong
from greeks_trio.postgres.reads.pool import Lease, ReadPool


@pytest.fixture
def pool(database):
    pool = ReadPool(database, size=1, statement_timeout_s=10)
    yield pool
    pool.close(patience_s=10)


def select_1(connection):
    return connection.execute("select 1").fetchone()


def test_a_read_that_was_given_up_before_its_turn_is_not_begun(pool):
    lease, begun = Lease(), []
    lease.cancel()

    with pytest.raises(ReadTooLong):
        pool.run(begun.append, lease)

    assert begun == []
    assert pool.run(select_1, Lease()) == (1,)


def test_to_give_up_what_has_ended_disturbs_nobody(pool):
    ended = Lease()
    pool.run(select_1, ended)

    ended.cancel()

    assert pool.run(select_1, Lease()) == (1,)
