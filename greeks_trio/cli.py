"""The command line: arguments in, exit status out.

Commands parse their arguments and return a plan, a function without arguments; `main`
runs it outside of click, so that one place turns outcomes into exit statuses:

====  ==================================================================
0     stopped on request, or done
1     a bug; a check, a migration or a demo that failed
2     wrong arguments or configuration, also a port that is taken
3     every enabled broker refused its credentials
4     the schema is newer than this program, or the database refused it
130   Ctrl-C where nothing has to be drained
====  ==================================================================

Everything heavy is imported by the plans, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import click
import trio

from greeks_trio.cli_options import (
    ServeByDefault,
    data_dir_option,
    drill_options,
    market_options,
    only_option,
    port,
    simulator_options,
    status_options,
)
from greeks_trio.config import Config
from greeks_trio.config_file import load_config
from greeks_trio.config_parse import parse_config
from greeks_trio.errors import (
    ConfigError,
    GreeksError,
    SchemaRejected,
    leaves,
    plain_reason,
)
from greeks_trio.logs import configure_logging
from greeks_trio.model.records import BROKERS

if TYPE_CHECKING:
    from greeks_trio.simulators.run import SimulateOptions

logger = logging.getLogger(__name__)

OK: Final = 0
FAILED: Final = 1
MISCONFIGURED: Final = 2
SCHEMA_REJECTED: Final = 4
INTERRUPTED: Final = 130

# Not the current directory: who starts serve elsewhere expects to find the same data.
_DEFAULT_DATA_DIR: Final = Path("~/.local/share/greeks_trio/postgres")

Plan: TypeAlias = Callable[[], int]


def main(
    args: Sequence[str] | None = None, *, prog_name: str | None = None
) -> NoReturn:
    """Run the command and exit with its status."""
    try:
        plan = commands.main(args, prog_name, standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    # Not a plan but a status after --help.
    sys.exit(run(plan) if callable(plan) else plan)


def run(plan: Plan) -> int:
    """Return the exit status of what the plan does.

    The program's outermost handler: what arrives here as a bug is logged with its
    traceback.
    """
    configure_logging()
    status = OK
    try:
        status = plan()
    except* KeyboardInterrupt:
        status = INTERRUPTED
    except* ConfigError as group:
        status = MISCONFIGURED
        problems = [
            leaf.problems for leaf in leaves(group) if isinstance(leaf, ConfigError)
        ]
        for problem in chain(*problems):
            click.echo(f"configuration: {problem}", err=True)
    except* SchemaRejected as group:
        status = SCHEMA_REJECTED
        click.echo(f"database: {plain_reason(group)}", err=True)
    except* GreeksError as group:
        status = status or FAILED  # what came before says more
        click.echo(plain_reason(group), err=True)
    except* Exception as group:
        status = FAILED
        logger.critical("service.bug", exc_info=group)
    return status


def _run_trio(function: Callable[..., Awaitable[int]], *args: object) -> int:
    # Ctrl-C only at checkpoints: never in the middle of a COPY or of closing a file.
    return trio.run(function, *args, restrict_keyboard_interrupt_to_checkpoints=True)


def _configured(load: Callable[[], Config]) -> Config:
    config = load()
    configure_logging(json=config.log_json, level=config.log_level)
    return config


@click.group(
    cls=ServeByDefault, context_settings={"help_option_names": ["-h", "--help"]}
)
def commands() -> None:
    """Stream option Greeks from the brokers into PostgreSQL.

    Without a command: serve.  Settings come from the environment and from .env in the
    current directory; .env.example explains them.
    """


@commands.command()
@click.option("--embedded", is_flag=True, help="Use the PostgreSQL that comes along.")
@only_option
@data_dir_option
@click.option("--http", metavar="HOST:PORT", help="Instead of GREEKS_HTTP_BIND.")
def serve(
    *, embedded: bool, only: str | None, data_dir: Path | None, http: str | None
) -> Plan:
    """Run the service until SIGTERM or Ctrl-C; SIGHUP reloads.

    Exit status: 0 stopped on request, 1 a bug, 2 configuration, 3 every broker refused
    its credentials, 4 the schema is not right.
    """
    if data_dir is not None and not embedded:
        raise click.UsageError("--data-dir is for --embedded.")
    overrides = {} if http is None else {"GREEKS_HTTP_BIND": http}
    for broker in BROKERS:
        if only is not None and broker != only:
            overrides[f"{broker.upper()}_ENABLED"] = "false"
    return partial(_serve, overrides, embedded, data_dir)


def _serve(overrides: dict[str, str], embedded: bool, data_dir: Path | None) -> int:
    load = partial(load_config, overrides)
    config = _configured(load)
    if embedded:
        return _run_trio(_serve_embedded, config, load, data_dir or _home_data_dir())
    from greeks_trio.service import run_service

    return _run_trio(partial(run_service, config, load=load))


def _home_data_dir() -> Path:
    try:
        return _DEFAULT_DATA_DIR.expanduser()
    except RuntimeError:
        raise ConfigError(
            ["--data-dir is needed, because this user has no home directory."]
        ) from None


async def _serve_embedded(
    config: Config, load: Callable[[], Config], data_dir: Path
) -> int:
    from greeks_trio.postgres.embedded import open_embedded_server
    from greeks_trio.service import run_service

    # Its port changes with each start, so the spool is found by the directory.
    spool = replace(
        config.spool,
        directory=config.spool.directory
        or data_dir.with_name(f"{data_dir.name}-spool"),
    )
    async with open_embedded_server(data_dir) as database:
        logger.info("embedded.started data_dir=%s", data_dir)
        return await run_service(
            replace(config, database=database, spool=spool),
            load=lambda: replace(load(), database=database, spool=spool),
        )


@commands.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    help="How long; without it until Ctrl-C.",
)
@market_options
@data_dir_option
@click.option("--http", metavar="HOST:PORT", help="Serve HTTP there.")
@click.option("--api-token", envvar="GREEKS_API_TOKEN", default="", hidden=True)
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout.")
def demo(
    *,
    seconds: float | None,
    contracts: int,
    rate: float,
    seed: int,
    faults: tuple[str, ...],
    data_dir: Path | None,
    http: str | None,
    api_token: str,
    as_json: bool,
) -> Plan:
    """Show it all without an account: simulated brokers, a real PostgreSQL.

    Exit status 1 when a tick was lost, stored twice, or stored without being sent.
    """

    def plan() -> int:
        from greeks_trio.demo import DemoOptions, run_demo

        address = None
        if http is not None:
            variables = {"GREEKS_HTTP_BIND": http, "GREEKS_API_TOKEN": api_token}
            address = parse_config(variables, need_broker=False).http
        if sys.stdout.isatty() and not as_json:
            # The table says what the lines below a warning would.
            configure_logging(level=logging.WARNING)
        options = DemoOptions(
            seconds=seconds,
            contracts=contracts,
            rate=rate,
            seed=seed,
            data_dir=data_dir,
            http=address,
            json=as_json,
            faults=faults,
        )
        return _run_trio(run_demo, options)

    return plan


@commands.command()
@click.option("--ibkr-port", type=port, default=0, help="0 (default): any free one.")
@click.option(
    "--tastytrade-port", type=port, default=0, help="0 (default): any free one."
)
@market_options
@simulator_options
@click.option(
    "--ledger",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to which each tick is written before it is sent.",
)
@click.option(
    "--control-port",
    type=port,
    help="Where faults can be triggered over HTTP, on loopback; 0: any free one.",
)
@only_option
@click.option("--ends-with-parent", is_flag=True, hidden=True)
@click.option("--quiet", is_flag=True, hidden=True)
def simulate(*, quiet: bool, **options: Any) -> Plan:  # noqa: ANN401 - handed on whole
    """Run only the simulated brokers; the first line says where they are."""

    def plan() -> int:
        if quiet:
            configure_logging(level=logging.WARNING)
        from greeks_trio.simulators.run import SimulateOptions

        return _run_trio(_simulate, SimulateOptions(**options))

    return plan


async def _simulate(options: SimulateOptions) -> int:
    from greeks_trio.simulators.run import run_simulators

    try:
        await run_simulators(options)
    except* OSError as group:
        raise ConfigError([f"Cannot start: {plain_reason(group)}."]) from group
    return OK


@commands.command()
@drill_options
def drill(**options: Any) -> Plan:  # noqa: ANN401 - handed on whole
    """Break everything at random, then prove that no tick was lost or doubled.

    Runs simulated brokers, a PostgreSQL of its own and the service, each as a process,
    under a schedule of faults that the seed decides.

    Exit status: 0 all is well, 1 it is not, 130 after Ctrl-C.
    """

    def plan() -> int:
        configure_logging(level=logging.WARNING)
        from greeks_trio.drill.command import DrillOptions, run_drill

        return _run_trio(run_drill, DrillOptions(**options))

    return plan


@commands.command(hidden=True)
@click.argument("settings", type=click.Path(path_type=Path))
@click.argument("clock", type=click.Path(path_type=Path))
def drill_service(settings: Path, clock: Path) -> Plan:
    """Run the service of a drill."""

    def plan() -> int:
        from greeks_trio.drill.subject import run_subject

        return _run_trio(run_subject, settings, clock)

    return plan


@commands.command()
def check() -> Plan:
    """Try the configuration, the database and each broker's login.

    Exit status: 0 all is well, 1 something failed, 2 configuration.
    """

    def plan() -> int:
        config = _configured(load_config)
        from greeks_trio.check import run_check

        return _run_trio(run_check, config)

    return plan


@commands.command()
@click.option("--retry", is_flag=True, help="Offer the rows to the database again.")
@click.option("--json", "as_json", is_flag=True, help="All rows, a JSON object a line.")
def quarantine(*, retry: bool, as_json: bool) -> Plan:
    """Show the rows that PostgreSQL refused; also while the service runs.

    Exit status: 0 done, 1 some are still refused or something failed, 2 configuration.
    """
    if retry and as_json:
        raise click.UsageError("--json is for looking, not for --retry.")

    def plan() -> int:
        config = _configured(partial(load_config, need_broker=False))
        from greeks_trio.quarantine import retry_quarantine, show_quarantine
        from greeks_trio.service_parts import spool_directory

        directory = spool_directory(config)
        if retry:
            # Of the rows that are refused again it prints how many there are, and why.
            configure_logging(json=config.log_json, level=logging.CRITICAL)
            return _run_trio(retry_quarantine, directory, config.database)
        return show_quarantine(directory, as_json=as_json)

    return plan


@commands.command()
@status_options
def status(**options: Any) -> Plan:  # noqa: ANN401 - handed on whole
    """Ask a running service how it does.

    Exit status: 0 healthy, 1 degraded, 2 down or wrong configuration.
    """

    def plan() -> int:
        from greeks_trio.status import run_status

        return _run_trio(partial(run_status, **options))

    return plan


@commands.command()
def migrate() -> Plan:
    """Bring the database to the present schema and exit.

    Exit status: 0 done, 1 failed, 2 configuration, 4 the schema is not right.
    """

    def plan() -> int:
        config = _configured(partial(load_config, need_broker=False))
        from greeks_trio.check import run_migrate

        return _run_trio(run_migrate, config.database)

    return plan
