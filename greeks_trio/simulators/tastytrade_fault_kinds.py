"""The faults of a simulated Tastytrade; see `greeks_trio.simulators.faults`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from greeks_trio.simulators.fault_kinds import FaultKind

# Every name here is a key of the broker's verbs, and the other way round.
TASTYTRADE_FAULTS: Final[Mapping[str, FaultKind]] = MappingProxyType(
    {
        "drop": FaultKind(
            help="closes every connection and refuses new ones for ARG seconds",
            default=5.0,
        ),
    }
)
