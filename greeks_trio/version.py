"""Which version of the program this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """Return the installed version, 0 when it runs from a checkout."""
    try:
        return version("greeks-trio")
    except PackageNotFoundError:
        return "0"
