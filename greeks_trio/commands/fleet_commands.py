"""The commands of several services: ``fleet`` and ``fleet-views``."""

from __future__ import annotations

import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from greeks_trio.commands.outcome import OK, Plan, run_trio
from greeks_trio.logs import configure_logging
from greeks_trio.signals import hold_hangups

if TYPE_CHECKING:
    from greeks_trio.fleet.plan import FleetPlan

logger = logging.getLogger(__name__)

_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.command()
@_file
@click.option(
    "--check", is_flag=True, help="Only check the file, and show the services."
)
@click.option(
    "--status", is_flag=True, help="Only show the health of the running fleet."
)
@click.option(
    "--json", "as_json", is_flag=True, help="With --status: print one JSON object."
)
def fleet(*, file: Path, check: bool, status: bool, as_json: bool) -> Plan:
    """Run several services: one process of serve for each one in FILE.

    A process that ends is started again. SIGHUP makes the fleet read FILE again, and every
    service its own settings. docs/scale.md explains FILE.

    Exit status: 0 stopped on request, 1 a bug, 2 wrong settings; with --status those of the
    command status.
    """
    if check and status:
        raise click.UsageError("--check and --status exclude each other: remove one.")
    if as_json and not status:
        raise click.UsageError("--json belongs to --status.")

    def plan() -> int:
        hold_hangups()
        loaded = _load(file)
        if status:
            from greeks_trio.commands.fleet_status import run_fleet_status

            return run_trio(partial(run_fleet_status, loaded.http, as_json=as_json))
        if check:
            return _show(loaded)
        from greeks_trio.fleet.fleet import run_fleet
        from greeks_trio.fleet.planner import load_fleet

        return run_trio(run_fleet, loaded, partial(load_fleet, file))

    return plan


@click.command()
@_file
def fleet_views(*, file: Path) -> Plan:
    """Make the views over the schemas of all services in FILE.

    They lie in the schema GREEKS_DB_SCHEMA of [fleet], by default fleet, and have the column
    service. A running fleet renews them after a migration.

    Exit status: 0 done, 1 the database cannot be used, 2 wrong settings, 4 the database
    refused.
    """

    def plan() -> int:
        return run_trio(_make_views, _load(file))

    return plan


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]}
)
@_file
@click.argument("service")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND...")
def fleet_run(*, file: Path, service: str, arguments: tuple[str, ...]) -> Plan:
    """Run a command with the settings of one SERVICE in FILE.

    For instance: fleet-run fleet.toml desk_a quarantine --retry.  It also works while the
    fleet runs.

    Exit status: that of the command, 2 wrong settings.
    """
    if not arguments:
        raise click.UsageError("Name a command, such as check or quarantine.")

    def plan() -> int:
        from greeks_trio.fleet.plan import service_of
        from greeks_trio.postgres.embedded.clients import run_program

        chosen = service_of(_load(file), service)
        command = [sys.executable, "-m", "greeks_trio", *arguments]
        return run_program(command, chosen.environment(chosen.http.port))

    return plan


def _load(file: Path) -> FleetPlan:
    from greeks_trio.fleet.planner import load_fleet

    loaded = load_fleet(file)
    config = loaded.config
    configure_logging(log_format=config.log_format, level=config.log_level)
    for warning in loaded.warnings:
        logger.warning("config.doubtful %s", warning)
    return loaded


def _show(plan: FleetPlan) -> int:
    from greeks_trio.spool.location import spool_directory

    for name, each in plan.services.items():
        database = each.config.database
        port = each.http.port or "any port"
        click.echo(f"{name}")
        click.echo(
            f"  schema  {database.schema} in {database.dbname} at {database.place}"
        )
        click.echo(f"  spool   {spool_directory(each.config)}")
        click.echo(f"  http    {each.http.host}, {port}")
    return OK


async def _make_views(plan: FleetPlan) -> int:
    from greeks_trio.fleet.views import make_views

    made = await make_views(plan)
    home = plan.config.database.schema
    changed = (
        f"{len(made.changed)} of them new or changed"
        if made.changed
        else "as they were"
    )
    click.echo(f"database: {len(made.names)} views in the schema {home}, {changed}")
    for sentence in made.left_out:
        click.echo(f"database: left out: {sentence}")
    return OK
