"""The questions of ``init``: which settings, in which order, and whether they are right.

The questions follow the declarations of the settings.  Each answer is checked by the
parser that the service uses.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import click

from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.declaration import Part, Section, Setting, declarations
from greeks_trio.config.kinds import Address
from greeks_trio.config.load import secrets_of_environment
from greeks_trio.config.names import KNOWN, SECRETS, nearest, related
from greeks_trio.config.settings import (
    HTTP_BIND,
    SETTINGS,
    SWITCHES,
    Config,
    DatabaseConfig,
    HttpConfig,
)
from greeks_trio.errors import ConfigError

_BY_NAME: Final = {setting.variable: setting for setting in SETTINGS}
_TOKEN: Final = declarations(HttpConfig)["token"]
_TOKEN_BYTES: Final = 32


@dataclass(slots=True)
class Form:
    """The answers.

    Attributes:
        answers: The texts by variable; a setting that keeps its default is not there.
        embedded: Whether the bundled PostgreSQL is used.
    """

    answers: dict[str, str] = field(default_factory=dict)
    embedded: bool = False

    def ask(self) -> None:
        """Ask for everything that is not answered yet, at the terminal.

        Raises:
            click.Abort: the user ends the questions.
        """
        if not self.embedded and not self._knows_database():
            self.embedded = not click.confirm(
                "Store in a PostgreSQL of your own (no: in the bundled one)?",
                default=True,
            )
        for declared in declarations(Config).values():
            if isinstance(declared, Section):
                self._ask_section(declared)
        self._make_token()

    def take_environment(self) -> None:
        """Take the secrets of the process environment instead of asking."""
        self.answers = secrets_of_environment() | self.answers
        self._make_token()

    @property
    def has_broker(self) -> bool:
        """Whether any broker is enabled."""
        given = (name for name in SWITCHES.values() if name in self.answers)
        return any(_BY_NAME[name].kind.parse(self.answers[name]) for name in given)

    def _knows_database(self) -> bool:
        parts = declarations(DatabaseConfig).values()
        return any(
            isinstance(each, Part) and each.setting.variable in self.answers
            for each in parts
        )

    def _ask_section(self, section: Section) -> None:
        if section.of is DatabaseConfig and self.embedded:
            return
        if section.switch is not None:
            name = section.switch.variable
            if name not in self.answers:
                is_on = click.confirm(f"Stream from {section.group}?", default=True)
                self.answers[name] = section.switch.kind.write(is_on)
            if not section.switch.kind.parse(self.answers[name]):
                return
        settings = {
            part.setting.variable: part.setting
            for part in declarations(section.of).values()
            if isinstance(part, Part) and part.setting.asked
        }
        for name, setting in settings.items():
            if name not in self.answers:
                self._keep(setting, _ask(setting))

    def _keep(self, setting: Setting[Any], text: str) -> None:
        if text != setting.default_text:
            self.answers[setting.variable] = text

    def _make_token(self) -> None:
        """Make a token if other machines can reach the HTTP interface."""
        assert isinstance(_TOKEN, Part)  # noqa: S101 - a wrong declaration
        text = self.answers.get(HTTP_BIND.variable, "")
        address: Address = HTTP_BIND.kind.parse(text) if text else HTTP_BIND.default
        if not is_loopback(address.host):
            token = secrets.token_urlsafe(_TOKEN_BYTES)
            self.answers.setdefault(_TOKEN.setting.variable, token)


def given_answers(
    pairs: tuple[str, ...], switches: Mapping[str, bool]
) -> dict[str, str]:
    """Return the answers that options give.

    Args:
        pairs: Texts such as ``POSTGRES_HOST=db``.
        switches: Whether each broker is on.

    Raises:
        ConfigError: a text is no setting, or a secret, or its value is wrong.
    """
    answers: dict[str, str] = {}
    problems: list[str] = []
    for pair in pairs:
        name, _, text = pair.partition("=")
        if fault := _fault_of(name, text.strip()):
            problems.append(f"{name} (set by --set) {fault}.")
        answers[name] = text.strip()
    if problems:
        raise ConfigError(problems)
    for broker, name in SWITCHES.items():
        if broker in switches:
            answers[name] = str(switches[broker]).lower()
    return answers


def _fault_of(name: str, text: str) -> str | None:
    if name in SECRETS:
        return (
            "is a secret, and other users can read the arguments of a command; let init "
            "ask for it, or set it in the environment and use --yes"
        )
    setting = _BY_NAME.get(name)
    if setting is None:
        if name in KNOWN:
            return None
        similar = nearest(name) or related(name)
        return f"is not a setting; {similar} is one" if similar else "is not a setting"
    return _fault(setting.kind.parse, text)


def _fault(parse: Callable[[str], object], text: str) -> str | None:
    try:
        if text:
            parse(text)
    except ValueError as exc:
        return str(exc)
    return None


def _ask(setting: Setting[Any]) -> str:
    """Ask until the answer is right, and return it."""
    about = setting.about.rstrip(".")
    if setting.default_text:
        # The rest may be about an empty value, which cannot be given here.
        about = about.partition(". ")[0]
    while True:
        text: str = click.prompt(
            f"{setting.variable} ({about})",
            default="" if setting.kind.is_secret else setting.default_text,
            show_default=not setting.kind.is_secret and bool(setting.default_text),
            hide_input=setting.kind.is_secret,
        )
        text = text if setting.kind.is_secret else text.strip()
        fault = _fault(setting.kind.parse, text)
        if not text and setting.needed and (advice := setting.needed(_ON_LOOPBACK)):
            fault = f"is needed: {advice}"
        if fault is None:
            return text
        # On standard output, like the question: the two streams may arrive in any order.
        click.echo(f"{setting.variable} {fault}.")


# The earlier values that `Setting.needed` gets: those of a broker ignore them.
_ON_LOOPBACK: Final[Mapping[str, Any]] = {"host": "127.0.0.1"}
