"""The format of the fleet's file: TOML with one table for each service.  Pure.

::

    [settings]                  for every service
    [fleet]                     for the fleet itself
    [services.NAME]             env_file = "..."
    [services.NAME.settings]    for this service

A setting has the name of its environment variable.  The message of a problem never shows a
value, which may be a secret.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from greeks_trio.config.names import KNOWN, SECRETS, suggestion
from greeks_trio.config.settings import ENV_FILE

# It is a label of metrics, a part of paths and the default of the schema.
NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_TABLES: Final = ("settings", "fleet", "services")
_KEYS: Final = ("env_file", "settings")


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One service of the file.

    Attributes:
        settings: The text of each setting.
        env_file: The file of further settings, as it is written; empty for none.
    """

    name: str
    settings: dict[str, str] = field(default_factory=dict, repr=False)
    env_file: str = ""


@dataclass(slots=True)
class FleetText:
    """The content of the file.

    Attributes:
        common: The settings of every service.
        fleet: The settings of the fleet itself.
        services: In the order of the file.
        problems: A sentence for each mistake.
    """

    common: dict[str, str] = field(default_factory=dict, repr=False)
    fleet: dict[str, str] = field(default_factory=dict, repr=False)
    services: list[ServiceEntry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def secrets(self) -> list[str]:
        """Return the names of the secrets that the file holds."""
        tables = (self.common, self.fleet, *(each.settings for each in self.services))
        return [name for name in SECRETS if any(table.get(name) for table in tables)]


def read_fleet(text: str, path: str) -> FleetText:
    """Return the content of a text; ``path`` is its place in messages."""
    found = FleetText()
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        # Its message has the place and no value.
        found.problems.append(f"{path} is not valid TOML: {exc}.")
        return found
    for name in content.keys() - set(_TABLES):
        found.problems.append(
            f"{name!r} in {path} is not known{_meant(name, _TABLES)}; the file has "
            "[settings], [fleet] and [services.NAME]."
        )
    reader = _Reader(path, found.problems)
    found.common = reader.settings(content.get("settings", {}), "settings")
    found.fleet = reader.settings(content.get("fleet", {}), "fleet")
    services = content.get("services", {})
    if not isinstance(services, dict) or not services:
        found.problems.append(
            f"{path} has no service; write a table such as [services.desk_a] for each."
        )
        return found
    found.services = list(reader.services(services))
    return found


class _Reader:
    def __init__(self, path: str, problems: list[str]) -> None:
        self._path = path
        self._problems = problems

    def services(self, tables: Mapping[str, Any]) -> Iterator[ServiceEntry]:
        for name, table in tables.items():
            place = f"[services.{name}] in {self._path}"
            if not NAME.fullmatch(name):
                self._problems.append(
                    f"{place}: the name of a service has lower-case letters, digits, '_' "
                    "and '-', begins with a letter, and has at most 40 characters; "
                    "rename it."
                )
                continue
            if not isinstance(table, dict):
                self._problems.append(f"{place} is no table; write [services.{name}].")
                continue
            yield self._service(name, table, place)

    def _service(self, name: str, table: Mapping[str, Any], place: str) -> ServiceEntry:
        for key in table.keys() - set(_KEYS):
            hint = (
                f"; write it below [services.{name}.settings]"
                if key in KNOWN
                else _meant(key, _KEYS)
            )
            self._problems.append(
                f"{key} ({place}) is not known{hint}; a service has env_file and settings."
            )
        env_file = table.get("env_file", "")
        if not isinstance(env_file, str):
            self._problems.append(f"env_file ({place}) has to be a path in quotes.")
            env_file = ""
        settings = self.settings(table.get("settings", {}), f"services.{name}.settings")
        return ServiceEntry(name, settings, env_file)

    def settings(self, table: object, name: str) -> dict[str, str]:
        """Return the settings of a table."""
        place = f"in [{name}] of {self._path}"
        if not isinstance(table, dict):
            self._problems.append(
                f"{name} in {self._path} is no table; write [{name}], then NAME = VALUE."
            )
            return {}
        texts: dict[str, str] = {}
        for variable, value in table.items():
            if variable == ENV_FILE.variable:
                self._problems.append(
                    f"{variable} ({place}) has no effect there; write env_file in the "
                    "table of a service."
                )
            elif variable not in KNOWN:
                self._problems.append(
                    f"{variable} ({place}) is not a setting{suggestion(variable)}."
                )
            elif (text := _text_of(value)) is None:
                self._problems.append(
                    f"{variable} ({place}) has to be a text, a number, true, false or a "
                    "list of texts."
                )
            else:
                texts[variable] = text
        return texts


def _text_of(value: object) -> str | None:
    """Return a value of TOML as an environment variable has it."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case list() if all(isinstance(each, str | int) for each in value):
            return ",".join(map(str, value))
    return None


def _meant(name: str, names: tuple[str, ...]) -> str:
    similar = get_close_matches(name, names, n=1)
    return f" ({similar[0]}?)" if similar else ""
