"""The version of the program."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

_PROJECT: Final = Path(__file__).parents[1] / "pyproject.toml"


@cache
def program_version() -> str:
    """Return the installed version, or that of the checkout; 0 if there is neither.

    It is that of the start: a read of the status must not read files.
    """
    try:
        return version("greeks-trio")
    except PackageNotFoundError:
        return _version_of_checkout()


def _version_of_checkout() -> str:
    try:
        project = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))
    except OSError:
        return "0"
    return str(project["project"]["version"])
