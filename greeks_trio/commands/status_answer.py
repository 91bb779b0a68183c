"""The answer of ``/v1/streaming/status``, read by the names of the figures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import msgspec

from greeks_trio.model.records import StreamSession
from greeks_trio.monitoring.figures.figure import Figure
from greeks_trio.monitoring.status_json import IN_STATUS, find


class _Windows(msgspec.Struct, frozen=True):
    """The percentiles of a latency in milliseconds, `None` without a tick."""

    last_minute: dict[str, float | None] = {}


class StatusAnswer:
    """The figures of a service, which may have another version than this program.

    A figure that the service does not have is empty: 0, `False` or `None`.

    Attributes:
        sessions: The session of each broker.
    """

    def __init__(self, document: object) -> None:
        """Read a document.

        Raises:
            msgspec.ValidationError: it is no status of this service.
        """
        self.sessions = msgspec.convert(document, _Sessions).sessions
        self._values = {
            figure.name: msgspec.convert(find(document, figure), _type_of(figure))
            for figure in IN_STATUS
        }

    def flag(self, figure: Figure) -> bool:
        """Return a figure that is true or false."""
        return bool(self._values[figure.name])

    def count(self, figure: Figure) -> int:
        """Return a figure that is a whole number."""
        return cast(int | None, self._values[figure.name]) or 0

    def number(self, figure: Figure) -> float | None:
        """Return a figure that is a number."""
        return cast(float | None, self._values[figure.name])

    def text(self, figure: Figure) -> str | None:
        """Return a figure that is a text."""
        return cast(str | None, self._values[figure.name])

    def moment(self, figure: Figure) -> datetime | None:
        """Return a figure that is a time."""
        return cast(datetime | None, self._values[figure.name])

    def counts(self, figure: Figure) -> Mapping[str, int]:
        """Return the values of a figure by its label, without those that are missing."""
        counts = cast(Mapping[str, int | None] | None, self._values[figure.name])
        return {label: n for label, n in (counts or {}).items() if n is not None}

    def table(self, figure: Figure) -> Mapping[str, Mapping[str, int]]:
        """Return the values of a figure with two labels, by the first and the second."""
        values = self._values[figure.name]
        return cast(Mapping[str, Mapping[str, int]] | None, values) or {}

    def last_minute(self, figure: Figure) -> Mapping[str, float | None]:
        """Return the percentiles of the last minute in milliseconds."""
        windows = cast(_Windows | None, self._values[figure.name])
        return {} if windows is None else windows.last_minute


class _Sessions(msgspec.Struct, frozen=True):
    sessions: list[StreamSession]


def _type_of(figure: Figure) -> Any:  # noqa: ANN401 - a type, made at run time
    if figure.percentiles is not None:
        return _Windows | None
    value: Any = figure.value | None
    if not figure.is_sum_in_status:
        for _ in figure.labels:
            value = dict[str, value] | None
    return value
