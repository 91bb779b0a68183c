"""The configuration in the log: all of it, and the changes that need a restart.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from greeks_trio.config.declaration import Applies, Part, declarations
from greeks_trio.config.settings import SETTINGS, Config, Secret


def needs_restart(old: Config, new: Config) -> list[str]:
    """Return the variables that differ and that a running service cannot apply.

    In the order of the settings.
    """
    pairs = zip(_values(Config, old), _values(Config, new), strict=True)
    differ = {variable for (variable, before), (_, now) in pairs if before != now}
    return [
        each.variable
        for each in SETTINGS
        if each.applies is Applies.RESTART and each.variable in differ
    ]


def describe(config: Config) -> dict[str, str]:
    """Return the configuration in force for the log, secrets as ``***``.

    The keys are names such as `database.host`, in the order of the sections.
    """
    return dict(_flatten("", config))


def _values(of: type[Any], section: object) -> Iterator[tuple[str, object]]:
    """Yield each field's variable and value; `None` for a section that is off."""
    for name, declared in declarations(of).items():
        value = None if section is None else getattr(section, name)
        if isinstance(declared, Part):
            yield declared.setting.variable, value
            continue
        if declared.switch is not None:
            yield declared.switch.variable, value is not None
        yield from _values(declared.of, value)


def _flatten(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Secret):
        yield prefix, str(value) if value else ""
    elif is_dataclass(value):
        for field in fields(value):
            name = f"{prefix}.{field.name}" if prefix else field.name
            yield from _flatten(name, getattr(value, field.name))
    elif isinstance(value, tuple):
        yield prefix, ",".join(map(str, value))
    else:
        # A section that is `None` is off; a setting that is `None` is not set.
        unset = "" if "." in prefix else "off"
        yield prefix, unset if value is None else str(value)
