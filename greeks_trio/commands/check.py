"""``check``: tests everything that ``serve`` needs, each once, and changes nothing.

Each test is an inspection: a function that returns findings.  It lies in the package of
the part that it tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
import msgspec
import psycopg
import trio

from greeks_trio.alerts.inspection import inspect_alerts, inspect_limits
from greeks_trio.alerts.rules_file import load_rules
from greeks_trio.api.inspection import inspect_http
from greeks_trio.archive.inspection import inspect_retention
from greeks_trio.brokers.registry import FEEDS
from greeks_trio.commands.machine import inspect_machine
from greeks_trio.commands.outcome import FAILED, MISCONFIGURED, OK
from greeks_trio.commands.target import existing_target
from greeks_trio.config.load import Loaded, settings_file
from greeks_trio.config.settings import Config, DatabaseConfig
from greeks_trio.errors import ConfigError, GreeksError, StoreError, plain_reason
from greeks_trio.feeds.feed import FeedKind, brokers_of, enabled_kinds
from greeks_trio.foreign_text import clean
from greeks_trio.model.findings import Finding, Verdict
from greeks_trio.monitoring.betas import inspect_betas
from greeks_trio.postgres.clock import inspect_clock
from greeks_trio.postgres.connect import open_to_inspect
from greeks_trio.postgres.failures import translated
from greeks_trio.postgres.inspect_latest import inspect_latest
from greeks_trio.postgres.inspect_rights import (
    inspect_rights,
    inspect_schema_state,
    inspect_tls,
)
from greeks_trio.postgres.inspect_session import (
    connections_needed,
    inspect_connections,
    inspect_session,
)
from greeks_trio.postgres.schema.catalog import inspect_schema
from greeks_trio.postgres.schema.partition_keeper import inspect_partitions
from greeks_trio.postgres.server_kind import inspect_server
from greeks_trio.spool.inspection import inspect_spool

Inspection: TypeAlias = Callable[[], Awaitable[list[Finding]]]
OfConnection: TypeAlias = Callable[
    [psycopg.AsyncConnection[Any], DatabaseConfig], Awaitable[list[Finding]]
]

# A gateway that has just started answers the first read of the positions after about ten
# seconds, and a login over a slow line takes a few more.
LIMIT_S: Final = 30.0
_LONGEST: Final = 2_000

# On one connection, in this order.
OF_DATABASE: Final[Sequence[tuple[str, OfConnection]]] = (
    ("server", inspect_server),
    ("database", inspect_schema_state),
    ("tables and views", inspect_schema),
    ("partitions", inspect_partitions),
    ("rights", inspect_rights),
    ("clock", inspect_clock),
    ("TLS", inspect_tls),
    ("session", inspect_session),
    ("present views", inspect_latest),
)
_COLOURS: Final[dict[Verdict, str]] = {"warning": "yellow", "failed": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """The options of the command.

    Attributes:
        embedded: Whether to test with the bundled PostgreSQL.
        data_dir: Its data; `None` for the default.
        as_json: Print one JSON object instead of lines.
        limit_s: Seconds for each test.
        file: The file with the settings; `None` for the one that the service reads.
    """

    embedded: bool = False
    data_dir: Path | None = None
    as_json: bool = False
    limit_s: float = LIMIT_S
    file: Path | None = None


async def run_check(
    load: Callable[[], Loaded], options: CheckOptions = CheckOptions()
) -> int:
    """Print a line for each finding, as soon as it is there.

    Returns:
        `OK`, also with warnings; `FAILED` if a test failed; `MISCONFIGURED` if the
        configuration has problems.
    """
    findings: list[Finding] = []
    try:
        loaded = load()
    except ConfigError as exc:
        if not options.as_json:
            raise  # every command prints the problems in the same way
        _print_json([_failed("configuration", each) for each in exc.problems])
        return MISCONFIGURED
    async for finding in _findings(loaded, options):
        findings.append(finding)
        if not options.as_json:
            _print(finding)
    if options.as_json:
        _print_json(findings)
    return FAILED if _worst(findings) == "failed" else OK


async def _findings(loaded: Loaded, options: CheckOptions) -> AsyncIterator[Finding]:
    for finding in _of_configuration(loaded.warnings):
        yield finding
    for subject, inspection in _inspections(loaded.config, options):
        for finding in await attempt(subject, inspection, options.limit_s):
            yield finding
    for broker in brokers_of(FEEDS):
        if broker not in enabled_kinds(FEEDS, loaded.config):
            yield _fine(broker, "not enabled")


def _inspections(
    config: Config, options: CheckOptions
) -> Iterator[tuple[str, Inspection]]:
    yield "machine", inspect_machine
    yield "database", partial(_inspect_stores, config, options)
    yield "http", partial(inspect_http, config.http)
    if config.alert_urls or config.alerts_file:
        yield "alerts", partial(inspect_alerts, config.alert_urls, config.alerts_file)
    if config.betas_file:
        yield "betas", partial(inspect_betas, config.betas_file)
    for broker, kind in enabled_kinds(FEEDS, config).items():
        yield broker, partial(_inspect_login, broker, kind, config)


async def attempt(
    subject: str, inspection: Inspection, limit_s: float
) -> list[Finding]:
    """Return the findings; an expected error and a time limit are findings, too."""
    sentence = f"no answer within {limit_s:g} seconds"
    with trio.move_on_after(limit_s):
        try:
            with translated():
                return await inspection()
        except* GreeksError as group:
            sentence = plain_reason(group)
    return [_failed(subject, sentence)]


async def _inspect_stores(config: Config, options: CheckOptions) -> list[Finding]:
    """Return the findings about the database, then about the spool that belongs to it."""
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(
            existing_target(
                config, embedded=options.embedded, data_dir=options.data_dir
            )
        )
        found = list(target.findings)
        if target.is_there:
            found += await inspect_database(
                target.config.database,
                options,
                connections=connections_needed(
                    config.http, watches_limits=config.alerts_file is not None
                ),
                more=_of_limits(config),
            )
            found += await attempt(
                "retention", partial(inspect_retention, target.config), options.limit_s
            )
        return found + await attempt(
            "spool", partial(inspect_spool, target.config), options.limit_s
        )


async def inspect_database(
    config: DatabaseConfig,
    options: CheckOptions = CheckOptions(),
    *,
    connections: int = 0,
    more: Sequence[tuple[str, OfConnection]] = (),
) -> list[Finding]:
    """Return the findings about the database, each inspection within the limit.

    Args:
        config: The database.
        options: The options of the command.
        connections: The number of connections that the service needs.
        more: Further inspections, with their subjects.
    """
    found: list[Finding] = []
    try:
        async with open_to_inspect(config) as connection:
            counted: OfConnection = partial(_inspect_connections, connections)
            for subject, inspect in [*OF_DATABASE, ("connections", counted), *more]:
                if connection.closed:
                    break  # the last finding says why
                found += await attempt(
                    subject, partial(inspect, connection, config), options.limit_s
                )
    except StoreError as exc:
        file = (options.file or settings_file()).absolute()
        found.append(_unreachable(config, exc, file))
    return found


def _of_limits(config: Config) -> list[tuple[str, OfConnection]]:
    """Return the inspection of the rules of ``alerts.toml``, if they can be read."""
    try:
        rules = load_rules(config.alerts_file, config.alert_urls)
    except ConfigError:
        return []  # `inspect_alerts` says why
    stale_after_s = config.pipeline.stale_after_s
    inspect = partial(inspect_limits, rules, stale_after_s, config.benchmark)
    return [("alerts", inspect)] if rules else []


async def _inspect_connections(
    needed: int, connection: psycopg.AsyncConnection[Any], _: DatabaseConfig
) -> list[Finding]:
    return await inspect_connections(connection, needed)


async def _inspect_login(
    broker: str, kind: FeedKind[Any], config: Config
) -> list[Finding]:
    return [_fine(broker, await kind.check_login(kind.section(config)))]


def _unreachable(config: DatabaseConfig, exc: StoreError, file: Path) -> Finding:
    """Return the finding for a server that does not answer or refuses the login."""
    place = config.place
    settings_file = (
        f" and from {file}" if file.exists() else f" ({file} does not exist)"
    )
    if exc.sqlstate is not None or getattr(exc, "needs_person", False):
        return _failed("database", f"{place}: {exc}")
    return Finding(
        subject="database",
        verdict="failed",
        sentence=f"no connection to {place}: {exc}",
        remedy=f"The settings come from the environment{settings_file}; --embedded needs "
        "no server.",
    )


def _of_configuration(warnings: Sequence[str]) -> Iterator[Finding]:
    if not warnings:
        yield _fine("configuration", "fine")
    for warning in warnings:
        yield Finding(subject="configuration", verdict="warning", sentence=warning)


def _fine(subject: str, sentence: str) -> Finding:
    return Finding(subject=subject, verdict="fine", sentence=sentence)


def _failed(subject: str, sentence: str) -> Finding:
    return Finding(subject=subject, verdict="failed", sentence=sentence)


def _worst(findings: Sequence[Finding]) -> Verdict:
    verdicts = {finding.verdict for finding in findings}
    ordered: Sequence[Verdict] = ("failed", "warning")
    return next((each for each in ordered if each in verdicts), "fine")


def _print(finding: Finding) -> None:
    sentence = clean(finding.sentence, limit=_LONGEST)
    if finding.verdict == "fine":
        click.echo(f"{finding.subject}: {sentence}")
        return
    word = click.style(finding.verdict.upper(), fg=_COLOURS[finding.verdict])
    line = f"{finding.subject}: {word}: {sentence}"
    if finding.remedy is not None:
        line = f"{line.rstrip('.')}. {clean(finding.remedy, limit=_LONGEST)}"
    click.echo(line)


def _print_json(findings: Sequence[Finding]) -> None:
    """Print one object, which has no secret and no control character either."""
    cleaned = [
        msgspec.structs.replace(
            finding,
            sentence=clean(finding.sentence, limit=_LONGEST),
            remedy=None
            if finding.remedy is None
            else clean(finding.remedy, limit=_LONGEST),
        )
        for finding in findings
    ]
    body = {"verdict": _worst(findings), "findings": cleaned}
    click.echo(msgspec.json.encode(body).decode())
