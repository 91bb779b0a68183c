"""Run the simulated brokers in one process, until a signal.

The brokers get equal parts of the rate; the book says what their accounts hold.
"""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import trio

from greeks_trio.model.records import Broker
from greeks_trio.signals import run_stop_on_signal
from greeks_trio.simulators.book.book import Plan
from greeks_trio.simulators.book.kinds import BOOKS
from greeks_trio.simulators.control import Control
from greeks_trio.simulators.endpoints import Endpoints
from greeks_trio.simulators.faults import parse_fault
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.registry import SIMULATORS
from greeks_trio.simulators.simulator import Setup, SimulatedBroker, SimulateOptions

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG: Final = 1


def write_line(text: str) -> None:
    """Write one line to the standard output, and flush it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def run_simulators(
    options: SimulateOptions, *, announce: Callable[[str], None] = write_line
) -> None:
    """Run the simulated brokers until SIGTERM or SIGINT, then close them cleanly.

    ``announce`` gets one line of JSON when every port accepts.  A second signal ends
    the process at once.

    Raises:
        OSError: a port is taken, or the ledger cannot be written.
        ValueError: a text of ``faults`` describes no fault.

    Both are raised inside an `ExceptionGroup`.
    """
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_stop_on_signal, stop, name="signals")
        if options.ends_with_parent:
            _end_with_parent()
        with Ledger(options.ledger, options.deliveries) as ledger:
            await _run_brokers(options, ledger, stop, announce)
        nursery.cancel_scope.cancel()


async def _run_brokers(
    options: SimulateOptions,
    ledger: Ledger,
    stop: trio.Event,
    announce: Callable[[str], None],
) -> None:
    brokers = _make_brokers(options, ledger)
    ports = options.ports or {}
    async with trio.open_nursery() as nursery:
        endpoints = Endpoints(
            {
                name: await nursery.start(broker.run, ports.get(name, 0), name=name)
                for name, broker in brokers.items()
            }
        )
        await _run_control(options.control_port, brokers, endpoints, stop, announce)
        for broker in brokers.values():
            broker.stop()
    logger.info("simulators.stopped ticks=%d", ledger.ticks)


async def _run_control(
    port: int | None,
    brokers: Mapping[Broker, SimulatedBroker],
    endpoints: Endpoints,
    stop: trio.Event,
    announce: Callable[[str], None],
) -> None:
    """Announce the endpoints, and trigger requested faults until ``stop``."""
    async with trio.open_nursery() as nursery:
        if port is not None:
            verbs = {name: broker.verbs for name, broker in brokers.items()}
            url = await nursery.start(Control(verbs).run, port, name="control")
            endpoints = Endpoints(endpoints.brokers, control_url=url)
        announce(endpoints.encode())
        await stop.wait()
        # This also ends the active faults, so that the brokers can finish cleanly.
        nursery.cancel_scope.cancel()


def _make_brokers(
    options: SimulateOptions, ledger: Ledger
) -> dict[Broker, SimulatedBroker]:
    kind = BOOKS[options.book]
    plan = Plan(
        contracts=kind.contracts if options.contracts is None else options.contracts,
        seed=options.seed,
        today=datetime.now(UTC).date(),
        brokers=tuple(SIMULATORS),
    )
    book = kind.make(plan)
    faults = [parse_fault(text) for text in options.faults]
    return {
        name: simulator.make(
            Setup(
                market=book.market,
                options=book.options[name],
                ledger=ledger,
                rate=options.rate / len(SIMULATORS),
                faults=faults,
                command=options,
                holdings=book.holdings.get(name),
                imperfections=book.imperfections,
                ibkr_lines=kind.ibkr_lines
                if options.ibkr_lines is None
                else options.ibkr_lines,
            )
        )
        for name, simulator in SIMULATORS.items()
        if options.only in (None, name)
    }


def _end_with_parent() -> None:
    """Ask Linux for a SIGTERM when the thread that started this process ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
