"""Tastytrade's entry in the registry of simulators."""

from __future__ import annotations

from typing import Final

from greeks_trio.simulators.simulator import Setup, SimulatedBroker, Simulator
from greeks_trio.simulators.tastytrade.endpoints import TastytradeEndpoints
from greeks_trio.simulators.tastytrade.fault_kinds import TASTYTRADE_FAULTS


def _make(setup: Setup) -> SimulatedBroker:
    # The demo and the drill need only the endpoints; the broker is in another process.
    from greeks_trio.simulators.tastytrade.broker import SimulatedTastytrade

    return SimulatedTastytrade(
        setup.market,
        setup.options,
        setup.ledger,
        rate=setup.rate,
        seed=setup.command.seed,
        faults=setup.faults,
        accounts=setup.command.accounts,
        holdings=setup.holdings,
        imperfections=setup.imperfections,
    )


TASTYTRADE: Final = Simulator(
    endpoints=TastytradeEndpoints, faults=TASTYTRADE_FAULTS, make=_make
)
