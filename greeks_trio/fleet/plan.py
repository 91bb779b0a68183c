"""The plan of a fleet: the file and the settings of every service, checked as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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
from greeks_trio.config.secret import FILE_SUFFIX
from greeks_trio.config.settings import (
    ENV_FILE,
    HTTP_BIND,
    SWITCHES,
    Config,
    HttpConfig,
)
from greeks_trio.errors import ConfigError
from greeks_trio.fleet.file import FleetText, ServiceEntry, read_fleet
from greeks_trio.spool.location import spool_directory

SCHEMA: Final = "GREEKS_DB_SCHEMA"
# The schema of the views over all services.
VIEWS_SCHEMA: Final = "fleet"
# Beside the address of a service that runs alone.
_FLEET_BIND: Final = "127.0.0.1:8070"
# The fleet chooses the port.
_ANY_PORT: Final = "127.0.0.1:0"
_OF_FLEET: Final = ("GREEKS_HTTP_BIND", "GREEKS_API_TOKEN", SCHEMA)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """One service.

    Attributes:
        name: Its name in the file.
        variables: The settings that its process gets in its environment.
        env_file: The file that its process reads, and reads again at SIGHUP.
        config: All its settings.
    """

    name: str
    variables: Mapping[str, str] = field(repr=False)
    env_file: Path | None
    config: Config = field(repr=False)

    @property
    def http(self) -> HttpConfig:
        """The address of its HTTP interface; port 0 means that the fleet chooses one."""
        assert self.config.http is not None  # noqa: S101  # the plan refuses it
        return self.config.http

    def environment(self, port: int) -> dict[str, str]:
        """Return the environment of its process.

        Args:
            port: The port of its HTTP interface.
        """
        host = f"[{self.http.host}]" if ":" in self.http.host else self.http.host
        return {
            **environment_without_settings(),
            **self.variables,
            HTTP_BIND.variable: f"{host}:{port}",
            # A file .env in the current directory belongs to another service.
            ENV_FILE.variable: str(self.env_file or os.devnull),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """The whole fleet.

    Attributes:
        path: The file.
        config: The settings of the fleet itself: HTTP, log, and the database of the views.
        services: By their names, in the order of the file.
        warnings: A sentence for each doubtful thing.
    """

    path: Path
    config: Config = field(repr=False)
    services: Mapping[str, ServicePlan]
    warnings: list[str]

    @property
    def http(self) -> HttpConfig:
        """The address of the fleet's own HTTP interface."""
        assert self.config.http is not None  # noqa: S101  # the plan refuses it
        return self.config.http


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
    problems += _clashes(list(services.values()), config, place)
    if problems or config is None:
        raise ConfigError(problems)
    warnings = list(access_warnings(path, content.secrets()))
    return FleetPlan(path=path, config=config, services=services, warnings=warnings)


def service_of(plan: FleetPlan, name: str) -> ServicePlan:
    """Return one service of a fleet.

    Raises:
        ConfigError: the file has no service of this name.
    """
    if name in plan.services:
        return plan.services[name]
    names = ", ".join(plan.services)
    raise ConfigError([f"{plan.path} has no service {name!r}; it has {names}."])


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
        layers = _Layers()
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
        layers = _Layers()
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

    def _parse(self, who: str, layers: _Layers) -> Config | None:
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


class _Layers:
    """Settings from several places; a later place wins.

    Attributes:
        texts: The text of each setting.
        places: The place of each, for messages.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self._read_by_service: set[str] = set()

    def add(
        self,
        settings: Mapping[str, str],
        place: str,
        *,
        leave: tuple[str, ...] = (),
        is_read_by_service: bool = False,
    ) -> None:
        """Add the settings of a place that wins over the earlier ones.

        Args:
            settings: The texts.
            place: The place in words.
            leave: Settings that do not count.
            is_read_by_service: Whether the service reads the place itself.
        """
        for name, text in settings.items():
            if name.removesuffix(FILE_SUFFIX) in leave:
                continue
            # A secret and the file with it are one setting.
            for same in (name.removesuffix(FILE_SUFFIX), f"{name}{FILE_SUFFIX}"):
                self.texts.pop(same, None)
            self.texts[name], self.places[name] = text, place
            if is_read_by_service:
                self._read_by_service.add(name)
            else:
                self._read_by_service.discard(name)

    def default(self, name: str, text: str) -> None:
        """Set a setting that no place has set."""
        if name not in self.texts:
            self.add({name: text}, "by the fleet")

    def handed_over(self) -> dict[str, str]:
        """Return the settings that the service cannot read itself."""
        return {
            name: text
            for name, text in self.texts.items()
            if name not in self._read_by_service
        }


def _clashes(
    services: list[ServicePlan], fleet: Config | None, path: str
) -> Iterator[str]:
    """Yield a sentence for each thing that two services cannot share."""
    yield from _shared(
        services,
        _tables_of,
        "write to the same schema of the same database",
        f"give each a {SCHEMA} of its own in {path}",
    )
    yield from _shared(
        services,
        lambda each: str(spool_directory(each.config).resolve()),
        "have the same spool directory",
        f"give each a GREEKS_SPOOL_DIR of its own in {path}",
    )
    yield from _shared(
        services,
        lambda each: str(each.http.port or ""),
        "have the same HTTP port",
        f"give each a GREEKS_HTTP_BIND of its own in {path}, or none",
    )
    if fleet is not None and fleet.http is not None and fleet.http.port:
        for each in services:
            if each.http.port == fleet.http.port:
                yield (
                    f"service {each.name} and the fleet have the same HTTP port, "
                    f"{fleet.http.port}; change one GREEKS_HTTP_BIND in {path}."
                )


def _tables_of(plan: ServicePlan) -> str:
    database = plan.config.database
    return f"{database.schema} in {database.dbname} at {database.place}"


def _shared(
    services: list[ServicePlan],
    thing_of: Callable[[ServicePlan], str],
    fault: str,
    remedy: str,
) -> Iterator[str]:
    owners: dict[str, list[str]] = {}
    for each in services:
        if thing := thing_of(each):
            owners.setdefault(thing, []).append(each.name)
    for thing, names in owners.items():
        if len(names) > 1:
            yield f"services {' and '.join(names)} {fault} ({thing}); {remedy}."
