"""The command line: arguments in, exit status out.

A command checks its arguments and returns a plan, which is a function without arguments.
`main` runs the plan outside of click, so that `greeks_trio.commands.outcome` alone turns
outcomes into exit statuses.

The plans import everything heavy, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NoReturn

import click

from greeks_trio.commands.database_commands import db, dsn, psql
from greeks_trio.commands.fleet_commands import fleet, fleet_run, fleet_views
from greeks_trio.commands.options import (
    ServeByDefault,
    broker_switches,
    embedded_options,
    only_option,
    status_options,
)
from greeks_trio.commands.outcome import FAILED, Plan, run, run_trio
from greeks_trio.commands.output import open_outputs
from greeks_trio.commands.risk_commands import (
    alerts,
    beta_weighted,
    explain,
    risk,
    whatif,
)
from greeks_trio.commands.simulated import demo, drill, drill_service, simulate
from greeks_trio.commands.stored_commands import archive, migrate, quarantine, verify
from greeks_trio.commands.version import show_version
from greeks_trio.config.load import Override, read_config
from greeks_trio.config.settings import HTTP_BIND, SWITCHES
from greeks_trio.program import program_name, quick_imports
from greeks_trio.signals import end_with_parent, hold_hangups


def main(
    args: Sequence[str] | None = None, *, prog_name: str | None = None
) -> NoReturn:
    """Run the command and exit with its status."""
    output = open_outputs()
    name = prog_name or PurePath(program_name()).name
    try:
        plan = commands.main(args, name, standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    # After --help, click returns a status and no plan.
    status = run(plan) if callable(plan) else plan
    if fault := output.fault():
        click.echo(f"The output cannot be written: {fault}.", err=True)
        status = status or FAILED
    sys.exit(status)


@click.group(
    cls=ServeByDefault, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version",
    "-V",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the versions of the program, Python and the bundled PostgreSQL.",
)
def commands() -> None:
    """Stream option Greeks from the brokers into PostgreSQL.

    The default command is serve.  Settings come from the process environment and from
    the file .env in the current directory.  The command init makes that file.
    """


@commands.command()
@embedded_options
@only_option
@click.option(
    "--http",
    metavar="HOST:PORT",
    help="The address of the HTTP interface, instead of GREEKS_HTTP_BIND.",
)
@click.option("--follow-parent", type=int, hidden=True)
def serve(
    *,
    embedded: bool,
    only: str | None,
    data_dir: Path | None,
    http: str | None,
    follow_parent: int | None,
) -> Plan:
    """Run the service until SIGTERM or Ctrl-C.

    SIGHUP makes it read the settings again.

    Exit status: 0 stopped on request, 1 a bug, 2 wrong settings, 3 every broker refused
    the login, 4 the schema of the database does not fit.
    """
    overrides = {
        variable: Override("false", "--only")
        for broker, variable in SWITCHES.items()
        if only is not None and broker != only
    }
    if http is not None:
        overrides[HTTP_BIND.variable] = Override(http, "--http")

    def plan() -> int:
        hold_hangups()
        if follow_parent is not None:
            end_with_parent(follow_parent)
        with quick_imports():
            from greeks_trio.commands.serve import run_serve

        return run_serve(overrides, embedded=embedded, data_dir=data_dir)

    return plan


@commands.command()
@click.option("--embedded", is_flag=True, help="Use the bundled PostgreSQL.")
@broker_switches
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="The value of a setting that is no secret; may be repeated.",
)
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; default: .env, or the one that GREEKS_ENV_FILE names.",
)
@click.option(
    "--yes",
    is_flag=True,
    help="Ask nothing. Secrets come from the process environment.",
)
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def init(
    *,
    embedded: bool,
    pairs: tuple[str, ...],
    file: Path | None,
    yes: bool,
    force: bool,
    **switches: bool | None,
) -> Plan:
    """Ask for the settings, write them to .env, and check them.

    Only you can read the file. It is written as a whole or not at all.

    Exit status: 0 written, and every test passed, 1 written, and a test failed, 2 not
    written.
    """

    def plan() -> int:
        from greeks_trio.commands.init import InitOptions, run_init
        from greeks_trio.commands.settings_form import Form, given_answers

        chosen = {broker: on for broker, on in switches.items() if on is not None}
        form = Form(given_answers(pairs, chosen), embedded)
        return run_init(InitOptions(form=form, file=file, asks=not yes, force=force))

    return plan


@commands.command()
@embedded_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(*, embedded: bool, data_dir: Path | None, as_json: bool) -> Plan:
    """Test the settings, the database, the spool and the login at each broker.

    It tests everything that serve will need, with the same code, and changes nothing.
    Each line is a finding. WARNING will not work later, FAILED does not work now.

    Exit status: 0 every test passed, also with warnings, 1 a test failed, 2 wrong
    settings.
    """

    def plan() -> int:
        from greeks_trio.commands.check import CheckOptions, run_check

        options = CheckOptions(embedded=embedded, data_dir=data_dir, as_json=as_json)
        return run_trio(run_check, read_config, options)

    return plan


@commands.command()
@status_options
def status(**options: Any) -> Plan:  # noqa: ANN401 - passed on as they are
    """Show the health of a running service.

    Exit status: 0 healthy, also with notes, 1 degraded, 2 down or wrong settings.
    """

    def plan() -> int:
        from greeks_trio.commands.status import run_status

        return run_trio(partial(run_status, **options))

    return plan


@commands.command()
@click.argument("kind", type=click.Choice(("systemd", "compose")))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace files that differ.")
def deployment(*, kind: str, directory: Path, force: bool) -> Plan:
    """Write the files for systemd or for containers into a directory.

    systemd: the unit greeks-trio.service, with the path of this program, and the template
    greeks-trio@.service for several services.  compose: the service with PostgreSQL,
    Prometheus and Grafana.

    Exit status: 0 done, 1 a file differs, 2 wrong arguments.
    """

    def plan() -> int:
        from greeks_trio.commands.deployment import write_deployment

        return write_deployment(kind, directory, force=force)

    return plan


for each in (
    migrate,
    verify,
    quarantine,
    archive,
    fleet,
    fleet_run,
    fleet_views,
    demo,
    simulate,
    drill,
    drill_service,
    psql,
    dsn,
    db,
    risk,
    explain,
    beta_weighted,
    whatif,
    alerts,
):
    commands.add_command(each)
