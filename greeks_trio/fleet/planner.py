"""Makes the plan of a fleet from its file, or reports every problem at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from greeks_trio.config.env_file import EnvFile
from greeks_trio.config.load import (
    access_warnings,
    environment_without_settings,
    read_file_of_settings,
    settings_of_environment,
)
from greeks_trio.config.load_secrets import read_secret_files
from greeks_trio.config.names import file_problems
from greeks_trio.config.parse import parse_config
from greeks_trio.config.settings import ENV_FILE, HTTP_BIND, SWITCHES, Config
from greeks_trio.errors import ConfigError
from greeks_trio.fleet.clashes import find_clashes
from greeks_trio.fleet.file import FleetText, ServiceEntry, read_fleet
from greeks_trio.fleet.layers import Layers
from greeks_trio.fleet.plan import SCHEMA, FleetPlan, ServicePlan

# The schema of the views over all services.
VIEWS_SCHEMA: Final = "fleet"
# Beside the address of a service that runs alone.
_FLEET_BIND: Final = "127.0.0.1:8070"
# The fleet chooses the port.
_ANY_PORT: Final = "127.0.0.1:0"
_OF_FLEET: Final = ("GREEKS_HTTP_BIND", "GREEKS_API_TOKEN", SCHEMA)


def load_fleet(path: Path) -> FleetPlan:
    """Return the plan of a file.

    Raises:
        ConfigError: with every problem of the file and of the settings.
    """
    place = f"{path.absolute()}"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            [f"{place} cannot be read ({reason}); correct the path."]
        ) from exc
    content = read_fleet(text, place)
    planner = _Planner(content, path.absolute())
    config = planner.fleet()
    services = {
        plan.name: plan for each in content.services if (plan := planner.service(each))
    }
    problems = [*content.problems, *planner.told()]
    problems += find_clashes(list(services.values()), config, place)
    if problems or config is None:
        raise ConfigError(problems)
    warnings = list(access_warnings(path, content.secrets()))
    return FleetPlan(path=path, config=config, services=services, warnings=warnings)


class _Planner:
    """Makes plans of the entries, and collects the problems."""

    def __init__(self, content: FleetText, path: Path) -> None:
        # The services that have a problem, by the problem.
        self._problems: dict[str, list[str]] = {}
        self._content = content
        self._path = path
        self._outer = settings_of_environment()
        self._outer.pop(ENV_FILE.variable, None)

    def told(self) -> Iterator[str]:
        """Yield each problem once, with the services that have it."""
        for problem, (first, *others) in self._problems.items():
            who = f"{first} and {len(others)} more" if others else first
            yield f"{who}: {problem}"

    def _add(self, who: str, problems: Iterable[str]) -> None:
        for each in problems:
            self._problems.setdefault(each, []).append(who)

    def fleet(self) -> Config | None:
        """Return the settings of the fleet itself, `None` with problems."""
        layers = Layers()
        # They belong to the services.
        layers.add(self._outer, "in the environment", leave=_OF_FLEET)
        layers.add(self._content.common, self._in("settings"), leave=_OF_FLEET)
        layers.add(self._content.fleet, self._in("fleet"))
        layers.default(HTTP_BIND.variable, _FLEET_BIND)
        layers.default(SCHEMA, VIEWS_SCHEMA)
        return self._parse("[fleet]", layers)

    def service(self, entry: ServiceEntry) -> ServicePlan | None:
        """Return the plan of a service, `None` with problems."""
        env_file = self._path.parent / entry.env_file if entry.env_file else None
        who = f"service {entry.name}"
        own = EnvFile()
        if env_file is not None:
            source = f"env_file in {self._path} names {env_file}, which"
            try:
                own = read_file_of_settings(env_file, source, is_named=True)
            except ConfigError as exc:
                self._add(who, exc.problems)
                return None
            self._add(who, file_problems(own, str(env_file)))
        layers = Layers()
        layers.add(self._outer, "in the environment")
        layers.add(self._content.common, self._in("settings"))
        layers.add(own.values, f"in {env_file}", is_read_by_service=True)
        layers.add(entry.settings, self._in(f"services.{entry.name}.settings"))
        layers.default(SCHEMA, entry.name)
        layers.default(HTTP_BIND.variable, _ANY_PORT)
        variables = layers.handed_over()
        config = self._parse(who, layers)
        if config is None:
            return None
        if not config.has_broker:
            switches = " or ".join(f"{each} = true" for each in SWITCHES.values())
            problem = (
                f"no broker is enabled; write {switches} below "
                f"[services.{entry.name}.settings] in {self._path}."
            )
            self._add(who, [problem])
        return ServicePlan(
            name=entry.name, variables=variables, env_file=env_file, config=config
        )

    def _in(self, table: str) -> str:
        return f"in [{table}] of {self._path}"

    def _parse(self, who: str, layers: Layers) -> Config | None:
        texts, places = dict(layers.texts), dict(layers.places)
        problems = list(
            read_secret_files(texts, places, environment_without_settings())
        )
        config = None
        try:
            config = parse_config(
                texts, sources=places, is_file=os.path.isfile, need_broker=False
            )
        except ConfigError as exc:
            problems += exc.problems
        if config is not None and config.http is None:
            problems.append(
                f"{HTTP_BIND.variable} (set {places[HTTP_BIND.variable]}) is empty, and a "
                "fleet asks its services over HTTP; remove the line."
            )
        self._add(who, problems)
        return None if problems else config
