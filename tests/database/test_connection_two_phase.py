"""Two-phase commit, cancelled at each point where it waits.

The server allows prepared transactions, which the usual one does not.
"""

from __future__ import annotations

from itertools import count

import pytest
from psycopg import sql

from greeks_trio.postgres.embedded.server import embedded_server
from tests.database.test_connection_cancellation import (
    MOST,
    assert_in_order,
    cancelled_at,
    connected,
    open_files,
)
from tests.fix_postgres import QUICK, connect


@pytest.fixture(scope="module")
def server():
    """An embedded server of this module's own, with an empty table."""
    with embedded_server(
        settings={**QUICK, "max_prepared_transactions": "4"}
    ) as config:
        with connect(config) as admin:
            admin.execute("create table t (s text)")
        yield config


def prepared(observer):
    """Return the names of the transactions that are prepared."""
    return [gid for (gid,) in observer.execute("select gid from pg_prepared_xacts")]


def stored(observer):
    """Return how many rows are committed."""
    [[found]] = observer.execute("select count(*) from t").fetchall()
    return found


async def both_phases(connection):
    await connection.tpc_begin("word")
    await connection.execute("insert into t values ('both')")
    await connection.tpc_prepare()
    await connection.tpc_commit()


async def prepare_and_roll_back(connection):
    await connection.tpc_begin("word")
    await connection.execute("insert into t values ('never')")
    await connection.tpc_prepare()
    await connection.tpc_rollback()


async def recover(connection):
    await connection.tpc_recover()


@pytest.mark.parametrize(
    ("operation", "whole"),
    [(both_phases, 1), (prepare_and_roll_back, 0), (recover, 0)],
)
async def test_cancelling_two_phases_leaves_a_transaction_whole_prepared_or_undone(
    server, operation, whole
):
    before = open_files()
    with connect(server) as observer:
        for step in count(1):
            assert step < MOST
            async with connected(server) as connection:
                fired = await cancelled_at(step, lambda: operation(connection))
                assert not connection.closed
                left, found = prepared(observer), stored(observer)
                if left:  # psycopg's connection may know of it, or not
                    await connection.close()
                else:
                    await assert_in_order(connection)
            assert left in ([], ["word"])
            assert found in {0, whole}
            assert not (left and found)
            for gid in left:
                observer.execute(sql.SQL("rollback prepared {}").format(gid))
            observer.execute("truncate t")
            if not fired:
                break

    assert (left, found) == ([], whole)
    assert step > 2
    assert open_files() <= before + 1


async def test_a_prepared_transaction_is_finished_by_another_connection(server):
    async with connected(server) as connection:
        await connection.tpc_begin("word")
        await connection.execute("insert into t values ('recovered')")
        await connection.tpc_prepare()
    async with connected(server) as connection:
        [xid] = await connection.tpc_recover()
        await connection.tpc_commit(xid)
    with connect(server) as observer:
        assert prepared(observer) == []
        assert stored(observer) == 1
        observer.execute("truncate t")
