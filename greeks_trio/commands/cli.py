"""The command line: arguments in, exit status out.

Commands parse their arguments and return a plan, a function without arguments; `main`
runs it outside of click, so that one place, `greeks_trio.commands.outcome`, turns outcomes into
exit statuses.

Everything heavy is imported by the plans, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from greeks_trio.commands.options import (
    ServeByDefault,
    data_dir_option,
    only_option,
    status_options,
)
from greeks_trio.commands.outcome import Plan, configured, run, run_trio
from greeks_trio.commands.simulated import demo, drill, drill_service, simulate
from greeks_trio.config.load import Override, load_config
from greeks_trio.config.settings import BROKERS, Config
from greeks_trio.errors import ConfigError
from greeks_trio.logs import configure_logging

logger = logging.getLogger(__name__)

# Not the current directory: who starts serve elsewhere expects to find the same data.
_DEFAULT_DATA_DIR: Final = Path("~/.local/share/greeks_trio/postgres")


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
    overrides: dict[str, Override] = {}
    if http is not None:
        overrides["GREEKS_HTTP_BIND"] = Override(http, "--http")
    for broker in BROKERS:
        if only is not None and broker != only:
            overrides[f"{broker.upper()}_ENABLED"] = Override("false", "--only")
    return partial(_serve, overrides, embedded, data_dir)


def _serve(
    overrides: dict[str, Override], embedded: bool, data_dir: Path | None
) -> int:
    load = partial(load_config, overrides)
    config = configured(load)
    if embedded:
        return run_trio(_serve_embedded, config, load, data_dir or _home_data_dir())
    from greeks_trio.service import run_service

    return run_trio(partial(run_service, config, load=load))


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
    from greeks_trio.postgres.embedded.guard import open_guarded_server
    from greeks_trio.service import run_service

    # Its port changes with each start, so the spool is found by the directory.
    spool = replace(
        config.spool,
        directory=config.spool.directory
        or data_dir.with_name(f"{data_dir.name}-spool"),
    )
    async with open_guarded_server(data_dir) as database:
        logger.info("embedded.started data_dir=%s", data_dir)
        return await run_service(
            replace(config, database=database, spool=spool),
            load=lambda: replace(load(), database=database, spool=spool),
        )


@commands.command()
def check() -> Plan:
    """Try the configuration, the database and each broker's login.

    Exit status: 0 all is well, 1 something failed, 2 configuration.
    """

    def plan() -> int:
        config = configured(load_config)
        from greeks_trio.commands.check import run_check

        return run_trio(run_check, config)

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
        config = configured(partial(load_config, need_broker=False))
        from greeks_trio.commands.quarantine import retry_quarantine, show_quarantine
        from greeks_trio.spool.location import spool_directory

        directory = spool_directory(config)
        if retry:
            # Of the rows that are refused again it prints how many there are, and why.
            configure_logging(json=config.log_json, level=logging.CRITICAL)
            return run_trio(retry_quarantine, directory, config.database)
        return show_quarantine(directory, as_json=as_json)

    return plan


@commands.command()
@status_options
def status(**options: Any) -> Plan:  # noqa: ANN401 - handed on whole
    """Ask a running service how it does.

    Exit status: 0 healthy, 1 degraded, 2 down or wrong configuration.
    """

    def plan() -> int:
        from greeks_trio.commands.status import run_status

        return run_trio(partial(run_status, **options))

    return plan


@commands.command()
def migrate() -> Plan:
    """Bring the database to the present schema and exit.

    Exit status: 0 done, 1 failed, 2 configuration, 4 the schema is not right.
    """

    def plan() -> int:
        config = configured(partial(load_config, need_broker=False))
        from greeks_trio.commands.check import run_migrate

        return run_trio(run_migrate, config.database)

    return plan


for each in (demo, simulate, drill, drill_service):
    commands.add_command(each)
