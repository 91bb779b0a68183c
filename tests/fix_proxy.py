"""A TCP proxy between a client and PostgreSQL, or a service, that can fail like a network."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import trio

from greeks_trio.config.settings import DatabaseConfig


class _Link:
    """One client's connection through the proxy."""

    def __init__(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        self.client = client
        self.server = server
        self.hears = trio.Event()
        # Whether the server's next answer ends it.
        self.is_doomed = False


class Proxy:
    """Forwards to the server; runs in the test's nursery until that is cancelled.

    Attributes:
        config: The server's configuration by way of the proxy.
    """

    def __init__(self, server: DatabaseConfig) -> None:
        self._server = server
        self._links: set[_Link] = set()
        self._is_deaf = False
        self._is_away = False
        self._fatal_request: bytes | None = None
        self.config = server

    async def serve(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        """Accept connections until cancelled."""
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._forward, 0, host="127.0.0.1")
            [listener] = await nursery.start(serve)
            port = listener.socket.getsockname()[1]
            self.config = replace(self._server, hosts=("127.0.0.1",), ports=(port,))
            task_status.started()

    def go_deaf(self) -> None:
        """Accept connections and keep them open, and forward nothing any more."""
        self._is_deaf = True
        for link in self._links:
            link.hears = trio.Event()

    def hear_new_connections(self) -> None:
        """Forward what comes on connections made from now on; the others stay lost."""
        self._is_deaf = False

    def lose_answer_to(self, request: bytes) -> None:
        """Cut the next link that asks this, once the server has answered.

        The client never sees the answer.
        """
        self._fatal_request = request

    async def go_away(self) -> None:
        """Close what is open, and every new connection at once, until `come_back`."""
        self._is_away = True
        await self.cut()

    def come_back(self) -> None:
        """Forward new connections again."""
        self._is_away = False

    async def cut(self) -> None:
        """Close what is open, on both sides."""
        for link in list(self._links):
            await trio.aclose_forcefully(link.client)
            await trio.aclose_forcefully(link.server)

    async def _forward(self, client: trio.SocketStream) -> None:
        if self._is_away:
            await client.aclose()
            return
        async with client, await self._connect() as server:
            link = _Link(client, server)
            if not self._is_deaf:
                link.hears.set()
            self._links.add(link)
            try:
                async with trio.open_nursery() as nursery:
                    scope = nursery.cancel_scope
                    nursery.start_soon(self._pump, link, client, server, scope)
                    nursery.start_soon(self._pump, link, server, client, scope)
            finally:
                self._links.discard(link)

    async def _connect(self) -> trio.SocketStream:
        host, port = self._server.server.host, self._server.server.port
        if host.startswith("/"):
            return await trio.open_unix_socket(f"{host}/.s.PGSQL.{port}")
        return await trio.open_tcp_stream(host, port)

    async def _pump(self, link, source, sink, scope) -> None:
        try:
            while data := await source.receive_some():
                await link.hears.wait()
                if source is link.server and link.is_doomed:
                    break
                if source is link.client and self._is_fatal(data):
                    link.is_doomed = True
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await link.hears.wait()
        scope.cancel()

    def _is_fatal(self, data: bytes) -> bool:
        if self._fatal_request is None or self._fatal_request not in data:
            return False
        self._fatal_request = None
        return True


@pytest.fixture
async def proxy(database, nursery):
    """A proxy in front of the test's database."""
    proxy = Proxy(database)
    await nursery.start(proxy.serve)
    return proxy
