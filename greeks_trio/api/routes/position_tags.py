"""Giving strategies to positions, and taking them away."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, create_model

from greeks_trio.api.answers import Problem, described, described_problems
from greeks_trio.api.lists import parameters
from greeks_trio.api.lists.columns import row_schema
from greeks_trio.api.lists.position_risk import POSITION_TAGS
from greeks_trio.api.media_types import JSON
from greeks_trio.api.store_problems import STORE_PROBLEMS, store_problems
from greeks_trio.api.written import (
    Text,
    body_problems,
    check_broker,
    parse_key,
    text_schema,
)
from greeks_trio.model.contract_keys import KEY_EXAMPLES
from greeks_trio.postgres.reads.position_tags import PositionTag, TaggedPosition
from greeks_trio.postgres.reads.timeline import Timeline

_AGAIN: Final = "The tag is perhaps not changed. Send the request again."


class TagBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of a request to tag a position."""

    broker: str
    account_id: Text
    contract_key: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    strategy_tag: Text | None
    tagged_by: Text | None = None


class _Position(BaseModel):
    """The query of a request to remove a tag."""

    model_config = ConfigDict(extra="forbid")

    broker: str
    account_id: str
    contract_key: str


def make_router(timeline: Timeline, brokers: Sequence[str]) -> APIRouter:
    """Return ``PUT`` and ``DELETE /v1/position-tags``.

    Args:
        timeline: Keeps the tags.
        brokers: The names of all brokers; a position is at one of these.
    """
    router = APIRouter(prefix="/v1", tags=["risk"])

    @router.put(
        "/position-tags",
        responses=_written(brokers),
        openapi_extra={"requestBody": _body(brokers)},
    )
    async def tag_position(request: Request) -> Response:
        """Give a position a strategy, instead of any earlier one.

        `strategy_tag` null means: it has none, also if a trade names one.  The tag comes
        before those of trades, and stays when the position is closed.  The same request
        can be sent again.
        """
        tag = _parse_tag(await request.body(), brokers)
        with store_problems(unrecorded=_AGAIN):
            written = await timeline.tag(tag, POSITION_TAGS.columns)
        status = HTTPStatus.CREATED if written.is_new else HTTPStatus.OK
        return Response(written.item, status, media_type=JSON)

    async def untag_position(position: _Position) -> Response:
        """Remove the tag of a position; then those of its trades count again."""
        wanted = TaggedPosition(**position.model_dump())
        with store_problems(unrecorded=_AGAIN):
            has_deleted = await timeline.untag(wanted)
        if not has_deleted:
            raise Problem(HTTPStatus.NOT_FOUND, "This position has no tag.")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    # FastAPI reads the type of the query from here.
    untag_position.__annotations__["position"] = Annotated[
        _position_model(brokers), Query()
    ]
    router.delete(
        "/position-tags",
        status_code=int(HTTPStatus.NO_CONTENT),
        response_class=Response,
        responses=described_problems(HTTPStatus.NOT_FOUND, *STORE_PROBLEMS),
    )(untag_position)
    return router


def _parse_tag(body: bytes, brokers: Sequence[str]) -> PositionTag:
    """Return the tag that a body describes.

    Raises:
        Problem: it describes none of a position at these brokers.
    """
    with body_problems():
        sent = msgspec.json.decode(body, type=TagBody)
    check_broker(sent.broker, brokers)
    return PositionTag(
        broker=sent.broker,
        account_id=sent.account_id,
        contract_key=parse_key(sent.contract_key, brokers),
        strategy_tag=sent.strategy_tag,
        tagged_by=sent.tagged_by,
    )


def _position_model(brokers: Sequence[str]) -> type[_Position]:
    wanted = (parameters.BROKER, parameters.ACCOUNT_ID, parameters.CONTRACT_KEY)
    fields = {each.name: parameters.required(each).field(brokers) for each in wanted}
    return create_model("Position", __base__=_Position, **fields)  # type: ignore[call-overload,no-any-return]


def _written(brokers: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """Return the answers in the OpenAPI description."""
    row = row_schema(POSITION_TAGS.columns, brokers)
    return {
        **described(row, *STORE_PROBLEMS),
        int(HTTPStatus.CREATED): {
            "description": HTTPStatus.CREATED.phrase,
            "content": {JSON: {"schema": row}},
        },
        **described_problems(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    }


_EXAMPLE: Final = {
    each.name: each.example
    for each in POSITION_TAGS.columns
    if each.name != "tagged_at"
}


def _body(brokers: Sequence[str]) -> dict[str, Any]:
    """Return the body of the request in the OpenAPI description."""
    key = text_schema(f"In any spelling, such as {KEY_EXAMPLES}.") | {"maxLength": 128}
    strategy = text_schema("A word; null for none, also if a trade names one.")
    by = text_schema("The person or program that tags.")
    or_null = {"type": ["string", "null"]}
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["broker", "account_id", "contract_key", "strategy_tag"],
        "properties": {
            "broker": {"enum": list(brokers)},
            "account_id": text_schema("As the broker spells it."),
            "contract_key": key,
            "strategy_tag": strategy | or_null,
            "tagged_by": by | or_null,
        },
        "examples": [_EXAMPLE],
    }
    return {"required": True, "content": {JSON: {"schema": schema}}}
