"""The contract of a simulated broker: `SIMULATORS` in `registry` has one entry for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import trio

from greeks_trio.model.records import Broker
from greeks_trio.simulators.book.book import FLAWLESS, BookName, Holdings, Imperfections
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
        book: The name of the book that the accounts hold.
        contracts: Held contracts of all brokers; one that two brokers hold counts twice.
            `None` for the usual number of the book.
        rate: Greeks events a second of all brokers.
        ledger: File to which each tick is appended before it is sent; `None` keeps none.
        deliveries: File for the clients that each tick was sent to, see `Deliveries`.
        faults: Texts in the format of `parse_fault`.
        control_port: Port that takes faults at any time, see `Control`; 0 means any
            free one, `None` none.
        accounts: Number of accounts with positions at each broker.  The first account
            holds all contracts of the broker, each other account a third of them.
        ibkr_lines: Market-data lines at IBKR; `None` for the number of the book.
        ibkr_stream_end: Seconds after which a subscription at IBKR ends silently
            unless it is renewed.
        ibkr_session_timeout: Seconds without a REST request after which IBKR's
            brokerage session is lost.
        ibkr_gateways: Number of gateways of IBKR's user; one at a time has the brokerage
            session.
        only: Run only this broker.  Its contracts and its rate are the same as when all
            brokers run.
        ends_with_parent: When the parent process ends, stop as after SIGTERM (Linux).
    """

    ports: Mapping[Broker, int] | None = None
    book: BookName = "textbook"
    contracts: int | None = None
    rate: float = 50.0
    seed: int = 1
    ledger: Path | None = None
    deliveries: Path | None = None
    faults: tuple[str, ...] = ()
    control_port: int | None = None
    accounts: int = 1
    ibkr_lines: int | None = None
    ibkr_stream_end: float = 900.0
    ibkr_session_timeout: float = 360.0
    ibkr_gateways: int = 1
    only: Broker | None = None
    ends_with_parent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The parts from which one simulated broker is made.

    Attributes:
        options: The contracts in its accounts; clients may also ask for other ones of
            the market.
        rate: Ticks a second of this broker.
        faults: Faults of all brokers; each broker takes its own.
        holdings: The accounts; `None` if the broker gives the options to accounts itself.
        ibkr_lines: Market-data lines at IBKR; `None` for no limit.
    """

    market: Market
    options: Sequence[SimulatedOption]
    ledger: Ledger
    rate: float
    faults: Sequence[Fault]
    command: SimulateOptions
    holdings: Holdings | None = None
    imperfections: Imperfections = FLAWLESS
    ibkr_lines: int | None = None


class SimulatedBroker(Protocol):
    """One running broker."""

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The function of each fault, under the fault's name."""

    async def run(
        self, port: int, *, task_status: trio.TaskStatus[BrokerEndpoints]
    ) -> None:
        """Serve until `stop`; report the endpoints as started when the port accepts."""

    def stop(self) -> None:
        """Let `run` send all written data, and return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """One broker's entry in the registry.

    Attributes:
        endpoints: Type of its part of the first line.
        faults: The faults of the broker, each under its name.
        make: Returns the broker.  It may import modules that only this broker needs.
    """

    endpoints: type[BrokerEndpoints]
    faults: Mapping[str, FaultKind]
    make: Callable[[Setup], SimulatedBroker]
