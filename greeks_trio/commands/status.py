"""``status``: show the health of a running service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import click
import httpx2
import msgspec
import trio

from greeks_trio.commands.ask import (
    ANOTHER_PROGRAM,
    NoAnswer,
    OtherPaths,
    check_answer,
    checked_url,
    get,
    open_service,
    service_url,
)
from greeks_trio.commands.fleet_status import ask_fleet, show_fleet
from greeks_trio.commands.status_answer import StatusAnswer
from greeks_trio.commands.status_health import Health, HealthReport, Readiness, judge
from greeks_trio.commands.status_table import show
from greeks_trio.config.load import load_config
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ConfigError

# A healthy service answers within milliseconds, a busy one within a second.
LIMIT_S: Final = 10.0

EXIT_STATUSES: Final[dict[Health, int]] = {"healthy": 0, "degraded": 1, "down": 2}

_STATUS_PATH: Final = "/v1/streaming/status"
_READINESS_PATH: Final = "/readyz"


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
    """Print the health of the service or the fleet, and return the exit status for it.

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
    except OtherPaths as exc:
        of_fleet = await ask_fleet(base, http, limit_s)
        if of_fleet is not None:
            return show_fleet(base, of_fleet, as_json=as_json)
        report = HealthReport("down", [str(exc)])
    except NoAnswer as exc:
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


async def _ask(base: str, http: HttpConfig | None, limit_s: float) -> _Answers:
    """Return the answers of the service at ``base``.

    Raises:
        NoAnswer: there is no answer, or none of this service.
    """
    async with open_service(base, http, limit_s) as client:
        with trio.fail_after(limit_s):
            status, content = await get(client, _STATUS_PATH)
            _, readiness = await get(client, _READINESS_PATH)
    check_answer(status, http)
    try:
        raw = msgspec.json.decode(content, type=dict[str, Any])
        return _Answers(
            raw=raw,
            status=StatusAnswer(raw),
            readiness=msgspec.json.decode(readiness, type=Readiness),
            now=_clock_of(status),
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NoAnswer(ANOTHER_PROGRAM) from None


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
