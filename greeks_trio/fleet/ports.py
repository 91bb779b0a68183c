"""Ports that the fleet chooses for its services, and keeps while they restart."""

from __future__ import annotations

import socket
import sys

from greeks_trio.fleet.plan import ServicePlan


class Ports:
    """A port of its own for each service without one.

    Attributes:
        chosen: By the name of the service.
    """

    def __init__(self) -> None:
        self.chosen: dict[str, int] = {}
        self._held: list[socket.socket] = []

    def port_of(self, plan: ServicePlan) -> int:
        """Return the port of a service: the configured one, or one that is kept for it."""
        if plan.http.port:
            return plan.http.port
        if plan.name not in self.chosen:
            self.chosen[plan.name] = self._choose(plan.http.host)
        return self.chosen[plan.name]

    def _choose(self, host: str) -> int:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        # As the service chooses of several addresses.
        family, *_, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        held = socket.socket(family, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
        port: int = held.getsockname()[1]
        if sys.platform == "linux":
            # It does not listen, so the service can.  No other program gets the port.
            self._held.append(held)
        else:
            held.close()
        return port

    def close(self) -> None:
        """Give the ports back."""
        for each in self._held:
            each.close()
