"""The name by which a user starts this program, for messages."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path, PurePath
from typing import Final

INSTALLED_NAME: Final = "greeks-trio"
LAUNCHER: Final = "bin/run-ingest"
_MODULE: Final = "python -m greeks_trio"


@cache
def program_name() -> str:
    """Return the command that starts this program, as a message shows it.

    It is ``greeks-trio`` for an installed package, and the launcher in a checkout.
    """
    if PurePath(sys.argv[0]).name == INSTALLED_NAME:
        return INSTALLED_NAME
    if Path(__file__).parents[1].joinpath(LAUNCHER).is_file():
        return LAUNCHER
    return _MODULE
