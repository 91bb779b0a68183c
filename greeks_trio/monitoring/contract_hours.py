"""Which subscribed contracts trade now, and of which the hours are not known."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from datetime import datetime
from typing import TypeAlias

from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker
from greeks_trio.monitoring.calendars import read_calendars
from greeks_trio.monitoring.contract_survey import (
    NOT_NAMED,
    STEP_CONTRACTS,
    StreamedContract,
)
from greeks_trio.monitoring.market_hours import calendars_of, days_around
from greeks_trio.monitoring.markets import market_of
from greeks_trio.monitoring.status import ServiceStatus
from greeks_trio.waiting import run_in_slices

logger = logging.getLogger(__name__)


IsTrading: TypeAlias = Callable[[Broker, ContractKey], bool]


def trading_at(status: ServiceStatus, moment: datetime) -> IsTrading:
    """Return a function that tells whether the market of a contract is open then."""
    is_open = status.hours.open_markets(moment)

    def is_trading(broker: Broker, contract_key: ContractKey) -> bool:
        exchange = status.feeds[broker].exchange_of(contract_key)
        return is_open.get(market_of(contract_key, exchange) or "", False)

    return is_trading


async def prepare_hours(status: ServiceStatus, moment: datetime) -> None:
    """Read the calendars that the subscribed contracts need.

    Raises:
        CalendarsUnavailable: They could not be read.
    """
    in_use = await run_in_slices(_markets_in_use(status))
    today = moment.date()
    missing = status.hours.unprepared(in_use, today)
    if missing:
        calendars = await read_calendars(calendars_of(missing), *days_around(today))
        status.hours.take(missing, calendars, today)
        logger.info("hours.read markets=%s", ",".join(sorted(missing)))


def _markets_in_use(status: ServiceStatus) -> Generator[None, None, set[str]]:
    in_use: set[str | None] = set()
    for health in status.feeds.values():
        for number, contract_key in enumerate(health.streamed()):
            if not number % STEP_CONTRACTS:
                yield
            in_use.add(market_of(contract_key, health.exchange_of(contract_key)))
    return {each for each in in_use if each is not None}


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
