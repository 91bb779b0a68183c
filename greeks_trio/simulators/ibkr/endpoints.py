"""The addresses of the simulated gateways."""

from __future__ import annotations

from greeks_trio.simulators.endpoints import BrokerEndpoints


class IbkrEndpoints(BrokerEndpoints, frozen=True):
    """Addresses of the first gateway of the user.

    Attributes:
        ca_file: PEM file of the certificate authority to trust; the same at every start.
        account_ids: All accounts of the login; ``account_id`` is the first one.
        gateway_ports: The port of each gateway of the user, the first one included;
            `at_port` gives the addresses of another one.
    """

    rest_url: str
    ws_url: str
    ca_file: str
    account_id: str
    account_ids: tuple[str, ...] = ()
    gateway_ports: tuple[int, ...] = ()

    def variables(self) -> dict[str, str]:
        """Return the service's environment variables for this broker."""
        return {
            "IBKR_ENABLED": "true",
            "IBKR_API_URL": self.rest_url,
            "IBKR_WS_URL": self.ws_url,
            "IBKR_CA_FILE": self.ca_file,
        }
