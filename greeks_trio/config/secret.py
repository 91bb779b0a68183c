"""Secrets, and the kind of settings that hold one.  Pure, apart from the masking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from greeks_trio.config.kinds import Kind
from greeks_trio.foreign_text import MASK, register_secret

# The variable with this ending names a file that holds the secret.
FILE_SUFFIX: Final = "_FILE"


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


def _parse_token(text: str) -> Secret:
    if text != text.strip():
        raise ValueError("begins or ends with a space or a line break; remove it")
    if not text.isprintable():
        raise ValueError("holds a control character; copy it again")
    return _configured(text)


def _reveal(secret: Secret) -> str:
    return secret.reveal()


# A password may be any text, also one with spaces around it.
SECRET: Final = Kind(
    parse=_configured, values="any text", write=_reveal, is_secret=True
)
# A token goes into the header of a request.
TOKEN: Final = Kind(
    parse=_parse_token,
    values="a text without spaces around it",
    write=_reveal,
    is_secret=True,
)
