"""The brokerage session of the simulated user, and what clients hear of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from greeks_trio.simulators.ibkr.clients import IbkrClients
from greeks_trio.simulators.ibkr.login import GatewayLogin, Login, Logins
from greeks_trio.simulators.ibkr.topics import encode_status

_LOST: Final = MappingProxyType({"authenticated": False})


class BrokerageSessions:
    """Opens and ends the session; a status frame has only the changed field.

    Attributes:
        logins: The logins of the user.
    """

    def __init__(self, logins: Logins, clients: IbkrClients) -> None:
        self.logins = logins
        self._clients = clients

    def open(self, login: GatewayLogin) -> None:
        """Open the session at a gateway; another one that has it loses it."""
        for loser in self.logins.open(login):
            self._clients.tell(encode_status({"competing": True}), login=loser)
            self._tell_loss(loser, _LOST)
        self._clients.tell(encode_status({"authenticated": True}), login=login)

    def lose(
        self, login: GatewayLogin, state: Login, status: Mapping[str, object] = _LOST
    ) -> None:
        """End the session of a gateway."""
        self.logins.lose(login, state)
        self._tell_loss(login, status)

    def _tell_loss(self, login: GatewayLogin, status: Mapping[str, object]) -> None:
        self._clients.tell(encode_status(dict(status)), login=login)
        self._clients.end_subscriptions(login)
