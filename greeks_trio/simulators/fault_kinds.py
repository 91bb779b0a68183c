"""The description of a fault: help, meaning and bounds of its argument."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec

# Long enough for any drill, short enough that a typing mistake is noticed.
LONGEST_S: Final = 86_400.0

# Makes a fault happen.  The number is the fault's argument, 0 for a fault without one.
# It returns when the fault is over and the broker is normal again.  A cancelled verb
# also leaves the broker normal.
Verb: TypeAlias = Callable[[float], Awaitable[None]]


class FaultKind(msgspec.Struct, frozen=True, kw_only=True):
    """One fault that a simulated broker can produce.

    Attributes:
        help: One line; explains ARG if the fault has an argument.
        default: The argument when the text gives none; `None` when the fault takes no
            argument.
        most: The largest argument.
    """

    help: str
    default: float | None = None
    most: float = LONGEST_S
