"""Which contracts have had no tick for too long, and the reasons to call one stale.

A quiet contract is not an outage: staleness is reported, never reacted to.  It is worth a
warning only while the contract's market is open.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import Broker

logger = logging.getLogger(__name__)


# The same words as the column `stale_reason` of the SQL views; the first that applies.
StaleReason: TypeAlias = Literal["no tick", "old", "delayed", "frozen", "unknown"]


class StaleContract(msgspec.Struct, frozen=True):
    """A contract that is subscribed and silent.

    Attributes:
        age_s: Seconds since its last tick, or since its subscription when none came.
        stale_reason: ``no tick`` if the service knows no tick of it, else ``old``.
    """

    broker: Broker
    contract_key: ContractKey
    age_s: float
    stale_reason: StaleReason = "old"


def stale_contracts(
    broker: Broker,
    streamed: Mapping[ContractKey, float],
    last_read_at: Mapping[tuple[Broker, ContractKey], float],
    *,
    now: float,
    limit_of: Callable[[ContractKey], float],
) -> list[StaleContract]:
    """Return one broker's stale contracts, the longest silent first.

    Args:
        broker: Whose contracts these are.
        streamed: When each contract of the connection was subscribed.
        last_read_at: When the last tick of each contract was read.
        now: The same monotonic clock as both.
        limit_of: Returns the age from which a contract is stale, in seconds.
    """
    ages = (
        (now - max(since, last_read_at.get((broker, key), since)), key)
        for key, since in streamed.items()
    )
    stale = sorted(
        (each for each in ages if each[0] >= limit_of(each[1])), reverse=True
    )
    return [StaleContract(broker, key, age) for age, key in stale]


class StalenessLog:
    """Says in the log when contracts become stale, and when none is any more."""

    def __init__(self) -> None:
        self._known: set[tuple[Broker, ContractKey]] = set()

    def update(
        self,
        stale: Sequence[StaleContract],
        trades: Callable[[Broker, ContractKey], bool],
    ) -> None:
        """Log what changed since the last call, of contracts whose market is open."""
        known = {each for each in self._known if trades(*each)}
        worth_it = [each for each in stale if trades(each.broker, each.contract_key)]
        found = {(each.broker, each.contract_key) for each in worth_it}
        if new := found - known:
            _warn(worth_it, (broker for broker, _ in new))
        elif known and not found:
            logger.info("contracts.fresh")
        self._known = found


def _warn(stale: Iterable[StaleContract], brokers: Iterable[Broker]) -> None:
    for broker, number in Counter(brokers).items():
        oldest = next(each for each in stale if each.broker == broker)
        logger.warning(
            "contracts.stale broker=%s new=%d oldest=%s age_s=%.0f",
            broker,
            number,
            oldest.contract_key,
            oldest.age_s,
        )
