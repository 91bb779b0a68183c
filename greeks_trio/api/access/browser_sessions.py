"""Browser sessions: a page gets access without keeping the token.

The page sends the token once, to ``POST /v1/session``.  It gets a cookie that no script
can read and no other site can use.  An ``EventSource`` cannot send a header of its own,
but it sends the cookie.  The value of the cookie is a random id, which is worthless
elsewhere and after a restart of the service.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

import msgspec
import trio
from fastapi import APIRouter, Request, Response

from greeks_trio.api.access.origins import is_encrypted
from greeks_trio.api.answers import (
    NOT_JSON,
    Problem,
    described,
    described_problems,
    json_answer,
)
from greeks_trio.api.media_types import JSON
from greeks_trio.config.settings import Secret

SESSION_PATH: Final = "/v1/session"
SESSION_COOKIE: Final = "greeks_session"

# One working day.  The next morning the page asks for the token again.
_LIFETIME_S: Final = 12 * 3600
# The browsers of one desk, each with several sessions.  The oldest session ends first.
_MAX_SESSIONS: Final = 100


class BrowserSessions:
    """The sessions that are open.

    It keeps the ids as digests: the time of a lookup then says nothing about an id.
    """

    def __init__(self, token: Secret) -> None:
        self.token = token
        self._ends_at: dict[bytes, float] = {}

    def open(self) -> str:
        """Open a session and return its id; at the limit the oldest session ends."""
        if len(self._ends_at) >= _MAX_SESSIONS:
            del self._ends_at[next(iter(self._ends_at))]
        session_id = secrets.token_urlsafe(32)
        self._ends_at[_digest(session_id)] = trio.current_time() + _LIFETIME_S
        return session_id

    def is_open(self, session_id: str) -> bool:
        """Return whether the session is open."""
        ends_at = self._ends_at.get(_digest(session_id))
        return ends_at is not None and trio.current_time() < ends_at

    def close(self, session_id: str) -> None:
        """End the session, if there is one."""
        self._ends_at.pop(_digest(session_id), None)


def brings_token(authorization: bytes, token: Secret) -> bool:
    """Return whether the header is ``Bearer`` and the token, in constant time."""
    scheme, _, credentials = authorization.partition(b" ")
    is_bearer = scheme.lower() == b"bearer"
    return is_token(credentials.strip(), token) and is_bearer


def is_token(text: bytes, token: Secret) -> bool:
    """Return whether the text is the token, in constant time."""
    return hmac.compare_digest(text, token.reveal().encode())


def session_ids(cookies: Iterable[bytes]) -> Iterator[str]:
    """Yield each session id in the ``Cookie`` headers.

    There may be several: a cookie belongs to no port, and every program on this machine
    can set one for localhost.
    """
    for header in cookies:
        for pair in header.decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == SESSION_COOKIE:
                yield value


class _Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str = ""


def make_router(sessions: BrowserSessions, *, wrong_token_s: float) -> APIRouter:
    """Return ``GET``, ``POST`` and ``DELETE /v1/session``.

    Args:
        sessions: The sessions that the guard accepts.
        wrong_token_s: The delay of the answer to a wrong token, in seconds.
    """
    router = APIRouter(tags=["session"])
    _add_reading(router, sessions)
    _add_opening(router, sessions, wrong_token_s)
    _add_closing(router, sessions)
    return router


def _add_reading(router: APIRouter, sessions: BrowserSessions) -> None:
    @router.get(SESSION_PATH, responses=described(_STATE))
    async def read_session(request: Request) -> Response:  # noqa: ASYNC124
        """Return whether this service needs a token, and whether the cookie is good.

        A browser leaves the cookie out when a link of another site leads to a page.  The
        login form asks here, because its own requests have the cookie.
        """
        is_open = any(map(sessions.is_open, session_ids(_cookies(request))))
        return json_answer(
            {"token_needed": bool(sessions.token), "session_open": is_open}
        )


def _add_opening(
    router: APIRouter, sessions: BrowserSessions, wrong_token_s: float
) -> None:
    @router.post(
        SESSION_PATH,
        status_code=HTTPStatus.NO_CONTENT,
        response_class=Response,
        responses=_OPENED,
        openapi_extra={"requestBody": _BODY},
    )
    async def open_session(request: Request) -> Response:
        """Exchange the token for a cookie, for a page and its stream of events.

        Send the token in the body, or as `Authorization: Bearer` with an empty object
        as the body.  If the service has no token, no session is needed and no cookie is
        set.
        """
        is_right = await _brings_token(request, sessions.token)
        answer = Response(status_code=HTTPStatus.NO_CONTENT)
        if sessions.token:
            if not is_right:
                await trio.sleep(wrong_token_s)
                raise wrong_token()
            _set_cookie(answer, sessions.open(), _LIFETIME_S, request)
        return answer


def _add_closing(router: APIRouter, sessions: BrowserSessions) -> None:
    @router.delete(
        SESSION_PATH,
        status_code=HTTPStatus.NO_CONTENT,
        response_class=Response,
        responses=_CLOSED,
    )
    async def close_session(request: Request) -> Response:  # noqa: ASYNC124
        """End the session of the cookie, if there is one."""
        for session_id in session_ids(_cookies(request)):
            sessions.close(session_id)
        answer = Response(status_code=HTTPStatus.NO_CONTENT)
        if sessions.token:
            _set_cookie(answer, "", 0, request)
        return answer


def wrong_token() -> Problem:
    """Return the problem of a request without the right token."""
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "This needs the token of GREEKS_API_TOKEN, as 'Authorization: Bearer TOKEN', "
        f"or the cookie of POST {SESSION_PATH}.",
        headers={"WWW-Authenticate": "Bearer"},
    )


async def _brings_token(request: Request, token: Secret) -> bool:
    try:
        login = msgspec.json.decode(await request.body(), type=_Login)
    except msgspec.ValidationError as exc:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{exc}.") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Problem(HTTPStatus.BAD_REQUEST, NOT_JSON) from exc
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return brings_token(authorization.encode("latin-1"), token)
    return is_token(login.token.encode("utf-8", "surrogatepass"), token)


def _set_cookie(answer: Response, value: str, max_age_s: int, request: Request) -> None:
    # Only the browser knows whether a proxy in front of us ends TLS: any client can send
    # a header such as X-Forwarded-Proto.
    answer.set_cookie(
        SESSION_COOKIE,
        value,
        max_age=max_age_s,
        secure=is_encrypted(dict(request.headers.raw)),
        httponly=True,
        samesite="strict",
    )


def _cookies(request: Request) -> list[bytes]:
    return [value for name, value in request.headers.raw if name == b"cookie"]


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()


_STATE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "token_needed": {"type": "boolean"},
        "session_open": {"type": "boolean"},
    },
    "required": ["token_needed", "session_open"],
    "examples": [{"token_needed": True, "session_open": False}],
}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {
                "type": "object",
                "title": "Login",
                "properties": {
                    "token": {"type": "string", "description": "GREEKS_API_TOKEN"}
                },
                "additionalProperties": False,
                "examples": [{"token": "a long random text"}],
            }
        }
    },
}
_COOKIE_HEADER: Final = {
    "Set-Cookie": {
        "description": f"{SESSION_COOKIE}, with HttpOnly and SameSite=Strict; not set if "
        "the service has no token",
        "schema": {"type": "string"},
    }
}
_OPENED: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.NO_CONTENT): {
        "description": "The session is open",
        "headers": _COOKIE_HEADER,
    },
    **described_problems(
        HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY
    ),
}
_CLOSED: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.NO_CONTENT): {"description": "The session has ended"},
}
