"""What the HTTP interface wants to know of the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from greeks_trio.model.records import StreamSession


class StatusView(Protocol):
    """The running service, for reading.  Nothing here waits or holds a secret."""

    def sessions(self) -> Sequence[StreamSession]:
        """Return the state of each enabled broker's feed."""

    def readiness(self) -> Sequence[str]:
        """Return what keeps the service from being ready, nothing when it is."""

    def warnings(self) -> Sequence[str]:
        """Return what is wrong or unusual although the service is ready."""

    def details(self) -> Mapping[str, Any]:
        """Return latencies and counters, in types that JSON has."""
