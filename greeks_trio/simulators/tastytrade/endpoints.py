"""The addresses and credentials of the simulated Tastytrade."""

from __future__ import annotations

from greeks_trio.simulators.endpoints import BrokerEndpoints


class TastytradeEndpoints(BrokerEndpoints, frozen=True):
    """Addresses and credentials.

    Attributes:
        account_ids: All accounts of the login; ``account_id`` is the first one.
    """

    api_url: str
    dxlink_url: str
    streamer_url: str
    secret: str
    refresh: str
    account_id: str
    account_ids: tuple[str, ...] = ()

    def variables(self) -> dict[str, str]:
        """Return the service's environment variables for this broker."""
        return {
            "TASTYTRADE_ENABLED": "true",
            "TASTYTRADE_API_URL": self.api_url,
            "TASTYTRADE_STREAMER_URL": self.streamer_url,
            "TT_SECRET": self.secret,
            "TT_REFRESH": self.refresh,
        }
