"""This program as a process: the name by which a user starts it, and its imports."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePath
from typing import Final

INSTALLED_NAME: Final = "greeks-trio"
LAUNCHER: Final = "bin/run-ingest"
_MODULE: Final = "python -m greeks_trio"
_ROOT: Final = Path(__file__).parents[1]


@cache
def program_name() -> str:
    """Return the command that starts this program, as a message shows it.

    It is ``greeks-trio`` for an installed package, and the launcher in a checkout.
    """
    if PurePath(sys.argv[0]).name == INSTALLED_NAME:
        return INSTALLED_NAME
    return LAUNCHER if _is_checkout() else _MODULE


def installation_command(extra: str, package: str) -> str:
    """Return the command that installs an extra.

    Args:
        extra: The name of the extra of this package.
        package: The package of the extra, for a checkout, which has no extras.
    """
    wanted = package if _is_checkout() else f"{INSTALLED_NAME}[{extra}]"
    return f"{sys.executable} -m pip install '{wanted}'"


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import modules whose objects stay as long as the process.

    Python's collector of cycles does not look at them, which is a seventh of the processor
    time of a start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _is_checkout() -> bool:
    return _ROOT.joinpath(LAUNCHER).is_file()
