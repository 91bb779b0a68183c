"""Let other programs of the same user connect to the embedded server.

They get a connection string without the password.  It names a file that contains the
password; libpq reads the file only when no other user can read it.

Source: PostgreSQL documentation, "The Password File".
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from psycopg.conninfo import make_conninfo

from greeks_trio.config.settings import DatabaseConfig


def write_passfile(config: DatabaseConfig, path: Path) -> str:
    """Write the file for the owner only and return the connection string."""
    password = re.sub(r"([:\\])", r"\\\1", config.password.reveal())
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        for host, port in config.servers:
            file.write(f"{host}:{port}:*:{config.user}:{password}\n")
    return make_conninfo(
        host=",".join(config.hosts),
        port=",".join(map(str, config.ports)),
        user=config.user,
        dbname=config.dbname,
        passfile=str(path),
    )
