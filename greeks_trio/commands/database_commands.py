"""The commands that work on the database as such: ``psql``, ``dsn`` and ``db``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from greeks_trio.commands.options import embedded_options
from greeks_trio.commands.outcome import Plan, configured
from greeks_trio.config.load import load_config

_file = click.Path(dir_okay=False, path_type=Path)
_data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data of the bundled PostgreSQL; default: a directory in your home.",
)


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]}
)
@embedded_options
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
def psql(*, embedded: bool, data_dir: Path | None, arguments: tuple[str, ...]) -> Plan:
    """Open psql on the database that serve would use.

    ARGS go to psql, for instance: psql --embedded -c 'select * from positions'.  It works
    beside a running service.

    Exit status: that of psql, 1 the database cannot be used, 2 wrong settings.
    """

    def plan() -> int:
        config = configured(partial(load_config, need_broker=False))
        from greeks_trio.commands.psql import run_psql

        return run_psql(config, data_dir, arguments, embedded=embedded)

    return plan


@click.command()
@embedded_options
@click.option("--with-password", is_flag=True, help="Print the password as well.")
def dsn(*, embedded: bool, data_dir: Path | None, with_password: bool) -> Plan:
    """Print the address of the database for other programs, as a URI of libpq.

    Exit status: 0 done, 1 the bundled PostgreSQL has no data yet, 2 wrong settings.
    """

    def plan() -> int:
        config = configured(partial(load_config, need_broker=False))
        from greeks_trio.commands.psql import print_dsn

        return print_dsn(
            config, data_dir, embedded=embedded, with_password=with_password
        )

    return plan


@click.group()
def db() -> None:
    """Use the bundled PostgreSQL without the service."""


def _directory(data_dir: Path | None) -> Path:
    from greeks_trio.commands.target import home_data_dir

    return data_dir or home_data_dir()


def _port() -> int:
    return configured(partial(load_config, need_broker=False)).embedded_port


@db.command()
@_data_dir
def start(*, data_dir: Path | None) -> Plan:
    """Start PostgreSQL so that it stays; serve --embedded uses it and leaves it running.

    Exit status: 0 it runs, 1 it does not start, 2 wrong settings.
    """

    def plan() -> int:
        port = _port()
        from greeks_trio.commands import db as commands

        return commands.start(_directory(data_dir), port)

    return plan


@db.command()
@_data_dir
def stop(*, data_dir: Path | None) -> Plan:
    """Shut down the PostgreSQL of db start.

    Exit status: 0 it does not run, 1 a service uses it or it does not end.
    """

    def plan() -> int:
        from greeks_trio.commands import db as commands

        return commands.stop(_directory(data_dir))

    return plan


@db.command()
@_data_dir
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, data_dir: Path | None, as_json: bool) -> Plan:
    """Show whether it runs, its address, its version and its size.

    Exit status: 0 it accepts connections, 1 it does not.
    """

    def plan() -> int:
        from greeks_trio.commands import db as commands

        return commands.show_status(_directory(data_dir), as_json=as_json)

    return plan


@db.command()
@_data_dir
@click.argument("file", type=_file)
def dump(*, data_dir: Path | None, file: Path) -> Plan:
    """Write the whole database to FILE, also while the service runs.

    Exit status: 0 done, 1 failed, 2 wrong settings or FILE exists.
    """

    def plan() -> int:
        port = _port()
        from greeks_trio.commands import db as commands

        return commands.dump(_directory(data_dir), file, port)

    return plan


@db.command()
@_data_dir
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(*, data_dir: Path | None, file: Path) -> Plan:
    """Read FILE of db dump into an empty data directory.

    Exit status: 0 done, 1 failed or not empty, 2 wrong settings.
    """

    def plan() -> int:
        port = _port()
        from greeks_trio.commands import db as commands

        return commands.restore(_directory(data_dir), file, port)

    return plan


@db.command()
@_data_dir
def upgrade(*, data_dir: Path | None) -> Plan:
    """Bring the data of an older PostgreSQL to the version of this program.

    The old data stays until you delete it.  An interrupted upgrade can be repeated.

    Exit status: 0 done, 1 failed.
    """

    def plan() -> int:
        from greeks_trio.commands import db as commands

        return commands.upgrade(_directory(data_dir))

    return plan
