"""The conditions of the service at this moment: one registry for every part."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from greeks_trio.model.condition_kinds import ConditionKind, Severity

logger = logging.getLogger(__name__)

_LEVELS: Final = {
    Severity.NOT_READY: logging.CRITICAL,
    Severity.DEGRADED: logging.ERROR,
    Severity.NOTE: logging.WARNING,
}


class Conditions:
    """Holds at most one sentence for each kind and subject.

    A part of the service calls `begin` as often as it finds the fault, and `end` when it
    finds that the fault is gone.  Only the changes are logged.
    """

    def __init__(self) -> None:
        self._sentences: dict[tuple[ConditionKind, str], str] = {}

    def begin(self, kind: ConditionKind, sentence: str, *, subject: str = "") -> None:
        """Note the fault, or its present words.

        Args:
            kind: The kind of fault.
            sentence: The fault, the place of its cause, and the action against it.
            subject: Tells faults of one kind apart, such as the name of a table.
        """
        key = kind, subject
        if key not in self._sentences:
            logger.log(
                _LEVELS[kind.severity],
                "condition.began kind=%s reason=%s",
                kind.value.replace(" ", "_"),
                sentence,
            )
        self._sentences[key] = sentence

    def end(self, kind: ConditionKind, *, subject: str = "") -> None:
        """Note that the fault is gone; without the fault nothing happens."""
        if self._sentences.pop((kind, subject), None) is not None:
            logger.warning(
                "condition.ended kind=%s subject=%s",
                kind.value.replace(" ", "_"),
                subject or "-",
            )

    def has(self, kind: ConditionKind) -> bool:
        """Return whether there is a condition of this kind."""
        return any(each is kind for each, _ in self._sentences)

    def entries(self) -> Mapping[str, str]:
        """Return the sentence of each condition, by its kind and subject in words."""
        return {
            f"{kind.value} {subject}".rstrip(): sentence
            for (kind, subject), sentence in self._sentences.items()
        }

    def sentences(self, severity: Severity) -> Sequence[str]:
        """Return the sentences of this severity in the order in which they began."""
        return [
            sentence
            for (kind, _), sentence in self._sentences.items()
            if kind.severity is severity
        ]

    def counts(self) -> Mapping[str, int]:
        """Return how many conditions there are of each kind, 0 for the others."""
        numbers = Counter(kind for kind, _ in self._sentences)
        return {kind.value: numbers[kind] for kind in ConditionKind}
