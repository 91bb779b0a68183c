"""Which contracts have no recent Greeks, why, and how many of each broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TypeAlias, get_args

import msgspec
import trio

from greeks_trio.feeds.staleness import StaleContract, StaleReason
from greeks_trio.feeds.staleness import stale_contracts as stale_contracts_of
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker, UnifiedPositionRecord
from greeks_trio.monitoring.status import ServiceStatus

NewestTicks: TypeAlias = Mapping[tuple[Broker, ContractKey], UnifiedPositionRecord]


def stale_contracts(status: ServiceStatus) -> list[StaleContract]:
    """Return the subscribed contracts without recent ticks, oldest of all first."""
    now = trio.current_time()
    last_read_at = status.processor.last_read_at
    stale = sorted(
        chain.from_iterable(
            stale_contracts_of(
                broker,
                health.streamed(),
                last_read_at,
                now=now,
                limit_of=partial(health.stale_after_s, limit_s=status.stale_after_s),
            )
            for broker, health in status.feeds.items()
        ),
        key=lambda each: each.age_s,
        reverse=True,
    )
    if all(_name(each) in last_read_at for each in stale):
        return stale
    # An earlier run may have stored ticks of the others.
    known = newest_ticks(status)
    return [
        each
        if _name(each) in last_read_at or _name(each) in known
        else msgspec.structs.replace(each, stale_reason="no tick")
        for each in stale
    ]


def count_by_broker(
    status: ServiceStatus, stale: Iterable[StaleContract]
) -> Mapping[Broker, int]:
    """Return how many of the contracts each enabled broker has."""
    numbers = Counter(each.broker for each in stale)
    return {broker: numbers[broker] for broker in status.feeds}


def newest_ticks(status: ServiceStatus) -> NewestTicks:
    """Return the newest tick of each contract over all accounts.

    This reads the newest tick of every series, so call it for an answer, not for each tick.
    """
    newest: dict[tuple[Broker, ContractKey], UnifiedPositionRecord] = {}
    _, newest_of_series = status.processor.latest.changes()
    for record in newest_of_series:
        key = (record.broker, record.contract_key)
        known = newest.setdefault(key, record)
        if (known.event_time, known.received_at) < (
            record.event_time,
            record.received_at,
        ):
            newest[key] = record
    return newest


def not_realtime_counts(
    status: ServiceStatus, newest: NewestTicks
) -> Mapping[Broker, int]:
    """Return how many subscribed contracts of each broker have Greeks not in real time.

    The SQL views call these contracts stale too, however recent the Greeks are.
    """
    not_realtime = _not_realtime(_newest_of_streamed(status, newest))
    numbers = Counter(broker for broker, _ in not_realtime)
    return {broker: numbers[broker] for broker in status.feeds}


def reason_counts(
    status: ServiceStatus,
    stale: Iterable[StaleContract],
    newest: NewestTicks,
    now: datetime,
) -> Mapping[Broker, Mapping[StaleReason, int]]:
    """Return how many subscribed contracts of each broker are stale, by the reason.

    Each contract counts once, for the first reason that applies, as in the SQL views.
    A contract without any tick counts from its subscription on.  ``now`` is the wall clock,
    UTC.
    """
    streamed = _newest_of_streamed(status, newest)
    reasons: dict[tuple[Broker, ContractKey], StaleReason] = {
        **_without_tick(status, newest),
        **_not_realtime(streamed),
        **{
            name: "old"
            for name, record in streamed.items()
            if _age_s(record, now)
            > status.feeds[record.broker].stale_after_s(
                record.contract_key, status.stale_after_s
            )
        },
        **{_name(each): each.stale_reason for each in stale},
    }
    numbers = Counter((broker, reason) for (broker, _), reason in reasons.items())
    return {
        broker: {reason: numbers[broker, reason] for reason in get_args(StaleReason)}
        for broker in status.feeds
    }


def _newest_of_streamed(status: ServiceStatus, newest: NewestTicks) -> NewestTicks:
    """Return the newest tick of each subscribed contract."""
    streamed = {broker: health.streamed() for broker, health in status.feeds.items()}
    return {
        (broker, contract_key): record
        for (broker, contract_key), record in newest.items()
        if contract_key in streamed.get(broker, ())
    }


def _without_tick(
    status: ServiceStatus, newest: NewestTicks
) -> dict[tuple[Broker, ContractKey], StaleReason]:
    """Return the subscribed contracts of which the service knows no tick."""
    return {
        (broker, contract_key): "no tick"
        for broker, health in status.feeds.items()
        for contract_key in health.streamed()
        if (broker, contract_key) not in newest
    }


def _not_realtime(
    newest: NewestTicks,
) -> dict[tuple[Broker, ContractKey], StaleReason]:
    """Return the availability of the contracts that are not in real time."""
    return {
        name: record.availability
        for name, record in newest.items()
        if record.availability != "realtime"
    }


def _age_s(record: UnifiedPositionRecord, now: datetime) -> float:
    """Return the age of a tick in seconds: of its event or its receipt, the older one."""
    return (now - min(record.event_time, record.received_at)).total_seconds()


def _name(stale: StaleContract) -> tuple[Broker, ContractKey]:
    return stale.broker, stale.contract_key
