"""Starting and stopping the feeds of brokers by hand."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, create_model

from greeks_trio.api.answers import Problem, described, described_problems, json_answer
from greeks_trio.api.media_types import JSON
from greeks_trio.feeds.switches import FeedSwitches
from greeks_trio.model.records import Broker, StreamSession

# More than there are brokers, because it is no mistake to name one twice.
_MAX_NAMES: Final = 16


class Wish(BaseModel):
    """The brokers whose feeds to start or stop."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"brokers": ["ibkr"]}]}
    )

    brokers: list[str]


def make_router(switches: FeedSwitches, brokers: Sequence[str]) -> APIRouter:
    """Return ``/v1/streaming/start`` and ``/v1/streaming/stop``.

    Both may be repeated: a feed that already is in the wanted state stays so.  A feed
    that was stopped stays stopped across SIGHUP, and runs again after a restart of the
    service.

    Args:
        switches: Start and stop the feeds of the enabled brokers.
        brokers: The names of all brokers.
    """
    router = APIRouter(prefix="/v1/streaming", tags=["streaming"])
    answer = described(_sessions_schema(brokers)) | _PROBLEMS

    async def start(wish: Wish) -> Response:
        """Start the feeds; a feed that waits after a failure or a refusal tries at once.

        The answer comes before they are connected; `/v1/streaming/status` shows it.
        """
        chosen = _chosen(wish, switches.enabled, brokers)
        await switches.start(chosen)
        return json_answer({"sessions": switches.sessions(chosen)})

    async def stop(wish: Wish) -> Response:
        """Stop the feeds, and answer when their connections have ended.

        Every tick that was read is stored.  202 when a connection needs more than a few
        seconds; its `last_error` says so until it has ended.
        """
        chosen = _chosen(wish, switches.enabled, brokers)
        late = await switches.stop(chosen)
        status = HTTPStatus.ACCEPTED if late else HTTPStatus.OK
        return json_answer({"sessions": switches.sessions(chosen)}, status)

    # FastAPI reads the type of the body from here.
    body = _wish_model(brokers)
    start.__annotations__["wish"] = stop.__annotations__["wish"] = body
    router.post("/start", responses=answer)(start)
    router.post("/stop", responses=answer | _late(brokers))(stop)
    return router


def _wish_model(brokers: Sequence[str]) -> type[Wish]:
    """Return the body with the names that it can have, for OpenAPI.

    The route answers an unknown name itself, with the names that are possible.
    """
    name = Annotated[str, Field(json_schema_extra={"enum": list(brokers)})]
    names = Annotated[list[name], Field(min_length=1, max_length=_MAX_NAMES)]
    return create_model(
        "Wish", __base__=Wish, __doc__=Wish.__doc__, brokers=(names, ...)
    )


def _chosen(
    wish: Wish, enabled: Sequence[Broker], brokers: Sequence[str]
) -> list[Broker]:
    """Return the brokers that are named, each once.

    Raises:
        Problem: one of them is unknown, or not enabled.
    """
    can_be_named = f"Enabled: {', '.join(enabled)}."
    for name in wish.brokers:
        if name not in brokers:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"There is no broker {name[:40]!a}. {can_be_named}",
            )
        if name not in enabled:
            raise Problem(
                HTTPStatus.CONFLICT,
                f"{name} is not enabled. {can_be_named} Set {name.upper()}_ENABLED=true "
                "and restart the service to enable it.",
            )
    return [broker for broker in enabled if broker in wish.brokers]


def session_schema(brokers: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of a session, for OpenAPI."""
    schema: dict[str, Any]
    [schema] = msgspec.json.schema_components((StreamSession,))[1].values()
    properties = schema["properties"] | {"broker": {"enum": list(brokers)}}
    return schema | {"properties": properties}


def _sessions_schema(brokers: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"sessions": {"type": "array", "items": session_schema(brokers)}},
        "required": ["sessions"],
        "examples": [{"sessions": [_EXAMPLE]}],
    }


def _late(brokers: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    return {
        int(HTTPStatus.ACCEPTED): {
            "description": "Asked for, but a connection has not ended yet",
            "content": {JSON: {"schema": _sessions_schema(brokers)}},
        }
    }


_EXAMPLE: Final = {
    "broker": "ibkr",
    "status": "disconnected",
    "last_heartbeat_at": "2026-11-20T15:30:00Z",
    "last_message_at": "2026-11-20T15:30:04.512Z",
    "reconnect_attempt": 0,
    "subscription_count": 0,
    "last_error": "stopped by request",
    "notes": ["stopped by request"],
}
_PROBLEMS: Final = described_problems(
    HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY
)
