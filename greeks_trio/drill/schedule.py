"""The schedule of the faults: drawn from a seed before the drill begins.

The kinds are data here; `greeks_trio.drill.faults` causes them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from greeks_trio.alerts.limit_watch import ALERTS_LEASE_S
from greeks_trio.config.settings import BROKERS
from greeks_trio.model.records import Broker

Recovery: TypeAlias = Literal["feed", "commit"]

# The service gives up a silent broker after so long in a drill: the shortest that its
# configuration takes, or a drill would mostly wait.
SILENCE_S: Final[Mapping[Broker, float]] = MappingProxyType(
    {"ibkr": 11.0, "tastytrade": 31.0}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of fault.

    Attributes:
        weight: How often it is drawn, beside the others' weights.
        seconds: Shortest and longest duration; of a fault without one 0.
        hits_broker: Whether it happens to one broker, which is drawn too.
        values: Bounds of a number that the fault itself understands.
        recovery: The end of the wait afterwards: a durable tick of each affected feed,
            or a commit.
        is_kill: Whether a process is killed.
        is_hostile: Whether it is left out unless it is named: it takes long, or acts
            on other parts than the promise is about.
        is_mild: Whether the processes of the service and of PostgreSQL live on.
        needs_standby: Whether PostgreSQL has a standby.
        needs_two: Whether there are two services on the same logins.
        interrupts: Brokers whose feed it stops, which ``feed_gaps`` has to tell.
    """

    weight: float
    seconds: tuple[float, float] = (0.0, 0.0)
    hits_broker: bool = False
    values: tuple[float, float] = (0.0, 0.0)
    recovery: Recovery = "feed"
    is_kill: bool = False
    is_mild: bool = True
    is_hostile: bool = False
    needs_standby: bool = False
    needs_two: bool = False
    interrupts: tuple[Broker, ...] = ()


def _of_broker(
    weight: float,
    shortest_s: float,
    longest_s: float,
    *,
    interrupts: tuple[Broker, ...] = (),
) -> Kind:
    return Kind(
        weight=weight,
        seconds=(shortest_s, longest_s),
        hits_broker=True,
        interrupts=interrupts,
    )


def _of_database(
    weight: float,
    shortest_s: float,
    longest_s: float,
    *,
    values: tuple[float, float] = (0.0, 0.0),
) -> Kind:
    return Kind(
        weight=weight,
        seconds=(shortest_s, longest_s),
        values=values,
        recovery="commit",
    )


def _hostile(
    shortest_s: float,
    longest_s: float,
    *,
    values: tuple[float, float] = (0.0, 0.0),
    recovery: Recovery = "feed",
    interrupts: tuple[Broker, ...] = (),
) -> Kind:
    return Kind(
        weight=1.0,
        seconds=(shortest_s, longest_s),
        values=values,
        recovery=recovery,
        interrupts=interrupts,
        is_mild=False,
        is_hostile=True,
    )


def _of_two(
    weight: float, shortest_s: float, longest_s: float, *, is_kill: bool = False
) -> Kind:
    return Kind(
        weight=weight,
        seconds=(shortest_s, longest_s),
        values=(0.0, 1.999),
        is_kill=is_kill,
        is_mild=False,
        is_hostile=True,
        needs_two=True,
    )


def _of_standby(
    shortest_s: float, longest_s: float, *, values: tuple[float, float] = (0.0, 0.0)
) -> Kind:
    return Kind(
        weight=1.0,
        seconds=(shortest_s, longest_s),
        values=values,
        recovery="commit",
        is_kill=True,
        is_mild=False,
        is_hostile=True,
        needs_standby=True,
    )


# Half of the weight is that of the kills.
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "kill-service": Kind(
            weight=30.0, is_kill=True, is_mild=False, interrupts=BROKERS
        ),
        "stop-service": Kind(weight=4.0, is_mild=False, interrupts=BROKERS),
        "kill-postgres": Kind(
            weight=22.0,
            seconds=(0.0, 5.0),
            is_kill=True,
            is_mild=False,
            recovery="commit",
        ),
        "restart-postgres": Kind(weight=3.0, is_mild=False, recovery="commit"),
        "freeze-postgres": _of_database(3.0, 1.0, 8.0),
        "cut-database": _of_database(4.0, 0.0, 3.0),
        "half-open-database": _of_database(3.0, 2.0, 10.0),
        # How long to wait for a COMMIT whose answer can be lost.
        "lost-ack-database": _of_database(4.0, 2.0, 2.0),
        "terminate-backend": _of_database(3.0, 0.0, 0.0),
        "lock-table": _of_database(3.0, 1.0, 4.0),
        "read-only": _of_database(2.0, 1.0, 5.0),
        # How many connections are left.
        "full-connections": _of_database(2.0, 1.0, 5.0, values=(0.0, 2.9)),
        # To how many kB files may grow.
        "full-disk": _of_database(2.0, 2.0, 6.0, values=(0.0, 256.0)),
        # By how many seconds.
        "clock-step": Kind(weight=3.0, values=(-30.0, 30.0)),
        "cut-broker": _of_broker(3.0, 0.0, 3.0, interrupts=BROKERS),
        "half-open-broker": _of_broker(2.0, 3.0, 15.0, interrupts=BROKERS),
        # The simulated brokers make these happen.
        "drop": _of_broker(2.0, 1.0, 5.0, interrupts=BROKERS),
        "silent": _of_broker(1.0, 1.0, 4.0, interrupts=BROKERS),
        "garbage": _of_broker(1.5, 2.0, 8.0),
        "bad-utf8": _of_broker(1.0, 1.0, 3.0, interrupts=("tastytrade",)),
        "duplicate": _of_broker(1.5, 2.0, 8.0),
        "reorder": _of_broker(1.5, 2.0, 8.0),
        "nan": _of_broker(1.0, 1.0, 4.0),
        "http-503": _of_broker(1.0, 1.0, 5.0, interrupts=("ibkr",)),
        "close-1012": _of_broker(2.0, 0.0, 2.0, interrupts=BROKERS),
        "expire-session": _of_broker(1.0, 0.0, 3.0, interrupts=BROKERS),
        # The database itself changes.
        "rename-table": _hostile(1.0, 4.0, recovery="commit"),
        "drop-index": _hostile(1.0, 4.0, recovery="commit"),
        "drop-table": _hostile(1.0, 4.0, recovery="commit"),
        "other-database": _hostile(1.0, 5.0, recovery="commit"),
        # Seconds between the dump and the end of the database that was dumped.
        "restore": _hostile(0.0, 2.0, values=(1.0, 15.0), recovery="commit"),
        # The standby takes over.
        "failover": _of_standby(1.0, 4.0),
        # For how many seconds it has followed no more.
        "standby-lag": _of_standby(0.0, 2.0, values=(1.0, 10.0)),
        "old-primary-returns": _of_standby(0.0, 2.0),
        # Two services on the same logins; which one of them, from 0.
        "kill-one-of-two": _of_two(10.0, 0.0, 3.0, is_kill=True),
        "pause-one-of-two": _of_two(1.0, ALERTS_LEASE_S + 2.0, ALERTS_LEASE_S + 10.0),
        # The machine under the service fails.
        "suspend-service": _hostile(5.0, 60.0),
        # How many more files, and how many more MB.
        "few-files": _hostile(2.0, 8.0, values=(0.0, 2.9)),
        "little-memory": _hostile(2.0, 8.0, values=(1.0, 8.0)),
        "unread-log": _hostile(5.0, 20.0),
        "hangup-storm": _hostile(0.0, 0.0),
        # After how many seconds of its start.
        "stop-in-start": _hostile(0.0, 1.0, values=(0.0, 4.0), interrupts=BROKERS),
        "wrong-year": _hostile(5.0, 15.0, values=(-1.0, 1.0)),
    }
)

# Sets of kinds, by the names that ``--kinds`` takes in place of their members.
KIND_SETS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "usual": tuple(name for name, kind in KINDS.items() if not kind.is_hostile),
        "mild": tuple(name for name, kind in KINDS.items() if kind.is_mild),
        "hostile": tuple(
            name
            for name, kind in KINDS.items()
            if kind.is_hostile and not (kind.needs_standby or kind.needs_two)
        ),
        "standby": tuple(name for name, kind in KINDS.items() if kind.needs_standby),
        "two": tuple(name for name, kind in KINDS.items() if kind.needs_two),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """One fault of a schedule.

    Attributes:
        number: From 1, in the order of time.
        at_s: Seconds after the first ticks of both brokers are durable.
        broker: The broker that it hits; `None` for the service or the database.
        seconds: How long it lasts.
        value: A number within `Kind.values`.
    """

    number: int
    at_s: float
    kind: str
    broker: Broker | None
    seconds: float
    value: float


def draw_schedule(
    *, seed: int, kinds: Sequence[str], minutes: float, interval_s: float
) -> tuple[PlannedFault, ...]:
    """Return the faults of a drill, in the order of time; at least one.

    The same arguments give the same schedule; the order of ``kinds`` does not count.
    Faults come ``interval_s`` apart on average and may overlap.
    """
    # Not a tuple as the seed: its hash would be another in every process.
    chance = random.Random(f"drill {seed}")
    names = sorted(set(kinds))
    weights = [KINDS[name].weight for name in names]
    faults: list[PlannedFault] = []
    at_s = chance.uniform(0.2, 0.8) * interval_s
    while not faults or at_s < minutes * 60.0:
        [name] = chance.choices(names, weights)
        faults.append(_draw(chance, name, len(faults) + 1, at_s))
        at_s += chance.uniform(0.4, 1.6) * interval_s
    return tuple(faults)


def _draw(chance: random.Random, name: str, number: int, at_s: float) -> PlannedFault:
    kind = KINDS[name]
    # Drawn whether needed or not: a kind that changes leaves the others as they were.
    broker = chance.choice(BROKERS)
    seconds, value = chance.uniform(*kind.seconds), chance.uniform(*kind.values)
    if name == "silent":  # too short a silence is none
        seconds += SILENCE_S[broker]
    return PlannedFault(
        number=number,
        at_s=round(at_s, 3),
        kind=name,
        broker=broker if kind.hits_broker else None,
        seconds=round(seconds, 3),
        value=round(value, 3),
    )
