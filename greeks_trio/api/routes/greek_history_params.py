"""The parameters of ``GET /v1/greeks/history`` and ``/v1/greeks/sparklines``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from greeks_trio.api.lists.parameters import Moment, WholeNumber
from greeks_trio.model.contract_keys import parse_contract_key
from greeks_trio.postgres.reads.greek_history import MEASURES, Measure
from greeks_trio.postgres.reads.sparklines import SeriesName

_MAX_SERIES: Final = 100
# The address of a request has 8 KiB at most.
_MAX_TEXT: Final = 8_000
_MAX_ACCOUNT: Final = 64


def _checked_measures(text: str) -> str:
    """Return the text.

    Raises:
        ValueError: One of its names is no measure.
    """
    if unknown := [name for name in text.split(",") if name not in MEASURES]:
        raise ValueError(
            f"has {unknown[0][:40]!a}; it takes {', '.join(MEASURES)}, several with "
            "commas between them"
        )
    return text


class HistoryParams(BaseModel):
    """The parameters beside those that name the series."""

    model_config = ConfigDict(extra="forbid")

    start: Annotated[
        Moment | None,
        Field(
            description="The first moment (RFC 3339); default: one hour before `end`.",
            examples=["2026-11-20T14:30:00Z"],
        ),
    ] = None
    end: Annotated[
        Moment | None,
        Field(
            description="The interval ends before this moment; default: now.",
            examples=["2026-11-20T21:00:00Z"],
        ),
    ] = None
    points: Annotated[
        WholeNumber,
        Field(ge=10, le=2_000, description="The most points of a series."),
    ] = 300
    measures: Annotated[
        str,
        Field(
            max_length=200,
            description=f"Of {', '.join(MEASURES)}: those that the answer has, with "
            "commas between them; default: all.",
            examples=["delta,implied_volatility"],
        ),
        AfterValidator(_checked_measures),
    ] = ",".join(MEASURES)

    @property
    def chosen(self) -> list[Measure]:
        """The measures of the answer, each once."""
        return [name for name in MEASURES if name in self.measures.split(",")]


def _series_parser(brokers: Sequence[str]) -> Any:  # noqa: ANN401 - pydantic calls it
    def parse_one(text: str) -> SeriesName:
        broker, _, rest = text.strip().partition(":")
        account_id, _, contract_key = rest.partition(":")
        if broker not in brokers:
            raise ValueError(f"has {text[:40]!a}; it begins with no broker")
        if not 0 < len(account_id) <= _MAX_ACCOUNT or not contract_key:
            raise ValueError(
                f"has {text[:40]!a}; each series is broker:account_id:contract_key"
            )
        try:
            return SeriesName(
                broker, account_id, parse_contract_key(contract_key, brokers)
            )
        except ValueError as exc:
            raise ValueError(f"has a contract_key that {exc}") from None

    def parse(text: str) -> list[SeriesName]:
        """Return the series of a text with commas between them.

        Raises:
            ValueError: One of them is none, or there are too many.
        """
        parts = text.split(",")
        if len(parts) > _MAX_SERIES:
            raise ValueError(f"has {len(parts)} series; at most {_MAX_SERIES}")
        return [parse_one(part) for part in parts]

    return parse


class _SparklinesParams(BaseModel):
    model_config = ConfigDict(extra="forbid")

    measure: Annotated[
        Measure, Field(description="The value; `price` is that of the option.")
    ] = "price"
    minutes: Annotated[
        WholeNumber, Field(ge=1, le=10_080, description="The time until now.")
    ] = 60
    points: Annotated[
        WholeNumber, Field(ge=2, le=100, description="The number of intervals.")
    ] = 30


def sparklines_params(brokers: Sequence[str]) -> Any:  # noqa: ANN401 - pydantic's model
    """Return the model that checks the query."""
    about = Field(
        min_length=1,
        max_length=_MAX_TEXT,
        description=f"At most {_MAX_SERIES} series with commas between them, each as "
        "`broker:account_id:contract_key`. The key may have any spelling; without its "
        "spaces the address is shorter.",
        examples=["ibkr:U1234567:SPY261218C00600000,tastytrade:5WX01234:/ESZ26"],
    )
    series = Annotated[str, about, AfterValidator(_series_parser(brokers))]
    return create_model(
        "SparklinesQuery", __base__=_SparklinesParams, series=(series, ...)
    )
