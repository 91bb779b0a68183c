"""What a fault is called, what its argument means, and which values that may have."""

from __future__ import annotations

from typing import Final

import msgspec

# Long enough for any drill, short enough that a slip of the keyboard is noticed.
LONGEST_S: Final = 86_400.0


class FaultKind(msgspec.Struct, frozen=True, kw_only=True):
    """One fault that a simulated broker can produce.

    Attributes:
        help: One line; says what ARG means where there is one.
        default: The argument of a fault that is written without one; `None` when the
            fault takes no argument.
        most: The largest argument.
    """

    help: str
    default: float | None = None
    most: float = LONGEST_S
