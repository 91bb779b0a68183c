"""How far the answers are behind: the lag of the replica that serves the reads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from greeks_trio.config.settings import DatabaseConfig
from greeks_trio.errors import StoreError, plain_reason
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from greeks_trio.postgres.reads.pool import ReadConnection
from greeks_trio.postgres.reads.reader import Reader

logger = logging.getLogger(__name__)

_INTERVAL_S: Final = 5.0
# A person who looks at the page takes a value of this age for a present one.
BEHIND_AFTER_S: Final = 10.0

# Nothing waits to be applied, and the connection to the primary stands.  Otherwise the
# time of the last applied commit counts, which is too old while the primary has no commit.
_LAG: Final = """
select
    pg_is_in_recovery(),
    case
        when not pg_is_in_recovery() then 0
        when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            and exists (select from pg_stat_wal_receiver) then 0
        else extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())
    end::float8
"""


@dataclass(slots=True)
class Replica:
    """The server of the reads, as it was found last.

    Attributes:
        is_read: Whether a replica answers, and not the primary.
        lag_s: Seconds by which its rows are behind; `None` if that is not known.
    """

    is_read: bool = False
    lag_s: float | None = None


async def run_replica_watch(
    replica: Replica,
    conditions: Conditions,
    database: Callable[[], DatabaseConfig],
    reader: Reader,
) -> None:
    """Read the lag every five seconds until cancelled, while replicas are configured."""
    # The last message of the log; a replica that never answers gets one, too.
    told: bool | None = None
    while True:
        if not database().read_hosts:
            replica.is_read, replica.lag_s = False, None
            told = None
        elif await _read(replica, reader) and replica.is_read != told:
            told = replica.is_read
            _tell(is_read=told)
        _judge(replica, conditions)
        await trio.sleep(_INTERVAL_S)


async def _read(replica: Replica, reader: Reader) -> bool:
    """Read the lag, and return whether a server has answered."""
    has_answered = False
    try:
        replica.is_read, replica.lag_s = await reader.read(_read_lag)
        has_answered = True
    except* StoreError as group:
        # Each answer of the HTTP interface says so, too.
        logger.debug("replica.not_read reason=%s", plain_reason(group))
        replica.lag_s = None
    return has_answered


def _tell(*, is_read: bool) -> None:
    if is_read:
        logger.info("replica.answers")
    else:
        logger.warning("replica.away reads=primary")


def _read_lag(connection: ReadConnection) -> tuple[bool, float | None]:
    [(is_replica, lag_s)] = connection.execute(_LAG).fetchall()
    return is_replica, lag_s


def _judge(replica: Replica, conditions: Conditions) -> None:
    kind = ConditionKind.REPLICA_BEHIND
    lag_s = replica.lag_s
    if not replica.is_read or (lag_s is not None and lag_s <= BEHIND_AFTER_S):
        conditions.end(kind)
        return
    behind = "an unknown time" if lag_s is None else f"{lag_s:.0f} s"
    conditions.begin(
        kind,
        f"replica: the server of GREEKS_READ_HOST is {behind} behind, so sums and history "
        "are as old; the ticks of the stream are not",
    )
