"""The state of a feed beside those of other services on the same logins."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import trio

from greeks_trio.model.coverage import Interval

# The gateway of a service that has ended keeps the session for some minutes.
TAKES_SESSION_S: Final = 120.0
# While the database is away, a feed may connect many times.
_KEPT_CONNECTIONS: Final = 1_000


@dataclass(slots=True)
class Sharing:
    """The state of a feed beside those of other services.

    Attributes:
        holder: Another service that has the lease of this feed; `None` if none has it.
        has_lease: Whether this service has it.
        is_standby: Whether the feed waits for the lease, because the broker allows one
            session for each user.
        ended_connections: The times of connections whose end is not in the database yet,
            oldest first.
    """

    holder: str | None = None
    has_lease: bool = False
    is_standby: bool = False
    ended_connections: deque[Interval] = field(
        default_factory=lambda: deque(maxlen=_KEPT_CONNECTIONS)
    )
    _takes_session_until: float = -math.inf

    @property
    def takes_session(self) -> bool:
        """Whether the next connection takes the session from another gateway."""
        return trio.current_time() < self._takes_session_until

    def take_session(self) -> None:
        """Let the next connection take the session, if it is soon.

        The last holder of the lease has ended or was killed, and its gateway still has it.
        """
        self._takes_session_until = trio.current_time() + TAKES_SESSION_S

    def session_taken(self) -> None:
        """Leave the session alone when another program takes it from now on."""
        self._takes_session_until = -math.inf

    def notes(self) -> Iterator[str]:
        """Yield the sentences for a person."""
        if self.is_standby:
            yield f"standby: {self.holder} has the lease and streams"
        elif self.holder is not None:
            yield f"{self.holder} has the lease and writes positions and account values"
