"""``--version``: the versions of the program, of Python, and of the bundled PostgreSQL."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from typing import Final

import click

from greeks_trio.errors import StoreUnavailable
from greeks_trio.program import INSTALLED_NAME
from greeks_trio.version import program_version

_LIMIT_S: Final = 10.0


def show_version(context: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    """Print the versions and exit with status 0, if the option is there."""
    if is_wanted and not context.resilient_parsing:
        click.echo(version_text())
        context.exit()


def version_text() -> str:
    """Return the versions in one line."""
    bundled = bundled_postgres()
    return (
        f"{INSTALLED_NAME} {program_version()}, Python {platform.python_version()}, "
        f"{f'bundled PostgreSQL {bundled}' if bundled else 'no bundled PostgreSQL'}"
    )


def bundled_postgres() -> str | None:
    """Return the version of the bundled PostgreSQL, `None` if it is not installed."""
    from greeks_trio.postgres.embedded.binaries import find_programs

    with suppress(StoreUnavailable, OSError, subprocess.SubprocessError):
        program = find_programs(18, None) / "postgres"
        said = subprocess.run(  # noqa: S603  our own program
            [str(program), "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        ).stdout
        return said.split()[-1]
    return None
