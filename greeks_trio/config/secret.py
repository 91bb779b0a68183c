"""Secrets, and the kind of settings that hold one.  Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from greeks_trio.config.kinds import Kind


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that no output shows; only ``reveal()`` returns it."""

    _text: str

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


SECRET: Final = Kind(
    parse=Secret,
    values="any text",
    write=lambda secret: secret.reveal(),
    is_secret=True,
)
