"""The fingerprint of an event: the same event always has the same fingerprint.

It covers the broker's own values and nothing that we add.  A broker may deliver an event
again, later, over another connection or after a restart.  The event then meets the
primary key that it already has.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from greeks_trio.model.records import Greeks, UnifiedPositionRecord

# Packs as 7ff8000000000000.  No real value does: the protocols turn a broker's NaN into
# None before.
_MISSING: Final = float("nan")
_SIX_DOUBLES: Final = struct.Struct(">6d")
_SIGNED: Final = struct.Struct(">q")


def fingerprint(values: Greeks | UnifiedPositionRecord) -> int:
    """Return 64 signed bits of BLAKE2b over the six values that the broker sent."""
    delta, gamma, theta = values.delta, values.gamma, values.theta
    vega, rho, volatility = values.vega, values.rho, values.implied_volatility
    packed = _SIX_DOUBLES.pack(  # adding 0.0 turns -0.0 into 0.0
        _MISSING if delta is None else delta + 0.0,
        _MISSING if gamma is None else gamma + 0.0,
        _MISSING if theta is None else theta + 0.0,
        _MISSING if vega is None else vega + 0.0,
        _MISSING if rho is None else rho + 0.0,
        _MISSING if volatility is None else volatility + 0.0,
    )
    number: int = _SIGNED.unpack_from(blake2b(packed).digest())[0]
    return number
