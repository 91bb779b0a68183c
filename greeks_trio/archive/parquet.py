"""Whether pyarrow is installed: it is an extra, because of its size."""

from __future__ import annotations

from importlib.util import find_spec

from greeks_trio.errors import ConfigError
from greeks_trio.program import installation_command


def need_pyarrow() -> None:
    """Raise an error that says how to install pyarrow, unless it is installed.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError(
            [
                "archive files need the package pyarrow, which is not installed: run "
                f"{installation_command('parquet', 'pyarrow>=26,<27')}"
            ]
        )
