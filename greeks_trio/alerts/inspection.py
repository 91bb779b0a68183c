"""``check`` for the alerts: whether each address and each rule can be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
import trio

from greeks_trio.alerts.channels import open_channels
from greeks_trio.alerts.limit_book import reading_of
from greeks_trio.alerts.rules import Rule
from greeks_trio.alerts.rules_file import load_rules
from greeks_trio.config.secret import Secret
from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import ConfigError
from greeks_trio.model.findings import Finding
from greeks_trio.postgres.inspect_rights import inspect_rights_for_limits
from greeks_trio.postgres.reads.limits import read_sums

_SUBJECT: Final = "alerts"


async def inspect_alerts(urls: Secret, file: Path | None = None) -> list[Finding]:
    """Return a finding for each problem, or those that name all; sends nothing."""
    found: list[Finding] = []
    if urls:
        found += await _attempt(lambda: _channels_in_words(urls))
    if file is not None:
        found += await _attempt(lambda: _rules_in_words(file, urls))
        if not urls:
            sentence = "the messages about limits go to no channel"
            remedy = (
                "Set GREEKS_ALERT_URLS, or read the table alert_events, GET "
                "/v1/alerts/events or the stream."
            )
            found.append(
                Finding(
                    subject=_SUBJECT,
                    verdict="warning",
                    sentence=sentence,
                    remedy=remedy,
                )
            )
    return found


async def inspect_limits(
    rules: Sequence[Rule],
    stale_after_s: float,
    benchmark: str,
    connection: psycopg.AsyncConnection[Any],
    _: DatabaseConfig,
) -> list[Finding]:
    """Return the missing rights, and the rules that tell nothing at present."""
    if lacks := await inspect_rights_for_limits(connection):
        return lacks
    sums = await read_sums(
        connection,
        [(each.figure.source, each.scope) for each in rules],
        stale_after_s,
        benchmark,
    )
    silent, empty = [], []
    for rule in rules:
        reading = reading_of(rule, sums[rule.figure.source, rule.scope])
        if gap := reading.gap(rule.limit):
            silent.append(f"{rule.name}: {gap}")
        elif not reading.positions:
            empty.append(f"{rule.name} ({rule.scope})")
    return [*_silence(silent), *_emptiness(empty)]


def _silence(rules: Sequence[str]) -> list[Finding]:
    if not rules:
        return []
    return [
        Finding(
            subject=_SUBJECT,
            verdict="warning",
            sentence=f"rules that tell nothing at present: {'; '.join(rules)}",
            remedy="While serve does not run, or the market is closed, this is usual. The "
            "page Limits of the documents explains the reasons.",
        )
    ]


def _emptiness(rules: Sequence[str]) -> list[Finding]:
    """Return a finding about rules without a position: a scope may be misspelt."""
    if not rules:
        return []
    return [
        Finding(
            subject=_SUBJECT,
            verdict="warning",
            sentence="rules without an open position at present, so their value is 0: "
            f"{'; '.join(rules)}",
            remedy="This is right before the first trade. Compare the underlying, the "
            "currency and the other words of the scope with `bin/run-ingest risk`.",
        )
    ]


async def _attempt(look: Callable[[], str]) -> list[Finding]:
    try:
        sentence = await trio.to_thread.run_sync(look)
    except ConfigError as exc:
        return [
            Finding(subject=_SUBJECT, verdict="failed", sentence=each)
            for each in exc.problems
        ]
    return [Finding(subject=_SUBJECT, verdict="fine", sentence=sentence)]


def _channels_in_words(urls: Secret) -> str:
    names = ", ".join(each.shown for each in open_channels(urls))
    return f"{names}; `alerts --test` sends a message to each"


def _rules_in_words(file: Path, urls: Secret) -> str:
    rules = load_rules(file, urls)
    return f"{len(rules)} rules in {file}"
