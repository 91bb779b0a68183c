"""One look at every subscribed contract: which are stale, and why, and which trade.

There may be ten thousand contracts, and the look is taken for the status, the metrics, the
minute line and the log.  So it makes one pass, in small steps with turns for other tasks
between them.  What changes meanwhile is seen as it was or as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Final, TypeAlias

import msgspec
import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.staleness import StaleContract, StaleReason
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker, UnifiedPositionRecord
from greeks_trio.monitoring.markets import market_of
from greeks_trio.monitoring.status import ServiceStatus

# The name of an exchange that the broker does not name.
NOT_NAMED: Final = "not-named"

# About half a millisecond.
STEP_CONTRACTS: Final = 256

_NewestTicks: TypeAlias = Mapping[ContractKey, UnifiedPositionRecord]


class StreamedContract(msgspec.Struct, frozen=True):
    """A subscribed contract; ``exchange`` is `None` if the broker names none."""

    broker: Broker
    contract_key: ContractKey
    exchange: str | None


@dataclass(slots=True)
class ContractNumbers:
    """How many subscribed contracts of one broker are in a state.

    Attributes:
        stale: Without a tick for longer than the limit.
        trading: Their market is open.
        stale_trading: Both.
        not_realtime: Their newest tick over all accounts is not in real time.  The SQL
            views call these contracts stale too, however recent the Greeks are.
        by_reason: Stale as in the SQL views.  Each contract counts once, for the first
            reason that applies.  A contract without any tick counts from its
            subscription on.
        hours_unknown: The hours of their exchange are not known, by exchange.
    """

    stale: int = 0
    trading: int = 0
    stale_trading: int = 0
    not_realtime: int = 0
    by_reason: Counter[StaleReason] = field(default_factory=Counter)
    hours_unknown: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class ContractSurvey:
    """The state of every subscribed contract.

    Attributes:
        numbers: The numbers of each enabled broker.
        stale: The stale contracts, oldest of all first.
        without_hours: The contracts whose market's hours are not known.
    """

    numbers: dict[Broker, ContractNumbers] = field(default_factory=dict)
    stale: list[StaleContract] = field(default_factory=list)
    without_hours: list[StreamedContract] = field(default_factory=list)


def survey_contracts(
    status: ServiceStatus, moment: datetime
) -> Generator[None, None, ContractSurvey]:
    """Look at every subscribed contract; yield after each `STEP_CONTRACTS`.

    Args:
        status: The service.
        moment: The wall clock, UTC.
    """
    newest = yield from _newest_ticks(status)
    survey = ContractSurvey()
    for broker, health in status.feeds.items():
        yield from _FeedSurvey(survey, status, health, newest[broker], moment).look()
    survey.stale.sort(key=attrgetter("age_s"), reverse=True)
    return survey


def _newest_ticks(
    status: ServiceStatus,
) -> Generator[None, None, Mapping[Broker, _NewestTicks]]:
    """Return the newest tick of each contract over all accounts."""
    newest: dict[Broker, dict[ContractKey, UnifiedPositionRecord]] = {
        broker: {} for broker in status.feeds
    }
    ticks = status.processor.latest.snapshot()
    while some := list(islice(ticks, STEP_CONTRACTS)):
        for record in some:
            of_broker = newest.get(record.broker)
            if of_broker is None:
                continue
            known = of_broker.setdefault(record.contract_key, record)
            if known is not record and _age_order(known) <= _age_order(record):
                of_broker[record.contract_key] = record
        yield
    return newest


class _FeedSurvey:
    """Looks at the contracts of one feed and adds them to the survey."""

    def __init__(
        self,
        survey: ContractSurvey,
        status: ServiceStatus,
        health: FeedHealth,
        newest: _NewestTicks,
        moment: datetime,
    ) -> None:
        self._survey = survey
        self._numbers = survey.numbers[health.broker] = ContractNumbers()
        self._health = health
        self._newest = newest
        self._last_read_at = status.processor.last_read_at
        self._now = trio.current_time()
        self._moment = moment
        self._limit_s = status.stale_after_s
        self._hours = status.hours
        self._is_open = status.hours.open_markets(moment)
        # By market: whether its hours are known, and whether it is open.
        self._markets: dict[str | None, tuple[bool, bool]] = {None: (False, False)}

    def look(self) -> Generator[None, None, None]:
        """Look at every contract; yield after some."""
        contracts = iter(self._health.streamed().items())
        while some := list(islice(contracts, STEP_CONTRACTS)):
            self._look_at(some)
            yield

    def _look_at(self, contracts: list[tuple[ContractKey, float]]) -> None:
        broker, numbers, now = self._health.broker, self._numbers, self._now
        exchange_of, last_read_at = self._health.exchange_of, self._last_read_at
        limit_s, markets = self._limit_s, self._markets
        # No contract has a lower limit.
        fresh_from = self._moment - timedelta(seconds=limit_s)
        read_times = last_read_at(broker, [key for key, _ in contracts])
        for (contract_key, since), read_at in zip(contracts, read_times, strict=True):
            exchange = exchange_of(contract_key)
            market = market_of(contract_key, exchange)
            if market is not None and market not in markets:
                self._add_market(market)
            is_known, trades = markets[market]
            numbers.trading += trades
            if not is_known:
                self._has_no_hours(contract_key, exchange)
            age_s = now - (since if read_at is None or read_at < since else read_at)
            record = self._newest.get(contract_key)
            if (
                record is None
                or age_s >= limit_s
                or record.event_time < fresh_from
                or record.received_at < fresh_from
                or record.availability != "realtime"
            ):
                is_without_tick = read_at is None and record is None
                self._judge(contract_key, age_s, record, is_without_tick, trades)

    def _add_market(self, market: str) -> None:
        is_known = self._hours.knows(market, self._moment)
        self._markets[market] = is_known, self._is_open.get(market, False)

    def _has_no_hours(self, contract_key: ContractKey, exchange: str | None) -> None:
        self._numbers.hours_unknown[exchange or NOT_NAMED] += 1
        contract = StreamedContract(self._health.broker, contract_key, exchange)
        self._survey.without_hours.append(contract)

    def _judge(
        self,
        contract_key: ContractKey,
        age_s: float,
        record: UnifiedPositionRecord | None,
        is_without_tick: bool,
        trades: bool,
    ) -> None:
        """Count a contract that may be stale, or whose Greeks are not in real time."""
        numbers = self._numbers
        limit_s = self._health.stale_after_s(contract_key, self._limit_s)
        if record is not None and record.availability != "realtime":
            numbers.not_realtime += 1
        if age_s >= limit_s:
            # An earlier run may have stored ticks.
            reason: StaleReason = "no tick" if is_without_tick else "old"
            stale = StaleContract(self._health.broker, contract_key, age_s, reason)
            self._survey.stale.append(stale)
            numbers.stale += 1
            numbers.stale_trading += trades
            numbers.by_reason[reason] += 1
        elif record is None:
            numbers.by_reason["no tick"] += 1
        elif min(_age_order(record)) < self._moment - timedelta(seconds=limit_s):
            numbers.by_reason["old"] += 1
        elif record.availability != "realtime":
            numbers.by_reason[record.availability] += 1


def _age_order(record: UnifiedPositionRecord) -> tuple[datetime, datetime]:
    return record.event_time, record.received_at
