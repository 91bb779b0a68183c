"""A client of event streams; it has its own socket, so that a test can stop reading."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from urllib.parse import urlencode, urlsplit

import h11
import trio

# A failure in a test; a stream that works costs none of it.
PATIENCE_S = 25.0


class EventClient:
    """Reads one stream.

    Attributes:
        status: The status of the answer.
        headers: The headers of the answer.
        lines: Every line so far, with the comments.
    """

    def __init__(self, stream):
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._rest = b""
        self._event = {}
        self.lines = []

    async def open(self, host, path, headers):
        request = h11.Request(
            method="GET", target=path, headers=[("Host", host), *headers.items()]
        )
        await self._stream.send_all(self._http.send(request))
        await self._stream.send_all(self._http.send(h11.EndOfMessage()))
        answer = await self._read()
        self.status = answer.status_code
        self.headers = {k.decode(): v.decode() for k, v in answer.headers}

    async def next(self, name=None):
        """Return the next event of this name, or of any, as (name, value)."""
        with trio.fail_after(PATIENCE_S):
            while True:
                event = await self._next_event()
                if event is None:
                    raise AssertionError(f"the stream ended: {self.lines[-9:]}")
                if name in (None, event["event"]):
                    return event["event"], json.loads(event["data"])

    async def value(self, name):
        """Return the value of the next event of this name."""
        return (await self.next(name))[1]

    async def read_body(self):
        """Return the rest of the answer until its end."""
        body = self._rest
        with trio.fail_after(PATIENCE_S):
            while isinstance(part := await self._read(), h11.Data):
                body += bytes(part.data)
        return body

    async def wait_end(self):
        """Wait until the server has closed the connection."""
        with trio.fail_after(PATIENCE_S):
            try:
                while await self._stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass

    async def wait_line(self, line):
        """Wait until such a line has come."""
        with trio.fail_after(PATIENCE_S):
            while line not in self.lines:
                await self._next_line()

    async def _next_event(self):
        while True:
            line = await self._next_line()
            if line is None:
                return None
            field, _, value = line.partition(": ")
            if field:
                self._event[field] = value
            elif "data" in self._event:
                event, self._event = self._event, {}
                return event

    async def _next_line(self):
        while b"\n" not in self._rest:
            part = await self._read()
            if not isinstance(part, h11.Data):
                return None
            self._rest += bytes(part.data)
        line, self._rest = self._rest.split(b"\n", 1)
        self.lines.append(line.decode())
        return self.lines[-1]

    async def _read(self):
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.receive_some(65_536))
        return event


@asynccontextmanager
async def open_events(url, *, headers=None, buffer_bytes=None, **parameters):
    """Open ``/v1/stream`` of the service at ``url`` and close it at the end.

    With ``buffer_bytes`` the kernel buffers little while the test does not read.
    """
    address = urlsplit(url)
    query = f"?{urlencode(parameters)}" if parameters else ""
    sock = trio.socket.socket()
    if buffer_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    await sock.connect((address.hostname, address.port))
    async with trio.SocketStream(sock) as stream:
        client = EventClient(stream)
        with trio.fail_after(PATIENCE_S):
            await client.open(address.netloc, f"/v1/stream{query}", headers or {})
        yield client
