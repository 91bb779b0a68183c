"""How a setting is declared: one call says everything about it.  Pure.

The sections of the configuration are frozen dataclasses.  `setting` declares one of
their fields, and `section` declares a field that holds a section.  Reading, defaults,
the rule for restarts, `.env.example` and the page of settings are made from these
declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final, Generic, TypeAlias, TypeVar

from greeks_trio.config.kinds import Kind, ValueT

DefaultT = TypeVar("DefaultT")
PartT = TypeVar("PartT")

_KEY: Final = "declaration"


class Applies(StrEnum):
    """When a change of a setting takes effect in a running service."""

    RELOAD = "SIGHUP"
    NEXT_CONNECTION = "SIGHUP, with the next connection"
    RESTART = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Generic[ValueT]):
    """One setting.

    Attributes:
        variable: The name of the environment variable.
        default: The value of a variable that is absent or empty.
        kind: How a text becomes a value.
        about: The description for users, in whole sentences.
        applies: When a change takes effect.
        group: The heading in the documents; empty for that of the section.
        default_from: An earlier field of the section, and the function that makes the
            default from its value.
        needed: Gets the earlier values of the section by field.  Returns advice for users
            if the variable must be set, else `None`.
        refuse: Gets a value that is set and the earlier values of the section.  Returns
            the fault of the value beside them, else `None`.
        asked: Whether ``init`` asks for it.
    """

    variable: str
    default: ValueT
    kind: Kind[ValueT]
    about: str
    applies: Applies
    group: str = ""
    default_from: tuple[str, Callable[[Any], ValueT]] | None = None
    needed: Callable[[Mapping[str, Any]], str | None] | None = None
    refuse: Callable[[ValueT, Mapping[str, Any]], str | None] | None = None
    asked: bool = False

    @property
    def default_text(self) -> str:
        """The default as a user writes it."""
        return self.kind.write(self.default)


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a setting's value that one field holds."""

    setting: Setting[Any]
    take: Callable[[Any], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A field that holds a section.

    Attributes:
        of: The dataclass of the section.
        group: The heading of its settings in the documents.
        switch: The setting that turns the section on; `None` if it is always on.
        off_when_empty: The setting that turns the section off by an empty value.
    """

    of: type[Any]
    group: str
    switch: Setting[bool] | None = None
    off_when_empty: Setting[Any] | None = None


Declaration: TypeAlias = Part | Section


def setting(
    variable: str,
    default: ValueT,
    kind: Kind[ValueT],
    *,
    about: str,
    applies: Applies,
    group: str = "",
    default_from: tuple[str, Callable[[Any], ValueT]] | None = None,
    needed: Callable[[Mapping[str, Any]], str | None] | None = None,
    refuse: Callable[[ValueT, Mapping[str, Any]], str | None] | None = None,
    asked: bool = False,
) -> ValueT:
    """Return the field of a dataclass that holds a setting.

    The type is that of the value, as for `dataclasses.field`.  See `Setting` for the
    arguments.
    """
    return whole(
        Setting(
            variable=variable,
            default=default,
            kind=kind,
            about=about,
            applies=applies,
            group=group,
            default_from=default_from,
            needed=needed,
            refuse=refuse,
            asked=asked,
        )
    )


def whole(declared: Setting[ValueT]) -> ValueT:
    """Return a field that holds the value of a setting that several fields share."""
    return part(declared, lambda value: value)


def part(declared: Setting[ValueT], take: Callable[[ValueT], PartT]) -> PartT:
    """Return a field that holds what ``take`` returns for the value of a setting."""
    return field(default=take(declared.default), metadata={_KEY: Part(declared, take)})


def section(
    of: type[Any],
    default: DefaultT,
    *,
    group: str,
    switch: Setting[bool] | None = None,
    off_when_empty: Setting[Any] | None = None,
) -> DefaultT:
    """Return the field of a dataclass that holds a section.  See `Section`."""
    declared = Section(of=of, group=group, switch=switch, off_when_empty=off_when_empty)
    return field(default=default, metadata={_KEY: declared})


def declarations(of: type[Any]) -> dict[str, Declaration]:
    """Return the declarations of a section by field."""
    return {each.name: each.metadata[_KEY] for each in fields(of)}


def settings_of(of: type[Any], group: str = "") -> Iterator[Setting[Any]]:
    """Yield the settings of a section and of the sections in it, each once.

    Each has its group, and a default that depends on another setting is made from the
    default of that one.
    """
    found: dict[str, Setting[Any]] = {}
    declared = declarations(of)
    for each in declared.values():
        if isinstance(each, Part):
            found.setdefault(each.setting.variable, _complete(each, declared, group))
            continue
        if each.switch is not None:
            found[each.switch.variable] = replace(each.switch, group=each.group)
        for inner in settings_of(each.of, each.group):
            found.setdefault(inner.variable, inner)
    yield from found.values()


def _complete(
    part: Part, declared: Mapping[str, Declaration], group: str
) -> Setting[Any]:
    complete = replace(part.setting, group=part.setting.group or group)
    if complete.default_from is None:
        return complete
    name, make_default = complete.default_from
    other = declared[name]
    assert isinstance(other, Part)  # noqa: S101 - a wrong declaration
    return replace(complete, default=make_default(other.setting.default))
