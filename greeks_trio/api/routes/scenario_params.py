"""The parameters of ``GET /v1/risk/scenarios``, and the request that they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from greeks_trio.api.answers import Problem
from greeks_trio.risk.scenario_records import (
    MAX_CELLS,
    MAX_DAYS,
    MAX_MOVES,
    MAX_VOLS,
    Beta,
    GroupBy,
    MoveUnit,
    ScenarioRequest,
    VolScaling,
    VolUnit,
)

_PER_CENT: Final = (-15.0, -12.0, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0, 12.0, 15.0)
_SIGMAS: Final = (-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
_SHIFTS: Final = (-15.0, -10.0, -5.0, 0.0, 5.0, 10.0, 15.0)
_MAX_NAMED: Final = 500
_MAX_TEXT: Final = 4_000


def _numbers(most: int, lowest: float, highest: float) -> Callable[[str], object]:
    def parse(value: str) -> object:
        """Return the numbers of a text like ``-5,0,5``.

        Raises:
            ValueError: It has another form, or too many numbers.
        """
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            raise ValueError("has to be numbers with commas, such as -5,0,5") from None
        if len(numbers) > most:
            raise ValueError(f"has {len(numbers)} numbers; at most {most} are allowed")
        if not all(math.isfinite(n) and lowest <= n <= highest for n in numbers):
            raise ValueError(f"has a number outside {lowest:g} to {highest:g}")
        return numbers

    return parse


def _named_numbers(lowest: float, highest: float) -> Callable[[str], object]:
    def parse(value: str) -> object:
        """Return the numbers of a text like ``SPY:1,QQQ:1.2``.

        Raises:
            ValueError: It has another form, or too many numbers.
        """
        found: dict[str, float] = {}
        for part in value.split(","):
            name, _, number = part.strip().rpartition(":")
            try:
                found[name.upper()] = float(number)
            except ValueError:
                name = ""
            if not name:
                raise ValueError("has to be names with numbers, such as SPY:1,QQQ:1.2")
        if len(found) > _MAX_NAMED:
            raise ValueError(f"has more than {_MAX_NAMED} names")
        if not all(math.isfinite(n) and lowest <= n <= highest for n in found.values()):
            raise ValueError(f"has a number outside {lowest:g} to {highest:g}")
        return found

    return parse


def _listed(parse: Callable[[str], object], about: str, example: str) -> Any:  # noqa: ANN401 - pydantic reads it
    """Return the annotation of a parameter that is a text with several numbers."""
    return Annotated[
        str | None,
        # Before the text is parsed: the limit is that of the text.
        Field(description=about, examples=[example], max_length=_MAX_TEXT),
        AfterValidator(lambda text: None if text is None else parse(text)),
    ]


class ScenarioParams(BaseModel):
    """The parameters beside the filters of the positions."""

    model_config = ConfigDict(extra="forbid")

    moves: _listed(  # type: ignore[valid-type]
        _numbers(MAX_MOVES, -100, 1_000),
        f"The moves of the underlyings, at most {MAX_MOVES}, with commas between them. "
        "Default: -15 to 15 per cent, or -3 to 3 standard deviations.",
        "-10,-5,0,5,10",
    ) = None
    move_unit: Annotated[
        MoveUnit,
        Field(
            description="`percent`, or `sigma`: standard deviations of one day, from the "
            "implied volatility of the option nearest to the money."
        ),
    ] = "percent"
    vols: _listed(  # type: ignore[valid-type]
        _numbers(MAX_VOLS, -100, 1_000),
        f"The shifts of the implied volatilities, at most {MAX_VOLS}. Default: -15 to 15.",
        "-5,0,5",
    ) = None
    vol_unit: Annotated[
        VolUnit,
        Field(description="`points` of volatility (0.01), or `percent` of it."),
    ] = "points"
    vol_scaling: Annotated[
        VolScaling,
        Field(
            description="`parallel`: the same shift for every expiration. `square_root`: "
            "the shift of an option with 30 days; others get it times the root of 30 / "
            "days, with at least one day."
        ),
    ] = "parallel"
    days: _listed(  # type: ignore[valid-type]
        _numbers(MAX_DAYS, 0, 3_650),
        f"The calendar days to go forward, at most {MAX_DAYS}; a grid for each. Default: "
        "0.",
        "0,7",
    ) = None
    benchmark: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="The underlying that makes the moves. Each other one moves by its "
            "beta; one without a beta is left out and counted. Without a benchmark each "
            "underlying makes the moves itself.",
            examples=["SPY"],
        ),
    ] = None
    betas: _listed(  # type: ignore[valid-type]
        _named_numbers(-20, 20),
        "The betas of underlyings to the benchmark. They come before those of "
        "`/v1/market-metrics`.",
        "QQQ:1.2,AAPL:1.1",
    ) = None
    dividend_yields: _listed(  # type: ignore[valid-type]
        _named_numbers(-0.5, 1),
        "The dividend yields of underlyings, as fractions per year. Others have 0.",
        "SPY:0.012",
    ) = None
    rate: Annotated[
        float | None,
        Field(
            ge=-0.5,
            le=1,
            allow_inf_nan=False,
            description="The rate of interest, a fraction per year; default: "
            "GREEKS_RISK_FREE_RATE.",
            examples=[0.04],
        ),
    ] = None
    group_by: Annotated[
        GroupBy,
        Field(
            description="Positions with the same value get a grid of their own, in "
            "`groups`; of an account with its broker. `totals` has one for each currency "
            "always, and `book` and `currency` have no further groups."
        ),
    ] = "currency"


def request_of(params: ScenarioParams, rate: float) -> ScenarioRequest:
    """Return the request for the worker.

    Raises:
        Problem: The grid has too many cells, or a parameter lacks another one.
    """
    is_sigma = params.move_unit == "sigma"
    request = ScenarioRequest(
        moves=params.moves or (_SIGMAS if is_sigma else _PER_CENT),
        move_unit=params.move_unit,
        vols=params.vols or _SHIFTS,
        vol_unit=params.vol_unit,
        vol_scaling=params.vol_scaling,
        days=params.days or (0.0,),
        benchmark=params.benchmark and params.benchmark.upper(),
        betas={name: Beta(beta) for name, beta in (params.betas or {}).items()},
        dividend_yields=params.dividend_yields or {},
        rate=rate if params.rate is None else params.rate,
        group_by=params.group_by,
    )
    if request.cells > MAX_CELLS:
        raise invalid(
            f"moves x vols x days are {request.cells} cells; at most {MAX_CELLS} are"
            " allowed."
        )
    if request.betas and request.benchmark is None:
        raise invalid("`betas` needs `benchmark`.")
    return request


def invalid(detail: str) -> Problem:
    """Return the answer to a request that does not fit itself or the positions."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
