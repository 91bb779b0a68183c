"""Run a program of PostgreSQL, such as ``psql``, on the database of a command.

The password is in the environment of the program only, never in its arguments, which
every user of the machine can read.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.connect import required_methods
from greeks_trio.postgres.embedded.binaries import DISTRIBUTION, find_programs
from greeks_trio.postgres.uri import search_path_option
from greeks_trio.program import installation_command

# Variables of libpq that would lead to another database.
_MISLEADING: Final = (
    *("PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGPASSFILE", "PGPASSWORD"),
    *("PGREQUIRESSL", "PGSSLNEGOTIATION", "PGTARGETSESSIONATTRS"),
)


def find_client(name: str) -> str:
    """Return the path of the program: the bundled one, else the one of the system.

    Raises:
        StoreUnavailable: there is none.
    """
    try:
        bundled = find_programs(18, None) / name
    except StoreUnavailable:
        bundled = Path(name)
    if bundled.is_file():
        return str(bundled)
    found = shutil.which(name)
    if found is None:
        raise StoreUnavailable(
            f"this machine has no {name}: install PostgreSQL's client programs, on Debian"
            " and Ubuntu with `apt install postgresql-client`, or run"
            f" `{installation_command('embedded', DISTRIBUTION)}`"
        )
    return found


def run_client(name: str, database: DatabaseConfig, arguments: Sequence[str]) -> int:
    """Run a program of PostgreSQL to its end and return its exit status.

    Raises:
        StoreUnavailable: there is no such program.
    """
    environment = client_environment(database, os.environ)
    return run_program([find_client(name), *arguments], environment)


def run_program(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program with our terminal to its end and return its exit status.

    Ctrl-C is for the program: it ends a query, not the shell.
    """
    # A signal that is caught here has its default effect in the program, unlike one that
    # is ignored.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with subprocess.Popen(command, env=environment) as process:  # noqa: S603
            status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    # As a shell does for a program that a signal ended.
    return 128 - status if status < 0 else status


def client_environment(
    database: DatabaseConfig, present: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment by which libpq finds the database."""
    environment = {
        name: value for name, value in present.items() if name not in _MISLEADING
    }
    environment |= {
        "PGHOST": ",".join(database.hosts),
        "PGPORT": ",".join(map(str, database.ports)),
        "PGUSER": database.user,
        "PGDATABASE": database.dbname,
        "PGSSLMODE": database.sslmode,
        "PGREQUIREAUTH": required_methods(database),
    }
    if len(database.servers) > 1:
        environment["PGTARGETSESSIONATTRS"] = "read-write"
    if database.schema:
        given = present.get("PGOPTIONS", "")
        path = search_path_option(database.schema)
        environment["PGOPTIONS"] = f"{given} {path}".strip()
    if database.sslrootcert:
        environment["PGSSLROOTCERT"] = str(database.sslrootcert)
    if database.password.reveal():
        environment["PGPASSWORD"] = database.password.reveal()
    elif "PGPASSFILE" in present:
        environment["PGPASSFILE"] = present["PGPASSFILE"]
    return environment
