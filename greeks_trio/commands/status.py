"""``status``: ask a running service over HTTP how it does, and say it in a table."""

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

from greeks_trio.api.answers import PROBLEM_JSON
from greeks_trio.commands.status_health import Health, Readiness, Status, Verdict, judge
from greeks_trio.commands.status_table import show
from greeks_trio.config.load import load_config
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ConfigError, GreeksError

# A healthy service answers within milliseconds, a busy one within a second.
LIMIT_S: Final = 10.0

EXIT_STATUSES: Final[dict[Health, int]] = {"healthy": 0, "degraded": 1, "down": 2}

_STATUS_PATH: Final = "/v1/streaming/status"
_READINESS_PATH: Final = "/readyz"
# Where a service that listens everywhere can be reached from its own machine.
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class _NoAnswer(GreeksError):
    """There is nothing to judge."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """What a service said.

    Attributes:
        raw: The answer of the status, as it came.
        now: Its own clock.
    """

    raw: dict[str, Any]
    status: Status
    readiness: Readiness
    now: datetime


async def run_status(
    *, url: str | None, as_json: bool, limit_s: float = LIMIT_S
) -> int:
    """Print how the service does, and return the exit status of its health.

    Args:
        url: Where it is, when not where the configuration says.
        as_json: Print one JSON object instead of the table, whatever happens.
        limit_s: Seconds after which nobody has answered.

    Raises:
        ConfigError: it cannot be known where to ask.
    """
    try:
        http = load_config(need_broker=False).http
        base = service_url(http) if url is None else checked_url(url)
    except ConfigError as exc:
        # stderr has the words for people, as for every command.
        if as_json:
            _print_json(None, Verdict("down", exc.problems), None)
        raise
    answers: _Answers | None = None
    try:
        answers = await _ask(base, http, limit_s)
    except _NoAnswer as exc:
        verdict = Verdict("down", [str(exc)])
    else:
        verdict = judge(answers.status, answers.readiness, answers.now)
    if as_json:
        _print_json(base, verdict, answers)
    elif answers is None:
        show(base, verdict)
    else:
        show(base, verdict, answers.status, answers.now)
    return EXIT_STATUSES[verdict.health]


def service_url(http: HttpConfig | None) -> str:
    """Return where the configured service answers, seen from its own machine.

    Raises:
        ConfigError: it answers nowhere, or at a port that is not known.
    """
    if http is None:
        raise ConfigError(
            ["GREEKS_HTTP_BIND is empty, so the service cannot be asked; use --url."]
        )
    if not http.port:
        raise ConfigError(
            ["GREEKS_HTTP_BIND has port 0; use --url with what the service has logged."]
        )
    host = _EVERYWHERE.get(http.host, http.host)
    return (
        f"http://[{host}]:{http.port}" if ":" in host else f"http://{host}:{http.port}"
    )


def checked_url(text: str) -> str:
    """Return the URL without a path.

    Raises:
        ConfigError: it is no HTTP address, or has a secret in it, which others on this
            machine could read from the list of processes.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is no number
        httpx2.URL(text)
    except (ValueError, httpx2.InvalidURL):
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(["--url is not like http://127.0.0.1:8080."])
    if "@" in parts.netloc:
        raise ConfigError(["--url has a name or password; GREEKS_API_TOKEN is for it."])
    return f"{parts.scheme}://{parts.netloc}"


async def _ask(base: str, http: HttpConfig | None, limit_s: float) -> _Answers:
    """Return what the service at ``base`` says.

    Raises:
        _NoAnswer: why nothing can be said, in words.
    """
    token = http.token.reveal() if http is not None else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        # Without the environment's proxies: they do not lead to this machine.
        async with httpx2.AsyncClient(
            base_url=base, headers=headers, timeout=None, trust_env=False
        ) as client:
            with trio.fail_after(limit_s):
                status = await client.get(_STATUS_PATH)
                readiness = await client.get(_READINESS_PATH)
    except trio.TooSlowError:
        raise _NoAnswer(f"no answer within {limit_s:g} s") from None
    except httpx2.DecodingError:
        raise _NoAnswer(_ANOTHER_PROGRAM) from None
    except (httpx2.TransportError, UnicodeError) as exc:  # a name that cannot be one
        raise _NoAnswer(f"nobody answers: {str(exc) or type(exc).__name__}") from exc
    _check_status(status, has_token=bool(token))
    try:
        return _Answers(
            raw=msgspec.json.decode(status.content, type=dict[str, Any]),
            status=msgspec.json.decode(status.content, type=Status),
            readiness=msgspec.json.decode(readiness.content, type=Readiness),
            now=_clock_of(status),
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _NoAnswer(_ANOTHER_PROGRAM) from None


_ANOTHER_PROGRAM: Final = "what answers there is not greeks_trio"


def _check_status(answer: httpx2.Response, *, has_token: bool) -> None:
    """Say what a refusal means.

    Raises:
        _NoAnswer: it is one.
    """
    is_problem = answer.headers.get("content-type", "") == PROBLEM_JSON
    if answer.status_code == HTTPStatus.UNAUTHORIZED and is_problem:
        raise _NoAnswer(
            "the service refuses our GREEKS_API_TOKEN"
            if has_token
            else "the service wants a token, and GREEKS_API_TOKEN is not set here"
        )
    if answer.status_code == HTTPStatus.MISDIRECTED_REQUEST and is_problem:
        raise _NoAnswer("the service does not answer to this name; use its address")
    if answer.status_code != HTTPStatus.OK:
        raise _NoAnswer(f"{_ANOTHER_PROGRAM} (HTTP status {answer.status_code})")


def _clock_of(answer: httpx2.Response) -> datetime:
    """Return the service's time, from whose clock all its times are."""
    try:
        return parsedate_to_datetime(answer.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.now(UTC)


def _print_json(base: str | None, verdict: Verdict, answers: _Answers | None) -> None:
    body = {
        "verdict": verdict.health,
        "problems": verdict.problems,
        "url": base,
        "service": None if answers is None else answers.raw,
    }
    click.echo(msgspec.json.encode(body).decode())
