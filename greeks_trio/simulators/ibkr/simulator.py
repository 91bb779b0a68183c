"""IBKR's entry in the registry of simulators."""

from __future__ import annotations

from typing import Final

from greeks_trio.simulators.ibkr.endpoints import IbkrEndpoints
from greeks_trio.simulators.ibkr.fault_kinds import IBKR_FAULTS
from greeks_trio.simulators.simulator import Setup, SimulatedBroker, Simulator


def _make(setup: Setup) -> SimulatedBroker:
    # Imported late: the demo and the drill use only the endpoints in their process.
    from greeks_trio.simulators.ibkr.broker import SimulatedIbkr

    command = setup.command
    return SimulatedIbkr(
        setup.market,
        setup.options,
        setup.ledger,
        rate=setup.rate,
        seed=command.seed,
        faults=setup.faults,
        accounts=command.accounts,
        line_limit=setup.ibkr_lines,
        stream_end_s=command.ibkr_stream_end,
        session_timeout_s=command.ibkr_session_timeout,
        holdings=setup.holdings,
        imperfections=setup.imperfections,
        gateways=command.ibkr_gateways,
    )


IBKR: Final = Simulator(endpoints=IbkrEndpoints, faults=IBKR_FAULTS, make=_make)
