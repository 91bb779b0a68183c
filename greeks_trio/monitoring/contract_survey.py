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
        survey.numbers[broker] = ContractNumbers()
        yield from _survey_feed(survey, status, health, newest[broker], moment)
    survey.stale.sort(key=attrgetter("age_s"), reverse=True)
    return survey


def _newest_ticks(
    status: ServiceStatus,
) -> Generator[None, None, Mapping[Broker, _NewestTicks]]:
    """Return the newest tick of each contract over all accounts."""
    newest: dict[Broker, dict[ContractKey, UnifiedPositionRecord]] = {
        broker: {} for broker in status.feeds
    }
    for number, record in enumerate(status.processor.latest.snapshot()):
        if not number % STEP_CONTRACTS:
            yield
        of_broker = newest.get(record.broker)
        if of_broker is None:
            continue
        known = of_broker.setdefault(record.contract_key, record)
        if known is not record and _age_order(known) <= _age_order(record):
            of_broker[record.contract_key] = record
    return newest


def _survey_feed(
    survey: ContractSurvey,
    status: ServiceStatus,
    health: FeedHealth,
    newest: _NewestTicks,
    moment: datetime,
) -> Generator[None, None, None]:
    broker, numbers = health.broker, survey.numbers[health.broker]
    ages = _Ages(status, health, newest, moment)
    is_open = status.hours.open_markets(moment)
    is_known: dict[str | None, bool] = {None: False}
    for number, (contract_key, since) in enumerate(health.streamed().items()):
        if not number % STEP_CONTRACTS:
            yield
        exchange = health.exchange_of(contract_key)
        market = market_of(contract_key, exchange)
        if market not in is_known and market is not None:
            is_known[market] = status.hours.knows(market, moment)
        if not is_known[market]:
            numbers.hours_unknown[exchange or NOT_NAMED] += 1
            contract = StreamedContract(broker, contract_key, exchange)
            survey.without_hours.append(contract)
        trades = market is not None and is_open.get(market, False)
        numbers.trading += trades
        record = newest.get(contract_key)
        if record is not None and record.availability != "realtime":
            numbers.not_realtime += 1
        age_s, reason = ages.age_and_reason(contract_key, since, record)
        if reason is not None:
            numbers.by_reason[reason] += 1
        if age_s is not None and reason is not None:
            survey.stale.append(StaleContract(broker, contract_key, age_s, reason))
            numbers.stale += 1
            numbers.stale_trading += trades


class _Ages:
    """Tells whether and why a contract of one feed is stale."""

    def __init__(
        self,
        status: ServiceStatus,
        health: FeedHealth,
        newest: _NewestTicks,
        moment: datetime,
    ) -> None:
        self._health = health
        self._newest = newest
        self._moment = moment
        self._limit_s = status.stale_after_s
        self._last_read_at = status.processor.last_read_at
        self._now = trio.current_time()
        # The moment before which a tick is old, by the limit in seconds; few values.
        self._old_before: dict[float, datetime] = {}

    def age_and_reason(
        self,
        contract_key: ContractKey,
        since: float,
        record: UnifiedPositionRecord | None,
    ) -> tuple[float | None, StaleReason | None]:
        """Return the age in seconds if it is above the limit, and the reason.

        A contract without an age may have a reason too: the SQL views call it stale.
        """
        limit_s = self._health.stale_after_s(contract_key, self._limit_s)
        read_at = self._last_read_at.get((self._health.broker, contract_key))
        age_s = self._now - (since if read_at is None else max(since, read_at))
        if age_s >= limit_s:
            # An earlier run may have stored ticks.
            is_without = read_at is None and record is None
            return age_s, "no tick" if is_without else "old"
        if record is None:
            return None, "no tick"
        if record.event_time < (before := self._before(limit_s)) or (
            record.received_at < before
        ):
            return None, "old"
        if record.availability != "realtime":
            return None, record.availability
        return None, None

    def _before(self, limit_s: float) -> datetime:
        before = self._old_before.get(limit_s)
        if before is None:
            before = self._moment - timedelta(seconds=limit_s)
            self._old_before[limit_s] = before
        return before


def _age_order(record: UnifiedPositionRecord) -> tuple[datetime, datetime]:
    return record.event_time, record.received_at
