"""The version of the program."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """Return the installed version, 0 if the program runs from a checkout."""
    try:
        return version("greeks-trio")
    except PackageNotFoundError:
        return "0"
