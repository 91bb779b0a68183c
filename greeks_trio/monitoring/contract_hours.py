"""Which subscribed contracts trade now, and of which the hours are not known."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from greeks_trio.feeds.staleness import StaleContract
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker
from greeks_trio.monitoring.calendars import read_calendars
from greeks_trio.monitoring.market_hours import calendars_of, days_around
from greeks_trio.monitoring.markets import market_of
from greeks_trio.monitoring.status import ServiceStatus

logger = logging.getLogger(__name__)

# The name of an exchange that the broker does not name.
NOT_NAMED: Final = "not-named"


class StreamedContract(msgspec.Struct, frozen=True):
    """A subscribed contract; ``exchange`` is `None` if the broker names none."""

    broker: Broker
    contract_key: ContractKey
    exchange: str | None


def streamed_contracts(status: ServiceStatus) -> Iterator[StreamedContract]:
    """Yield every subscribed contract."""
    for broker, health in status.feeds.items():
        for contract_key in health.streamed():
            exchange = health.exchange_of(contract_key)
            yield StreamedContract(broker, contract_key, exchange)


def trades(
    status: ServiceStatus, moment: datetime, broker: Broker, contract_key: ContractKey
) -> bool:
    """Return whether the market of a subscribed contract is open at this moment."""
    market = _market(status, broker, contract_key)
    return market is not None and status.hours.is_open(moment, market)


def _market(
    status: ServiceStatus, broker: Broker, contract_key: ContractKey
) -> str | None:
    exchange = status.feeds[broker].exchange_of(contract_key)
    return market_of(contract_key, exchange)


def trading_counts(
    status: ServiceStatus,
    moment: datetime,
    contracts: Iterable[StreamedContract | StaleContract],
) -> Mapping[Broker, int]:
    """Return how many of the contracts of each broker have an open market."""
    is_open = status.hours.open_markets(moment)
    numbers = Counter(
        each.broker
        for each in contracts
        if is_open.get(_market(status, each.broker, each.contract_key) or "", False)
    )
    return {broker: numbers[broker] for broker in status.feeds}


def contracts_without_hours(
    status: ServiceStatus, moment: datetime
) -> list[StreamedContract]:
    """Return the subscribed contracts whose market's hours are not known."""
    return [
        each
        for each in streamed_contracts(status)
        if not status.hours.are_known(each.contract_key, moment, each.exchange)
    ]


async def prepare_hours(status: ServiceStatus, moment: datetime) -> None:
    """Read the calendars that the subscribed contracts need.

    Raises:
        CalendarsUnavailable: They could not be read.
    """
    in_use = (
        market_of(each.contract_key, each.exchange)
        for each in streamed_contracts(status)
    )
    today = moment.date()
    missing = status.hours.unprepared(filter(None, in_use), today)
    if missing:
        calendars = await read_calendars(calendars_of(missing), *days_around(today))
        status.hours.take(missing, calendars, today)
        logger.info("hours.read markets=%s", ",".join(sorted(missing)))


class UnknownHoursLog:
    """Says once of each exchange that its hours are not known."""

    def __init__(self) -> None:
        self._said: set[tuple[Broker, str | None]] = set()

    def update(self, contracts: Iterable[StreamedContract]) -> None:
        """Log the exchanges of these contracts that were not logged before."""
        keys = defaultdict(list)
        for each in contracts:
            keys[each.broker, each.exchange].append(each.contract_key)
        for broker, exchange in keys.keys() - self._said:
            names = sorted(keys[broker, exchange])
            logger.warning(
                "contracts.hours_unknown broker=%s exchange=%s contracts=%d first=%s: "
                "there is no warning when contracts of this exchange become silent, "
                "because its hours are not known",
                *(broker, exchange or NOT_NAMED, len(names), names[0]),
            )
        self._said |= keys.keys()
