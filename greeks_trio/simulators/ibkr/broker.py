"""Simulated IBKR Client Portal gateways of one user: REST and WebSocket on a TLS port.

They behave on the wire as the real one does, with its oddities, and independent clients
can talk to them.  Every tick is in the ledger before it is sent.  The user has one
brokerage session: a gateway that takes it ends that of the other gateway.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Final

import trio

from greeks_trio.simulators.account_values import Money
from greeks_trio.simulators.book.book import FLAWLESS, Holdings, Imperfections
from greeks_trio.simulators.fault_kinds import Verb
from greeks_trio.simulators.faults import Fault, run_faults
from greeks_trio.simulators.ibkr.clients import IbkrClients
from greeks_trio.simulators.ibkr.endpoints import IbkrEndpoints
from greeks_trio.simulators.ibkr.faults import IbkrFaults
from greeks_trio.simulators.ibkr.gateway import Gateway
from greeks_trio.simulators.ibkr.login import Logins
from greeks_trio.simulators.ibkr.sessions import BrokerageSessions
from greeks_trio.simulators.ibkr.state import IbkrSettings, IbkrState
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.market import Market, SimulatedOption
from greeks_trio.simulators.server.certificates import (
    LocalCertificate,
    open_certificate,
)

_API: Final = "/v1/api"


class SimulatedIbkr:
    """Gateways with an account that holds ``options`` and some shares.

    A client can subscribe to every contract of the market.  ``rate`` is the number of
    ticks a second on each connection, over all its subscribed options.  A subscription
    ends ``stream_end_s`` seconds after its last request.  At most ``line_limit``
    contracts get data; the subscriptions of all others stay empty.  The login has
    ``accounts`` accounts; each further one holds a third of the options of the first.
    The brokerage session is lost ``session_timeout_s`` seconds after the last REST
    request.  ``holdings`` gives other accounts, and the split that happens in them.
    ``gateways`` is the number of gateways; at first the first one has the session.

    Attributes:
        faults: A method for each fault.
    """

    def __init__(
        self,
        market: Market,
        options: Sequence[SimulatedOption],
        ledger: Ledger,
        *,
        rate: float,
        seed: int,
        faults: Sequence[Fault] = (),
        stream_end_s: float = 900.0,
        line_limit: int | None = None,
        accounts: int = 1,
        session_timeout_s: float = 360.0,
        holdings: Holdings | None = None,
        imperfections: Imperfections = FLAWLESS,
        gateways: int = 1,
    ) -> None:
        settings = IbkrSettings(
            rate=rate,
            stream_end_s=stream_end_s,
            line_limit=line_limit,
            accounts=accounts,
            session_timeout_s=session_timeout_s,
            imperfections=imperfections,
        )
        random = Random(seed)
        self._state = IbkrState(market, options, ledger, settings, random, holdings)
        self._split = None if holdings is None else holdings.split
        self._clients = IbkrClients()
        self._stopping = trio.Event()
        sessions = BrokerageSessions(Logins(random, gateways), self._clients)
        self._gateways = [
            Gateway(
                self._state,
                login,
                sessions,
                self._clients,
                is_stopping=self._stopping.is_set,
            )
            for login in sessions.logins.each
        ]
        self.faults = IbkrFaults(self._state, sessions, self._clients, self._gateways)
        self._planned = [each for each in faults if each.broker == "ibkr"]

    async def run(
        self,
        port: int,
        *,
        task_status: trio.TaskStatus[IbkrEndpoints] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve clients until `stop`; started when every port accepts connections.

        The port is that of the first gateway; each other one has any free port.  After
        `stop` no frame is made; everything that was written reaches the clients, and
        their connections are closed.  A cancellation cuts them off.

        Raises:
            OSError: the port is in use.
        """
        with open_certificate() as certificate:
            async with trio.open_nursery() as nursery:
                ports = [
                    await nursery.start(
                        each.door.run,
                        port if each is self._gateways[0] else 0,
                        certificate.server,
                        name="ibkr gateway",
                    )
                    for each in self._gateways
                ]
                nursery.start_soon(
                    run_faults, self._planned, self.verbs, name="ibkr faults"
                )
                nursery.start_soon(self.faults.wait_idle, name="ibkr session")
                nursery.start_soon(self._run_split, name="ibkr split")
                task_status.started(self._endpoints(ports, certificate))
                await self._stopping.wait()
                self._state.conditions.end_all()
                await self._clients.end("close")
                nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Make `run` return; new connections are refused from now on."""
        self._stopping.set()

    def money(self, account_id: str) -> Money:
        """Return the present values of an account."""
        return self._gateways[0].rest.money(account_id)

    def remove_account(self, account_id: str) -> None:
        """Take an account out of the login."""
        del self._state.account_positions.positions[account_id]

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The function of each fault, under the fault's name."""
        return self.faults.verbs

    @property
    def connections(self) -> int:
        """The number of WebSockets accepted so far."""
        return self._clients.count

    @property
    def subscribed(self) -> frozenset[int]:
        """The conids that are subscribed on at least one connection."""
        streams = (each for each in self._clients.streams if each.is_open)
        return frozenset().union(*(each.lines.conids for each in streams))

    def hold(self, option: SimulatedOption, quantity: float) -> None:
        """Change the first account's position in one option; 0 closes it."""
        self._state.positions.pop(option.conid, None)
        if quantity:
            self._state.positions[option.conid] = quantity

    async def wait_connected(self) -> None:
        """Return when at least one client has been told that it may subscribe."""
        while not any(each.is_open for each in self._clients.streams):
            await self._clients.wait_changed()

    async def wait_disconnected(self) -> None:
        """Return when there is no WebSocket."""
        while self._clients.streams:
            await self._clients.wait_changed()

    async def wait_subscribed(self, conids: Collection[int] | None = None) -> None:
        """Return when these contracts are subscribed; by default all held options."""
        while not self._option_conids(conids) <= self.subscribed:
            await self._clients.wait_changed()

    async def wait_unsubscribed(self, conids: Collection[int]) -> None:
        """Return when none of these contracts is subscribed."""
        while self._option_conids(conids) & self.subscribed:
            await self._clients.wait_changed()

    def _endpoints(
        self, ports: Sequence[int], certificate: LocalCertificate
    ) -> IbkrEndpoints:
        return IbkrEndpoints(
            rest_url=f"https://localhost:{ports[0]}{_API}",
            ws_url=f"wss://localhost:{ports[0]}{_API}/ws",
            gateway_ports=tuple(ports),
            ca_file=str(certificate.authority_file),
            account_id=self._state.account_positions.account_ids[0],
            account_ids=self._state.account_positions.account_ids,
        )

    async def _run_split(self) -> None:
        """Let the book's split happen at its time; ends then."""
        if self._split is not None:
            while not self.subscribed:
                await self._clients.wait_changed()
            await trio.sleep(self._split.at_s)
            self._state.adjust(self._split)

    def _option_conids(self, conids: Collection[int] | None) -> set[int]:
        if conids is not None:
            return set(conids)
        return {each for each in self._state.positions if each in self._state.options}
