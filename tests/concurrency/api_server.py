"""An HTTP interface with a few paths of its own, for tests of the guard and the server."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from functools import partial

import h11
import httpx2
import trio
from fastapi import APIRouter, Request, Response

from greeks_trio.api.access.limits import LIMITS
from greeks_trio.api.answers import json_answer
from greeks_trio.api.server import run_http
from greeks_trio.config.settings import HttpConfig, Secret

TOKEN = "a-long-random-token"
WITH_TOKEN = {"token": Secret(TOKEN)}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


class Routes:
    """The behaviour of the paths, and the requests that reached them."""

    def __init__(self):
        self.bodies = []
        self.cancelled = trio.Event()
        self.router = APIRouter()
        self.router.get("/read")(self.read)
        self.router.post("/write")(self.write)
        self.router.put("/write")(self.write)
        self.router.delete("/write")(self.write)
        self.router.get("/bug")(self.bug)
        self.router.get("/page")(self.page)
        self.router.get("/odd-header")(self.odd_header)
        self.router.get("/never")(self.never)
        self.router.get("/endless")(self.endless)
        self.router.get("/bug-midway")(self.bug_midway)

    async def read(self):
        return json_answer({"rows": [1, 2, 3]})

    async def write(self, request: Request):
        self.bodies.append(await request.body())
        return json_answer({})

    async def bug(self):
        raise KeyError("s3cret")

    async def page(self):
        own = {"Content-Security-Policy": "default-src 'self'"}
        return Response("<p>", headers=own, media_type="text/html")

    async def odd_header(self):
        return Response("", headers={"X-Odd": "a\nb"})

    async def never(self):
        try:
            await trio.sleep_forever()
        finally:
            self.cancelled.set()

    async def endless(self):
        return Pieces(self._send_for_ever)

    async def bug_midway(self):
        return Pieces(self._send_half)

    async def _send_for_ever(self, send):
        try:
            while True:
                await send(b"x" * 65_536)
        finally:
            self.cancelled.set()

    async def _send_half(self, send):
        await send(b"half of it")
        raise KeyError("s3cret")


class Pieces(Response):
    """An answer that a function sends in pieces, until the client has gone."""

    def __init__(self, run):
        super().__init__(media_type="text/plain")
        del self.headers["content-length"]
        self._run = run

    async def __call__(self, scope, receive, send):
        async def send_piece(piece):
            await send({"type": "http.response.body", "body": piece, "more_body": True})

        async def cancel_when_gone():
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_when_gone)
            await self._run(send_piece)


class Server:
    """The running interface."""

    def __init__(self, url, client, routes, counts):
        self.counts = counts
        self.url = url
        self.client = client
        self.routes = routes
        self.port = int(url.rpartition(":")[2])

    async def connect(self):
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def exchange(self, data):
        """Send bytes on a new connection and return the whole answer."""
        async with await self.connect() as stream:
            await stream.send_all(data)
            return await read_all(stream)

    async def ask(self, data):
        """Send bytes and return status, headers and body of the one answer."""
        return parse(await self.exchange(data))


@asynccontextmanager
async def serving(limits=LIMITS, routers=(), **config):
    """Yield the interface, on a free port."""
    routes, counts = Routes(), Counter()
    async with trio.open_nursery() as nursery:
        run = partial(run_http, limits=limits, counts=counts)
        url = await nursery.start(
            run, HttpConfig(port=0, **config), [routes.router, *routers]
        )
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            yield Server(url, client, routes, counts)
        nursery.cancel_scope.cancel()


async def read_all(stream):
    """Return the bytes until the other side closes the connection."""
    data = b""
    while chunk := await stream.receive_some():
        data += chunk
    return data


def parse(data):
    """Return status, headers and body of an answer."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    response = connection.next_event()
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return response.status_code, dict(response.headers), body
