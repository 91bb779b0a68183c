"""The parts of Tastytrade's SDK that are used, imported without pandas.

The SDK imports pandas for the dates of expiries, which nothing here uses: 50 MB of memory
and a second of processor time.  While it is imported, two modules without content stand in
for pandas and its calendars.  Other imports of pandas find the real one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

__all__ = ["Session", "TastytradeError"]


class _NotThere:
    """Stands in for a class or function; each use of it says so."""

    def __init__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - anything may be asked for
        raise RuntimeError(
            f"pandas' {name} is not there: the service imports Tastytrade's SDK without it"
        )


_STAND_INS: Final = {"pandas": "Timestamp", "pandas_market_calendars": "get_calendar"}


@contextmanager
def _without_pandas() -> Iterator[None]:
    """Let imports within the block not load pandas, unless it is imported already."""
    missing = [name for name in _STAND_INS if name not in sys.modules]
    for name in missing:
        module = ModuleType(name)
        setattr(module, _STAND_INS[name], _NotThere)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


with _without_pandas():
    from tastytrade.session import Session
    from tastytrade.utils import TastytradeError
