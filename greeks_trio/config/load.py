"""Reads the configuration: first the process environment, then a file of variables."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from decouple import Config as Decouple
from decouple import RepositoryEmpty

from greeks_trio.config.addresses import is_this_machine
from greeks_trio.config.declaration import Part, declarations
from greeks_trio.config.env_file import EnvFile, read_env_file
from greeks_trio.config.load_secrets import read_secret_files
from greeks_trio.config.names import (
    KNOWN,
    OF_LIBPQ,
    SECRETS,
    environment_warnings,
    file_problems,
    file_warnings,
    is_private,
)
from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import (
    ENV_FILE,
    Config,
    DatabaseConfig,
    RetentionConfig,
    Secret,
)
from greeks_trio.errors import ConfigError
from greeks_trio.foreign_text import SHORTEST_SECRET
from greeks_trio.program import program_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Override:
    """The value of a variable that an option of the command line sets."""

    text: str
    option: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and a sentence for each doubtful thing in its sources."""

    config: Config
    warnings: list[str]


@dataclass(slots=True)
class _Sources:
    """The variables that are set.

    Attributes:
        variables: The text of each.
        places: The place of each, such as ``in the environment``.
        problems: A sentence for each line or file that cannot be read.
        warnings: A sentence for each doubtful thing.
    """

    variables: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class _Repository(RepositoryEmpty):  # type: ignore[misc]  # has no annotations
    """The values of the file, for decouple, which prefers the process environment."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__()
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> str:
        return self._values[name]


_NO_OVERRIDES: Final[Mapping[str, Override]] = {}
_VERIFYING: Final = ("verify-ca", "verify-full")


def load_config(
    overrides: Mapping[str, Override] = _NO_OVERRIDES,
    *,
    need_broker: bool = True,
    set_up_log: Callable[[Config], None] | None = None,
) -> Config:
    """Return the configuration as it is at this moment, and log the doubtful things.

    As `read_config`; also logs a database whose identity is not verified.

    Args:
        overrides: As for `read_config`.
        need_broker: As for `read_config`.
        set_up_log: Called before the first line, whose form is a setting.
    """
    loaded = read_config(overrides, need_broker=need_broker)
    if set_up_log is not None:
        set_up_log(loaded.config)
    for warning in loaded.warnings:
        logger.warning("config.doubtful %s", warning)
    _warn_of_unverified(loaded.config.database)
    return loaded.config


def read_config(
    overrides: Mapping[str, Override] = _NO_OVERRIDES,
    *,
    need_broker: bool = True,
    file: Path | None = None,
) -> Loaded:
    """Return the configuration as it is at this moment.

    Each call reads the files again, and removes libpq's variables that would change our
    connections from the process environment; the first call warns of them.  The name of the file with the settings is in
    ``GREEKS_ENV_FILE``; without it the file is ``.env`` in the current directory, and it
    may be absent.

    Args:
        overrides: Values that win over the environment and the file, by variable.
        need_broker: Whether it is a problem that no broker is enabled.
        file: The file to read instead.

    Raises:
        ConfigError: It has every problem, each in one sentence without any secret.
    """
    sources = _read_sources(file)
    for name, override in overrides.items():
        sources.variables[name] = override.text
        sources.places[name] = f"by {override.option}"
    try:
        config = parse_config(
            sources.variables,
            sources=sources.places,
            # Not `Path.is_file`, which raises an error in a directory without access.
            is_file=os.path.isfile,
            need_broker=need_broker,
            program=program_name(),
        )
    except ConfigError as exc:
        raise ConfigError([*sources.problems, *exc.problems]) from None
    if sources.problems:
        raise ConfigError(sources.problems)
    warnings = [*sources.warnings, *_short_secrets(sources.variables)]
    if config.log_json:
        warnings.append(
            "GREEKS_LOG_JSON is an old name, which the next release does not have; write "
            "GREEKS_LOG_FORMAT=json"
        )
    return Loaded(config, warnings)


def child_environment(config: Config) -> dict[str, str]:
    """Return the environment of a process that works on the same database.

    It has the settings of the database and of retention.  The secrets of the brokers and of
    the HTTP interface are not in it.
    """
    return {
        **environment_without_settings(),
        **_variables_of(config.database),
        **_variables_of(config.retention),
    }


def environment_without_settings() -> dict[str, str]:
    """Return our environment for another process of ours that gets its own settings."""
    return {name: text for name, text in os.environ.items() if name not in KNOWN}


def settings_of_environment() -> dict[str, str]:
    """Return each setting that the process environment has."""
    return {name: text for name, text in os.environ.items() if name in KNOWN}


def _variables_of(section: DatabaseConfig | RetentionConfig) -> dict[str, str]:
    found = {}
    for name, declared in declarations(type(section)).items():
        value = getattr(section, name)
        if not isinstance(declared, Part) or value is None:
            continue
        if isinstance(value, Secret):
            text = value.reveal()
        elif isinstance(value, Path):
            text = f"{value.absolute()}"
        else:
            text = declared.setting.kind.write(value)
        found[declared.setting.variable] = text
    return found


def _warn_of_unverified(database: DatabaseConfig) -> None:
    """Warn that another machine could pretend to be the database, or a replica of it."""
    every = database.for_reads()
    if all(map(is_this_machine, every.hosts)) or every.sslmode in _VERIFYING:
        return
    logger.warning(
        "database.unverified host=%s sslmode=%s", ",".join(every.hosts), every.sslmode
    )


def _short_secrets(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each secret that is not masked, because any text may hold it."""
    for name in SECRETS:
        if 0 < len(variables.get(name, "").strip()) < SHORTEST_SECRET:
            yield (
                f"{name} has fewer than {SHORTEST_SECRET} characters, so the log cannot "
                "mask it; use a longer one"
            )


def _read_sources(file: Path | None) -> _Sources:
    path = file or settings_file()
    source = f"{path.absolute()}"
    is_named = file is None and bool(_named_file())
    if is_named:
        source = f"{ENV_FILE.variable} (set in the environment) names {path}, which"
    content = EnvFile()
    if is_named or os.path.lexists(path):
        content = read_file_of_settings(path, source, is_named=is_named)
    sources = _Sources()
    read = Decouple(_Repository(content.values))
    for name in KNOWN:
        if (text := read(name, default=None)) is not None:
            sources.variables[name] = text
            is_outer = name in os.environ
            sources.places[name] = (
                "in the environment" if is_outer else f"in {path.absolute()}"
            )
    sources.problems += file_problems(content, str(path.absolute()))
    sources.warnings += file_warnings(content, str(path.absolute()))
    sources.warnings += environment_warnings(os.environ)
    _hide_from_libpq()
    sources.warnings += _file_warnings(path, content)
    sources.problems += read_secret_files(sources.variables, sources.places, os.environ)
    sources.warnings += _password_warnings(sources)
    return sources


def _hide_from_libpq() -> None:
    """Remove the variables that libpq would read at each connection, beside ours."""
    for name in OF_LIBPQ:
        os.environ.pop(name, None)


def secrets_of_environment() -> dict[str, str]:
    """Return each secret that the process environment has and that is not empty."""
    return {name: text for name in SECRETS if (text := os.environ.get(name))}


def environment_of_children() -> dict[str, str]:
    """Return our environment without the settings and the secrets of the service.

    Other programs that we start need neither.
    """
    return {name: text for name, text in os.environ.items() if not is_private(name)}


def settings_file() -> Path:
    """Return the path of the file with the settings, which may be absent."""
    return Path(_named_file() or ENV_FILE.default)


def _named_file() -> str:
    return os.environ.get(ENV_FILE.variable, "").strip()


def read_file_of_settings(path: Path, source: str, *, is_named: bool) -> EnvFile:
    """Return the content of a file of variables.

    Args:
        path: The file.
        source: The file as the subject of a message.
        is_named: Whether a setting names the file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        # With a byte order mark, the first name would not be found.
        return read_env_file(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as exc:
        raise ConfigError(
            [f"{source} is not UTF-8 text (byte {exc.start}); save it as UTF-8."]
        ) from exc
    except OSError as exc:
        advice = "correct the path" if is_named else "make it readable or remove it"
        raise ConfigError(
            [f"{source} cannot be read ({exc.strerror}); {advice}."]
        ) from exc


def _file_warnings(path: Path, content: EnvFile) -> Iterator[str]:
    held = [name for name in SECRETS if content.values.get(name)]
    return access_warnings(path, held)


def access_warnings(path: Path, held: Sequence[str]) -> Iterator[str]:
    """Yield a sentence if other users can read the secrets in the file, or change it.

    Args:
        path: The file.
        held: The secrets that it holds.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        return  # such as /dev/null, which holds nothing
    if mode & stat.S_IWOTH:
        yield (
            f"Every user of this machine can change {path.absolute()}; run "
            f"chmod 600 {path.absolute()}."
        )
    elif mode & stat.S_IROTH and held:
        yield (
            f"Every user of this machine can read {path.absolute()}, which holds "
            f"{', '.join(held)}; run chmod 600 {path.absolute()}."
        )


def _password_warnings(sources: _Sources) -> Iterator[str]:
    """Yield a sentence for each password with spaces around it; tokens have none."""
    for name in SECRETS:
        text = sources.variables.get(name, "")
        if text != text.strip():
            yield (
                f"{name} (set {sources.places[name]}) begins or ends with a space or a "
                "line break, which belongs to it; remove it if that is a mistake."
            )
