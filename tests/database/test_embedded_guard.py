"""An embedded server comes back after a kill, and not after a stop."""

from __future__ import annotations

import logging
import signal
import socket

import psutil
import pytest
import trio

from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.guard import open_guarded_server, run_guard
from greeks_trio.postgres.embedded.server import EmbeddedServer, embedded_server
from greeks_trio.waiting import Backoff
from tests.database.test_embedded_restarts import (
    count_rows,
    lives,
    postmaster_of,
    write_row,
)
from tests.fix_postgres import QUICK
from tests.fix_processes import kill_server

# More than a start and a recovery take on a busy machine.
PATIENCE_S = 40.0


class Heard(logging.Handler):
    """The log of the guard, with a way to wait for a line."""

    def __init__(self):
        super().__init__()
        self.lines = []
        self._arrived = trio.Event()

    def emit(self, record):
        self.lines.append(f"{record.levelname} {record.getMessage()}")
        self._arrived.set()
        self._arrived = trio.Event()

    def count(self, text):
        return sum(text in line for line in self.lines)

    async def wait(self, text, number=1):
        with trio.fail_after(PATIENCE_S):
            while self.count(text) < number:
                await self._arrived.wait()


@pytest.fixture
def heard():
    handler = Heard()
    logger = logging.getLogger("greeks_trio.postgres.embedded.guard")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def quick(before_wait=lambda number: None):
    """Return a short backoff that reports the number of each wait."""
    waits = 0

    def jitter():
        nonlocal waits
        waits += 1
        before_wait(waits)
        return 0.0

    return Backoff(min_delay_s=0.01, max_delay_s=0.05, jitter=jitter)


@pytest.mark.parametrize("whom", ["all", "postmaster"])
async def test_a_killed_server_comes_back_where_it_was(cluster_directory, heard, whom):
    async with open_guarded_server(cluster_directory, settings=QUICK) as config:
        write_row(config)
        if whom == "all":
            kill_server(cluster_directory)
        else:
            postmaster_of(cluster_directory).kill()
        await heard.wait("WARNING embedded.started_again after_s=")

        assert count_rows(config) == 1

    assert heard.lines[0] == "CRITICAL embedded.ended status=-9"
    assert len(heard.lines) == 2


async def test_it_comes_back_again_and_again_and_leaves_nothing(
    cluster_directory, heard
):
    postmasters = []
    async with open_guarded_server(
        cluster_directory, settings=QUICK, backoff=quick()
    ) as config:
        write_row(config)
        for number in (1, 2, 3):
            postmaster, *_ = kill_server(cluster_directory)
            postmasters.append(postmaster)
            await heard.wait("embedded.started_again", number)
            assert count_rows(config) == 1
        # A process without a parent that waits for it would be a zombie.
        assert not list(filter(psutil.Process.is_running, postmasters))
        last = postmaster_of(cluster_directory)

    assert not last.is_running()


async def test_a_server_that_was_shut_down_by_hand_comes_back(cluster_directory, heard):
    async with open_guarded_server(cluster_directory, settings=QUICK) as config:
        write_row(config)
        postmaster_of(cluster_directory).send_signal(signal.SIGINT)
        await heard.wait("embedded.started_again")

        assert count_rows(config) == 1

    assert heard.lines[0] == "CRITICAL embedded.ended status=0"


async def test_it_is_not_started_after_it_was_stopped(cluster_directory, heard):
    async with open_guarded_server(cluster_directory, settings=QUICK, backoff=quick()):
        postmaster = postmaster_of(cluster_directory)

    assert not lives(postmaster)
    assert not (cluster_directory / "postgres-18" / "postmaster.pid").exists()
    assert heard.lines == []
    with embedded_server(
        cluster_directory, settings=QUICK
    ):  # no other server runs in it
        assert heard.lines == []


async def test_a_failure_in_the_block_ends_the_server_too(cluster_directory, heard):
    with pytest.RaisesGroup(ZeroDivisionError):
        async with open_guarded_server(cluster_directory, settings=QUICK):
            postmaster = postmaster_of(cluster_directory)
            raise ZeroDivisionError

    assert not lives(postmaster)
    assert heard.lines == []


async def test_it_is_tried_until_the_start_succeeds(cluster_directory, heard):
    control = cluster_directory / "postgres-18" / "global" / "pg_control"
    aside = control.with_name("aside")

    def before_wait(number):
        if number == 1:
            control.rename(aside)
        elif number == 4:
            aside.rename(control)

    async with open_guarded_server(
        cluster_directory, settings=QUICK, backoff=quick(before_wait)
    ) as config:
        write_row(config)
        kill_server(cluster_directory)
        await heard.wait("embedded.started_again")

        assert count_rows(config) == 1

    failed = [line for line in heard.lines if "start_failed" in line]
    assert [line.split()[2] for line in failed] == [
        f"attempt={number}" for number in (1, 2, 3)
    ]
    assert all("pg_control" in line or "control file" in line for line in failed)


async def test_a_port_that_was_taken_meanwhile_is_waited_for(cluster_directory, heard):
    def before_wait(number):
        if number == 1:
            # Like PostgreSQL itself, whose old connections may still linger.
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", config.server.port))
            taken.listen()
        elif number == 3:
            taken.close()

    with socket.socket() as taken:
        async with open_guarded_server(
            cluster_directory, settings=QUICK, backoff=quick(before_wait)
        ) as config:
            write_row(config)
            kill_server(cluster_directory)
            await heard.wait("embedded.started_again")

            assert count_rows(config) == 1

    assert heard.count("start_failed") == 2


async def test_it_ends_while_it_waits_for_the_next_attempt(cluster_directory, heard):
    slow = Backoff(min_delay_s=3600.0, max_delay_s=3600.0)
    async with open_guarded_server(cluster_directory, settings=QUICK, backoff=slow):
        postmaster, *_ = kill_server(cluster_directory)
        await heard.wait("embedded.ended")

    assert not postmaster.is_running()
    assert heard.count("embedded.started_again") == 0


async def test_it_ends_while_the_server_starts(cluster_directory, heard, monkeypatch):
    spawned = []
    spawn = EmbeddedServer.spawn
    scope = trio.CancelScope()

    def spawn_and_cancel(server):
        spawn(server)
        spawned.append(server)
        if len(spawned) == 2:
            scope.cancel()

    monkeypatch.setattr(EmbeddedServer, "spawn", spawn_and_cancel)
    with trio.fail_after(PATIENCE_S), scope:
        async with open_guarded_server(
            cluster_directory, settings=QUICK, backoff=quick()
        ):
            kill_server(cluster_directory)
            await trio.sleep_forever()

    assert len(spawned) == 2
    assert not (cluster_directory / "postgres-18" / "postmaster.pid").exists()
    assert heard.count("embedded.started_again") == 0


async def test_a_first_start_that_fails_is_not_repeated(cluster_directory, heard):
    with pytest.raises(StoreUnavailable, match="no_such_setting"):
        async with open_guarded_server(
            cluster_directory, settings={"no_such_setting": "1"}
        ):
            raise AssertionError("it did not start")

    assert heard.lines == []


class ShortLived:
    """A server that ends after so many seconds, each time."""

    def __init__(self, clock, lives_s):
        self.is_ready = True
        self._clock = clock
        self._lives_s = iter(lives_s)
        self.scope = trio.CancelScope()

    def wait_ended(self):
        try:
            lived_s = next(self._lives_s)
        except StopIteration:
            trio.from_thread.run_sync(self.scope.cancel)
        else:
            trio.from_thread.run_sync(self._clock.jump, lived_s)
        return 1

    def clear_dead_server(self):
        pass

    def spawn(self):
        pass

    def wait_ready(self, limit_s):
        assert limit_s is None
        self.is_ready = True


async def test_delays_grow_until_the_server_has_lived_for_a_while(mock_clock):

    attempts = []

    def jitter():
        attempts.append(backoff.attempts)
        return 0.0

    backoff = Backoff(min_delay_s=0.0, max_delay_s=0.0, jitter=jitter)
    server = ShortLived(mock_clock, [1.0, 1.0, 1.0, 3600.0, 1.0])
    with server.scope:
        await run_guard(server, backoff)

    assert attempts == [1, 2, 3, 1, 2]
