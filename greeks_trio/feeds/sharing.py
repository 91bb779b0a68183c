"""The state of a feed beside those of other services on the same logins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Sharing:
    """The state of a feed beside those of other services.

    Attributes:
        holder: Another service that has the lease of this feed; `None` if none has it.
        is_standby: Whether the feed waits for the lease, because the broker allows one
            session for each user.
        takes_session: Whether the next connection takes the session from another one:
            the last holder of the lease has ended or was killed, and its gateway still
            has the session.
    """

    holder: str | None = None
    is_standby: bool = False
    takes_session: bool = False

    def notes(self) -> Iterator[str]:
        """Yield the sentences for a person."""
        if self.is_standby:
            yield f"standby: {self.holder} has the lease and streams"
        elif self.holder is not None:
            yield f"{self.holder} has the lease and writes positions and account values"
