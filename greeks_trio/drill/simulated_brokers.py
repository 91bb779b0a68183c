"""The simulated brokers of a demo or a drill, in a process of their own."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2
import msgspec
import trio

from greeks_trio.drill.processes import Child, ProcessFailed
from greeks_trio.model.records import Broker
from greeks_trio.simulators.book.book import BookName
from greeks_trio.simulators.book.kinds import BOOKS
from greeks_trio.simulators.endpoints import Endpoints, parse_endpoints
from greeks_trio.simulators.ibkr.endpoints import IbkrEndpoints
from greeks_trio.simulators.registry import SIMULATORS

ENDPOINTS: Final = {name: each.endpoints for name, each in SIMULATORS.items()}
_START_LIMIT_S: Final = 30.0
_STOP_LIMIT_S: Final = 20.0
_ANSWER_LIMIT_S: Final = 10.0
# Each underlying takes a market-data line too.
_UNDERLYING_LINES: Final = 100


class SimulatedBrokers:
    """The running process; made by `open_simulated_brokers`."""

    def __init__(
        self, child: Child, endpoints: Endpoints, variables: Mapping[str, str]
    ) -> None:
        self.endpoints = endpoints
        self._child = child
        self._variables = variables

    def variables(self) -> dict[str, str]:
        """Return the service's environment variables for these brokers."""
        variables = dict(self._variables)
        for each in self.endpoints.brokers.values():
            variables |= each.variables()
        return variables

    def port(self, broker: Broker, service: int) -> int:
        """Return the port of a broker for a service: at IBKR that of a gateway."""
        endpoints = self.endpoints.brokers[broker]
        if isinstance(endpoints, IbkrEndpoints):
            return endpoints.gateway_ports[service]
        return endpoints.port

    async def make_fault(self, text: str) -> None:
        """Make the fault ``BROKER:NAME[:ARG]`` happen; return when it has begun.

        Raises:
            ProcessFailed: the simulators do not answer, or refuse the fault.
        """
        url = f"{self.endpoints.control_url}/faults"
        try:
            async with httpx2.AsyncClient(timeout=_ANSWER_LIMIT_S) as client:
                answer = await client.post(url, json={"fault": text})
        except httpx2.HTTPError as exc:
            raise ProcessFailed(f"the simulated brokers do not answer: {exc}") from exc
        if not answer.is_success:
            raise ProcessFailed(f"the simulated brokers refuse {text}: {answer.text}")

    async def stop(self) -> None:
        """Ask the process to send everything that is written; wait for its end.

        Raises:
            ProcessFailed: it does not end in time.
        """
        self._child.send(signal.SIGTERM)
        with trio.move_on_after(_STOP_LIMIT_S):
            while await self._child.stdout.receive_some():
                pass
            self._child.reap()
            return
        raise self._child.failure("do not end")


@asynccontextmanager
async def open_simulated_brokers(
    *,
    rate: float,
    seed: int,
    ledger: Path,
    book: BookName = "textbook",
    contracts: int | None = None,
    faults: Sequence[str] = (),
    takes_faults: bool = False,
    log: Path | None = None,
    gateways: int = 1,
    deliveries: Path | None = None,
) -> AsyncIterator[SimulatedBrokers]:
    """Run ``simulate`` for as long as the block lasts.

    With ``takes_faults`` it has a control port for `SimulatedBrokers.make_fault`.  Its
    messages go to the file ``log``, or, without one, warnings go to our own stderr.
    ``gateways`` is the number of gateways of the user at IBKR.

    Raises:
        ProcessFailed: the process did not start.
    """
    arguments = [
        *("simulate", "--ends-with-parent"),
        *("--book", book, "--rate", str(rate)),
        *(() if contracts is None else ("--contracts", str(contracts))),
        *("--seed", str(seed), "--ledger", str(ledger)),
        *(word for fault in faults for word in ("--fault", fault)),
        *(("--control-port", "0") if takes_faults else ()),
        *(() if log else ("--quiet",)),
        *("--ibkr-gateways", str(gateways)),
        *(() if deliveries is None else ("--deliveries", str(deliveries))),
    ]
    child = Child("the simulated brokers", arguments, log=log)
    try:
        endpoints = await _read_endpoints(child)
        yield SimulatedBrokers(child, endpoints, variables_of_book(book, contracts))
    finally:
        child.destroy()


def variables_of_book(
    book: BookName, contracts: int | None, lines: int | None = None
) -> dict[str, str]:
    """Return the settings that the service needs for a book.

    Args:
        book: The name of the book.
        contracts: The number of contracts, `None` for that of the book.
        lines: The number of lines at IBKR, `None` for that of the book.
    """
    kind = BOOKS[book]
    most = (contracts or kind.contracts) + _UNDERLYING_LINES
    if lines is None:
        lines = most if kind.ibkr_lines is None else kind.ibkr_lines
    variables = {"GREEKS_IBKR_MARKET_DATA_LINES": str(lines)}
    if kind.positions_interval_s is not None:
        variables["GREEKS_POSITIONS_INTERVAL_S"] = str(kind.positions_interval_s)
    return variables


async def _read_endpoints(child: Child) -> Endpoints:
    line = b""
    with trio.move_on_after(_START_LIMIT_S):
        while not line.endswith(b"\n"):
            chunk = await child.stdout.receive_some()
            if not chunk:
                break
            line += chunk
    try:
        return parse_endpoints(line, ENDPOINTS)
    except msgspec.DecodeError as exc:
        raise child.failure("did not start") from exc
