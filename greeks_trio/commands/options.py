"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click

from greeks_trio.config.kinds import parse_names
from greeks_trio.config.settings import BROKERS

# The options of the program itself; all others belong to a command.
_OF_THE_GROUP: Final = ("--help", "-h", "--version", "-V")


class ServeByDefault(click.Group):
    """A group with the default command ``serve``, also if there are only options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front if there is none."""
        # The completion in a shell asks without arguments for the names of commands.
        is_bare = not args and not ctx.resilient_parsing
        if is_bare or (args[:1] and _is_of_serve(args[0])):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


def _is_of_serve(argument: str) -> bool:
    return argument.startswith("-") and argument not in _OF_THE_GROUP


class FaultText(click.ParamType[str]):
    """``BROKER:NAME@SECONDS[:ARG]``, kept as text."""

    name = "fault"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text if it describes a fault."""
        from greeks_trio.simulators.faults import parse_fault

        try:
            parse_fault(value)
        except ValueError as exc:
            self.fail(f"{exc}.", param, ctx)
        return value


class FaultKinds(click.ParamType[tuple[str, ...]]):
    """Names of kinds of faults of a drill, separated by commas."""

    name = "kinds"

    def convert(
        self,
        value: str | tuple[str, ...],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, ...]:
        """Return the names, each once, those of a set in its place."""
        from greeks_trio.drill.schedule import KIND_SETS, KINDS

        names = parse_names(value) if isinstance(value, str) else value
        if unknown := [name for name in names if name not in {*KINDS, *KIND_SETS}]:
            known = ", ".join((*KIND_SETS, *KINDS))
            self.fail(f"unknown: {', '.join(unknown)}. Use {known}.", param, ctx)
        members = (KIND_SETS.get(name, (name,)) for name in names)
        return tuple(dict.fromkeys(chain.from_iterable(members)))


def parse_months(
    _ctx: click.Context, _param: click.Parameter, values: Sequence[str]
) -> Sequence[date]:
    """Return the first days of months that are written as ``2025-01``."""
    found = []
    for value in values:
        try:
            found.append(date.fromisoformat(f"{value}-01"))
        except ValueError:
            raise click.BadParameter(
                f"{value!r} is no month: write it as 2025-01."
            ) from None
    return found


def _combined(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:  # noqa: ANN401 - as click's own decorators
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


book_option = click.option(
    "--book",
    type=click.Choice(("textbook", "real")),
    default="textbook",
    show_default=True,
    help="The positions of the accounts: options on American shares, or a real mixture: "
    "futures options, several countries, an advisor's clients, a split.",
)
contracts_option = click.option(
    "--contracts",
    type=click.IntRange(1, 100_000),
    help="The number of option contracts of all brokers together; default: that of the "
    "book.",
)
market_options = _combined(
    book_option,
    contracts_option,
    click.option(
        "--rate",
        type=click.FloatRange(0.01, 1_000_000),
        default=50.0,
        show_default=True,
        help="The ticks per second of all brokers together.",
    ),
    click.option(
        "--seed",
        type=int,
        default=1,
        show_default=True,
        help="The seed of the simulated market.",
    ),
    click.option(
        "--fault",
        "faults",
        type=FaultText(),
        multiple=True,
        metavar="BROKER:NAME@SECONDS[:ARG]",
        help="A fault at a time after the start; may be repeated.",
    ),
)
simulator_options = _combined(
    click.option(
        "--accounts",
        type=click.IntRange(1, 50),
        default=1,
        show_default=True,
        help="The number of accounts with positions at each broker.",
    ),
    click.option(
        "--ibkr-lines",
        type=click.IntRange(0, 1_000_000),
        help="The number of contracts with data at IBKR at a time; default: that of the "
        "book.",
    ),
    click.option(
        "--ibkr-stream-end",
        type=click.FloatRange(0.1, 86_400),
        default=900.0,
        show_default=True,
        metavar="SECONDS",
        help="A subscription at IBKR that is not renewed ends after this time.",
    ),
    click.option(
        "--ibkr-session-timeout",
        type=click.FloatRange(0.1, 86_400),
        default=360.0,
        show_default=True,
        metavar="SECONDS",
        help="A session at IBKR without a REST request ends after this time.",
    ),
    click.option(
        "--ibkr-gateways",
        type=click.IntRange(1, 9),
        default=1,
        show_default=True,
        help="The number of gateways of the user at IBKR; one at a time has the session.",
    ),
)
drill_options = _combined(
    click.option(
        "--minutes",
        type=click.FloatRange(0, 10_000, min_open=True),
        default=5.0,
        show_default=True,
        help="The time during which faults happen.",
    ),
    click.option(
        "--seed",
        type=int,
        default=1,
        show_default=True,
        help="The seed of the faults and of the market.",
    ),
    click.option(
        "--kinds",
        type=FaultKinds(),
        default="",
        metavar="A,B,...",
        help="The kinds of faults that happen; default: the usual ones.  mild means those that end no "
        "process of the service or of PostgreSQL; standby means those in which a standby takes over; two means those of two services on the same logins.",
    ),
    click.option(
        "--rate",
        type=click.FloatRange(0.01, 1_000_000),
        default=200.0,
        show_default=True,
        help="The ticks per second of all brokers together.",
    ),
    book_option,
    contracts_option,
    click.option(
        "--interval",
        "interval_s",
        type=click.FloatRange(0.01, 86_400),
        default=8.0,
        show_default=True,
        metavar="SECONDS",
        help="The average time from one fault to the next.",
    ),
    click.option("--json", is_flag=True, help="Print one JSON object at the end."),
    click.option(
        "--keep",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="Keep the database, the ledger and the logs in this directory.",
    ),
)
status_options = _combined(
    click.option(
        "--url",
        metavar="URL",
        help="The address of the service; default: GREEKS_HTTP_BIND.  The token is always "
        "GREEKS_API_TOKEN.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
)
whatif_options = _combined(
    click.option(
        "--moves",
        metavar="A,B,...",
        help="The moves of the underlyings in per cent, such as -10,-5,0,5,10.",
    ),
    click.option(
        "--sigma",
        "move_unit",
        flag_value="sigma",
        help="The moves are standard deviations of one day.",
    ),
    click.option(
        "--vols",
        metavar="A,B,...",
        help="The shifts of the implied volatilities in points, such as -5,0,5.",
    ),
    click.option(
        "--vol-percent",
        "vol_unit",
        flag_value="percent",
        help="The shifts are per cent of the volatility.",
    ),
    click.option(
        "--square-root",
        "vol_scaling",
        flag_value="square_root",
        help="The shifts are those of 30 days; others get them times the root of 30 / days.",
    ),
    click.option(
        "--days", metavar="A,B,...", help="The calendar days to go forward; default: 0."
    ),
    click.option("--account", "account_id", help="Only this account."),
    click.option("--underlying", help="Only this underlying."),
    click.option("--broker", type=click.Choice(BROKERS), help="Only this broker."),
    click.option("--strategy", "strategy_tag", help="Only this strategy."),
    click.option(
        "--by",
        "group_by",
        type=click.Choice(
            (
                *("underlying", "account_id", "broker", "expiration"),
                *("expiration_bucket", "strategy_tag"),
            )
        ),
        help="Also a line for each of these.",
    ),
    click.option(
        "--benchmark",
        help="This underlying makes the moves; each other one moves by its beta.",
    ),
    click.option(
        "--beta",
        "betas",
        multiple=True,
        metavar="SYMBOL=BETA",
        help="The beta of an underlying to the benchmark; may be repeated.",
    ),
    click.option(
        "--dividend-yield",
        "dividend_yields",
        multiple=True,
        metavar="SYMBOL=YIELD",
        help="The dividend yield of an underlying, a fraction per year; may be repeated.",
    ),
    click.option(
        "--rate",
        type=float,
        help="The rate of interest, a fraction per year; default: that of the service.",
    ),
)
port = click.IntRange(0, 65_535)
port_options = _combined(
    *(
        click.option(
            f"--{broker}-port",
            type=port,
            default=0,
            help="The port; 0, the default, means any free port.",
        )
        for broker in BROKERS
    )
)
broker_switches = _combined(
    *(
        click.option(
            f"--{broker}/--no-{broker}",
            default=None,
            help="Whether to stream from this broker.",
        )
        for broker in BROKERS
    )
)
only_option = click.option(
    "--only", type=click.Choice(BROKERS), help="Use only this broker."
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data of the bundled PostgreSQL.  The default of serve is a directory in your "
    "home, that of demo is a temporary directory.",
)


def embedded_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--embedded`` and ``--data-dir``: which database a command uses.

    The function gets ``embedded`` and ``data_dir``.  `commands.target` makes the
    configuration of them.

    Raises:
        click.UsageError: there is a data directory without ``--embedded``.
    """

    @click.option("--embedded", is_flag=True, help="Use the bundled PostgreSQL.")
    @click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="The data of the bundled PostgreSQL; default: a directory in your home.",
    )
    @wraps(function)
    def checked(*, embedded: bool, data_dir: Path | None, **options: Any) -> Any:  # noqa: ANN401 - passed on as they are
        if data_dir is not None and not embedded:
            raise click.UsageError(
                "--data-dir works only with --embedded: add --embedded or remove "
                "--data-dir."
            )
        return function(embedded=embedded, data_dir=data_dir, **options)

    return checked
