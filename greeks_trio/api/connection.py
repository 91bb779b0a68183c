"""One client's connection: bytes from its socket to Hypercorn's HTTP/1.1 and back.

Hypercorn's own class for this, `hypercorn.trio.tcp_server.TCPServer`, does not fit:

- It sends in a shield without a limit, so a client that stops reading keeps the service
  from stopping.
- Its read timeout also ends an answer under way, such as a stream of events, because the
  client sends nothing meanwhile.
- It closes a socket with unread bytes in it.  A client that is refused early then loses
  its answer.
- It accepts HTTP/2, which we do not need and for which we have no limits.

The rest of the work (parsing, framing, keep-alive, running the application) is done by
`hypercorn.protocol.h11.H11Protocol`, which this module uses.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, cast

import h11
import msgspec
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from greeks_trio.api.access.limits import App, Limits
from greeks_trio.api.answers import SAFE_HEADERS, problem_body
from greeks_trio.api.media_types import PROBLEM_JSON

logger = logging.getLogger(__name__)

# A head that arrives in one piece is parsed at any size, so at most twice this much.
_MAX_READ: Final = 16 * 1024


def make_settings(limits: Limits) -> HypercornConfig:
    """Return the settings of Hypercorn for all connections."""
    settings = HypercornConfig()
    settings.accesslog = None
    # Hypercorn's default logger would write to stderr in its own format.
    settings.errorlog = logging.getLogger("hypercorn.error")
    settings.include_server_header = False
    settings.h11_max_incomplete_size = limits.head_bytes
    return settings


class Connection:
    """Answers one client's requests, one after the other.

    Attributes:
        waits_since: When the connection began, or the last answer ended, in seconds of
            the monotonic clock.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        app: App,
        settings: HypercornConfig,
        limits: Limits,
    ) -> None:
        self._stream = stream
        self._app = ASGIWrapper(cast("Any", app))
        self._settings = settings
        self._limits = limits
        self._protocol: H11Protocol | None = None
        self.waits_since = trio.current_time()
        # The scope of the reading task; its deadline limits the silence of the client.
        self._reading = trio.CancelScope()
        self._sending = trio.Lock()
        self._all = trio.CancelScope()
        self._is_ending = False

    @property
    def waits_for_client(self) -> bool:
        """Return whether the client owes us a head or the rest of a body."""
        if self._protocol is None:
            return True
        state = self._protocol.connection.their_state
        return not self._is_ending and state in (h11.IDLE, h11.SEND_BODY)

    def drop(self) -> None:
        """End the connection at once, without an answer."""
        self._all.cancel()

    async def run(self) -> None:
        """Answer until the client leaves, breaks a limit or violates HTTP; then close.

        A cancellation ends it at once, in any state of the client.
        """
        try:
            with self._all:
                async with self._stream, TaskGroup() as tasks:
                    protocol = self._protocol = self._make_protocol(tasks)
                    self._reading.deadline = trio.current_time() + self._limits.idle_s
                    with self._reading:
                        await self._read(protocol)
                    await protocol.handle(Closed())
        except* OSError:
            pass  # the client left before we read its address
        except* h11.ProtocolError as group:
            # The application's answer violated HTTP, so it was not sent.
            logger.exception("http.connection_failed", exc_info=group)

    def _make_protocol(self, tasks: TaskGroup) -> H11Protocol:
        socket = self._stream.socket
        return _Http1(
            self._app,
            self._settings,
            cast("Any", WorkerContext(None)),
            cast("Any", tasks),
            ConnectionState({}),
            False,  # no TLS
            parse_socket_addr(socket.family, socket.getpeername()),
            parse_socket_addr(socket.family, socket.getsockname()),
            self._send,
        )

    async def _read(self, protocol: H11Protocol) -> None:
        while True:
            try:
                data = await self._stream.receive_some(_MAX_READ)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not self._is_ending:
                await protocol.handle(RawData(bytes(data)))
            if not data:
                return

    async def _send(self, event: Event) -> None:
        """Act on the socket as the protocol says."""
        if isinstance(event, RawData):
            await self._send_data(event.data)
        elif isinstance(event, Closed):
            await self._end()
        elif isinstance(event, Updated):
            if event.idle:
                self.waits_since = trio.current_time()
            idle_s = self._limits.idle_s if event.idle else math.inf
            self._reading.deadline = trio.current_time() + idle_s

    async def _send_data(self, data: bytes) -> None:
        async with self._sending:
            try:
                with trio.fail_after(self._limits.send_s):
                    await self._stream.send_all(data)
            except (
                trio.BrokenResourceError,
                trio.ClosedResourceError,
                trio.TooSlowError,
            ):
                # The client does not read, so the application need not go on.
                self._all.cancel()

    async def _end(self) -> None:
        """Stop sending, and give the client a moment to read the last answer."""
        self._is_ending = True
        self._reading.deadline = trio.current_time() + self._limits.linger_s
        async with self._sending:
            try:
                await self._stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._all.cancel()
        if self._protocol is not None:
            await self._protocol.handle(Closed())


class _Http1(H11Protocol):
    """HTTP/1.1 only, with refusals that are problems like all others.

    The methods override private ones of Hypercorn.  The dependency pins its minor
    version, and a test uses each of them.
    """

    # Whether the last request was a HEAD.
    _is_head = False

    async def _check_protocol(self, event: h11.Request) -> None:
        """Do nothing: Hypercorn would change to HTTP/2 here."""

    async def _create_stream(self, request: h11.Request) -> None:
        # A server may ignore the request to change the protocol (RFC 9110, 7.8).
        kept = [each for each in request.headers.raw_items() if not _is_upgrade(each)]
        if len(kept) < len(request.headers):
            request = h11.Request(
                method=request.method,
                target=request.target,
                headers=kept,
                http_version=request.http_version,
            )
        self._is_head = request.method == b"HEAD"
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        body = encode_problem(HTTPStatus(status_code))
        head = h11.Response(
            status_code=status_code,
            headers=[*refusal_headers(body), *self.config.response_headers("h11")],
        )
        is_answer_to_head = (
            self._is_head and self.connection.our_state is h11.SEND_RESPONSE
        )
        # Sent in one piece, because the application may send its own answer just now.
        answer = self.connection.send(head) or b""
        if not is_answer_to_head:
            answer += self.connection.send(h11.Data(data=body)) or b""
        answer += self.connection.send(h11.EndOfMessage()) or b""
        await self.send(RawData(answer))


async def turn_away(stream: trio.SocketStream) -> None:
    """Tell a client that all connections are in use; do not wait for it to read."""
    body = encode_problem(HTTPStatus.SERVICE_UNAVAILABLE)
    head = b"".join(b"%s: %s\r\n" % each for each in refusal_headers(body))
    with trio.move_on_after(0.1):
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(
                    b"HTTP/1.1 503 \r\nretry-after: 1\r\n" + head + b"\r\n" + body
                )


def encode_problem(status: HTTPStatus) -> bytes:
    """Return the body of a problem with the standard text of its status."""
    return msgspec.json.encode(problem_body(status))


def refusal_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a problem after which the connection ends."""
    return [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *SAFE_HEADERS,
    ]


def _is_upgrade(header: tuple[bytes, bytes]) -> bool:
    return header[0].lower() == b"upgrade"
