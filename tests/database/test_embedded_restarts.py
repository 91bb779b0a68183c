"""The embedded server can be killed, frozen and stopped, and comes back."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import psycopg
import pytest
import trio

from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.restarts import open_restartable_server
from tests.fix_postgres import QUICK, connect


@pytest.fixture
async def server(cluster_directory):
    async with open_restartable_server(cluster_directory, settings=QUICK) as server:
        yield server


def postmaster_of(directory: Path) -> psutil.Process:
    pid_file = directory / "postgres-18" / "postmaster.pid"
    return psutil.Process(int(pid_file.read_text().split()[0]))


def lives(process):
    """Return whether the process still runs; init may collect an orphan late."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def write_row(config):
    with connect(config) as connection:
        connection.execute("drop table if exists kept")
        connection.execute("create table kept (n int)")
        connection.execute("insert into kept values (1)")


def count_rows(config):
    with connect(config) as connection:
        return connection.execute("select count(*) from kept").fetchone()[0]


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_committed_rows_are_there_after_the_next_start(server, how):
    before = server.config
    write_row(before)

    await getattr(server, how)()
    with pytest.raises(psycopg.OperationalError):
        connect(before)
    await server.start()

    assert count_rows(server.config) == 1
    assert server.config == before  # the port too


async def test_a_kill_leaves_no_process_of_the_server(server, cluster_directory):
    postmaster = postmaster_of(cluster_directory)
    family = [postmaster, *postmaster.children(recursive=True)]
    assert len(family) > 3

    await server.kill()
    await server.start()

    assert not list(filter(lives, family))


async def test_it_can_be_killed_again_and_again(server):
    write_row(server.config)

    for _ in range(3):
        await server.kill()
        await server.start()

    assert count_rows(server.config) == 1


async def test_a_frozen_server_answers_once_it_is_thawed(server):
    write_row(server.config)
    connection = connect(server.config)

    await server.freeze()
    answer = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_count, connection, answer)
        with trio.move_on_after(0.3):
            await trio.sleep_forever()
        assert answer == []
        server.thaw()

    assert answer == [1]
    connection.close()


async def _count(connection, answer):
    def count():
        return connection.execute("select count(*) from kept").fetchone()[0]

    answer.append(await trio.to_thread.run_sync(count))


async def test_a_frozen_server_ends_with_the_block(cluster_directory):
    async with open_restartable_server(cluster_directory, settings=QUICK) as server:
        postmaster = postmaster_of(cluster_directory)
        await server.freeze()

    assert not lives(postmaster)


async def test_a_port_that_was_taken_meanwhile_is_given_up(server):
    before = server.config
    await server.stop()
    with trio.socket.socket() as taken:
        # Connections that have just ended may still hold the port.
        taken.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
        await taken.bind(("127.0.0.1", before.server.port))
        taken.listen()
        await server.start()

    assert server.config.server.port != before.server.port
    write_row(server.config)


async def test_a_server_that_cannot_start_says_so(server, cluster_directory, tmp_path):
    await server.kill()
    (cluster_directory / "postgres-18" / "global" / "pg_control").rename(
        tmp_path / "gone"
    )

    with pytest.raises(StoreUnavailable, match=r"control file|pg_control"):
        await server.start()

    os.rename(
        tmp_path / "gone", cluster_directory / "postgres-18" / "global" / "pg_control"
    )
