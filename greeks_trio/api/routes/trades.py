"""Trades: recorded by others, kept beside the Greeks.

The body is decoded by msgspec and not by FastAPI, because that one takes every JSON number
with a point for a binary one: 0.1 would not be 0.1 any more.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import Annotated, Any, Final, Protocol, TypeAlias
from uuid import UUID, uuid4

import msgspec
from fastapi import APIRouter, Query, Request, Response

from greeks_trio.api.answers import (
    JSON,
    NOT_JSON,
    Problem,
    described,
    described_problems,
)
from greeks_trio.api.lists import examples
from greeks_trio.api.lists.lists import ListReads, answer_list, described_list
from greeks_trio.api.lists.params import BrokerName, TradeParams
from greeks_trio.api.lists.schemas import TRADE, row_schema
from greeks_trio.api.store_problems import STORE_PROBLEMS, store_problems
from greeks_trio.config.settings import BROKERS
from greeks_trio.model.contracts import (
    ContractKey,
    contract_from_occ,
    format_future_option_key,
    parse_future_option_key,
)
from greeks_trio.postgres.reads.questions import NewTrade, RecordedTrade, TradesQuestion

# Far beyond any market, and far below where PostgreSQL stops.
_MAX_DIGITS: Final = 15
_MAX_METADATA_BYTES: Final = 16 * 1024

_NO_CONTRACT_KEY: Final = (
    "The contract_key is no option's: use an OCC symbol such as SPY261218C00600000 or, "
    "for a futures option, ./LO260317P56; leave it out when it is not of an option."
)

_Text: TypeAlias = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$"),
]


class TradeReads(ListReads, Protocol):
    """The timeline, for reading and for trades."""

    async def record(self, trade: NewTrade) -> RecordedTrade:
        """Record a trade, or return what is recorded under its id."""


class TradeBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A trade as somebody sends it."""

    broker: BrokerName
    account_id: _Text
    symbol: _Text
    action: _Text
    quantity: Decimal
    id: UUID | None = None
    contract_key: _Text | None = None
    price: Decimal | None = None
    strategy_tag: _Text | None = None
    # An object as it was sent; msgspec knows no Raw beside anything else.
    metadata: msgspec.Raw = msgspec.Raw(b"null")
    created_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


def make_router(reads: TradeReads) -> APIRouter:
    """Return ``/v1/trades``, for reading and for recording."""
    router = APIRouter(prefix="/v1", tags=["trades"])

    @router.get("/trades", responses=described_list(_ROW))
    async def trades(
        request: Request, params: Annotated[TradeParams, Query()]
    ) -> Response:
        """Return the recorded trades by `created_at` and `id`."""
        asked = params.question(TradesQuestion)
        return await answer_list(reads, request, params, asked, name="trades")

    @router.post(
        "/trades",
        responses=_RECORDED,
        openapi_extra={"requestBody": _BODY},
        status_code=int(HTTPStatus.CREATED),
    )
    async def record_trade(request: Request) -> Response:
        """Record a trade.

        With an `id` it may be sent again: the same trade is answered with 200 and what
        is recorded, another one of that id with 409.  After 503 or 504 it has to be sent
        again; without an `id` of its own, with the one that the answer names.
        """
        trade = parse_trade(await request.body())
        with store_problems(unrecorded=_send_again(trade.id)):
            recorded = await reads.record(trade)
        if not recorded.is_same:
            raise Problem(
                HTTPStatus.CONFLICT, f"Another trade has the id {trade.id} already."
            )
        status = HTTPStatus.CREATED if recorded.is_new else HTTPStatus.OK
        return Response(recorded.item, status, media_type=JSON)

    return router


def parse_trade(body: bytes) -> NewTrade:
    """Return the trade that a body describes; without an id it gets one.

    Raises:
        Problem: it describes none.
    """
    try:
        sent = msgspec.json.decode(body, type=TradeBody)
        metadata = _parse_metadata(sent.metadata)
    except RecursionError:
        raise _invalid("The body is nested too deeply.") from None
    except msgspec.ValidationError as exc:
        raise _invalid(f"The body is not valid: {exc}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Problem(HTTPStatus.BAD_REQUEST, NOT_JSON) from None
    _check_number("quantity", sent.quantity)
    if sent.price is not None:
        _check_number("price", sent.price)
    if sent.quantity == 0:
        raise _invalid("The quantity is 0.")
    return NewTrade(
        id=sent.id or uuid4(),
        broker=sent.broker,
        account_id=sent.account_id,
        symbol=sent.symbol,
        action=sent.action,
        quantity=sent.quantity,
        contract_key=_parse_contract_key(sent.contract_key),
        price=sent.price,
        strategy_tag=sent.strategy_tag,
        metadata=metadata,
        created_at=None if sent.created_at is None else _in_utc(sent.created_at),
    )


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise _invalid("The created_at is in no year from 1 to 9999 in UTC.") from None


def _parse_metadata(raw: msgspec.Raw) -> str | None:
    """Return the JSON object as it was sent: PostgreSQL keeps all of its digits."""
    if bytes(raw) == b"null":
        return None
    if len(bytes(raw)) > _MAX_METADATA_BYTES:
        raise _invalid(f"The metadata has more than {_MAX_METADATA_BYTES} bytes.")
    msgspec.json.decode(raw, type=dict[str, Any])
    return bytes(raw).decode()


def _parse_contract_key(text: str | None) -> ContractKey | None:
    """Return the key as the ticks of that option have it, however it is padded."""
    if text is None:
        return None
    symbol = text.strip().upper()
    try:
        if symbol.startswith("./"):
            key = format_future_option_key(parse_future_option_key(symbol))
        else:
            key = contract_from_occ(symbol).contract_key
    except (ValueError, InvalidOperation):
        raise _invalid(_NO_CONTRACT_KEY) from None
    # Every alphabet has digits, and only some read as they look.
    if not symbol.isascii():
        raise _invalid(_NO_CONTRACT_KEY)
    return key


def _check_number(name: str, value: Decimal) -> None:
    """Refuse what is no number, or has more digits than any trade."""
    if not value.is_finite():
        raise _invalid(f"The {name} is no number.")
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # noqa: S101  # it is finite
    if value.adjusted() >= _MAX_DIGITS or -exponent > _MAX_DIGITS:
        raise _invalid(
            f"The {name} has more than {_MAX_DIGITS} digits before or after the point."
        )


def _send_again(trade_id: UUID) -> str:
    # A connection may break between the commit and its confirmation.
    return (
        "The trade is not recorded, as far as is known. Send it again with the id "
        f"{trade_id}: then it is recorded once, whatever has become of the first."
    )


def _invalid(detail: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def _text(description: str) -> dict[str, Any]:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "pattern": r"^[^\x00-\x1f\x7f]+$",
        "description": description,
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


# At least what is accepted: not every six digits are a day.
_CONTRACT_KEY_PATTERN: Final = (
    r"^ *(\./[A-Za-z0-9]{1,6} *[0-9]{6}[CPcp][0-9]+(\.[0-9]+)?"
    r"|[A-Za-z0-9./]{1,6} *[0-9]{6}[CPcp][0-9]{8}) *$"
)
_ZERO: Final = {
    "anyOf": [{"const": 0}, {"type": "string", "pattern": r"^-?0+(\.0+)?$"}]
}
_ROW: Final = row_schema(TRADE, examples.TRADE)
_RECORDED: Final = {
    **described(_ROW, HTTPStatus.CONFLICT, *STORE_PROBLEMS),
    int(HTTPStatus.CREATED): {
        "description": HTTPStatus.CREATED.phrase,
        "content": {JSON: {"schema": _ROW}},
    },
    **described_problems(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
}
_BODY_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["broker", "account_id", "symbol", "action", "quantity"],
    "properties": {
        "id": {
            "type": ["string", "null"],
            "format": "uuid",
            "description": "Makes it safe to send the trade again.",
        },
        "broker": {"enum": list(BROKERS)},
        "account_id": _text("As the broker spells it."),
        "symbol": _text("As the broker spells it."),
        "contract_key": _text(
            "Of an option: the OCC symbol, or ./ROOT with expiration, right and strike "
            "of a futures option.  Spaces are optional; it is kept as the ticks have it."
        )
        | {"type": ["string", "null"], "pattern": _CONTRACT_KEY_PATTERN},
        "action": _text("Such as buy_to_open."),
        "quantity": _decimal("Not 0.") | {"not": _ZERO},
        "price": _decimal("Per unit of the underlying.", {"type": "null"}),
        "strategy_tag": _text("By which the trade can be found.")
        | {"type": ["string", "null"]},
        "metadata": {
            "type": ["object", "null"],
            "description": f"At most {_MAX_METADATA_BYTES} bytes.",
        },
        "created_at": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "When it was traded; the present moment by default.",
        },
    },
    "examples": [examples.NEW_TRADE],
}
_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {JSON: {"schema": _BODY_SCHEMA}},
}
