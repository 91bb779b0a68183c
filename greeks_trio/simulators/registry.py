"""The simulated brokers.  A new one needs a package and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from greeks_trio.model.records import Broker
from greeks_trio.simulators.ibkr.simulator import IBKR
from greeks_trio.simulators.simulator import Simulator
from greeks_trio.simulators.tastytrade.simulator import TASTYTRADE

SIMULATORS: Final[Mapping[Broker, Simulator]] = MappingProxyType(
    {
        "ibkr": IBKR,
        "tastytrade": TASTYTRADE,
    }
)
