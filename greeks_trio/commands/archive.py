"""``archive``: shows the months, takes them out of the database, and brings them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from greeks_trio.archive.leave import Left
from greeks_trio.archive.load import Loaded, load_files
from greeks_trio.archive.names import month_text
from greeks_trio.archive.parquet import need_pyarrow
from greeks_trio.archive.payloads import Narrowed
from greeks_trio.archive.retention import (
    Action,
    Plan,
    make_plan,
    refuse_without_directory,
    run_plan,
)
from greeks_trio.archive.rows import Connection
from greeks_trio.commands.outcome import OK
from greeks_trio.commands.target import open_target
from greeks_trio.config.directories import make_own_directory
from greeks_trio.config.settings import Config, RetentionConfig
from greeks_trio.errors import ArchiveFailed
from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.schema.migrate import missing_migrations
from greeks_trio.program import program_name
from greeks_trio.waiting import utc_now

_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveOptions:
    """The options of the command.

    Attributes:
        months: The months to take out; without any, the settings decide.
        directory: Instead of ``GREEKS_ARCHIVE_DIR``.
        run: Whether to do it; otherwise only the plan is shown.
        keep_detached: Whether the tables stay in the database.
        load: The files to load; with any, nothing is taken out.
    """

    months: Sequence[date] = ()
    directory: Path | None = None
    run: bool = False
    keep_detached: bool = False
    load: Sequence[Path] = ()
    embedded: bool = False
    data_dir: Path | None = None


async def run_archive(config: Config, options: ArchiveOptions) -> int:
    """Show or carry out the steps that are due, or load files; return `OK`.

    Raises:
        ConfigError: pyarrow is missing, or the directory is not safe.
        ArchiveFailed: a month could not be archived, dropped or loaded, or, also
            without ``run``, there is no directory for its files.
        StoreError: an error of the database.
    """
    retention = config.retention
    if options.directory is not None:
        retention = replace(retention, archive_dir=options.directory)
    async with open_target(
        config, embedded=options.embedded, data_dir=options.data_dir, must_exist=True
    ) as target:
        # Nothing waits for us, so a busy server gets more time than in the service.
        patient = max(_PATIENCE_S, target.database.timeout_s)
        database = replace(target.database, timeout_s=patient)
        target = replace(target, database=database)
        if options.load:
            need_pyarrow()
            return await _load(target, options.load)
        plan = await _plan(target, retention, options.months)
        _show(plan, retention)
        if not plan.steps:
            return OK
        refuse_without_directory(retention, plan)
        if not options.run:
            click.echo("Nothing was changed. Add --run to do it.")
            return OK
        if any(step.action is Action.ARCHIVE for step in plan.steps):
            prepare(retention)
        await run_plan(
            target.database,
            retention,
            plan,
            keep_detached=options.keep_detached,
            told=_tell,
        )
    return OK


def prepare(retention: RetentionConfig) -> None:
    """Make sure that files can be written.

    Raises:
        ConfigError: pyarrow is missing, or the directory is not safe.
    """
    if retention.archive_dir is not None:
        need_pyarrow()
        make_own_directory(retention.archive_dir, setting="GREEKS_ARCHIVE_DIR")


async def _plan(
    target: Config, retention: RetentionConfig, months: Sequence[date]
) -> Plan:
    async with open_connection(target.database, autocommit=True) as connection:
        with translated(connection, may_refuse=False):
            await _refuse_old_schema(connection)
            return await make_plan(connection, retention, months, utc_now())


async def _refuse_old_schema(connection: Connection) -> None:
    if missing := await missing_migrations(connection):
        raise ArchiveFailed(
            f"the database lacks {', '.join(missing)}: run {program_name()} migrate first"
        )


async def _load(target: Config, paths: Sequence[Path]) -> int:
    async with open_connection(target.database, autocommit=True) as connection:
        with translated(connection, may_refuse=False):
            await _refuse_old_schema(connection)
            await load_files(connection, paths, _tell_loaded)
    return OK


def _show(plan: Plan, retention: RetentionConfig) -> None:
    table = Table("month", "rows", "size", "state", "due", box=SIMPLE, padding=0)
    actions = {step.month: step.action.value for step in plan.steps}
    for each in plan.months.tables:
        state = "in the table" if each.is_attached else "outside of the table"
        if each.month == plan.present:
            state = "in use"
        if each.month in plan.loaded:
            state = "loaded from a file"
        rows = "not known" if each.rows < 0 else f"{each.rows:,}"
        name = month_text(each.month) + each.suffix
        size = f"{each.bytes / 1e6:,.1f} MB"
        table.add_row(name, rows, size, state, actions.get(each.month, ""))
    Console().print(table)
    for name in plan.months.foreign:
        click.echo(
            f"{name}: another program made this partition, so it stays as it is; that "
            "program has a retention of its own"
        )
    keep = retention.keep_months or "all"
    payloads = retention.keep_payload_months or "all"
    where = retention.archive_dir or "no directory"
    click.echo(f"Months to keep: {keep}, with payload: {payloads}. Files: {where}.")
    if not plan.steps:
        click.echo("Nothing is due.")


def _tell(done: Left | Narrowed) -> None:
    month = month_text(done.month)
    if isinstance(done, Narrowed):
        saved = (done.bytes_before - done.bytes_after) / 1e6
        click.echo(f"{month}: {done.rows:,} payloads dropped, {saved:,.1f} MB smaller")
        return
    files = ", ".join(done.files) or "no file"
    click.echo(f"{month}: {done.rows:,} rows left the table; {files}")


def _tell_loaded(done: Loaded) -> None:
    click.echo(
        f"{done.path.name}: {done.inserted:,} rows loaded, {done.present:,} of "
        f"{done.facts.rows:,} in the table"
    )
