"""Passwords: a server gets one only if it proves that it knows it."""

from __future__ import annotations

import base64
import struct
import time
from dataclasses import replace
from functools import partial

import pytest
import trio

from greeks_trio.config.settings import DatabaseConfig, Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.login import computes
from greeks_trio.postgres.reads.pool import Lease, ReadPool
from tests.fix_pooler import answer_startup, message

PASSWORD = "opensesame"

# The requests of a server by their names.
OK = struct.pack("!i", 0)
CLEARTEXT = struct.pack("!i", 3)
MD5 = struct.pack("!i", 5) + b"salt"


class HostileServer:
    """Asks each client in one way to authenticate, and keeps its answers."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.received = b""
        self.port = 0

    async def serve(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        """Accept clients until cancelled."""
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
            [listener] = await nursery.start(serve)
            self.port = listener.socket.getsockname()[1]
            task_status.started()

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            await answer_startup(stream)
            await stream.send_all(message(b"R", self._request))
            with trio.move_on_after(5):
                async for chunk in stream:
                    self.received += chunk
                    return

    def config(self, password: str = PASSWORD) -> DatabaseConfig:
        """Return the configuration that leads here."""
        return DatabaseConfig(
            hosts=("127.0.0.1",),
            ports=(self.port,),
            password=Secret(password),
            timeout_s=3,
        )


async def connect_once(config):
    """Open a connection of the service and close it."""
    async with open_connection(config):
        pass


@pytest.mark.parametrize(
    "request_", [CLEARTEXT, MD5, OK], ids=["cleartext", "md5", "nothing"]
)
async def test_a_server_that_proves_nothing_gets_no_password(nursery, request_):
    server = HostileServer(request_)
    await nursery.start(server.serve)

    with pytest.raises(StoreUnavailable, match="POSTGRES_REQUIRE_AUTH") as caught:
        await connect_once(server.config())

    assert server.received == b""
    assert caught.value.needs_person
    assert PASSWORD not in str(caught.value)


async def test_the_reads_send_no_password_either_and_say_why(nursery):
    server = HostileServer(CLEARTEXT)
    await nursery.start(server.serve)
    pool = ReadPool(server.config(), size=1, statement_timeout_s=1)
    read = partial(pool.run, lambda connection: connection.execute("select"), Lease())
    with pytest.raises(StoreUnavailable, match="scram-sha-256"):
        await trio.to_thread.run_sync(read)
    await trio.to_thread.run_sync(partial(pool.close, patience_s=5))

    assert server.received == b""


async def test_the_md5_of_a_password_is_sent_to_those_who_allow_it(nursery):
    server = HostileServer(MD5)
    await nursery.start(server.serve)

    with pytest.raises(StoreUnavailable):
        await connect_once(replace(server.config(), require_auth="md5"))

    assert server.received[:1] == b"p"
    assert b"md5" in server.received


@pytest.mark.parametrize("request_", [CLEARTEXT, MD5], ids=["cleartext", "md5"])
async def test_a_password_of_libpqs_file_is_as_safe(
    nursery, monkeypatch, tmp_path, request_
):
    server = HostileServer(request_)
    await nursery.start(server.serve)
    write_passfile(monkeypatch, tmp_path, PASSWORD)

    with pytest.raises(StoreUnavailable, match="no password was sent"):
        await connect_once(server.config(password=""))

    assert server.received == b""


async def test_libpqs_file_has_the_password_if_we_have_none(
    database, monkeypatch, tmp_path
):
    write_passfile(monkeypatch, tmp_path, database.password.reveal())

    async with open_connection(replace(database, password=Secret(""))) as connection:
        assert connection.session.user == database.user


def write_passfile(monkeypatch, directory, password):
    """Let libpq find the password for every login."""
    path = directory / "pgpass"
    path.write_text(f"*:*:*:*:{password}\n")
    path.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(path))


class ComputingServer(HostileServer):
    """Asks for so many iterations of SCRAM that the login computes for seconds."""

    ITERATIONS = 2_000_000

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            await answer_startup(stream)
            methods = struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"
            await stream.send_all(message(b"R", methods))
            first = await stream.receive_some()
            nonce = first[first.index(b"r=") :] + b"more"
            salt = base64.b64encode(b"salt of a server")
            asks = b"%s,s=%s,i=%d" % (nonce, salt, self.ITERATIONS)
            await stream.send_all(message(b"R", struct.pack("!i", 11) + asks))
            await trio.sleep_forever()


async def longest_turn_s(during) -> float:
    """Return the longest time between two turns of this task while the call runs."""
    longest = 0.0
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            with pytest.raises(StoreUnavailable):
                await during()
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        while True:
            began = time.perf_counter()
            await trio.sleep(0.01)
            longest = max(longest, time.perf_counter() - began)
    return longest


async def test_a_login_that_computes_for_long_stops_nobody(nursery):
    server = ComputingServer(b"")
    await nursery.start(server.serve)
    pool = ReadPool(server.config(), size=1, statement_timeout_s=1)
    read = partial(pool.run, lambda connection: connection.execute("select"), Lease())

    one = partial(connect_once, replace(server.config(), timeout_s=0.3))
    assert await longest_turn_s(one) < 0.3
    assert computes()
    assert await longest_turn_s(partial(trio.to_thread.run_sync, read)) < 0.3

    await trio.to_thread.run_sync(partial(pool.close, patience_s=30))
    await trio.to_thread.run_sync(wait_for_the_end)


def wait_for_the_end():
    """Wait until no thread computes: a process that ends before may crash."""
    until = time.monotonic() + 60
    while computes():
        assert time.monotonic() < until
        time.sleep(0.05)
