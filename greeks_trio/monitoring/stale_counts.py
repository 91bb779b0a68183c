"""Which contracts have no recent Greeks, and how many of each broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

import trio

from greeks_trio.feeds.staleness import StaleContract
from greeks_trio.feeds.staleness import stale_contracts as stale_contracts_of
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker, UnifiedPositionRecord
from greeks_trio.monitoring.status import ServiceStatus


def stale_contracts(status: ServiceStatus) -> list[StaleContract]:
    """Return the subscribed contracts without recent ticks, oldest of all first."""
    now = trio.current_time()
    stale = chain.from_iterable(
        stale_contracts_of(
            broker,
            health.streamed(),
            status.processor.last_read_at,
            now=now,
            limit_s=status.stale_after_s,
        )
        for broker, health in status.feeds.items()
    )
    return sorted(stale, key=lambda each: each.age_s, reverse=True)


def count_by_broker(
    status: ServiceStatus, stale: Iterable[StaleContract]
) -> Mapping[Broker, int]:
    """Return how many of the contracts each enabled broker has."""
    numbers = Counter(each.broker for each in stale)
    return {broker: numbers[broker] for broker in status.feeds}


def not_realtime_counts(status: ServiceStatus) -> Mapping[Broker, int]:
    """Return how many subscribed contracts of each broker have Greeks not in real time.

    The SQL views call these contracts stale too, however recent the Greeks are.  This
    reads the newest tick of every contract, so call it for an answer, not for each tick.
    """
    streamed = {broker: health.streamed() for broker, health in status.feeds.items()}
    _, newest_of_series = status.processor.latest.changes()
    numbers = Counter(
        broker
        for (broker, contract_key), record in _newest(newest_of_series).items()
        if record.availability != "realtime"
        and contract_key in streamed.get(broker, ())
    )
    return {broker: numbers[broker] for broker in status.feeds}


def _newest(
    records: Iterable[UnifiedPositionRecord],
) -> dict[tuple[Broker, ContractKey], UnifiedPositionRecord]:
    """Return the newest tick of each contract over all accounts."""
    newest: dict[tuple[Broker, ContractKey], UnifiedPositionRecord] = {}
    for record in records:
        key = (record.broker, record.contract_key)
        known = newest.setdefault(key, record)
        if (known.event_time, known.received_at) < (
            record.event_time,
            record.received_at,
        ):
            newest[key] = record
    return newest
