"""The parts of Tastytrade's SDK that are used, imported without pyarrow.

The SDK imports pandas, and pandas imports pyarrow wherever it is installed: 35 MB of
memory that the service never uses.  While pandas looks for it, pyarrow is hidden.  The
archive imports it later all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["Session", "TastytradeError"]

_HIDDEN: Final = "pyarrow"


@contextmanager
def _pyarrow_hidden() -> Iterator[None]:
    """Let imports within the block not find pyarrow, unless it is imported already."""
    modules: dict[str, Any] = sys.modules
    if _HIDDEN in modules:
        yield
        return
    modules[_HIDDEN] = None  # an import of it is an ImportError now
    try:
        yield
    finally:
        del modules[_HIDDEN]


with _pyarrow_hidden():
    from tastytrade.session import Session
    from tastytrade.utils import TastytradeError
