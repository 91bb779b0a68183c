"""The contract of a simulated broker: `SIMULATORS` in `registry` has one entry for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import trio

from greeks_trio.model.records import Broker
from greeks_trio.simulators.endpoints import BrokerEndpoints
from greeks_trio.simulators.fault_kinds import FaultKind, Verb

if TYPE_CHECKING:
    from greeks_trio.simulators.faults import Fault
    from greeks_trio.simulators.ledger import Ledger
    from greeks_trio.simulators.market import Market, SimulatedOption


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """Options of the ``simulate`` command.

    Attributes:
        ports: Port of each broker; 0, the default, means any free one.
        contracts: Held contracts of all brokers; one that two brokers hold counts twice.
        rate: Greeks events a second of all brokers.
        ledger: File to which each tick is appended before it is sent; `None` keeps none.
        faults: Each as `parse_fault` reads it.
        control_port: Port that takes faults at any time, see `Control`; 0 means any
            free one, `None` none.
        accounts: Accounts at each broker that hold something: the first one all its
            contracts, each further one a third of them.
        ibkr_lines: Market-data lines at IBKR; `None` for no limit.
        ibkr_stream_end: Seconds after which a subscription at IBKR ends silently
            unless it is renewed.
        ibkr_session_timeout: Seconds without a REST request after which IBKR's
            brokerage session is lost.
        only: The one broker to run.  It has the contracts and the rate that it has when
            all brokers run.
        ends_with_parent: Stop as at SIGTERM when the parent process ends (Linux).
    """

    ports: Mapping[Broker, int] | None = None
    contracts: int = 200
    rate: float = 50.0
    seed: int = 1
    ledger: Path | None = None
    faults: tuple[str, ...] = ()
    control_port: int | None = None
    accounts: int = 1
    ibkr_lines: int | None = None
    ibkr_stream_end: float = 900.0
    ibkr_session_timeout: float = 360.0
    only: Broker | None = None
    ends_with_parent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The parts from which one simulated broker is made.

    Attributes:
        options: The contracts that its accounts hold; others of the market are known.
        rate: Ticks a second of this broker.
        faults: Faults of all brokers; each broker takes its own.
    """

    market: Market
    options: Sequence[SimulatedOption]
    ledger: Ledger
    rate: float
    faults: Sequence[Fault]
    command: SimulateOptions


class SimulatedBroker(Protocol):
    """One running broker."""

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The function of each fault, under the fault's name."""

    async def run(
        self, port: int, *, task_status: trio.TaskStatus[BrokerEndpoints]
    ) -> None:
        """Serve until `stop`; started with the endpoints when the port accepts."""

    def stop(self) -> None:
        """Let `run` send everything that was written, and return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """One broker's entry in the registry.

    Attributes:
        endpoints: Type of its part of the first line.
        faults: The faults that it knows, each under its name.
        make: Returns the broker.  It may import modules that only this broker needs.
    """

    endpoints: type[BrokerEndpoints]
    faults: Mapping[str, FaultKind]
    make: Callable[[Setup], SimulatedBroker]
