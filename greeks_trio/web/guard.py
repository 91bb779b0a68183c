"""Who may ask: the checks in front of the HTTP interface, for every request alike.

- On loopback the Host header has to be a name of loopback.  A page in a browser on this
  machine may make its own name resolve to 127.0.0.1 and so read what loopback serves to
  anybody; the header gives it away.
- Elsewhere, and whenever a token is configured, the request has to bring the token.
  There any Host is fine: that page does not know the token.
- ``/livez`` says nothing, so it needs no token.

Source: https://en.wikipedia.org/wiki/DNS_rebinding
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from greeks_trio.config import HttpConfig, Secret
from greeks_trio.config_values import is_loopback

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

_OPEN_PATHS: Final = frozenset({"/livez"})

# Answers are for programs: no browser shall guess their type, frame them, run anything
# in them, or keep them.
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class Guard:
    """An ASGI application that lets through to another what may pass."""

    def __init__(self, app: App, config: HttpConfig) -> None:
        self._app = app
        self._token = config.token
        self._checks_host = is_loopback(config.host)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer, or pass on and add the headers to the answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # closes what wanted to become a websocket

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        headers = dict(scope["headers"])
        if self._checks_host and not _names_loopback(headers.get(b"host", b"")):
            await _refuse(send_with_headers, HTTPStatus.MISDIRECTED_REQUEST)
        elif self._token and not self._is_authorised(scope["path"], headers):
            await _refuse(send_with_headers, HTTPStatus.UNAUTHORIZED)
        else:
            await self._app(scope, receive, send_with_headers)

    def _is_authorised(self, path: str, headers: dict[bytes, bytes]) -> bool:
        return path in _OPEN_PATHS or brings_token(
            headers.get(b"authorization", b""), self._token
        )


def brings_token(authorization: bytes, token: Secret) -> bool:
    """Return whether the header is ``Bearer`` and the token; takes always as long."""
    scheme, _, credentials = authorization.partition(b" ")
    is_bearer = scheme.lower() == b"bearer"
    is_token = hmac.compare_digest(credentials.strip(), token.reveal().encode())
    return is_bearer and is_token


def _names_loopback(host: bytes) -> bool:
    try:
        name = urlsplit(f"//{host.decode('ascii')}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)


async def _refuse(send: Send, status: HTTPStatus) -> None:
    headers = [(b"content-type", b"application/json")]
    if status is HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    await send(
        {"type": "http.response.start", "status": int(status), "headers": headers}
    )
    body = f'{{"detail":"{status.phrase}"}}'.encode()
    await send({"type": "http.response.body", "body": body})
