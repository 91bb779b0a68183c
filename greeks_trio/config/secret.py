"""Secrets, and the kind of settings that hold one.  Pure, apart from the masking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from greeks_trio.config.kinds import Kind
from greeks_trio.foreign_text import MASK, register_secret


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that no output shows; only ``reveal()`` returns it.

    It is masked in the log and in errors, too, from the moment it is made.
    """

    _text: str

    def __post_init__(self) -> None:
        register_secret(self._text)

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__


def _configured(text: str) -> Secret:
    register_secret(text, lasting=True)
    return Secret(text)


SECRET: Final = Kind(
    parse=_configured,
    values="any text",
    write=lambda secret: secret.reveal(),
    is_secret=True,
)
