"""The guard: the checks in front of the application, the same for every request.

- On loopback the ``Host`` header has to be a name of loopback; see `origins`.  At any
  other address every name is accepted: the token is needed there, and the page of another
  site does not have it.
- The body of a write has to be JSON, which no form of another site can send.  If the
  browser names the origin of the page, it has to be ours.
- With a token in the configuration, a request needs the token or the cookie of a session.
  The open paths tell no data, so they need neither; see `open_paths`.  A browser that
  opens a page without them gets the login form.
- Bodies and waiting have limits; see `limits`.

A refusal is a problem as in `answers`; every answer gets the safe headers.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

import trio

from greeks_trio.api.access.browser_sessions import (
    BrowserSessions,
    brings_token,
    session_ids,
    wrong_token,
)
from greeks_trio.api.access.limits import (
    LIMITS,
    App,
    Disconnected,
    Limits,
    Message,
    Receive,
    Send,
    after_body,
    discard,
    read_body,
    take_arriving_body,
)
from greeks_trio.api.access.open_paths import LOGIN_FORM, OPEN_PATHS, PAGES
from greeks_trio.api.access.origins import READS, check_host, check_sender
from greeks_trio.api.answers import SAFE_HEADERS, Problem, problem_answer
from greeks_trio.api.bodies import refuse_repeated_keys
from greeks_trio.api.media_types import JSON
from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.settings import HttpConfig

logger = logging.getLogger(__name__)

# If one of these came twice, we and the application could read different values.
_SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-type",
        b"host",
        b"origin",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-fetch-user",
    }
)
_VERSIONS: Final = frozenset({"1.0", "1.1"})


class Guard:
    """An ASGI application that checks each request and passes it on to another one."""

    def __init__(
        self,
        app: App,
        config: HttpConfig,
        sessions: BrowserSessions,
        *,
        methods_of: Callable[[str], Collection[str]] = lambda _: (),
        limits: Limits = LIMITS,
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._methods_of = methods_of
        self._limits = limits
        self._checks_host = is_loopback(config.host)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on and add the headers to its answer."""
        if scope["type"] != "http":
            return
        answer = _Answer(send, is_head=scope["method"] == "HEAD")
        body: bytes | None = None
        try:
            # Before the body: a client without credentials need not send one.
            headers = self._check_head(scope)
            if not await self._has_credentials(scope, headers):
                scope = _login_form(scope, headers)
            body = await read_body(receive, self._limits)
            if body:
                refuse_repeated_keys(body)
            await self._pass_on(scope, body, receive, answer)
        except Problem as problem:
            if body is None:
                await take_arriving_body(receive, self._limits)
            await _refuse(problem, scope, receive, answer)
        except Disconnected:
            return

    def _check_head(self, scope: Message) -> dict[bytes, bytes]:
        """Check everything but the credentials; return the headers."""
        counts = Counter(name for name, _ in scope["headers"])
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["http_version"] not in _VERSIONS:
            raise Problem(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "Use HTTP/1.1.")
        if len(scope["raw_path"]) + len(scope["query_string"]) > self._limits.url_bytes:
            raise Problem(
                HTTPStatus.REQUEST_URI_TOO_LONG,
                f"Path and query have more than {self._limits.url_bytes} bytes.",
            )
        if not scope["path"].startswith("/"):
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                "The request's target has to be a path; this is not a proxy.",
            )
        if any(counts[name] > 1 for name in _SINGLE):
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                "A header comes twice that may come only once: one of "
                f"{', '.join(sorted(name.decode() for name in _SINGLE))}.",
            )
        if {b"content-length", b"transfer-encoding"} <= headers.keys():
            # A proxy in front of us may read another length than we do (RFC 9112, 6.3).
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                "The request has Content-Length and Transfer-Encoding; send one of them.",
            )
        _check_query(scope["query_string"])
        if self._checks_host:
            check_host(headers)
        check_sender(scope["method"], headers)
        self._check_content_type(scope, headers)
        return headers

    def _check_content_type(self, scope: Message, headers: dict[bytes, bytes]) -> None:
        """Refuse a write whose body is not JSON; a DELETE may have no body."""
        method = scope["method"]
        has_body = headers.get(b"content-length", b"0") != b"0"
        is_bare = method == "DELETE" and not (
            has_body or b"transfer-encoding" in headers
        )
        if method in READS or is_bare or _is_json(headers.get(b"content-type", b"")):
            return
        # The application's own answer to an unknown method says more.
        if method in self._methods_of(scope["path"]):
            raise Problem(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"A {method} needs 'Content-Type: {JSON}'.",
            )

    async def _has_credentials(
        self, scope: Message, headers: dict[bytes, bytes]
    ) -> bool:
        """Return whether the request has the credentials that its path needs."""
        token = self._sessions.token
        authorization = headers.get(b"authorization")
        if not token or scope["path"] in OPEN_PATHS:
            return True
        if authorization is None:
            cookies = [value for name, value in scope["headers"] if name == b"cookie"]
            return any(map(self._sessions.is_open, session_ids(cookies)))
        is_right = brings_token(authorization, token)
        if not is_right:
            await trio.sleep(self._limits.wrong_token_s)
        return is_right

    async def _pass_on(
        self, scope: Message, body: bytes, receive: Receive, answer: _Answer
    ) -> None:
        """Let the application answer; refuse if its answer does not begin in time."""
        if answer.is_head:
            scope = {**scope, "method": "GET"}
        with trio.move_on_after(self._limits.answer_s) as answer.patience:
            await self._app(scope, after_body(body, receive), answer.send)
        if answer.patience.cancelled_caught:
            logger.error("http.too_slow path=%s", _route_of(scope))
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"No answer after {self._limits.answer_s:g} seconds.  Try again.",
                headers={"Retry-After": "1"},
            )


class _Answer:
    """Sends one answer to the client, with the safe headers."""

    def __init__(self, send: Send, *, is_head: bool) -> None:
        self.is_head = is_head
        self.patience = trio.CancelScope()
        self._send = send
        self._is_over = False

    async def send(self, message: Message) -> None:
        """Send a message of the application."""
        if self._is_over:
            await trio.lowlevel.checkpoint()
            return
        if message["type"] == "http.response.start":
            # A late answer is cancelled here, before anything is sent.
            await trio.lowlevel.checkpoint()
            self.patience.deadline = math.inf
            headers = list(message.get("headers", ()))
            own = {name.lower() for name, _ in headers}
            headers += [each for each in SAFE_HEADERS if each[0] not in own]
            message["headers"] = headers
        elif self.is_head:
            # The end of the answer tells the application that the client has left.
            message, self._is_over = {"type": "http.response.body"}, True
        await self._send(message)


def _login_form(scope: Message, headers: dict[bytes, bytes]) -> Message:
    """Return the request for the login form, which a page gives without credentials.

    Raises:
        Problem: the request is for no page, or brings a wrong token.
    """
    is_page = scope["path"] in PAGES and scope["method"] in {"GET", "HEAD"}
    if not is_page or b"authorization" in headers:
        raise wrong_token()
    return {**scope, "path": LOGIN_FORM, "raw_path": LOGIN_FORM.encode()}


def _check_query(query: bytes) -> None:
    """Refuse a parameter that comes twice: the application would take the last one."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    counts = Counter(name for name, _ in pairs)
    if any(count > 1 for count in counts.values()):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "A parameter comes twice in the query.  Give each parameter once.",
        )


async def _refuse(
    problem: Problem, scope: Message, receive: Receive, answer: _Answer
) -> None:
    refusal = problem_answer(problem.status, problem.detail, headers=problem.headers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discard, receive, name="discard")
        await refusal(scope, receive, answer.send)
        nursery.cancel_scope.cancel()


def _is_json(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip().lower() == JSON.encode()


def _route_of(scope: Message) -> str:
    return repr(scope["path"][:100])
