"""Both simulated brokers in one process, until a signal.

The contracts and the rate are split evenly.  A few of IBKR's contracts are also held
at Tastytrade, so that one contract has ticks of two brokers.
"""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from greeks_trio.model.records import Broker
from greeks_trio.signals import run_stop_on_signal
from greeks_trio.simulators.control import Control
from greeks_trio.simulators.faults import Verb, parse_fault
from greeks_trio.simulators.ibkr.gateway import IbkrEndpoints, SimulatedIbkr
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.market import Market
from greeks_trio.simulators.tastytrade.broker import (
    SimulatedTastytrade,
    TastytradeEndpoints,
)

logger = logging.getLogger(__name__)

# One in this many of IBKR's contracts is held at Tastytrade too.
_SHARED_EVERY: Final = 10
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """What to simulate.

    Attributes:
        ibkr_port: 0 means any free one; so for Tastytrade.
        contracts: Held contracts, over both brokers; one that both hold counts twice.
        rate: Greeks events a second, over both brokers.
        ledger: File to append what was sent to; `None` keeps none.
        faults: Each as `parse_fault` reads it.
        control_port: Where faults can be triggered at any time, see `Control`; 0 means
            any free one, `None` nowhere.
        accounts: At each broker, accounts that hold something: the first one all its
            contracts, each further one a third of them.
        ibkr_lines: Market-data lines at IBKR; `None` for no limit.
        ibkr_stream_end: Seconds after which a subscription at IBKR ends silently
            unless it is renewed.
        ibkr_session_timeout: Seconds without a REST request after which IBKR's
            brokerage session is lost.
        only: The one broker to run.  It is the same as if both ran: its half of the
            contracts and of the rate.
        ends_with_parent: Stop as at SIGTERM when the parent process ends (Linux).
    """

    ibkr_port: int = 0
    tastytrade_port: int = 0
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


class Endpoints(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is announced: how to reach each broker that runs, and the control."""

    ibkr: IbkrEndpoints | None = None
    tastytrade: TastytradeEndpoints | None = None
    control_url: str | None = None


def write_line(text: str) -> None:
    """Write one line to the standard output, at once."""
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
        ValueError: a fault is not one.

    Both come inside an `ExceptionGroup`.
    """
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(run_stop_on_signal, stop, name="signals")
        if options.ends_with_parent:
            _end_with_parent()
        with Ledger(options.ledger) as ledger:
            await _run_brokers(options, ledger, stop, announce)
        nursery.cancel_scope.cancel()


async def _run_brokers(
    options: SimulateOptions,
    ledger: Ledger,
    stop: trio.Event,
    announce: Callable[[str], None],
) -> None:
    ibkr, tastytrade = _make_brokers(options, ledger)
    verbs: dict[Broker, Mapping[str, Verb]] = {}
    if ibkr:
        verbs["ibkr"] = ibkr.verbs
    if tastytrade:
        verbs["tastytrade"] = tastytrade.verbs
    async with trio.open_nursery() as nursery:
        endpoints = Endpoints(
            ibkr=await nursery.start(ibkr.run, options.ibkr_port, name="ibkr")
            if ibkr
            else None,
            tastytrade=await nursery.start(
                tastytrade.run, options.tastytrade_port, name="tastytrade"
            )
            if tastytrade
            else None,
        )
        await _run_control(options.control_port, verbs, endpoints, stop, announce)
        for broker in (ibkr, tastytrade):
            if broker:
                broker.stop()
    logger.info("simulators.stopped ticks=%d", ledger.ticks)


async def _run_control(
    port: int | None,
    verbs: Mapping[Broker, Mapping[str, Verb]],
    endpoints: Endpoints,
    stop: trio.Event,
    announce: Callable[[str], None],
) -> None:
    """Announce everything and trigger faults that are asked for until ``stop``."""
    async with trio.open_nursery() as nursery:
        if port is not None:
            url = await nursery.start(Control(verbs).run, port, name="control")
            endpoints = msgspec.structs.replace(endpoints, control_url=url)
        announce(msgspec.json.encode(endpoints).decode())
        await stop.wait()
        # Ends the faults under way too, so that the brokers can finish cleanly.
        nursery.cancel_scope.cancel()


def _make_brokers(
    options: SimulateOptions, ledger: Ledger
) -> tuple[SimulatedIbkr | None, SimulatedTastytrade | None]:
    split = split_contracts(options.contracts)
    today = datetime.now(UTC).date()
    market = Market(contracts=split.different, seed=options.seed, today=today)
    both: Any = {
        "rate": options.rate / 2.0,
        "seed": options.seed,
        "faults": [parse_fault(text) for text in options.faults],
        "accounts": options.accounts,
    }
    ibkr = tastytrade = None
    if options.only != "tastytrade":
        ibkr = SimulatedIbkr(
            market,
            market.options[: split.ibkr],
            ledger,
            line_limit=options.ibkr_lines,
            stream_end_s=options.ibkr_stream_end,
            session_timeout_s=options.ibkr_session_timeout,
            **both,
        )
    if options.only != "ibkr":
        held = market.options[split.different - split.tastytrade :]
        tastytrade = SimulatedTastytrade(market, held, ledger, **both)
    return ibkr, tastytrade


class ContractSplit(msgspec.Struct, frozen=True):
    """How many contracts each broker's account holds, and how many different ones."""

    ibkr: int
    tastytrade: int
    different: int


def split_contracts(contracts: int) -> ContractSplit:
    """Return the halves; they overlap in the last tenth of IBKR's, at least in one.

    Each broker holds at least one contract.
    """
    ibkr = max(1, contracts // 2)
    tastytrade = max(1, contracts - ibkr)
    shared = -(-min(ibkr, tastytrade) // _SHARED_EVERY)
    return ContractSplit(ibkr, tastytrade, ibkr + tastytrade - shared)


def _end_with_parent() -> None:
    """Ask Linux for a SIGTERM when the thread that started this process ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
