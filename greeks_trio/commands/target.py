"""The database and the spool that a command works on.

They are those of ``serve`` with the same options: the configured ones, or those of the
bundled PostgreSQL.
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from greeks_trio.config.directories import data_home
from greeks_trio.config.settings import Config, SpoolConfig
from greeks_trio.errors import ConfigError
from greeks_trio.model.findings import Finding
from greeks_trio.postgres.embedded.attach import open_embedded_database
from greeks_trio.postgres.embedded.server import is_port_taken, port_taken
from greeks_trio.spool.location import spool_directory


def home_data_dir() -> Path:
    """Return the default directory for the data of the bundled PostgreSQL.

    It is not in the current directory: a start in another directory finds the same data.

    Raises:
        ConfigError: this user has no home directory.
    """
    try:
        return data_home("postgres")
    except RuntimeError:
        raise ConfigError(
            ["This user has no home directory: set --data-dir to a directory."]
        ) from None


def embedded_spool(spool: SpoolConfig, data_dir: Path) -> SpoolConfig:
    """Return the spool of a service with the bundled PostgreSQL of a data directory.

    The port can be changed and the data stays, so the port does not name the spool.
    """
    beside = data_dir.with_name(f"{data_dir.name}-spool")
    return replace(spool, directory=spool.directory or beside)


@asynccontextmanager
async def open_target(
    config: Config,
    *,
    embedded: bool,
    data_dir: Path | None,
    must_exist: bool = False,
) -> AsyncIterator[Config]:
    """Yield the configuration with the database and the spool that ``serve`` would use.

    A bundled PostgreSQL that runs already, with a service or by ``db start``, is used and
    left running.  Otherwise it runs for as long as the block lasts.

    Args:
        config: The configuration.
        embedded: Whether the bundled PostgreSQL is used.
        data_dir: Its data; `None` for the directory in the user's home.
        must_exist: Whether a directory without data is an error, such as a wrong name.
            Otherwise a new database is made there.

    Raises:
        ConfigError: this user has no home directory for the default of ``data_dir``.
        StoreUnavailable: the bundled PostgreSQL does not start, or has no data.
    """
    if not embedded:
        yield config
        return
    directory = data_dir or home_data_dir()
    async with open_embedded_database(
        directory, port=config.embedded_port, must_exist=must_exist
    ) as database:
        spool = embedded_spool(config.spool, directory)
        yield replace(config, database=database, spool=spool)


async def run_on_target(
    run: Callable[[Config], Awaitable[int]],
    config: Config,
    embedded: bool,
    data_dir: Path | None,
    must_exist: bool = False,
) -> int:
    """Run a command with the configuration that `open_target` yields."""
    async with open_target(
        config, embedded=embedded, data_dir=data_dir, must_exist=must_exist
    ) as target:
        return await run(target)


def target_options(*, embedded: bool, data_dir: Path | None) -> str:
    """Return the options of a command for the same target, with a space in front."""
    if not embedded:
        return ""
    named = "" if data_dir is None else f" --data-dir {shlex.quote(str(data_dir))}"
    return f" --embedded{named}"


def spool_of_target(config: Config, *, embedded: bool, data_dir: Path | None) -> Path:
    """Return the directory of the spool of ``serve`` with the same options.

    Raises:
        ConfigError: this user has no home directory for a default.
    """
    if embedded:
        spool = embedded_spool(config.spool, data_dir or home_data_dir())
        config = replace(config, spool=spool)
    return spool_directory(config)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingTarget:
    """The target of a command that changes nothing.

    Attributes:
        config: The configuration, as `open_target` yields it.
        is_there: Whether the database exists; the bundled one may not yet.
        findings: The findings about that.
    """

    config: Config
    is_there: bool = True
    findings: Sequence[Finding] = ()


@asynccontextmanager
async def existing_target(
    config: Config, *, embedded: bool, data_dir: Path | None
) -> AsyncIterator[ExistingTarget]:
    """Do as `open_target`, but make no data directory for the bundled PostgreSQL."""
    directory = None if not embedded else data_dir or home_data_dir()
    if directory is not None and not directory.exists():
        spool = embedded_spool(config.spool, directory)
        finding = _of_new_data(directory, config.embedded_port)
        yield ExistingTarget(
            config=replace(config, spool=spool), is_there=False, findings=[finding]
        )
        return
    async with open_target(config, embedded=embedded, data_dir=data_dir) as target:
        yield ExistingTarget(config=target)


def _of_new_data(directory: Path, port: int) -> Finding:
    """Return the finding about data that ``serve`` would make, with a server at the port."""
    if port and is_port_taken(port):
        return Finding(subject="database", verdict="failed", sentence=port_taken(port))
    return Finding(
        subject="database",
        verdict="fine",
        sentence=f"the bundled PostgreSQL, in {directory}, which serve makes",
    )
