"""Connection poolers: PgBouncer if it is installed, and a small one of our own.

`FakePooler` speaks PostgreSQL's protocol to its clients and has one session on the server
for all of them.  It understands the simple query protocol only, which is enough for the
statements that our program sends while it connects.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
import pytest
import trio
from psycopg.pq import ExecStatus

from greeks_trio.config.settings import DatabaseConfig, Secret
from tests.fix_postgres import connect

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
PATIENCE_S = 10
_SSL_REQUEST = 80_877_103


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return a message of PostgreSQL's protocol."""
    return kind + struct.pack("!i", len(body) + 4) + body


async def read_message(stream: trio.SocketStream, *, has_kind: bool = True) -> bytes:
    """Return the kind and the body of a message; the first ones have no kind."""
    head = await read_exactly(stream, 5 if has_kind else 4)
    kind, (length,) = head[:-4], struct.unpack("!i", head[-4:])
    return kind + await read_exactly(stream, length - 4)


async def read_exactly(stream: trio.SocketStream, count: int) -> bytes:
    """Return so many bytes; raises `trio.EndOfChannel` when the client has left."""
    data = b""
    while len(data) < count:
        chunk = await stream.receive_some(count - len(data))
        if not chunk:
            raise trio.EndOfChannel
        data += chunk
    return data


async def answer_startup(stream: trio.SocketStream) -> bytes:
    """Refuse TLS if it is asked for, and return the first message."""
    first = await read_message(stream, has_kind=False)
    if struct.unpack("!i", first[:4]) == (_SSL_REQUEST,):
        await stream.send_all(b"N")
        return await answer_startup(stream)
    return first


@contextmanager
def pgbouncer(
    server: DatabaseConfig, directory: Path, **settings: object
) -> Iterator[DatabaseConfig]:
    """Run PgBouncer before the server, and yield the way through it."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed")
    port = _free_port()
    users = directory / "users"
    users.write_text(f'"{server.user}" "{server.password.reveal()}"\n')
    values = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": users,
        "server_reset_query": "discard all",
        **settings,
    }
    if os.geteuid() == 0:  # it refuses to run as root
        values["user"] = "nobody"
        for path in (directory, *directory.parents[:-1]):
            if os.stat(path).st_uid == 0:
                path.chmod(path.stat().st_mode | 0o711)
        users.chmod(0o644)
    file = directory / "pgbouncer.ini"
    lines = [f"* = host={server.server.host} port={server.server.port}", "[pgbouncer]"]
    lines += [f"{name} = {value}" for name, value in values.items()]
    file.write_text("\n".join(["[databases]", *lines, ""]))
    log = (directory / "pgbouncer.log").open("w")
    with log, subprocess.Popen([PGBOUNCER, file], stderr=log) as process:
        try:
            config = replace(server, hosts=("127.0.0.1",), ports=(port,))
            _wait_until_it_answers(config, process)
            yield config
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _wait_until_it_answers(config: DatabaseConfig, process: subprocess.Popen) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            connect(config).close()
        except psycopg.OperationalError as exc:
            # Another error than a refused connection is an answer.
            if "refused" not in str(exc):
                return
            assert time.monotonic() < give_up_at
            assert process.poll() is None
            time.sleep(0.02)
        else:
            return


def _failure(code: bytes, text: bytes, severity: bytes) -> bytes:
    parts = (b"S" + severity, b"V" + severity, b"C" + code, b"M" + text)
    return message(b"E", b"\0".join(parts) + b"\0\0")


class FakePooler:
    """One session on the server for all clients.

    Attributes:
        config: The way through it; it asks for no password.
        queries: Every query that a client has sent.
        discards: Whether it resets the session after each transaction.
        announces_process: Whether it names the server's process, as a server does.
        failures: The code and text of the error with which it ends the connection of
            the next query ``begin``; one for each.
    """

    def __init__(self, server: DatabaseConfig, *, discards: bool = False) -> None:
        self._server = connect(server)
        self.config = replace(
            server, password=Secret(""), sslmode="disable", require_auth=""
        )
        self.queries: list[str] = []
        self.discards = discards
        self.announces_process = False
        self.failures: list[tuple[bytes, bytes]] = []

    async def serve(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        """Accept clients until cancelled."""
        with self._server:
            async with trio.open_nursery() as nursery:
                serve = partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
                [listener] = await nursery.start(serve)
                port = listener.socket.getsockname()[1]
                self.config = replace(self.config, hosts=("127.0.0.1",), ports=(port,))
                task_status.started()

    def show(self, *names: str) -> list[str]:
        """Return the settings of the session."""
        rows = [
            self._server.execute("select current_setting(%s, true)", [name])
            for name in names
        ]
        return [value or "" for [[value]] in map(list, rows)]

    async def _serve(self, stream: trio.SocketStream) -> None:
        process = self._server.info.backend_pid if self.announces_process else 7
        try:
            await answer_startup(stream)
            await stream.send_all(
                message(b"R", struct.pack("!i", 0))
                + message(b"S", b"server_version\x0018.0\0")
                + message(b"S", b"client_encoding\0UTF8\0")
                + message(b"S", b"standard_conforming_strings\0on\0")
                + message(b"S", b"in_hot_standby\0off\0")
                + message(b"S", b"default_transaction_read_only\0off\0")
                + message(b"K", struct.pack("!ii", process, 7))
                + message(b"Z", b"I")
            )
            while (request := await read_message(stream))[:1] == b"Q":
                if request[1:-1] == b"begin" and self.failures:
                    await stream.send_all(_failure(*self.failures.pop(0), b"FATAL"))
                    await stream.aclose()
                    return
                await stream.send_all(self._answer(request[1:-1]))
        except (trio.EndOfChannel, trio.BrokenResourceError):
            pass

    def _answer(self, query: bytes) -> bytes:
        self.queries.append(query.decode())
        answer, pgconn = b"", self._server.pgconn
        pgconn.send_query(query)
        while (result := pgconn.get_result()) is not None:
            answer += self._written(result)
        state = b"ITTE"[self._server.info.transaction_status :][:1]
        if self.discards and state == b"I":
            pgconn.exec_(b"discard all")
        return answer + message(b"Z", state)

    @staticmethod
    def _written(result: psycopg.pq.abc.PGresult) -> bytes:
        if result.status == ExecStatus.FATAL_ERROR:
            return _failure(b"42000", result.error_message, b"ERROR")
        answer = b""
        if result.nfields:
            columns = b"".join(
                result.fname(i)
                + struct.pack("!xihihih", 0, 0, result.ftype(i), -1, -1, 0)
                for i in range(result.nfields)
            )
            answer += message(b"T", struct.pack("!h", result.nfields) + columns)
        for row in range(result.ntuples):
            values = [result.get_value(row, i) for i in range(result.nfields)]
            answer += message(
                b"D",
                struct.pack("!h", len(values))
                + b"".join(
                    struct.pack("!i", -1)
                    if value is None
                    else struct.pack("!i", len(value)) + value
                    for value in values
                ),
            )
        return answer + message(b"C", (result.command_status or b"") + b"\0")
