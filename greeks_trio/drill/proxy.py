"""A TCP proxy that fails as networks do.

It forwards bytes as they come, each direction in a task of its own, and never more than
`_CHUNK_BYTES` of each wait in it.  A connection that was made half-open is *dead*: the
bytes of both sides are read and dropped, and only the client's own end closes it.  Its
server's side is closed when the fault is over, as a server's keep-alive would.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

import trio

from greeks_trio.drill.copy_errors import CopyErrors

_CHUNK_BYTES: Final = 65_536
# Closing with this option resets the connection instead of finishing it.
_RESET: Final = struct.pack("ii", 1, 0)
# After one side has said that it is done, the other one takes no longer.
_LINGER_S: Final = 10.0
# The messages that make the server commit: a simple query, or the end of a COPY in a
# transaction of its own (CopyDone).
_COMMITS: Final = (b"COMMIT\0", b"c\0\0\0\4")
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)

Target: TypeAlias = Callable[[], tuple[str, int]]


class Link:
    """One client's connection through the proxy.

    Attributes:
        is_dead: Nothing is forwarded, for as long as it lives.
        swallows: The answer to a commit is on its way, and will not arrive.
        is_broken: One side vanished, so the other one shall see it vanish too.
        rewrite: Returns the bytes for the client in the place of those of the server.
    """

    def __init__(
        self, client: trio.SocketStream, rewrite: Callable[[bytes], bytes]
    ) -> None:
        self.rewrite = rewrite
        self.client = client
        self.server: trio.SocketStream | None = None
        self.is_dead = False
        self.swallows = False
        self.is_broken = False

    def reset(self) -> None:
        """Reset both sides at once."""
        self.is_broken = True
        self.close()

    def close(self) -> None:
        """Close both sides at once; bytes that were written still arrive, unless broken."""
        for stream in filter(None, (self.client, self.server)):
            _close(stream, reset=self.is_broken)

    def reset_server(self) -> None:
        """Reset the server's side at once."""
        if self.server is not None:
            _close(self.server, reset=True)


class Proxy:
    """Forwards to one server; `run` is its task.

    Args:
        target: Returns where the server is at present.
        replace: Bytes from the server, and the bytes for the client in their place, of the
            same length: an address that the server tells its clients.
        like_citus: Rewrite PostgreSQL's errors inside a COPY, see `CopyErrors`.

    Attributes:
        opened: For each connection to the server, the port of our end and its time in
            monotonic seconds.
    """

    def __init__(
        self,
        target: Target,
        *,
        replace: tuple[bytes, bytes] | None = None,
        like_citus: bool = False,
    ) -> None:
        self.port = 0
        self._target = target
        self.replace = replace
        self._like_citus = like_citus
        self._links: set[Link] = set()
        self._refuses = 0
        self._is_deaf = 0
        self._wanted_acks = 0
        self.swallowed = trio.Event()
        self.opened: list[tuple[int, float]] = []

    async def run(
        self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; started with the port, on 127.0.0.1."""
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
            [listener] = await nursery.start(serve)
            self.port = int(listener.socket.getsockname()[1])
            task_status.started(self.port)

    def cut(self) -> int:
        """Reset every connection on both sides; return how many there were."""
        links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    def refuse(self) -> None:
        """Cut, and reset new connections until `accept`; calls may be nested."""
        self._refuses += 1
        self.cut()

    def accept(self) -> None:
        """End one `refuse`."""
        self._refuses -= 1

    def go_deaf(self) -> None:
        """Keep connections open, take new ones, and forward nothing until `hear`."""
        self._is_deaf += 1
        for link in self._links:
            link.is_dead = True

    def hear(self) -> None:
        """Forward the bytes of new connections; earlier connections stay dead."""
        self._is_deaf -= 1
        for link in self._links:
            if link.is_dead:
                link.reset_server()

    def swallow_commit(self) -> None:
        """Let one COMMIT through, keep its answer, and reset that connection.

        `swallowed` is set when it has happened.
        """
        self._wanted_acks += 1
        self.swallowed = trio.Event()

    def stop_swallowing(self) -> None:
        """Let commits be answered, also if none has come yet."""
        self._wanted_acks = 0

    async def _serve(self, client: trio.SocketStream) -> None:
        rewrite = CopyErrors().rewrite if self._like_citus else self._replaced
        link = Link(client, rewrite)
        if self._refuses:
            link.reset()
            return
        link.is_dead = bool(self._is_deaf)
        self._links.add(link)
        try:
            if link.is_dead:
                await _discard(client)
            else:
                await self._connect(link)
        finally:
            self._links.discard(link)
            link.close()

    async def _connect(self, link: Link) -> None:
        try:
            link.server = await trio.open_tcp_stream(*self._target())
        except OSError:
            link.is_broken = True  # the server is down
            return
        port = int(link.server.socket.getsockname()[1])
        self.opened.append((port, time.monotonic()))
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(self._to_client, link, link.server, scope)
            await self._to_server(link, link.server, scope)

    async def _to_server(
        self, link: Link, server: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in link.client:
                if self._wanted_acks and data.endswith(_COMMITS) and not link.is_dead:
                    self._wanted_acks -= 1
                    link.swallows = True
                if not link.is_dead:
                    await server.send_all(data)
            if not link.is_dead:
                await server.send_eof()
        except _GONE:
            link.is_broken = True
        self._one_side_ended(link, scope, client_has=True)

    async def _to_client(
        self, link: Link, server: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in server:
                if link.swallows:
                    link.is_broken = True
                    self.swallowed.set()
                    break
                if not link.is_dead:
                    await link.client.send_all(link.rewrite(bytes(data)))
            else:
                if not link.is_dead:
                    await link.client.send_eof()
        except _GONE:
            link.is_broken = True
        self._one_side_ended(link, scope, client_has=False)

    def _one_side_ended(
        self, link: Link, scope: trio.CancelScope, *, client_has: bool
    ) -> None:
        """End the link: at once when it broke, else when the other side has ended."""
        if link.is_dead:
            if client_has:
                scope.cancel()
        elif link.is_broken:
            scope.cancel()
        else:
            scope.deadline = min(scope.deadline, trio.current_time() + _LINGER_S)

    def _replaced(self, data: bytes) -> bytes:
        return data if self.replace is None else data.replace(*self.replace)


async def _discard(stream: trio.SocketStream) -> None:
    with suppress(*_GONE):
        while await stream.receive_some(_CHUNK_BYTES):
            pass


def _close(stream: trio.SocketStream, *, reset: bool) -> None:
    if reset:
        with suppress(OSError):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    stream.socket.close()
