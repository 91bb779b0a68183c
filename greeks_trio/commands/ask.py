"""Asking a running service over HTTP, for the commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from greeks_trio.api.media_types import PROBLEM_JSON
from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ConfigError, FeedInterrupted, GreeksError, plain_text
from greeks_trio.feeds.http_body import ACCEPTED, read_body

# The loopback address of a service that listens on every address.
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
_PAGE_ROWS: Final = 500
ANOTHER_PROGRAM: Final = "the program at this address is not greeks_trio"


class NoAnswer(GreeksError):
    """The service gives no answer that can be used; the message says why."""


class OtherPaths(NoAnswer):
    """The program at the address does not have the path of a service."""


class Refusal(GreeksError):
    """The service does not accept the request; the message says why."""


def service_url(http: HttpConfig | None) -> str:
    """Return the URL of the configured service, for this machine.

    Raises:
        ConfigError: HTTP is off, or the port is not known.
    """
    if http is None:
        raise ConfigError(
            [
                "GREEKS_HTTP_BIND is empty, so the service has no HTTP address; use --url."
            ]
        )
    if not http.port:
        raise ConfigError(
            [
                "GREEKS_HTTP_BIND has port 0, so the service chooses a port; use --url"
                " with the address in its log (http.listening)."
            ]
        )
    host = _EVERYWHERE.get(http.host, http.host)
    return (
        f"http://[{host}]:{http.port}" if ":" in host else f"http://{host}:{http.port}"
    )


def checked_url(text: str, has_token: bool = False) -> str:
    """Return the URL without a path.

    Args:
        text: The URL.
        has_token: Whether the token is sent there.

    Raises:
        ConfigError: it is no HTTP address, or has a secret in it.  Other users of this
            machine could read the secret in the list of processes.  Or others could read
            the token on its way.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises unless it is a number
        httpx2.URL(text)
    except (ValueError, httpx2.InvalidURL):
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(["--url is not like http://127.0.0.1:8080."])
    if "@" in parts.netloc:
        raise ConfigError(
            [
                "--url has a name or a password. Remove it, and set GREEKS_API_TOKEN"
                " to the token of the service."
            ]
        )
    if has_token and parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(
            [
                "--url is not encrypted, so GREEKS_API_TOKEN was not sent there. Use"
                " https, or ssh -L and the address 127.0.0.1."
            ]
        )
    return f"{parts.scheme}://{parts.netloc}"


async def ask(
    base: str,
    http: HttpConfig | None,
    path: str,
    params: Mapping[str, str],
    *,
    limit_s: float,
) -> tuple[bytes, Any]:
    """Return the answer of the service at ``base`` to a GET, as text and decoded.

    Raises:
        NoAnswer: There is no answer, or none of this service.
        Refusal: The service refuses the request, or cannot answer it at present.
    """
    async with open_service(base, http, limit_s) as client:
        with trio.fail_after(limit_s):
            answer, content = await get(client, f"{path}?{httpx2.QueryParams(params)}")
    is_problem = answer.headers.get("content-type", "") == PROBLEM_JSON
    is_of_access = answer.status_code in (
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.MISDIRECTED_REQUEST,
    )
    try:
        if is_problem and not is_of_access:
            raise Refusal(_words_of(msgspec.json.decode(content, type=dict[str, Any])))
        check_answer(answer, http)
        return content, msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NoAnswer(ANOTHER_PROGRAM) from None


class _Page(msgspec.Struct, frozen=True):
    items: list[dict[str, Any]]
    next_cursor: str | None


async def ask_pages(
    base: str,
    http: HttpConfig | None,
    path: str,
    params: Mapping[str, str],
    *,
    limit_s: float,
) -> list[dict[str, Any]]:
    """Return all rows of a list of the service.

    Args:
        base: The address.
        http: The settings, with the token.
        path: The path of the list.
        params: The parameters of the request.
        limit_s: Seconds to wait for each page.

    Raises:
        NoAnswer: There is no answer, or none of a service with this list.
        Refusal: The service refuses the request, or cannot answer it at present.
    """
    rows: list[dict[str, Any]] = []
    asked = {"limit": str(_PAGE_ROWS), **params}
    while True:
        _, answer = await ask(base, http, path, asked, limit_s=limit_s)
        try:
            page = msgspec.convert(answer, _Page)
        except msgspec.ValidationError:
            raise NoAnswer(f"this version of the service has no {path}") from None
        rows += page.items
        if page.next_cursor is None:
            return rows
        asked["cursor"] = page.next_cursor


def _words_of(problem: Mapping[str, Any]) -> str:
    """Return the detail of a problem, with the mistakes of the request."""
    mistakes = [
        f"{str(each.get('where', '')).removeprefix('query.')} {each.get('reason', '')}"
        for each in problem.get("errors", ())
    ]
    return "; ".join(mistakes) or str(problem.get("detail", ""))


@asynccontextmanager
async def open_service(
    base: str, http: HttpConfig | None, limit_s: float
) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client of the service at ``base``.

    Args:
        base: The address.
        http: The settings, with the token.
        limit_s: The seconds of the time limit in the block, for the message.

    Raises:
        NoAnswer: In the block there is no answer, or one of another program.
    """
    token = http.token.reveal() if http is not None else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        # A proxy of the environment does not lead to this machine.
        async with httpx2.AsyncClient(
            base_url=base,
            headers={**headers, "Accept-Encoding": ACCEPTED},
            timeout=None,
            trust_env=False,
        ) as client:
            yield client
    except FeedInterrupted as exc:
        raise NoAnswer(f"{ANOTHER_PROGRAM}; {exc}") from None
    except trio.TooSlowError:
        raise NoAnswer(f"no answer within {limit_s:g} s") from None
    except (httpx2.TransportError, UnicodeError) as exc:  # the name is not valid
        raise NoAnswer(
            f"no service answers: {plain_text(str(exc)) or type(exc).__name__}"
        ) from exc


async def get(client: httpx2.AsyncClient, path: str) -> tuple[httpx2.Response, bytes]:
    """Return the answer and its body.

    Raises:
        FeedInterrupted: The body is too long, so it is that of another program.
    """
    async with client.stream("GET", path) as answer:
        return answer, await read_body(answer, peer="it")


def check_answer(answer: httpx2.Response, http: HttpConfig | None) -> None:
    """Check that the service has answered the request.

    Raises:
        NoAnswer: the service, or another program, has refused it.
    """
    has_token = http is not None and bool(http.token.reveal())
    is_problem = answer.headers.get("content-type", "") == PROBLEM_JSON
    if answer.status_code == HTTPStatus.UNAUTHORIZED and is_problem:
        raise NoAnswer(
            "the service refuses the token in GREEKS_API_TOKEN; set the service's token"
            if has_token
            else "the service needs a token, and GREEKS_API_TOKEN is not set here; set it"
        )
    if answer.status_code == HTTPStatus.MISDIRECTED_REQUEST and is_problem:
        raise NoAnswer("the service does not answer to this name; use its address")
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise OtherPaths(f"{ANOTHER_PROGRAM} (HTTP status 404)")
    if answer.status_code != HTTPStatus.OK:
        raise NoAnswer(f"{ANOTHER_PROGRAM} (HTTP status {answer.status_code})")
