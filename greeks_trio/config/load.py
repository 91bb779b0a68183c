"""Reads the configuration: process environment first, then a file of variables."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from decouple import Config as Decouple
from decouple import RepositoryEmpty, RepositoryEnv

from greeks_trio.config.addresses import is_this_machine
from greeks_trio.config.parse import (
    ENV_FILE_VARIABLE,
    VARIABLES,
    parse_config,
    unknown_variables,
)
from greeks_trio.config.settings import Config, DatabaseConfig
from greeks_trio.errors import ConfigError

logger = logging.getLogger(__name__)

_DEFAULT_FILE: Final = Path(".env")
_NOTHING: Final[Mapping[str, str]] = {}
_VERIFYING: Final = ("verify-ca", "verify-full")


def load_config(
    overrides: Mapping[str, str] = _NOTHING, *, need_broker: bool = True
) -> Config:
    """Return the configuration as it is at this moment.

    The file is the one that ``GREEKS_ENV_FILE`` names, else ``.env`` in the current
    directory if there is one; it is read on each call.  Logs a warning for each
    ``GREEKS_*`` name that nothing reads, and for a database whose identity is not
    verified.

    Args:
        overrides: Variables that win over the environment and the file.
        need_broker: Whether it is a problem that no broker is enabled.

    Raises:
        ConfigError: with every problem, each one sentence without any secret.
    """
    variables = {**_read_variables(), **overrides}
    for warning in unknown_variables(variables):
        logger.warning("config.unknown_variable %s", warning)
    # Not `Path.is_file`, which raises where a directory may not be entered.
    config = parse_config(variables, is_file=os.path.isfile, need_broker=need_broker)
    _warn_of_unverified(config.database)
    return config


def _warn_of_unverified(database: DatabaseConfig) -> None:
    """Say that somebody on the way could read everything, the password too."""
    if not is_this_machine(database.host) and database.sslmode not in _VERIFYING:
        logger.warning(
            "database.unverified host=%s sslmode=%s", database.host, database.sslmode
        )


def _read_variables() -> dict[str, str]:
    repository = _open_repository()
    in_file = repository.data if isinstance(repository, RepositoryEnv) else {}
    read = Decouple(repository)
    names = {*VARIABLES, *(name for name in (*os.environ, *in_file) if _is_ours(name))}
    found = {name: read(name, default=None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _is_ours(name: str) -> bool:
    return name.startswith("GREEKS_")


def _open_repository() -> RepositoryEmpty:
    named = os.environ.get(ENV_FILE_VARIABLE, "").strip()
    path = Path(named) if named else _DEFAULT_FILE
    if not named and not path.exists():
        return RepositoryEmpty()
    try:
        # With a byte order mark, the first name would not be found.
        return RepositoryEnv(path, encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError([f"{path} is not UTF-8 text (byte {exc.start})."]) from exc
    except OSError as exc:
        source = f"{ENV_FILE_VARIABLE} names {path}, which" if named else f"{path}"
        raise ConfigError([f"{source} cannot be read: {exc.strerror}."]) from exc
