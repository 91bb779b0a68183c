"""Reads the configuration: first the process environment, then a file of variables."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from decouple import Config as Decouple
from decouple import RepositoryEmpty, RepositoryEnv

from greeks_trio.config.addresses import is_this_machine
from greeks_trio.config.parse import parse_config, unknown_variables
from greeks_trio.config.settings import ENV_FILE, VARIABLES, Config, DatabaseConfig
from greeks_trio.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Override:
    """The value of a variable that an option of the command line sets."""

    text: str
    option: str


_NO_OVERRIDES: Final[Mapping[str, Override]] = {}
_VERIFYING: Final = ("verify-ca", "verify-full")


def load_config(
    overrides: Mapping[str, Override] = _NO_OVERRIDES, *, need_broker: bool = True
) -> Config:
    """Return the configuration as it is at this moment.

    Each call reads the file again.  Its name is in ``GREEKS_ENV_FILE``; without it the
    file is ``.env`` in the current directory, and it may be absent.  Logs a warning for
    each unknown ``GREEKS_*`` name, and for a database whose identity is not verified.

    Args:
        overrides: Values that win over the environment and the file, by variable.
        need_broker: Whether it is a problem that no broker is enabled.

    Raises:
        ConfigError: It has every problem, each in one sentence without any secret.
    """
    variables, sources = _read_variables()
    for name, override in overrides.items():
        variables[name], sources[name] = override.text, f"by {override.option}"
    for warning in unknown_variables(variables, sources):
        logger.warning("config.unknown_variable %s", warning)
    config = parse_config(
        variables,
        sources=sources,
        # Not `Path.is_file`, which raises an error in a directory without access.
        is_file=os.path.isfile,
        need_broker=need_broker,
    )
    _warn_of_unverified(config.database)
    return config


def _warn_of_unverified(database: DatabaseConfig) -> None:
    """Warn that another machine could pretend to be the database."""
    if not is_this_machine(database.host) and database.sslmode not in _VERIFYING:
        logger.warning(
            "database.unverified host=%s sslmode=%s", database.host, database.sslmode
        )


def _read_variables() -> tuple[dict[str, str], dict[str, str]]:
    """Return the text and the source of each variable that is set."""
    path = _file()
    repository = _open_repository(path)
    in_file = repository.data if isinstance(repository, RepositoryEnv) else {}
    read = Decouple(repository)
    names = {*VARIABLES, *(name for name in (*os.environ, *in_file) if _is_ours(name))}
    found = {name: read(name, default=None) for name in names}
    variables = {name: text for name, text in found.items() if text is not None}
    sources = {
        name: "in the environment" if name in os.environ else f"in {path.absolute()}"
        for name in variables
    }
    return variables, sources


def _is_ours(name: str) -> bool:
    return name.startswith("GREEKS_")


def _file() -> Path:
    return Path(_named_file() or ENV_FILE.default)


def _named_file() -> str:
    return os.environ.get(ENV_FILE.variable, "").strip()


def _open_repository(path: Path) -> RepositoryEmpty:
    is_named = bool(_named_file())
    if not is_named and not path.exists():
        return RepositoryEmpty()
    source = f"{path.absolute()}"
    if is_named:
        source = f"{ENV_FILE.variable} (set in the environment) names {path}, which"
    try:
        # With a byte order mark, the first name would not be found.
        return RepositoryEnv(path, encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ConfigError(
            [f"{source} is not UTF-8 text (byte {exc.start}); save it as UTF-8."]
        ) from exc
    except OSError as exc:
        advice = "correct the path" if is_named else "make it readable or remove it"
        raise ConfigError(
            [f"{source} cannot be read ({exc.strerror}); {advice}."]
        ) from exc
