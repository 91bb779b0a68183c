"""The frames between the service and its worker: a header with the size, then the body."""

from __future__ import annotations

from struct import Struct
from typing import Final

import msgspec

# The size of the body.
REQUEST: Final = Struct(">Q")
# The outcome, and the size of the body.
ANSWER: Final = Struct(">BQ")
DONE: Final = 0
# The body is a sentence for the client.
REFUSED: Final = 1


class Request(msgspec.Struct, frozen=True, array_like=True):
    """A job with its input, as the job reads it."""

    job: str
    parts: tuple[bytes, ...]
