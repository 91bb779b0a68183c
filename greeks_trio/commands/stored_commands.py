"""The commands for stored rows: ``migrate``, ``verify``, ``quarantine`` and ``archive``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import click

from greeks_trio.commands.options import embedded_options, parse_months
from greeks_trio.commands.outcome import Plan, configured, run_trio
from greeks_trio.config.load import load_config
from greeks_trio.config.settings import Config
from greeks_trio.logs import configure_logging


@click.command()
@embedded_options
@click.option(
    "--repair",
    is_flag=True,
    help="Make missing tables, keys, indexes, views and functions again.",
)
def migrate(*, embedded: bool, data_dir: Path | None, repair: bool) -> Plan:
    """Bring the schema of the database up to date.

    Exit status: 0 done, 1 failed, 2 wrong settings, 4 the schema does not fit.
    """

    def plan() -> int:
        config = configured(partial(load_config, need_broker=False))
        from greeks_trio.commands.migrate import run_migrate
        from greeks_trio.commands.target import run_on_target

        def apply(target: Config) -> Awaitable[int]:
            return run_migrate(target.database, is_repair=repair)

        return run_trio(run_on_target, apply, config, embedded, data_dir)

    return plan


@click.command()
@embedded_options
@click.option(
    "--repair",
    is_flag=True,
    help="Store the missing rows again, and write the gaps of lost rows.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(
    *, embedded: bool, data_dir: Path | None, repair: bool, as_json: bool
) -> Plan:
    """Compare the database with the rows that it has acknowledged.

    Use it after you have restored a backup or changed to a standby. It also works while
    the service runs.

    Exit status: 0 nothing is missing, or it is repaired, 1 rows are missing or nothing can
    be compared, 2 wrong settings.
    """

    def plan() -> int:
        config = configured(partial(load_config, need_broker=False))
        from greeks_trio.commands.verify import VerifyOptions, run_verify

        options = VerifyOptions(
            embedded=embedded, data_dir=data_dir, repair=repair, as_json=as_json
        )
        return run_trio(run_verify, config, options)

    return plan


@click.command()
@embedded_options
@click.option("--retry", is_flag=True, help="Offer the rows to the database again.")
@click.option("--json", "as_json", is_flag=True, help="Print each row as a JSON line.")
def quarantine(
    *, embedded: bool, data_dir: Path | None, retry: bool, as_json: bool
) -> Plan:
    """Show the rows that PostgreSQL refused.

    It also works while the service runs.

    Exit status: 0 done, 1 the database still refuses a row or cannot be used, 2 wrong
    settings.
    """
    if retry and as_json:
        raise click.UsageError("--json and --retry exclude each other: remove one.")

    def plan() -> int:
        config = configured(partial(load_config, need_broker=False))
        from greeks_trio.commands.quarantine import retry_quarantine, show_quarantine
        from greeks_trio.commands.target import run_on_target, spool_of_target

        directory = spool_of_target(config, embedded=embedded, data_dir=data_dir)
        if retry:
            # The command itself prints the number of refused rows and the reasons.
            configure_logging(log_format=config.log_format, level=logging.CRITICAL)

            def offer(target: Config) -> Awaitable[int]:
                return retry_quarantine(directory, target.database)

            return run_trio(run_on_target, offer, config, embedded, data_dir, True)
        return show_quarantine(directory, as_json=as_json)

    return plan


@click.command()
@embedded_options
@click.option(
    "--month",
    "months",
    metavar="YYYY-MM",
    multiple=True,
    callback=parse_months,
    help="Take this month also if GREEKS_KEEP_MONTHS keeps it. Repeatable.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="The directory of the files, instead of GREEKS_ARCHIVE_DIR.",
)
@click.option("--run", is_flag=True, help="Do it. Without this option, only show it.")
@click.option(
    "--keep-detached",
    is_flag=True,
    help="Keep the table in the database, under another name and outside of "
    "greek_snapshots.",
)
@click.option(
    "--load", is_flag=True, help="Bring the rows of the files back into the table."
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
def archive(
    *,
    months: Sequence[date],
    load: bool,
    files: Sequence[Path],
    **options: Any,  # noqa: ANN401 - passed on as they are
) -> Plan:
    """Move old months from the database to Parquet files, and back.

    Without --run it only shows the months and the steps that are due. A month leaves the database
    after its file was read back and compared with it.

    Exit status: 0 done, 1 failed, and nothing was lost, 2 wrong settings.
    """
    if load != bool(files):
        raise click.UsageError("--load needs files, and files need --load.")
    if load and (months or options["run"] or options["keep_detached"]):
        raise click.UsageError("--load excludes --month, --run and --keep-detached.")

    def plan() -> int:
        config = configured(partial(load_config, need_broker=False))
        from greeks_trio.commands.archive import ArchiveOptions, run_archive

        return run_trio(
            run_archive, config, ArchiveOptions(months=months, load=files, **options)
        )

    return plan
