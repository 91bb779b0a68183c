"""Sessions: how a page in a browser gets in without keeping the token.

The page sends the token once, to ``POST /v1/session``, and gets a cookie that no script
can read and no other site can use; an ``EventSource`` cannot send a header of its own,
but it sends the cookie.  The cookie's value is a random id that is worth nothing
elsewhere or after a restart of the service.
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
from greeks_trio.api.answers import JSON, NOT_JSON, Problem, described_problems
from greeks_trio.config.settings import Secret

PATH: Final = "/v1/session"
COOKIE: Final = "greeks_session"

# A day at the desk; the next morning asks for the token again.
_LIFETIME_S: Final = 12 * 3600
# Browsers of one desk, some of them opened again and again.  The oldest goes.
_MAX_SESSIONS: Final = 100


class Sessions:
    """The sessions that are open.

    Their ids are kept as digests, so that finding one takes as long whatever is asked.
    """

    def __init__(self, token: Secret) -> None:
        self.token = token
        self._ends_at: dict[bytes, float] = {}

    def open(self) -> str:
        """Return the id of a session that begins, ending the oldest of too many."""
        if len(self._ends_at) >= _MAX_SESSIONS:
            del self._ends_at[next(iter(self._ends_at))]
        session_id = secrets.token_urlsafe(32)
        self._ends_at[_digest(session_id)] = trio.current_time() + _LIFETIME_S
        return session_id

    def is_open(self, session_id: str) -> bool:
        """Return whether the session has begun and not ended."""
        ends_at = self._ends_at.get(_digest(session_id))
        return ends_at is not None and trio.current_time() < ends_at

    def close(self, session_id: str) -> None:
        """End the session, if there is one."""
        self._ends_at.pop(_digest(session_id), None)


def brings_token(authorization: bytes, token: Secret) -> bool:
    """Return whether the header is ``Bearer`` and the token; takes always as long."""
    scheme, _, credentials = authorization.partition(b" ")
    is_bearer = scheme.lower() == b"bearer"
    return is_token(credentials.strip(), token) and is_bearer


def is_token(text: bytes, token: Secret) -> bool:
    """Return whether it is the token; takes always as long."""
    return hmac.compare_digest(text, token.reveal().encode())


def session_ids(cookies: Iterable[bytes]) -> Iterator[str]:
    """Yield each session id in the ``Cookie`` headers.

    There may be several: cookies know no ports, and everything on this machine may set
    one for localhost.
    """
    for header in cookies:
        for pair in header.decode("latin-1").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == COOKIE:
                yield value


class _Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str = ""


def make_router(sessions: Sessions, *, wrong_token_s: float) -> APIRouter:
    """Return ``POST`` and ``DELETE /v1/session``.

    Args:
        sessions: Those that the guard lets in.
        wrong_token_s: Seconds by which the answer to a wrong token comes later.
    """
    router = APIRouter(tags=["session"])
    _add_opening(router, sessions, wrong_token_s)
    _add_closing(router, sessions)
    return router


def _add_opening(router: APIRouter, sessions: Sessions, wrong_token_s: float) -> None:
    @router.post(
        PATH,
        status_code=HTTPStatus.NO_CONTENT,
        response_class=Response,
        responses=_OPENED,
        openapi_extra={"requestBody": _BODY},
    )
    async def open_session(request: Request) -> Response:
        """Turn the token into a cookie, for a page and its stream of events.

        The token comes in the body, or as `Authorization: Bearer` beside an empty
        object.  Without a token in the configuration nobody needs a session, and there
        is no cookie.
        """
        is_right = await _brings_token(request, sessions.token)
        answer = Response(status_code=HTTPStatus.NO_CONTENT)
        if sessions.token:
            if not is_right:
                await trio.sleep(wrong_token_s)
                raise wrong_token()
            _set_cookie(answer, sessions.open(), _LIFETIME_S, request)
        return answer


def _add_closing(router: APIRouter, sessions: Sessions) -> None:
    @router.delete(
        PATH,
        status_code=HTTPStatus.NO_CONTENT,
        response_class=Response,
        responses=_CLOSED,
    )
    async def close_session(request: Request) -> Response:  # noqa: ASYNC124
        """End the session of the cookie; there need not be one."""
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
        "The token of GREEKS_API_TOKEN is needed, as 'Authorization: Bearer TOKEN', "
        f"or the cookie of POST {PATH}.",
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
    # Whether TLS ends in front of us only the browser knows for certain: a header such as
    # X-Forwarded-Proto could be anybody's.
    answer.set_cookie(
        COOKIE,
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
        "description": f"{COOKIE}, with HttpOnly and SameSite=Strict; none without a "
        "token in the configuration",
        "schema": {"type": "string"},
    }
}
_OPENED: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.NO_CONTENT): {
        "description": "The session has begun",
        "headers": _COOKIE_HEADER,
    },
    **described_problems(
        HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.UNPROCESSABLE_ENTITY
    ),
}
_CLOSED: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.NO_CONTENT): {"description": "There is no session"},
}
