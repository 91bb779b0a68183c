"""A simulated Tastytrade on one loopback port: REST, DXLink and account streamer.

Plain HTTP, so that any client can talk to it.  `SimulatedTastytrade` puts the parts
together; the head of each part names the interface that it imitates.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

import trio

from greeks_trio.simulators.account_values import Money
from greeks_trio.simulators.book.book import FLAWLESS, Holdings, Imperfections
from greeks_trio.simulators.conditions import Conditions
from greeks_trio.simulators.fault_kinds import Verb
from greeks_trio.simulators.faults import Fault, run_faults
from greeks_trio.simulators.ledger import Ledger
from greeks_trio.simulators.market import Market, SimulatedOption
from greeks_trio.simulators.server.door import Closing, Door
from greeks_trio.simulators.server.http import Request, Response
from greeks_trio.simulators.server.websocket import ServerWebSocket
from greeks_trio.simulators.tastytrade.account_streamer import AccountStreamer
from greeks_trio.simulators.tastytrade.dxlink_server import serve_dxlink
from greeks_trio.simulators.tastytrade.dxlink_session import DxlinkSession
from greeks_trio.simulators.tastytrade.endpoints import TastytradeEndpoints
from greeks_trio.simulators.tastytrade.faults import (
    DXLINK_PATH,
    STREAMER_PATH,
    TastytradeFaults,
)
from greeks_trio.simulators.tastytrade.greeks_tape import GreeksTape, run_tape
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol
from greeks_trio.simulators.tastytrade.positions import ACCOUNT_ID, SimulatedPositions
from greeks_trio.simulators.tastytrade.rest import Rest

_HALT_S: Final = 2.0


class SimulatedTastytrade:
    """One broker; make a new one for each run.

    ``accounts`` is the number of accounts with positions.  The first account holds all
    options, each other one a third of them.  One more account is always empty.

    The credentials are derived from the seed.  After a restart on the same port, clients
    can therefore use the same credentials.

    Attributes:
        verbs: The function of each fault, under the fault's name.
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
        accounts: int = 1,
        holdings: Holdings | None = None,
        imperfections: Imperfections = FLAWLESS,
    ) -> None:
        self._rate = rate
        self._faults = [each for each in faults if each.broker == "tastytrade"]
        self._random = random.Random(seed)
        self._secret = f"simulated-secret-{seed}"
        self._refresh = f"simulated-refresh-{seed}"
        self._split = None if holdings is None else holdings.split
        to_come = () if self._split is None else (self._split.after,)
        tradable = (*to_come, *market.options)
        self._positions = SimulatedPositions(
            options,
            tradable,
            seed=seed,
            accounts=accounts,
            holdings=holdings,
            underlyings=market.underlyings,
        )
        self._market = market
        self._imperfections = imperfections
        self._conditions = Conditions()
        self._sessions: set[DxlinkSession] = set()
        self._tape = self._make_tape(market, (*options, *to_come), ledger, seed)
        self._rest = Rest(
            self._positions,
            self._conditions,
            secret=self._secret,
            refresh=self._refresh,
            clock=trio.current_time,
            price_of=market.price_of,
        )
        self._streamer = AccountStreamer(self._rest.is_bearer, self._conditions)
        self._door = Door(self._respond, self._serve_socket)
        faulty = TastytradeFaults(self._door, self._rest, self._tape, self._sessions)
        self.verbs: Mapping[str, Verb] = faulty.verbs
        self._stopped = trio.Event()

    def _make_tape(
        self,
        market: Market,
        options: Sequence[SimulatedOption],
        ledger: Ledger,
        seed: int,
    ) -> GreeksTape:
        return GreeksTape(
            market,
            options,
            ledger,
            accounts_of=self._positions.accounts_of,
            symbol_of=streamer_symbol,
            seed=seed,
            conditions=self._conditions,
            imperfections=self._imperfections,
        )

    @property
    def illiquid_symbols(self) -> frozenset[str]:
        """Streamer symbols of held contracts that never have Greeks."""
        return self._tape.illiquid_symbols

    async def run(
        self,
        port: int,
        *,
        task_status: trio.TaskStatus[TastytradeEndpoints] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop`; port 0 means any free port.

        Started with the endpoints when everything accepts.  After `stop` no event is
        made; everything that was written reaches the clients, then they are closed.
        """
        async with trio.open_nursery() as nursery:
            port = await nursery.start(self._door.run, port, name="tastytrade door")
            nursery.start_soon(self._run_until_stop, name="tastytrade events")
            endpoints = self._endpoints(port)
            self._rest.dxlink_url = endpoints.dxlink_url
            task_status.started(endpoints)

    def stop(self) -> None:
        """Let `run` finish; scheduled and active faults end too."""
        self._stopped.set()
        self._door.stop()

    async def drop(self, seconds: float) -> None:
        """Close every connection, and refuse new ones for this many seconds."""
        await self._door.drop(seconds)

    def change_position(self, contract_key: str, quantity: int) -> None:
        """Set the account's quantity, negative for short, and notify its clients.

        Raises:
            KeyError: the market has no such contract.
        """
        shape = self._positions.change(contract_key, quantity)
        self._streamer.tell("CurrentPosition", ACCOUNT_ID, shape)

    def money(self, account_id: str) -> Money:
        """Return the present values of an account."""
        return self._rest.money(account_id)

    async def wait_open(self) -> None:
        """Return when clients are accepted, also after a `drop`."""
        await self._door.wait_open()

    async def wait_account_followed(self) -> None:
        """Return when a client of the account streamer has connected an account."""
        await self._streamer.wait_connected()

    async def wait_subscribed(self) -> None:
        """Return when a DXLink client has subscribed to something."""
        await self._tape.wait_subscribed()

    async def _run_until_stop(self) -> None:
        """Make events and faults until `stop`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_tape, self._tape, self._rate)
            nursery.start_soon(run_faults, self._faults, self.verbs)
            nursery.start_soon(self._run_split, name="tastytrade split")
            await self._stopped.wait()
            nursery.cancel_scope.cancel()

    async def _run_split(self) -> None:
        """Let the book's split happen at its time; ends then.

        Trading in the option ends a little earlier.  So every tick of it has reached
        the clients before they hear that it is closed.
        """
        split = self._split
        if split is None:
            return
        await self._tape.wait_subscribed()
        await trio.sleep(max(0.0, split.at_s - _HALT_S))
        self._tape.halt(streamer_symbol(split.before))
        await trio.sleep(_HALT_S)
        self._market.split(split.before.underlying, split.after.underlying, split.ratio)
        for account_id, shape in self._positions.split(split):
            self._streamer.tell("CurrentPosition", account_id, shape)

    def _respond(self, request: Request) -> Response | None:
        is_socket = request.path in (DXLINK_PATH, STREAMER_PATH)
        if is_socket and request.wants_websocket:
            return self._rest.refuse_upgrade()
        return self._rest.respond(request)

    async def _serve_socket(
        self, socket: ServerWebSocket, request: Request, closing: Closing
    ) -> None:
        if request.path == STREAMER_PATH:
            await self._streamer.serve(socket, closing)
            return
        await serve_dxlink(
            socket,
            closing,
            self._tape,
            self._rest.quote_tokens.is_valid,
            seed=self._random.getrandbits(32),
            sessions=self._sessions,
        )

    def _endpoints(self, port: int) -> TastytradeEndpoints:
        return TastytradeEndpoints(
            api_url=f"http://127.0.0.1:{port}",
            dxlink_url=f"ws://127.0.0.1:{port}{DXLINK_PATH}",
            streamer_url=f"ws://127.0.0.1:{port}{STREAMER_PATH}",
            secret=self._secret,
            refresh=self._refresh,
            account_id=self._positions.account_ids[0],
            account_ids=self._positions.account_ids,
        )
