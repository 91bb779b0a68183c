"""Makes a `Config` of variables, or reports all their problems at once.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from greeks_trio.config.declaration import Part, Section, Setting, declarations
from greeks_trio.config.settings import SWITCHES, VARIABLES, Config
from greeks_trio.errors import ConfigError

_NO_SOURCES: Final[Mapping[str, str]] = {}


def parse_config(
    env: Mapping[str, str],
    *,
    sources: Mapping[str, str] = _NO_SOURCES,
    is_file: Callable[[Path], bool] = lambda _: True,
    need_broker: bool = True,
    program: str = "greeks-trio",
) -> Config:
    """Return the configuration that the variables describe.

    Args:
        env: The variables.  A variable that is absent or empty has its default.
        sources: The place of each variable, such as ``in .env``, for messages.
        is_file: Whether a file exists.
        need_broker: Whether it is a problem that no broker is enabled.
        program: The command that starts this program, for messages.

    Raises:
        ConfigError: It has every problem, each in one sentence without any secret.
    """
    reading = _Reading(env, sources, is_file)
    config = Config(**reading.fields_of(Config))
    problems = reading.in_order()
    if need_broker and not config.has_broker and not reading.has_wrong_switch():
        problems.append(_no_broker(sources, program))
    if problems:
        raise ConfigError(problems)
    return config


def _no_broker(sources: Mapping[str, str], program: str) -> str:
    by_option = [
        f"{variable} is set {sources[variable]}"
        for variable in SWITCHES.values()
        if sources.get(variable, "").startswith("by --")
    ]
    note = f" ({', '.join(by_option)})" if by_option else ""
    switches = " or ".join(f"{variable}=true" for variable in SWITCHES.values())
    return (
        f"No broker is enabled{note}: run '{program} init', which asks for the "
        f"settings, or set {switches} in .env or in the environment, or run "
        f"'{program} demo', which needs no account."
    )


def _named(variable: str, sources: Mapping[str, str]) -> str:
    source = sources.get(variable)
    return f"{variable} (set {source})" if source else variable


class _Reading:
    """Reads variables by their declarations and collects the problems.

    A setting that is absent, empty or wrong has its default.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        sources: Mapping[str, str],
        is_file: Callable[[Path], bool],
    ) -> None:
        self._env = env
        self._sources = sources
        self._is_file = is_file
        # By variable: several fields may share one.
        self._problems: dict[str, str] = {}

    def in_order(self) -> list[str]:
        """Return the problems in the order of the settings."""
        return [self._problems[name] for name in VARIABLES if name in self._problems]

    def has_wrong_switch(self) -> bool:
        """Return whether the switch of a broker has a problem."""
        return not self._problems.keys().isdisjoint(SWITCHES.values())

    def fields_of(self, of: type[Any]) -> dict[str, Any]:
        """Return the values of a section's fields."""
        values: dict[str, Any] = {}
        for name, declared in declarations(of).items():
            if isinstance(declared, Section):
                values[name] = self._section(declared)
            else:
                values[name] = self._part(declared, values)
        return values

    def _section(self, section: Section) -> object:
        if section.switch is not None and not self._value(section.switch, {}):
            self._check_shared(section)
            return None
        values = self.fields_of(section.of)
        bind = section.off_when_empty
        return None if bind and self._is_emptied(bind) else section.of(**values)

    def _check_shared(self, section: Section) -> None:
        """Find the problems of settings that do not belong to this section alone."""
        for each in declarations(section.of).values():
            if isinstance(each, Part) and each.setting.group:
                self._part(each, {})

    def _part(self, part: Part, earlier: Mapping[str, Any]) -> object:
        return part.take(self._value(part.setting, earlier))

    def _value(self, setting: Setting[Any], earlier: Mapping[str, Any]) -> object:
        default = setting.default
        if setting.default_from is not None:
            name, make_default = setting.default_from
            default = make_default(earlier[name])
        text = self._text(setting)
        if not text:
            advice = setting.needed and setting.needed(earlier)
            if advice:
                state = "empty" if setting.variable in self._env else "not set"
                self._problem(setting, f"is {state}: {advice}")
            return default
        try:
            value: object = setting.kind.parse(text)
        except ValueError as exc:
            self._problem(setting, str(exc))
            return default
        if (
            setting.kind.is_file
            and isinstance(value, Path)
            and not self._is_file(value)
        ):
            self._problem(
                setting, f"is {text!r}, and there is no such file; correct the path"
            )
        if setting.refuse and (fault := setting.refuse(value, earlier)):
            self._problem(setting, fault)
        return value

    def _text(self, setting: Setting[Any]) -> str:
        text = self._env.get(setting.variable, "")
        return text if setting.kind.is_secret else text.strip()

    def _is_emptied(self, setting: Setting[Any]) -> bool:
        return setting.variable in self._env and not self._text(setting)

    def _problem(self, setting: Setting[Any], what: str) -> None:
        name = _named(setting.variable, self._sources)
        self._problems[setting.variable] = f"{name} {what}."
