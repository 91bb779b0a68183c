"""Compare a drill of two services with the truth about their feeds and their alerts.

The simulated brokers record to which connection they sent each tick.  The proxies of the
drill know the service of each connection, and the drill knows when it killed or paused a
service.  So the truth about the feeds does not come from the services:

* A tick must be stored if a service was sent it that had the connection for some time
  afterwards: `Tolerance.before_end_s`.
* A gap in ``feed_gaps`` is false if it covers a time in which a service had the feed.  The
  feed is there from the first tick to the last one, without holes in between.  Before a
  kill of the last service with the feed, a gap may begin with its last words.
* A time in which both services had no feed has a gap.
* The limit that the drill crosses has one event for each crossing.  Each message arrived.
  It arrived twice only if its service was killed, or paused, between sending it and writing
  its delivery; then both have one ``Idempotency-Key``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg

from greeks_trio.drill import two_services_sql as sql
from greeks_trio.drill.alert_exercise import RULE, Receipt
from greeks_trio.drill.comparison import copy_rows, execute, fetch
from greeks_trio.drill.comparison_sql import LOSSES
from greeks_trio.drill.service_process import Pause
from greeks_trio.model.records import Broker
from greeks_trio.simulators.deliveries import read_deliveries

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The proxy notes a connection before the simulators do.
_NOTED_S: Final = 0.05

# The connections of a proxy: the port of its end, and monotonic seconds.
Opened = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Seconds; see the head of this module.

    Attributes:
        before_end_s: Before the end of a connection, ticks may still be on their way.
        hole_s: A longer time without a tick of the broker is none with the feed.
        contract_hole_s: The same for one contract.
        gap_s: A gap may begin so much earlier, and end so much later.
        last_words_s: A gap may begin so much before a kill: the other service knows only
            the last words of the killed one.
        kill_s: From a kill to the last tick that was sent.
        untold_s: A shorter time without a feed needs no gap.
        window_s: From a receipt until its delivery is written.
    """

    before_end_s: float = 0.35
    hole_s: float = 2.0
    contract_hole_s: float = 6.0
    gap_s: float = 1.5
    last_words_s: float = 6.5
    kill_s: float = 0.5
    untold_s: float = 4.0
    window_s: float = 2.0
    before_window_s: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoFacts:
    """Everything that the drill knows of two services besides the table.

    Attributes:
        deliveries: File of the simulators.
        opened: The connections of the proxies of each service, by broker.
        pauses: The pauses of each service.
        crossings: How often the limit was crossed.
        epoch_s: Wall clock at 0 of the monotonic clock, in seconds since 1970.
    """

    deliveries: Path
    opened: Sequence[Mapping[Broker, Opened]]
    pauses: Sequence[Sequence[Pause]]
    receipts: Sequence[Receipt]
    crossings: int
    epoch_s: float
    tolerance: Tolerance = field(default_factory=Tolerance)


class TwoServices(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome.

    Attributes:
        not_stored: Ticks without a row although a service had the feed.
        false_gaps: Gaps that cover a time in which a service had the feed.
        untold_gaps: Times without a feed that no gap tells.
        alerts: Crossings of the limit.
        alerts_wrong: Events too few or too many, or out of turn.
        not_delivered: Messages that did not arrive.
        delivered_twice: Messages that arrived again without a kill that explains it.
        delivered_again: Messages that arrived again with such a kill.
    """

    not_stored: int
    false_gaps: int
    untold_gaps: int
    alerts: int
    alerts_wrong: int
    not_delivered: int
    delivered_twice: int
    delivered_again: int
    examples: list[str]

    @property
    def is_clean(self) -> bool:
        """Whether there is no violation."""
        return not (
            self.not_stored
            or self.false_gaps
            or self.untold_gaps
            or self.alerts_wrong
            or self.not_delivered
            or self.delivered_twice
        )


async def compare_two(
    connection: psycopg.AsyncConnection[Any], facts: TwoFacts
) -> TwoServices:
    """Compare, after `compare_drill` on the same connection."""
    values = {
        **{name: getattr(facts.tolerance, name) for name in Tolerance.__slots__},
        "epoch_s": facts.epoch_s,
        "losses": LOSSES,
        "rule": RULE,
    }
    await _load(connection, facts)
    for statement in (sql.HEARD, sql.FEEDS):
        await _execute_with(connection, statement, values)
    counts = {
        name: await _number(connection, query, values)
        for name, query in sql.COUNTS.items()
    }
    events, broken = counts.pop("events"), counts.pop("broken")
    untold = await fetch(connection, sql.UNTOLD, values)
    [(again, twice)] = await fetch(connection, sql.REPEATED, values)
    return TwoServices(
        **counts,
        untold_gaps=len(untold),
        alerts=facts.crossings,
        alerts_wrong=abs(events - facts.crossings) + broken,
        delivered_twice=twice,
        delivered_again=again,
        examples=[
            *await _texts(connection, sql.UNSTORED_EXAMPLES, values),
            *await _texts(connection, sql.FALSE_EXAMPLES, values),
            *(f"no gap of {name} from {a:.1f} to {b:.1f}" for name, a, b in untold[:8]),
        ],
    )


async def _load(connection: psycopg.AsyncConnection[Any], facts: TwoFacts) -> None:
    await execute(connection, sql.TABLES)
    await copy_rows(connection, "clients", _clients(facts))
    await copy_rows(connection, "deliveries", _deliveries(facts.deliveries))
    pauses = (
        (service, each.began, each.ended)
        for service, pauses in enumerate(facts.pauses)
        for each in pauses
    )
    await copy_rows(connection, "pauses", pauses)
    await copy_rows(connection, "receipts", facts.receipts)


def _clients(facts: TwoFacts) -> Iterator[tuple[object, ...]]:
    """Yield each connection with its service, broker and end."""
    lines = [each for each in read_deliveries(facts.deliveries) if each.kind != "sent"]
    ends = {each.client: each.at for each in lines if each.kind == "ended"}
    for each in lines:
        if each.kind == "opened":
            service = service_of(facts.opened, each.broker, each.port, each.at)
            yield each.client, service, each.broker, ends.get(each.client)


def service_of(
    opened: Sequence[Mapping[Broker, Opened]], broker: Broker, port: int, at: float
) -> int | None:
    """Return the service whose proxy had the port last; ports are used again."""
    found: list[tuple[float, int]] = []
    for service, by_broker in enumerate(opened):
        times = [when for each, when in by_broker[broker] if each == port]
        if number := bisect_right(times, at + _NOTED_S):
            found.append((times[number - 1], service))
    return max(found)[1] if found else None


def _deliveries(path: Path) -> Iterator[tuple[object, ...]]:
    for each in read_deliveries(path):
        if each.kind == "sent":
            event_time = _EPOCH + timedelta(milliseconds=each.event_time_ms)
            yield each.client, each.contract_key, event_time, each.at


async def _execute_with(
    connection: psycopg.AsyncConnection[Any], statements: str, values: dict[str, Any]
) -> None:
    for each in statements.split(";"):
        await connection.execute(each.encode(), values)


async def _texts(
    connection: psycopg.AsyncConnection[Any], query: str, values: dict[str, Any]
) -> list[str]:
    return [text for (text,) in await fetch(connection, query, values)]


async def _number(
    connection: psycopg.AsyncConnection[Any], query: str, values: dict[str, Any]
) -> int:
    [(number,)] = await fetch(connection, query, values)
    return int(number)
