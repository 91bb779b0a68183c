"""``status``: show the health of a running service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import click
import httpx2
import msgspec
import trio

from greeks_trio.api.media_types import PROBLEM_JSON
from greeks_trio.commands.status_answer import StatusAnswer
from greeks_trio.commands.status_health import Health, HealthReport, Readiness, judge
from greeks_trio.commands.status_table import show
from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.load import load_config
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import (
    ConfigError,
    FeedInterrupted,
    GreeksError,
    plain_text,
)
from greeks_trio.feeds.http_body import ACCEPTED, read_body

# A healthy service answers within milliseconds, a busy one within a second.
LIMIT_S: Final = 10.0

EXIT_STATUSES: Final[dict[Health, int]] = {"healthy": 0, "degraded": 1, "down": 2}

_STATUS_PATH: Final = "/v1/streaming/status"
_READINESS_PATH: Final = "/readyz"
# The loopback address of a service that listens on every address.
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class _NoAnswer(GreeksError):
    """The service gives no answer that can be used; the message says why."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """The answers of a service.

    Attributes:
        raw: The answer of the status, as it came.
        now: The service's clock.
    """

    raw: dict[str, Any]
    status: StatusAnswer
    readiness: Readiness
    now: datetime


async def run_status(
    *, url: str | None, as_json: bool, limit_s: float = LIMIT_S
) -> int:
    """Print the health of the service, and return the exit status for it.

    Args:
        url: The address of the service; without it, the configuration gives it.
        as_json: Print one JSON object instead of the table, also after an error.
        limit_s: Seconds to wait for an answer.

    Raises:
        ConfigError: the address of the service is not known.
    """
    try:
        http = load_config(need_broker=False).http
        has_token = http is not None and bool(http.token.reveal())
        base = service_url(http) if url is None else checked_url(url, has_token)
    except ConfigError as exc:
        # For people, every command prints these problems to stderr.
        if as_json:
            _print_json(None, HealthReport("down", exc.problems), None)
        raise
    answers: _Answers | None = None
    try:
        answers = await _ask(base, http, limit_s)
    except _NoAnswer as exc:
        report = HealthReport("down", [str(exc)])
    else:
        report = judge(answers.status, answers.readiness, answers.now)
    if as_json:
        _print_json(base, report, answers)
    elif answers is None:
        show(base, report)
    else:
        show(base, report, answers.status, answers.now)
    return EXIT_STATUSES[report.health]


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


async def _ask(base: str, http: HttpConfig | None, limit_s: float) -> _Answers:
    """Return the answers of the service at ``base``.

    Raises:
        _NoAnswer: there is no answer, or none of this service.
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
            with trio.fail_after(limit_s):
                status, content = await _get(client, _STATUS_PATH)
                _, readiness = await _get(client, _READINESS_PATH)
    except FeedInterrupted as exc:
        raise _NoAnswer(f"{_ANOTHER_PROGRAM}; {exc}") from None
    except trio.TooSlowError:
        raise _NoAnswer(f"no answer within {limit_s:g} s") from None
    except (httpx2.TransportError, UnicodeError) as exc:  # the name is not valid
        raise _NoAnswer(
            f"no service answers: {plain_text(str(exc)) or type(exc).__name__}"
        ) from exc
    _check_status(status, has_token=bool(token))
    try:
        raw = msgspec.json.decode(content, type=dict[str, Any])
        return _Answers(
            raw=raw,
            status=StatusAnswer(raw),
            readiness=msgspec.json.decode(readiness, type=Readiness),
            now=_clock_of(status),
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _NoAnswer(_ANOTHER_PROGRAM) from None


async def _get(client: httpx2.AsyncClient, path: str) -> tuple[httpx2.Response, bytes]:
    """Return the answer and its body.

    Raises:
        FeedInterrupted: The body is too long, so it is that of another program.
    """
    async with client.stream("GET", path) as answer:
        return answer, await read_body(answer, peer="it")


_ANOTHER_PROGRAM: Final = "the program at this address is not greeks_trio"


def _check_status(answer: httpx2.Response, *, has_token: bool) -> None:
    """Check that the service has answered the request.

    Raises:
        _NoAnswer: the service, or another program, has refused it.
    """
    is_problem = answer.headers.get("content-type", "") == PROBLEM_JSON
    if answer.status_code == HTTPStatus.UNAUTHORIZED and is_problem:
        raise _NoAnswer(
            "the service refuses the token in GREEKS_API_TOKEN; set the service's token"
            if has_token
            else "the service needs a token, and GREEKS_API_TOKEN is not set here; set it"
        )
    if answer.status_code == HTTPStatus.MISDIRECTED_REQUEST and is_problem:
        raise _NoAnswer("the service does not answer to this name; use its address")
    if answer.status_code != HTTPStatus.OK:
        raise _NoAnswer(f"{_ANOTHER_PROGRAM} (HTTP status {answer.status_code})")


def _clock_of(answer: httpx2.Response) -> datetime:
    """Return the time by the service's clock, which all its times are from."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.now(UTC)


def _print_json(
    base: str | None, report: HealthReport, answers: _Answers | None
) -> None:
    body = {
        "verdict": report.health,
        "problems": report.problems,
        "notes": report.notes,
        "url": base,
        "service": None if answers is None else answers.raw,
    }
    click.echo(msgspec.json.encode(body).decode())
