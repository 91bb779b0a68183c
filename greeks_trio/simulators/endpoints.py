"""The first line of ``simulate``: where each simulated broker listens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import msgspec

from greeks_trio.model.records import Broker


class BrokerEndpoints(msgspec.Struct, frozen=True):
    """The addresses and credentials of one simulated broker; each has its own fields."""

    @abstractmethod
    def variables(self) -> dict[str, str]:
        """Return the service's environment variables for this broker."""

    @property
    def port(self) -> int:
        """The port of all addresses."""
        ports = {urlsplit(url).port for url in self._urls().values()}
        [port] = ports
        assert port is not None  # noqa: S101  a simulator always sets the port
        return port

    def at_port(self, port: int) -> Self:
        """Return the same addresses with another port, for a proxy."""
        return msgspec.structs.replace(
            self, **{name: _at_port(url, port) for name, url in self._urls().items()}
        )

    def _urls(self) -> dict[str, str]:
        names = (name for name in self.__struct_fields__ if name.endswith("_url"))
        return {name: getattr(self, name) for name in names}


class Endpoints(msgspec.Struct, frozen=True):
    """Every simulated broker that runs, and the address that takes faults, if any."""

    brokers: Mapping[Broker, BrokerEndpoints]
    control_url: str | None = None

    def encode(self) -> str:
        """Return the line, one JSON object."""
        line: dict[str, object] = {
            str(name): each for name, each in self.brokers.items()
        }
        if self.control_url is not None:
            line["control_url"] = self.control_url
        return msgspec.json.encode(line).decode()


def parse_endpoints(
    line: bytes, kinds: Mapping[Broker, type[BrokerEndpoints]]
) -> Endpoints:
    """Return the endpoints in the line; ``kinds`` has the type for each broker.

    Raises:
        msgspec.DecodeError: the line does not have this format.
    """
    parts = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    control = parts.get("control_url", b"null")
    return Endpoints(
        brokers={
            broker: msgspec.json.decode(parts[broker], type=kind)
            for broker, kind in kinds.items()
            if broker in parts
        },
        control_url=msgspec.json.decode(control, type=str | None),
    )


def _at_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.hostname}:{port}"))
