"""The commands that need no account: simulated brokers, the demo and the drill."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greeks_trio.commands.extras import need_extras
from greeks_trio.commands.options import (
    data_dir_option,
    drill_options,
    market_options,
    only_option,
    port,
    port_options,
    simulator_options,
)
from greeks_trio.commands.outcome import OK, Plan, run_trio
from greeks_trio.config.env_file import env_line
from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import BROKERS
from greeks_trio.errors import ConfigError, plain_reason
from greeks_trio.logs import background_output, configure_logging

if TYPE_CHECKING:
    from greeks_trio.simulators.book.book import BookName
    from greeks_trio.simulators.simulator import SimulateOptions


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="The length of the demo; by default it runs until Ctrl-C.",
)
@market_options
@data_dir_option
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="The address of the HTTP interface; by default 127.0.0.1:8080 if that is free, "
    "else a free port of this machine.",
)
@click.option("--api-token", envvar="GREEKS_API_TOKEN", default="", hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
def demo(
    *,
    seconds: float | None,
    book: BookName,
    contracts: int | None,
    rate: float,
    seed: int,
    faults: tuple[str, ...],
    data_dir: Path | None,
    http: str | None,
    api_token: str,
    as_json: bool,
) -> Plan:
    """Run the service without an account: simulated brokers and a real PostgreSQL.

    Exit status: 0 every tick is stored once, 1 a tick is missing, stored twice or was
    never sent, 2 wrong settings.
    """

    def plan() -> int:
        need_extras("embedded", "simulators")
        from greeks_trio.commands.demo import DemoOptions, run_demo

        address = None
        if http is not None:
            variables = {"GREEKS_HTTP_BIND": http, "GREEKS_API_TOKEN": api_token}
            sources = {"GREEKS_HTTP_BIND": "by --http"}
            address = parse_config(variables, sources=sources, need_broker=False).http
        if sys.stdout.isatty() and not as_json:
            # The table shows the content of the less severe lines.
            configure_logging(level=logging.WARNING)
        options = DemoOptions(
            seconds=seconds,
            book=book,
            contracts=contracts,
            rate=rate,
            seed=seed,
            data_dir=data_dir,
            http=address,
            json=as_json,
            faults=faults,
        )
        if as_json:  # for a program, which needs each line
            return run_trio(run_demo, options)
        with background_output("stdout", _explain_missing):
            return run_trio(run_demo, options)

    return plan


def _explain_missing(number: int) -> str:
    return f"{number} lines are missing here: they were not read in time."


@click.command()
@port_options
@market_options
@simulator_options
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to which the simulators write each tick before they send it.",
)
@click.option(
    "--deliveries",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to which the simulators write to which connection they send each tick.",
)
@click.option(
    "--control-port",
    type=port,
    help="The port of the HTTP interface that triggers faults; 0 means any free port.",
)
@only_option
@click.option(
    "--print-env",
    is_flag=True,
    help="Print the lines of an .env file that lead to these brokers, instead of JSON.",
)
@click.option("--ends-with-parent", is_flag=True, hidden=True)
@click.option("--quiet", is_flag=True, hidden=True)
def simulate(*, quiet: bool, print_env: bool, **options: Any) -> Plan:  # noqa: ANN401 - passed on as they are
    """Run only the simulated brokers; the first line shows their addresses."""

    def plan() -> int:
        if quiet:
            configure_logging(level=logging.WARNING)
        need_extras("simulators")
        from greeks_trio.simulators.simulator import SimulateOptions

        ports = {broker: options.pop(f"{broker}_port") for broker in BROKERS}
        simulated = SimulateOptions(ports=ports, **options)
        return run_trio(_simulate, simulated, print_env)

    return plan


async def _simulate(options: SimulateOptions, print_env: bool) -> int:
    from greeks_trio.simulators.run import run_simulators, write_line

    announce = partial(_print_env, options) if print_env else write_line
    try:
        await run_simulators(options, announce=announce)
    except* OSError as group:
        raise ConfigError(
            [f"The simulated brokers cannot start: {plain_reason(group)}."]
        ) from group
    return OK


def _print_env(options: SimulateOptions, line: str) -> None:
    """Print the settings of a service for the brokers that a line announces."""
    from greeks_trio.drill.simulated_brokers import ENDPOINTS, variables_of_book
    from greeks_trio.simulators.endpoints import parse_endpoints
    from greeks_trio.simulators.run import write_line

    variables = variables_of_book(options.book, options.contracts, options.ibkr_lines)
    for each in parse_endpoints(line.encode(), ENDPOINTS).brokers.values():
        variables |= each.variables()
    lines = (env_line(name, text) for name, text in variables.items())
    write_line("\n".join(lines))


@click.command()
@drill_options
def drill(**options: Any) -> Plan:  # noqa: ANN401 - passed on as they are
    """Cause faults at random, then check that no tick was lost or stored twice.

    Runs simulated brokers, a PostgreSQL of its own and the service, each as a process.
    The seed determines the schedule of the faults.

    Exit status: 0 every tick is stored once, 1 a check failed, 130 Ctrl-C.
    """

    def plan() -> int:
        configure_logging(level=logging.WARNING)
        need_extras("embedded", "simulators")
        from greeks_trio.drill.command import DrillOptions, run_drill

        return run_trio(run_drill, DrillOptions(**options))

    return plan


@click.command(hidden=True)
@click.argument("settings", type=click.Path(path_type=Path))
@click.argument("clock", type=click.Path(path_type=Path))
def drill_service(settings: Path, clock: Path) -> Plan:
    """Run the service of a drill."""

    def plan() -> int:
        from greeks_trio.drill.instrumented_service import run_instrumented_service

        return run_trio(run_instrumented_service, settings, clock)

    return plan
