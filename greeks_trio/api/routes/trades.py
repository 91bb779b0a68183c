"""Recording trades: those that other programs send, beside the Greeks.

msgspec decodes the body, and not FastAPI: FastAPI takes every JSON number with a point
for a binary one, and 0.1 would not stay 0.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import msgspec
from fastapi import APIRouter, Request, Response

from greeks_trio.api.answers import Problem, described, described_problems
from greeks_trio.api.lists.columns import row_schema
from greeks_trio.api.lists.resources import TRADES
from greeks_trio.api.media_types import JSON
from greeks_trio.api.store_problems import STORE_PROBLEMS, store_problems
from greeks_trio.api.texts import has_hidden_text
from greeks_trio.api.written import (
    Text,
    body_problems,
    check_broker,
    invalid,
    parse_key,
    text_schema,
)
from greeks_trio.model.contract_keys import KEY_EXAMPLES
from greeks_trio.postgres.reads.timeline import Timeline
from greeks_trio.postgres.reads.trades import NewTrade

# Far beyond any market, and far below the limits of PostgreSQL.
_MAX_DIGITS: Final = 15
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,60}(\.[0-9]{0,60})?([eE][-+]?[0-9]{1,3})?")
_MAX_METADATA_BYTES: Final = 16 * 1024


class TradeBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of a request to record a trade."""

    broker: str
    account_id: Text
    symbol: Text
    action: Text
    # A number, or a text with its digits; both keep every digit.
    quantity: msgspec.Raw
    id: UUID | None = None
    contract_key: Text | None = None
    price: msgspec.Raw = msgspec.Raw(b"null")
    strategy_tag: Text | None = None
    # The object's own text: msgspec allows no union of Raw and anything else.
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    created_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


def make_router(timeline: Timeline, brokers: Sequence[str]) -> APIRouter:
    """Return ``POST /v1/trades``.

    Args:
        timeline: Records the trades.
        brokers: The names of all brokers; a trade is one of these.
    """
    router = APIRouter(prefix="/v1", tags=["trades"])

    @router.post(
        "/trades",
        responses=_recorded(brokers),
        openapi_extra={"requestBody": _body(brokers)},
        status_code=int(HTTPStatus.CREATED),
    )
    async def record_trade(request: Request) -> Response:
        """Record a trade.

        A trade with an `id` can be sent again.  The same trade gets 200 and the recorded
        row; another trade with that id gets 409.  After 503 or 504 send the trade again:
        with its own `id`, or else with the id that the answer names.
        """
        trade = parse_trade(await request.body(), brokers)
        with store_problems(unrecorded=_send_again(trade.id)):
            recorded = await timeline.record(trade, TRADES.columns)
        if not recorded.is_same:
            raise Problem(
                HTTPStatus.CONFLICT, f"Another trade has the id {trade.id} already."
            )
        status = HTTPStatus.CREATED if recorded.is_new else HTTPStatus.OK
        return Response(recorded.item, status, media_type=JSON)

    return router


def parse_trade(body: bytes, brokers: Sequence[str]) -> NewTrade:
    """Return the trade that a body describes; a trade without an id gets one.

    Raises:
        Problem: the body describes no trade of these brokers.
    """
    sent, metadata = _decode(body)
    check_broker(sent.broker, brokers)
    quantity, price = _number("quantity", sent.quantity), _number("price", sent.price)
    if not quantity:
        raise invalid(f"`quantity` is {'missing' if quantity is None else '0'}.")
    return NewTrade(
        id=sent.id or uuid4(),
        broker=sent.broker,
        account_id=sent.account_id,
        symbol=sent.symbol,
        action=sent.action,
        quantity=quantity,
        contract_key=sent.contract_key
        and parse_key(sent.contract_key, brokers, "  Or leave it out."),
        price=price,
        strategy_tag=sent.strategy_tag,
        metadata=metadata,
        created_at=None if sent.created_at is None else _in_utc(sent.created_at),
    )


def _decode(body: bytes) -> tuple[TradeBody, str | None]:
    """Return the body, and its metadata as text."""
    with body_problems():
        sent = msgspec.json.decode(body, type=TradeBody)
        return sent, _parse_metadata(sent.metadata)


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise invalid("`created_at` lies outside the years 1 to 9999 in UTC.") from None


def _parse_metadata(raw: msgspec.Raw) -> str | None:
    """Return the JSON object as it was sent: PostgreSQL keeps all of its digits."""
    if bytes(raw) == b"null":
        return None
    if len(bytes(raw)) > _MAX_METADATA_BYTES:
        raise invalid(f"`metadata` has more than {_MAX_METADATA_BYTES} bytes.")
    if has_hidden_text(msgspec.json.decode(raw, type=dict[str, Any])):
        raise invalid(
            "`metadata` has a control character.  Tabs and line breaks are allowed."
        )
    return bytes(raw).decode()


def _number(name: str, raw: msgspec.Raw) -> Decimal | None:
    """Return the number that JSON has, `None` for null.

    Refuses NaN, infinity, digits of other scripts, underscores, and more digits than any
    trade has.
    """
    text = bytes(raw).decode()
    if text == "null":
        return None
    if not _NUMBER.fullmatch(text.removeprefix('"').removesuffix('"')):
        raise invalid(f"`{name}` is not a number.")
    value = Decimal(text.strip('"'))
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # noqa: S101  # it is finite
    if value.adjusted() >= _MAX_DIGITS or -exponent > _MAX_DIGITS:
        raise invalid(
            f"`{name}` has more than {_MAX_DIGITS} digits before or after the point."
        )
    return value


def _send_again(trade_id: UUID) -> str:
    # A connection may break between the commit and its confirmation.
    return (
        "The trade is probably not recorded. Send it again with the id "
        f"{trade_id}: then it is recorded exactly once, also if the first attempt was "
        "successful."
    )


def _recorded(brokers: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """Return the answers in the OpenAPI description."""
    row = row_schema(TRADES.columns, brokers)
    return {
        **described(row, HTTPStatus.CONFLICT, *STORE_PROBLEMS),
        int(HTTPStatus.CREATED): {
            "description": HTTPStatus.CREATED.phrase,
            "content": {JSON: {"schema": row}},
        },
        **described_problems(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    }


def _decimal(description: str, *others: dict[str, Any]) -> dict[str, Any]:
    limit = 10**_MAX_DIGITS
    return {
        "description": f"{description} A number, or a decimal number as text.",
        "oneOf": [
            {"type": "number", "exclusiveMinimum": -limit, "exclusiveMaximum": limit},
            {"type": "string", "pattern": r"^-?[0-9]{1,15}(\.[0-9]{1,15})?$"},
            *others,
        ],
    }


_ZERO: Final = {
    "anyOf": [{"const": 0}, {"type": "string", "pattern": r"^-?0+(\.0+)?$"}]
}
_EXAMPLE: Final = {
    each.name: each.example for each in TRADES.columns if each.name != "created_at"
} | {"price": "12.35"}
_PROPERTIES: Final[dict[str, Any]] = {
    "id": {
        "type": ["string", "null"],
        "format": "uuid",
        "description": "With an id the trade can safely be sent again.",
    },
    "account_id": text_schema("As the broker spells it."),
    "symbol": text_schema("As the broker spells it."),
    "contract_key": text_schema(
        f"In any spelling, such as {KEY_EXAMPLES}.  It is recorded as the ticks and "
        "positions have it."
    )
    | {"type": ["string", "null"]},
    "action": text_schema("Such as buy_to_open."),
    "quantity": _decimal("Not 0.") | {"not": _ZERO},
    "price": _decimal("Per unit of the underlying.", {"type": "null"}),
    "strategy_tag": text_schema("A word by which trades can be found.")
    | {"type": ["string", "null"]},
    "metadata": {
        "type": ["object", "null"],
        "description": f"At most {_MAX_METADATA_BYTES} bytes.",
    },
    "created_at": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "When it was traded; default: now.",
    },
}


def _body(brokers: Sequence[str]) -> dict[str, Any]:
    """Return the body of the request in the OpenAPI description."""
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["broker", "account_id", "symbol", "action", "quantity"],
        "properties": {"broker": {"enum": list(brokers)}, **_PROPERTIES},
        "examples": [_EXAMPLE],
    }
    return {"required": True, "content": {JSON: {"schema": schema}}}
