"""Starting and stopping the brokers' feeds by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol

import msgspec
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from greeks_trio.api.answers import (
    JSON,
    Problem,
    described,
    described_problems,
    json_answer,
)
from greeks_trio.config.settings import BROKERS
from greeks_trio.model.records import Broker, StreamSession


class StreamingControl(Protocol):
    """The switches of the feeds; a call that is cancelled has asked all the same."""

    @property
    def enabled(self) -> Sequence[Broker]:
        """The brokers that can be started and stopped."""

    def sessions(self, brokers: Collection[Broker]) -> Sequence[StreamSession]:
        """Return the state of these brokers' feeds, each once."""

    async def start(self, brokers: Collection[Broker]) -> None:
        """Start what is stopped, let what waits try at once; does not wait for it."""

    async def stop(self, brokers: Collection[Broker]) -> Collection[Broker]:
        """Stop what runs; wait a few seconds; return whose connection goes on ending."""


# More than there are brokers, because naming one twice is no mistake.
_MAX_NAMES: Final = 16


class Wish(BaseModel):
    """Whose feeds are meant."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"brokers": ["ibkr"]}]}
    )

    brokers: Annotated[
        # A name that we do not know is told of by us, with those that can be named.
        list[Annotated[str, Field(json_schema_extra={"enum": list(BROKERS)})]],
        Field(min_length=1, max_length=_MAX_NAMES),
    ]


def make_router(control: StreamingControl) -> APIRouter:
    """Return ``/v1/streaming/start`` and ``/v1/streaming/stop``.

    Both may be repeated: what is as it is asked to be stays as it is.  What was stopped
    stays stopped across SIGHUP, and runs again after a restart of the service.
    """
    router = APIRouter(prefix="/v1/streaming", tags=["streaming"])

    @router.post("/start", responses=described(_SESSIONS) | _PROBLEMS)
    async def start(wish: Wish) -> Response:
        """Start the feeds; one that waits after a failure or a refusal tries at once.

        Answers before they are connected: ask `/v1/streaming/status` how it goes.
        """
        brokers = _meant(control, wish)
        await control.start(brokers)
        return json_answer({"sessions": control.sessions(brokers)})

    @router.post("/stop", responses=described(_SESSIONS) | _LATE | _PROBLEMS)
    async def stop(wish: Wish) -> Response:
        """Stop the feeds, and answer when their connections have ended.

        Everything that was read is stored.  202 when one needs more than a few seconds;
        its `last_error` says so until it has ended.
        """
        brokers = _meant(control, wish)
        late = await control.stop(brokers)
        status = HTTPStatus.ACCEPTED if late else HTTPStatus.OK
        return json_answer({"sessions": control.sessions(brokers)}, status)

    return router


def _meant(control: StreamingControl, wish: Wish) -> list[Broker]:
    """Return the brokers that are named, each once.

    Raises:
        Problem: one of them is unknown, or not enabled.
    """
    enabled = control.enabled
    can_be_named = f"Enabled: {', '.join(enabled)}."
    for name in wish.brokers:
        if name not in BROKERS and name not in enabled:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"There is no broker {name[:40]!a}. {can_be_named}",
            )
        if name not in enabled:
            raise Problem(
                HTTPStatus.CONFLICT,
                f"{name} is not enabled. {can_be_named} "
                f"{name.upper()}_ENABLED=true and a restart enable it.",
            )
    return [broker for broker in enabled if broker in wish.brokers]


_SESSION: Final = msgspec.json.schema_components((StreamSession,))[1]["StreamSession"]
_SESSIONS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"sessions": {"type": "array", "items": _SESSION}},
    "required": ["sessions"],
    "examples": [
        {
            "sessions": [
                {
                    "broker": "ibkr",
                    "status": "disconnected",
                    "last_heartbeat_at": "2026-11-20T15:30:00Z",
                    "last_message_at": "2026-11-20T15:30:04.512Z",
                    "reconnect_attempt": 0,
                    "subscription_count": 0,
                    "last_error": "stopped by request",
                }
            ]
        }
    ],
}
_LATE: Final[dict[int | str, dict[str, Any]]] = {
    int(HTTPStatus.ACCEPTED): {
        "description": "Asked for, but a connection has not ended yet",
        "content": {JSON: {"schema": _SESSIONS}},
    }
}
_PROBLEMS: Final = described_problems(
    HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY
)
