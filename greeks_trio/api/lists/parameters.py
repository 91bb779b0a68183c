"""Query parameters of the lists: name, type, meaning, and the condition on the rows.

A parameter that a list does not have is refused, not ignored: a misspelled filter would
otherwise give every row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Self, TypeAlias
from uuid import UUID

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    create_model,
    model_validator,
)

from greeks_trio.api.texts import NO_CONTROLS
from greeks_trio.model.contract_keys import (
    KEY_EXAMPLES,
    UNDERLYING_EXAMPLES,
    parse_contract_key,
    parse_underlying,
)
from greeks_trio.model.contracts import ContractKey, OptionType
from greeks_trio.postgres.reads.conditions import (
    MakeCondition,
    before,
    equal,
    not_after,
    not_before,
    same_spelling,
)

DEFAULT_LIMIT: Final = 500
MAX_LIMIT: Final = 5_000

# A plus sign that is not percent-encoded arrives as a space.
_LOST_PLUS: Final = re.compile(r" (\d\d:\d\d)$")
_DIGITS: Final = re.compile("-?[0-9]{1,9}")
# Of two parameters that name a range, the first may not come after the second.
_RANGES: Final = (("start", "end"), ("expiration_from", "expiration_to"))


def _parse_moment(value: object) -> object:
    """Return the time that an RFC 3339 text gives.

    Raises:
        ValueError: the text gives none, or a time without a zone.
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


def _parse_count(value: object) -> object:
    """Return the number; only ASCII digits are one, and no underscores.

    Raises:
        ValueError: the text has another character.
    """
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("has to be a whole number, such as 500")
    return value


WholeNumber: TypeAlias = Annotated[int, BeforeValidator(_parse_count)]
Moment: TypeAlias = Annotated[
    datetime,
    BeforeValidator(_parse_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Day: TypeAlias = Annotated[
    date,
    BeforeValidator(_parse_day),
    WithJsonSchema({"type": "string", "format": "date"}),
]
Text: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=NO_CONTROLS)
]
# The key of a row that cannot be read has a part of the row in it.
_KeyText: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=NO_CONTROLS)
]


@dataclass(frozen=True, slots=True)
class OfBrokers:
    """A type that depends on the names of all brokers; ``make`` returns it."""

    make: Callable[[Sequence[str]], Any]


BROKER_NAME: Final = OfBrokers(lambda brokers: Literal[tuple(brokers)])


def _checked_text(parse: Callable[[str, Sequence[str]], ContractKey]) -> OfBrokers:
    def make(brokers: Sequence[str]) -> Any:  # noqa: ANN401
        return Annotated[_KeyText, AfterValidator(lambda typed: parse(typed, brokers))]

    return OfBrokers(make)


# People type keys in many spellings.  The value is the key as it is stored.
CONTRACT_KEY_TEXT: Final = _checked_text(parse_contract_key)
UNDERLYING_TEXT: Final = _checked_text(parse_underlying)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a list.

    Attributes:
        type: The type that pydantic checks, or `OfBrokers`.
        condition: Makes the condition on the rows; `None` where the source of the list
            takes the value.
        about: For OpenAPI, as is the example.
    """

    name: str
    type: Any
    condition: MakeCondition | None
    about: str | None = None
    example: str | None = None
    is_required: bool = False

    def field(self, brokers: Sequence[str]) -> tuple[Any, Any]:
        """Return the annotation and the default of the field in pydantic's model."""
        is_made = isinstance(self.type, OfBrokers)
        checked = self.type.make(brokers) if is_made else self.type
        examples = None if self.example is None else [self.example]
        about = Field(description=self.about, examples=examples)
        if self.is_required:
            return Annotated[checked, about], ...
        return Annotated[checked | None, about], None


class ListParams(BaseModel):
    """The parameters of every list."""

    model_config = ConfigDict(extra="forbid")

    format: Annotated[
        Literal["json", "csv", "ndjson"] | None,
        Field(
            description="`csv` and `ndjson` give the whole list, row by row; the header "
            "`Accept: text/csv` or `application/x-ndjson` does the same.",
        ),
    ] = None
    limit: Annotated[
        WholeNumber | None,
        Field(
            ge=1,
            le=MAX_LIMIT,
            description=f"The most rows on a page (default: {DEFAULT_LIMIT}) or in an "
            "export (default: all).",
        ),
    ] = None
    cursor: Annotated[
        str | None,
        Field(
            max_length=2_000,
            description="`next_cursor` of the page before, with the same filters.",
        ),
    ] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for first, last in _RANGES:
            begin, end = getattr(self, first, None), getattr(self, last, None)
            if begin is not None and end is not None and begin > end:
                raise ValueError(f"{last} lies before {first}")
        if getattr(self, "with_estimates", None) and getattr(self, "at", None):
            raise ValueError(
                "with_estimates goes with no at: the past has no estimates"
            )
        return self


def params_model(
    parameters: Sequence[Parameter], extras: Mapping[str, str], brokers: Sequence[str]
) -> type[ListParams]:
    """Return the model that checks the query of a list.

    Args:
        parameters: The filters of the list.
        extras: The column that each value of `include` adds.
        brokers: The names of all brokers.
    """
    fields = {each.name: each.field(brokers) for each in parameters}
    if extras:
        adds = (
            f"`{name}` adds the column `{added}`." for name, added in extras.items()
        )
        about = Field(description=" ".join(adds))
        fields["include"] = Annotated[Literal[tuple(extras)] | None, about], None
    return create_model("ListQuery", __base__=ListParams, **fields)  # type: ignore[call-overload,no-any-return]


def text(
    name: str, about: str | None = None, *, example: str | None = None
) -> Parameter:
    """Return the filter for one value of a column of text."""
    return exactly(name, Text, about, example=example)


def exactly(
    name: str, type_: object, about: str | None = None, *, example: str | None = None
) -> Parameter:
    """Return the filter for one value of a column."""
    return Parameter(
        name=name, type=type_, condition=equal(name), about=about, example=example
    )


def required(parameter: Parameter) -> Parameter:
    """Return the parameter that a request may not leave out."""
    return replace(parameter, is_required=True)


ABOUT_CONTRACT_KEY: Final = (
    "In any spelling; spaces and small letters do not matter.  A text that names no "
    f"contract, or more than one, is refused.  Such as {KEY_EXAMPLES}."
)
ABOUT_UNDERLYING: Final = f"In any spelling, such as {UNDERLYING_EXAMPLES}."

BROKER: Final = exactly("broker", BROKER_NAME)
ACCOUNT_ID: Final = text("account_id", example="U1234567")
CONTRACT_KEY: Final = exactly(
    "contract_key", CONTRACT_KEY_TEXT, ABOUT_CONTRACT_KEY, example="SPY261218C00600000"
)
# Other programs may write keys with other spaces into the table.
WRITTEN_CONTRACT_KEY: Final = replace(
    CONTRACT_KEY, condition=same_spelling("contract_key")
)
UNDERLYING: Final = exactly(
    "underlying", UNDERLYING_TEXT, ABOUT_UNDERLYING, example="SPY"
)
OPTION_TYPE: Final = exactly("option_type", OptionType)
EXPIRATIONS: Final = (
    Parameter(
        name="expiration_from",
        type=Day,
        condition=not_before("expiration"),
        about="The first day of expiration.",
        example="2026-12-18",
    ),
    Parameter(
        name="expiration_to",
        type=Day,
        condition=not_after("expiration"),
        about="The last day of expiration.",
        example="2026-12-31",
    ),
)
# The filters of every list of contracts that accounts hold.
CONTRACTS: Final = (
    *EXPIRATIONS,
    *(BROKER, ACCOUNT_ID, CONTRACT_KEY, UNDERLYING, OPTION_TYPE),
)
ID: Final = exactly("id", UUID)
AT: Final = Parameter(
    name="at",
    type=Moment,
    condition=None,
    about="The list as it was known at this moment (RFC 3339); default: now.",
)


def times(start: MakeCondition, end: MakeCondition) -> tuple[Parameter, Parameter]:
    """Return the two ends of an interval of time, with their conditions."""
    return (
        Parameter(
            name="start",
            type=Moment,
            condition=start,
            about="The interval begins with this moment (RFC 3339).",
            example="2026-11-20T14:30:00Z",
        ),
        Parameter(
            name="end",
            type=Moment,
            condition=end,
            about="The interval ends before this moment (RFC 3339).",
            example="2026-11-20T21:00:00Z",
        ),
    )


def times_of(column: str) -> tuple[Parameter, Parameter]:
    """Return the parameters for the rows whose time lies in an interval."""
    return times(not_before(column), before(column))
