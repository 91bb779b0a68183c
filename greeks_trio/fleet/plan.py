"""The plan of a fleet: its services, each with all its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from greeks_trio.config.load import environment_without_settings
from greeks_trio.config.settings import ENV_FILE, HTTP_BIND, Config, HttpConfig
from greeks_trio.errors import ConfigError

SCHEMA: Final = "GREEKS_DB_SCHEMA"


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


def service_of(plan: FleetPlan, name: str) -> ServicePlan:
    """Return one service of a fleet.

    Raises:
        ConfigError: the file has no service of this name.
    """
    if name in plan.services:
        return plan.services[name]
    names = ", ".join(plan.services)
    raise ConfigError([f"{plan.path} has no service {name!r}; it has {names}."])
