"""The result of one test of ``check``: a line for a person, and for a program."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Verdict: TypeAlias = Literal["fine", "warning", "failed"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of ``check``.

    Attributes:
        subject: The thing that was tested, such as ``partitions ahead``.
        verdict: ``failed`` if ``serve`` would not work or would break its promise, and
            ``warning`` if it will not work later.
        sentence: The result in words.
        remedy: The action of a person, as a sentence or a statement of SQL; `None` if
            there is nothing to do.
    """

    subject: str
    verdict: Verdict
    sentence: str
    remedy: str | None = None
