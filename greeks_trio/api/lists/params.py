"""What may stand after the question mark, and which question it asks.

A parameter that is not known is refused, not ignored: who misspells a filter would get
everything and not notice.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
)
from uuid import UUID

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from greeks_trio.config.settings import BROKERS
from greeks_trio.model.contracts import OptionType
from greeks_trio.model.records import Broker, PositionKind
from greeks_trio.postgres.reads.questions import Question

if TYPE_CHECKING:
    BrokerName: TypeAlias = Broker
else:  # one of the brokers that have settings
    BrokerName = Literal[BROKERS]

QuestionT = TypeVar("QuestionT", bound=Question)

DEFAULT_LIMIT: Final = 500
MAX_LIMIT: Final = 5_000

# An offset whose plus sign nobody has encoded arrives as a space.
_LOST_PLUS: Final = re.compile(r" (\d\d:\d\d)$")


def parse_moment(value: object) -> object:
    """Return the aware time that an RFC 3339 text gives; anything else is refused.

    Raises:
        ValueError: it is not one.
    """
    if not isinstance(value, str):
        return value
    try:
        return msgspec.convert(
            _LOST_PLUS.sub(r"+\1", value), Annotated[datetime, msgspec.Meta(tz=True)]
        )
    except msgspec.ValidationError:
        raise ValueError(
            "has to be a time with its zone, such as 2026-11-20T15:30:00Z"
        ) from None


def _parse_day(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.convert(value, date)
    except msgspec.ValidationError:
        raise ValueError("has to be a day, such as 2026-12-18") from None


Moment: TypeAlias = Annotated[
    datetime,
    BeforeValidator(parse_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Day: TypeAlias = Annotated[
    date,
    BeforeValidator(_parse_day),
    WithJsonSchema({"type": "string", "format": "date"}),
]
# PostgreSQL has no text with a zero in it; the rest of the controls is never meant.
Text: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")
]


class ListParams(BaseModel):
    """What every list takes."""

    model_config = ConfigDict(extra="forbid")

    format: Annotated[
        Literal["json", "csv", "ndjson"] | None,
        Field(
            description="`csv` and `ndjson` give the whole list, row by row; the header "
            "`Accept: text/csv` or `application/x-ndjson` does the same.",
        ),
    ] = None
    limit: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_LIMIT,
            description=f"Most rows on a page ({DEFAULT_LIMIT} by default), or in an "
            "export (all by default).",
        ),
    ] = None
    cursor: Annotated[
        str | None,
        Field(
            max_length=2_000,
            description="`next_cursor` of the page before, with the same filters.",
        ),
    ] = None

    def question(self, kind: type[QuestionT]) -> QuestionT:
        """Return what is asked for."""
        names = kind.__struct_fields__
        return kind(**{name: getattr(self, name, None) for name in names})


class _Expirations(ListParams):
    expiration_from: Annotated[Day | None, Field(examples=["2026-12-18"])] = None
    expiration_to: Annotated[
        Day | None, Field(description="Included.", examples=["2026-12-31"])
    ] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_order(self.expiration_from, self.expiration_to, "expiration_to")
        return self


class _Contracts(_Expirations):
    broker: BrokerName | None = None
    account_id: Annotated[Text | None, Field(examples=["U1234567"])] = None
    contract_key: Annotated[
        Text | None,
        Field(
            description="The 21-character OCC symbol.",
            examples=["SPY   261218C00600000"],
        ),
    ] = None
    underlying: Annotated[Text | None, Field(examples=["SPY"])] = None
    option_type: OptionType | None = None


_START: Final = "The first moment that is meant (RFC 3339)."
_END: Final = "The first moment that is not meant any more."


class _Times(ListParams):
    start: Annotated[
        Moment | None,
        Field(description=_START, examples=["2026-11-20T14:30:00Z"]),
    ] = None
    end: Annotated[
        Moment | None, Field(description=_END, examples=["2026-11-20T21:00:00Z"])
    ] = None

    @model_validator(mode="after")
    def _times_in_order(self) -> Self:
        _check_order(self.start, self.end, "end")
        return self


class SnapshotParams(_Contracts, _Times):
    """Of ticks; times are ``event_time``."""

    include: Annotated[
        Literal["payload"] | None,
        Field(description="`payload` adds what the broker sent."),
    ] = None


_AT: Final = "As it was known at this moment (RFC 3339); the present one by default."


class LatestParams(_Contracts):
    """Of the newest Greeks."""

    is_stale: bool | None = None


class AsOfParams(LatestParams):
    """Of the Greeks that were the newest once."""

    at: Annotated[Moment, Field(description=_AT, examples=["2026-11-20T15:30:00Z"])]


class PositionParams(_Contracts):
    """Of positions."""

    kind: PositionKind | None = None
    at: Annotated[Moment | None, Field(description=_AT)] = None


class PortfolioParams(_Expirations):
    """Of sums."""

    broker: BrokerName | None = None
    account_id: Text | None = None
    currency: Annotated[Text | None, Field(examples=["USD"])] = None
    underlying: Text | None = None
    at: Annotated[Moment | None, Field(description=_AT)] = None


class DivergenceParams(_Expirations):
    """Of contracts at both brokers."""

    contract_key: Text | None = None
    underlying: Text | None = None
    option_type: OptionType | None = None


class GapParams(_Times):
    """Of intervals without data, which touch the time from start until end."""

    broker: BrokerName | None = None
    account_id: Text | None = None
    contract_key: Text | None = None
    reason: Annotated[Text | None, Field(examples=["disconnected"])] = None
    is_open: Annotated[bool | None, Field(description="Whether it lasts.")] = None


class TradeParams(_Times):
    """Of trades; times are ``created_at``."""

    id: UUID | None = None
    broker: BrokerName | None = None
    account_id: Text | None = None
    symbol: Text | None = None
    contract_key: Text | None = None
    strategy_tag: Text | None = None


def _check_order(first: Any, last: Any, name: str) -> None:  # noqa: ANN401
    if first is not None and last is not None and first > last:
        raise ValueError(f"{name} lies before the beginning")
