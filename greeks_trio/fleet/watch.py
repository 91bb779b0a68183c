"""Asks each service for its status, and keeps the last answer with its age."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import httpx2
import msgspec
import trio

from greeks_trio.errors import FeedInterrupted, GreeksError, plain_text
from greeks_trio.feeds.http_body import ACCEPTED, read_body
from greeks_trio.fleet.member import Member
from greeks_trio.waiting import utc_now

STATUS_PATH: Final = "/v1/streaming/status"
# A busy service answers within a second.
ANSWER_LIMIT_S: Final = 5.0
_INTERVAL_S: Final = 2.0
# An answer is late after it, because the next ones are missing.
LATE_AFTER_S: Final = _INTERVAL_S + ANSWER_LIMIT_S + 1.0
# The number of ticks in the answers of so many seconds gives the rate.
_RATE_S: Final = 10.0


class Readiness(msgspec.Struct, frozen=True):
    """Whether a service is ready, in sentences."""

    problems: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []


class Session(msgspec.Struct, frozen=True):
    """The connection of a service to a broker."""

    broker: str
    status: str


class _Ticks(msgspec.Struct, frozen=True):
    received: dict[str, int] | None = None


class Answer(msgspec.Struct, frozen=True):
    """The parts of a service's status that the fleet reads."""

    readiness: Readiness = Readiness()
    sessions: list[Session] = []
    ticks: _Ticks = _Ticks()


class NoAnswer(GreeksError):
    """The service gives no answer that can be used; the message says why."""


class ServiceWatch:
    """The answers of one service; `run` is its task.

    Attributes:
        member: The service.
        answer: The parts of its last answer that are read here.
        status: All of its last answer, empty before the first one.
        answered_at: When that came.
        silent_since: Since when it gives no answer, `None` while it does.
        fault: Why it gives none, in words.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self.answer = Answer()
        self.status: Mapping[str, Any] = {}
        self.answered_at: datetime | None = None
        self.silent_since: datetime | None = utc_now()
        self.fault = "it has not started yet"
        self._answered = -math.inf
        self._attempt = 0
        # Monotonic seconds and all ticks that it had received by then.
        self._received: deque[tuple[float, int]] = deque()
        self._ticked = -math.inf

    @property
    def answer_age_s(self) -> float | None:
        """Seconds since the last answer, `None` without one."""
        return _age_s(self._answered)

    @property
    def tick_age_s(self) -> float | None:
        """Seconds since an answer had new ticks, `None` if none had any yet."""
        return _age_s(self._ticked)

    @property
    def is_answering(self) -> bool:
        """Whether the present process answers."""
        return (
            self.silent_since is None
            and (self.answer_age_s or 0) <= LATE_AFTER_S
            and not self._has_ended
        )

    @property
    def no_answer_since(self) -> datetime | None:
        """Since when there is no answer, `None` while there is one."""
        if self.is_answering:
            return None
        return self.silent_since or self.answered_at

    @property
    def why_silent(self) -> str:
        """Why there is no answer, in words."""
        if self._has_ended:
            return self.member.reason or self.member.last_end or "it has just ended"
        return self.fault or "it does not answer in time"

    @property
    def _has_ended(self) -> bool:
        """Whether the process that has answered has ended; the next look notes it."""
        member = self.member
        has_process = member.pid is not None or not member.attempts
        return member.attempts != self._attempt or not has_process

    @property
    def is_ready(self) -> bool:
        """Whether it answers, and is ready."""
        return self.is_answering and not self.answer.readiness.problems

    @property
    def ticks_per_second(self) -> float | None:
        """The ticks of the last seconds, `None` if it is not known."""
        if not self.is_answering or len(self._received) < 2:
            return None
        (began, before), (ended, after) = self._received[0], self._received[-1]
        return (after - before) / (ended - began)

    async def run(self) -> None:
        """Ask at intervals until cancelled."""
        async with open_client(self.member) as client:
            while True:
                began_at = trio.current_time()
                if self.member.attempts != self._attempt:
                    self._begin_anew()
                try:
                    await self._ask(client)
                except NoAnswer as exc:
                    self._note_silence(str(exc))
                await trio.sleep_until(began_at + _INTERVAL_S)

    def _begin_anew(self) -> None:
        """Forget the counts of the process before."""
        self._attempt = self.member.attempts
        self._received.clear()
        self._note_silence("it has just started")

    async def _ask(self, client: httpx2.AsyncClient) -> None:
        """Ask once.

        Raises:
            NoAnswer: there is no answer, or none of a service.
        """
        if self.member.pid is None:
            raise NoAnswer(self.member.reason or "it does not run")
        body = await read(client, STATUS_PATH)
        try:
            self.answer = msgspec.json.decode(body, type=Answer)
            self.status = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise NoAnswer("another program answers at its address") from exc
        self.answered_at = utc_now()
        self._answered = trio.current_time()
        self.silent_since, self.fault = None, ""
        self._count(sum((self.answer.ticks.received or {}).values()))

    def _count(self, received: int) -> None:
        if self._received and received > self._received[-1][1]:
            self._ticked = self._answered
        self._received.append((self._answered, received))
        while self._received[0][0] < self._answered - _RATE_S - 1:
            self._received.popleft()

    def _note_silence(self, fault: str) -> None:
        if self.silent_since is None:
            self.silent_since = self.answered_at
        self.fault = fault


@asynccontextmanager
async def open_client(member: Member) -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client of a service."""
    token = member.plan.http.token.reveal()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(
        base_url=member.url,
        headers={**headers, "Accept-Encoding": ACCEPTED},
        timeout=None,
        trust_env=False,
    ) as client:
        yield client


async def read(client: httpx2.AsyncClient, path: str) -> bytes:
    """Return the body of an answer.

    Raises:
        NoAnswer: there is none, or it is a refusal.
    """
    try:
        with trio.fail_after(ANSWER_LIMIT_S):
            async with client.stream("GET", path) as answer:
                body = await read_body(answer, peer="it")
    except trio.TooSlowError:
        raise NoAnswer(f"no answer within {ANSWER_LIMIT_S:g} s") from None
    except FeedInterrupted as exc:
        raise NoAnswer(str(exc)) from exc
    except httpx2.HTTPError as exc:
        reason = plain_text(str(exc)) or type(exc).__name__
        raise NoAnswer(f"no connection: {reason}") from exc
    if answer.status_code != HTTPStatus.OK:
        raise NoAnswer(f"it answers with HTTP status {answer.status_code}")
    return body


def _age_s(moment: float) -> float | None:
    return None if moment == -math.inf else round(trio.current_time() - moment, 1)
