"""One simulated gateway: a port with REST and WebSocket, and its login."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from greeks_trio.simulators.ibkr.clients import IbkrClients
from greeks_trio.simulators.ibkr.login import GatewayLogin
from greeks_trio.simulators.ibkr.rest import IbkrRest
from greeks_trio.simulators.ibkr.sessions import BrokerageSessions
from greeks_trio.simulators.ibkr.state import IbkrState
from greeks_trio.simulators.ibkr.stream import IbkrStream
from greeks_trio.simulators.server.door import Closing, Door
from greeks_trio.simulators.server.http import Request, Response
from greeks_trio.simulators.server.websocket import ServerWebSocket

_WS_PATHS: Final = ("/v1/api/ws", "/v1/portal/ws")

_REFUSAL: Final = Response(
    status=503, body=b"Service Unavailable", content_type="text/plain"
)


class Gateway:
    """Serves the clients of one gateway; several gateways share accounts and market.

    Attributes:
        login: The login of the user here.
        door: The port; `Door.run` serves it.
    """

    def __init__(
        self,
        state: IbkrState,
        login: GatewayLogin,
        sessions: BrokerageSessions,
        clients: IbkrClients,
        *,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.login = login
        self.rest = IbkrRest(state, login, sessions, self._silence)
        self.door = Door(self.respond, self._serve_socket)
        self._state = state
        self._clients = clients
        self._is_stopping = is_stopping

    async def _serve_socket(
        self, socket: ServerWebSocket, request: Request, _closing: Closing
    ) -> None:
        """Serve one client; `IbkrClients.end` ends it, never the door's request."""
        client = IbkrStream(
            self._state, self.login, socket, request, self._clients.note_change
        )
        with self._clients.serving(client):
            await client.run()

    def respond(self, request: Request) -> Response | None:
        """Answer a request; `None` for one that opens a websocket."""
        is_away = self._state.conditions.holds("drop", "http-503")
        if is_away or self._is_stopping():
            return _REFUSAL
        if request.path in _WS_PATHS and request.wants_websocket:
            return None
        return self.rest.respond(request)

    def _silence(self) -> None:
        for each in self._clients.of(self.login):
            each.lines.unsubscribe_all()
        self._clients.note_change()
