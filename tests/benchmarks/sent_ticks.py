"""Compare the ticks that a generator handed over with the rows of the table.

The ledgers go into the database, and SQL joins them with the rows: by broker, account,
contract, time of the event and all Greeks.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from greeks_trio.simulators.ledger import read_ledger
from tests.benchmarks.generator.__main__ import ANSWERS, BROKERS
from tests.benchmarks.generator.ledger import (
    VALUE_SETS,
    read_contracts,
    read_ticks,
)
from tests.benchmarks.generator.values import NAMES, value_sets

OPENING, FIRST_SECOND, REST = 0, 1, 2
_FIRST_US = 1_000_000

_TABLES = f"""
create unlogged table sent_ticks (
    broker text, contract int, event_ms bigint, values int, phase int, handed_us bigint
);
create unlogged table sent_contracts (
    broker text, contract int, account_id text, contract_key text
);
create unlogged table sent_values (
    broker text, values int, {", ".join(f"{name} float8" for name in NAMES)}
)
"""
# A percentage divided by 100 may differ in the last bit.
_SAME_VALUES = " and ".join(
    f"(abs(g.{name} - v.{name}) < 1e-9 or num_nulls(g.{name}, v.{name}) = 2)"
    for name in NAMES
)
# A row is later than its tick by these times: until it was copied, until its commit.
_PAIRS = f"""
create unlogged table paired_ticks as
select
    s.phase,
    s.handed_us,
    g.id,
    (extract(epoch from g.persisted_at) * 1e3)::float8 - s.handed_us / 1e3 as row_ms,
    (extract(epoch from {{committed_at}}) * 1e3)::float8 - s.handed_us / 1e3 as commit_ms
from sent_ticks s
join sent_contracts c on c.broker = s.broker and c.contract = s.contract
join sent_values v on v.broker = s.broker and v.values = s.values
left join greek_snapshots g
    on g.broker = s.broker
    and g.account_id = c.account_id
    and g.contract_key = c.contract_key
    and g.event_time = timestamptz 'epoch' + s.event_ms * interval '1 millisecond'
    and {_SAME_VALUES}
"""
_COMMITTED_AT = {"on": "pg_xact_commit_timestamp(g.xmin)", "off": "null::timestamptz"}
_PERCENTILES = """
select
    count(id),
    percentile_disc(array[0.5, 0.95, 0.99]) within group (order by row_ms),
    max(row_ms),
    percentile_disc(array[0.5, 0.95, 0.99]) within group (order by commit_ms),
    max(commit_ms)
from paired_ticks where phase = %s and id is not null
"""

# The load by minutes; a tick's latency is that until its commit.
_MINUTES = """
with load as (
    select (handed_us - min(handed_us) over ()) / 60000000 as minute,
        coalesce(commit_ms, row_ms) as ms
    from paired_ticks where phase <> %s and id is not null
)
select
    minute,
    count(*),
    percentile_disc(array[0.5, 0.95, 0.99]) within group (order by ms),
    max(ms)
from load group by minute order by minute
"""


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the hand-over of ticks; `None` without a tick.

    Attributes:
        ms: p50, p95, p99 and the most, until the row's ``persisted_at``.
        commit_ms: The same until PostgreSQL wrote the commit.
    """

    ticks: int
    ms: tuple[float, ...] | None
    commit_ms: tuple[float, ...] | None


@dataclass(frozen=True)
class Compared:
    """The comparison; the phases are the answers to subscriptions, and the load.

    Attributes:
        lost: Handed-over ticks without a row of the same values.
        twice: Rows beyond one for each tick.
        unexpected: Rows that no tick explains.
    """

    sent: int
    lost: int
    twice: int
    unexpected: int
    minutes: list[Latency]
    opening: Latency
    first_second: Latency
    rest: Latency


def compare(connection: psycopg.Connection, directory: Path) -> Compared:
    """Load the ledgers of a directory and compare them with the table."""
    connection.execute("set work_mem = '256MB'")
    connection.execute(_TABLES)
    for broker in BROKERS:
        _load_broker(connection, directory, broker)
    _load_answers(connection, directory)
    connection.execute("analyze sent_ticks, sent_contracts, sent_values")
    [(has_commit_times,)] = connection.execute("show track_commit_timestamp")
    connection.execute(_PAIRS.format(committed_at=_COMMITTED_AT[has_commit_times]))
    [(sent,)] = connection.execute("select count(*) from sent_ticks")
    [(pairs, lost)] = connection.execute(
        "select count(*), count(*) filter (where id is null) from paired_ticks"
    )
    [(rows,)] = connection.execute("select count(*) from greek_snapshots")
    return Compared(
        sent=sent,
        lost=lost,
        twice=pairs - sent,
        unexpected=rows - (pairs - lost),
        minutes=_minutes(connection),
        opening=_latency(connection, OPENING),
        first_second=_latency(connection, FIRST_SECOND),
        rest=_latency(connection, REST),
    )


def _latency(connection: psycopg.Connection, phase: int) -> Latency:
    [(ticks, ms, most, commit_ms, commit_most)] = connection.execute(
        _PERCENTILES, [phase]
    )
    if not ticks:
        return Latency(0, None, None)
    commits = None if commit_most is None else (*commit_ms, commit_most)
    return Latency(ticks, (*ms, most), commits)


def _minutes(connection: psycopg.Connection) -> list[Latency]:
    rows = connection.execute(_MINUTES, [OPENING])
    return [Latency(ticks, None, (*ms, most)) for _, ticks, ms, most in rows]


def _load_broker(connection: psycopg.Connection, directory: Path, broker: str) -> None:
    contracts = enumerate(read_contracts(directory, broker))
    _copy(
        connection,
        "sent_contracts",
        ((broker, number, *_fields(each)) for number, each in contracts),
    )
    sets = ([*each] for each in value_sets())
    _copy(
        connection,
        "sent_values",
        ((broker, number, *_sent(broker, each)) for number, each in enumerate(sets)),
    )
    name = struct.pack("!hi", 6, len(broker)) + broker.encode()
    pack = struct.Struct("!iiiqiiiiiq").pack
    statement = "copy sent_ticks from stdin (format binary)"
    with connection.cursor().copy(statement) as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        first_us = 0
        for contract, values, event_ms, handed_us in read_ticks(directory, broker):
            first_us = first_us or handed_us
            phase = FIRST_SECOND if handed_us - first_us < _FIRST_US else REST
            copy.write(
                name + pack(4, contract, 8, event_ms, 4, values, 4, phase, 8, handed_us)
            )
        copy.write(b"\xff\xff")


def _load_answers(connection: psycopg.Connection, directory: Path) -> None:
    """Load the ticks that the simulators sent by themselves; each has its own values."""
    offset = time.time() - time.monotonic()
    contracts: list[tuple] = []
    values: list[tuple] = []
    ticks: list[tuple] = []
    for number, tick in enumerate(read_ledger(directory / ANSWERS), start=1):
        contract = -number
        handed_us = int((tick.sent_monotonic + offset) * 1e6)
        contracts.append((tick.broker, contract, tick.account_id, tick.contract_key))
        values.append(
            (tick.broker, VALUE_SETS + number, *(getattr(tick, each) for each in NAMES))
        )
        ticks.append(
            (
                *(tick.broker, contract, tick.event_time_ms),
                *(VALUE_SETS + number, OPENING, handed_us),
            )
        )
    _copy(connection, "sent_contracts", contracts)
    _copy(connection, "sent_values", values)
    _copy(connection, "sent_ticks", ticks)


def _sent(broker: str, values: list[float]) -> list[float | None]:
    """Return the values as the broker sends them: IBKR has no rho."""
    return [
        None if broker == "ibkr" and name == "rho" else value
        for name, value in zip(NAMES, values, strict=True)
    ]


def _copy(connection: psycopg.Connection, table: str, rows) -> None:
    with connection.cursor().copy(f"copy {table} from stdin") as copy:
        for row in rows:
            copy.write_row(row)


def _fields(contract) -> Iterator[str]:
    return (contract.account_id, contract.contract_key)
