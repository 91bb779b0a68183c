"""The rules of ``alerts.toml``: read whole, or refused with every problem at once.  Pure.

Each ``[[rule]]`` has one figure, one scope and one comparison.  A key that is not known is
a problem, because a misspelt one would change the rule without a word.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Literal, TypeAlias, get_args

from greeks_trio.config.settings import BROKERS
from greeks_trio.errors import ConfigError
from greeks_trio.foreign_text import clean, has_controls, is_account_id
from greeks_trio.model.contract_keys import parse_underlying
from greeks_trio.risk.figures import FIGURES, Figure, Scope
from greeks_trio.risk.limits import Limit

Severity: TypeAlias = Literal["info", "warning", "critical"]
# The markets that the service always prepares.
Market: TypeAlias = Literal["equity", "index", "future"]
Comparison: TypeAlias = Literal["above", "below", "outside", "abs_above"]

MOST_RULES: Final = 500
_LONGEST_NAME: Final = 80
_DAY_S: Final = 86_400.0
# TOML has whole numbers of any length; NaN is not at most this either.
_GREATEST: Final = 1e300
_HEADER: Final = re.compile(r"""[ \t]*\[\[[ \t]*["']?rule["']?[ \t]*\]\]""")
_CURRENCY: Final = re.compile("[A-Z]{3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        name: Unique.
        figure: The figure that is compared.
        scope: The positions that it is about.
        comparison: How it is compared.
        limit: The values and times.
        market: The market in whose hours the rule counts; `None` for always.
        severity: How bad a breach is.
        channels: The names of the channels; `None` for all.
    """

    name: str
    figure: Figure
    scope: Scope
    comparison: Comparison
    limit: Limit
    market: Market | None = None
    severity: Severity = "warning"
    channels: tuple[str, ...] | None = None

    @property
    def threshold(self) -> str:
        """The comparison in words, such as ``above 500``."""
        low, high = number_text(self.limit.low), number_text(self.limit.high)
        return {
            "above": f"above {high}",
            "below": f"below {low}",
            "outside": f"outside {low} to {high}",
            "abs_above": f"outside -{high} to {high}",
        }[self.comparison]

    def unit(self, currency: str | None) -> str:
        """Return the unit of the value in words.

        Args:
            currency: The only currency of the positions, if there is only one.
        """
        name = self.scope.currency or currency or "of the currency"
        return self.figure.unit.format(currency=name)

    @property
    def subject(self) -> str:
        """The quantity that is compared; a change of it begins a new state."""
        return f"{self.figure.name} ({self.scope})"


def number_text(value: float) -> str:
    """Return a number with at most six significant digits, or all digits of its whole part."""
    text = f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:,.6g}"
    return "0" if text == "-0" else text


def parse_rules(text: str, channels: Sequence[str], source: str) -> tuple[Rule, ...]:
    """Return the rules of the text of a file.

    Args:
        text: TOML.
        channels: The names of the channels that exist.
        source: The file, for the messages.

    Raises:
        ConfigError: with a sentence for each problem.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError([f"{source} is not TOML: {exc}"]) from None
    problems = [
        f"{source}: {clean(each)!r} is not known; each rule begins with [[rule]]"
        for each in content
        if each != "rule"
    ]
    tables = content.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ConfigError(
            [*problems, f"{source}: write [[rule]] in front of each rule"]
        )
    if len(tables) > MOST_RULES:
        problems.append(f"{source} has {len(tables)} rules; the most are {MOST_RULES}")
        tables = []
    found = [_RuleReader(table, channels) for table in tables]
    rules = [each.read() for each in found]
    names = [each.name for each in rules]
    lines = _lines_of(text, len(rules))
    for number, (reader, rule) in enumerate(zip(found, rules, strict=True), 1):
        if rule.name and rule.name in names[: number - 1]:
            reader.problems.append("its name is that of an earlier rule")
        label = f"{lines[number - 1]}rule {number}"
        label += f" ({rule.name})" if rule.name else ""
        problems += [f"{source}: {label}: {each}" for each in reader.problems]
    if problems:
        raise ConfigError(problems)
    return tuple(rules)


def _lines_of(text: str, number: int) -> list[str]:
    """Return the line of the header of each rule, such as ``line 12: ``.

    They are empty if the file has rules in another form than ``[[rule]]``.
    """
    found = [
        f"line {line}: "
        for line, words in enumerate(text.split("\n"), start=1)
        if _HEADER.match(words)
    ]
    return found if len(found) == number else [""] * number


class _RuleReader:
    """Reads one table, and notes every problem of it."""

    def __init__(self, table: Mapping[str, Any], channels: Sequence[str]) -> None:
        self._rest = dict(table)
        self._channels = channels
        self.problems: list[str] = []

    def read(self) -> Rule:
        """Return the rule; it is of no use if there are problems."""
        name = self._text(
            "name", _is_name, f"a name of at most {_LONGEST_NAME} letters"
        )
        if name is None:
            self._problem('it has no name; write name = "..."')
        figure = self._figure()
        scope = self._scope(figure)
        comparison, limit = self._limit()
        severity: Severity = self._choice("severity", get_args(Severity)) or "warning"
        market = self._choice("market_hours", get_args(Market))
        channels = self._take_channels()
        for key in self._rest:
            self._problem(f"{clean(key)} is not known; use {', '.join(KEYS)}")
        return Rule(
            name=name or "",
            figure=figure,
            scope=scope,
            comparison=comparison,
            limit=limit,
            market=market,
            severity=severity,
            channels=channels,
        )

    def _figure(self) -> Figure:
        name = self._choice("figure", tuple(FIGURES))
        if name is None and not any("figure" in each for each in self.problems):
            self._problem(f"it has no figure; use {_words(tuple(FIGURES))}")
        return FIGURES[name or "stale"]

    def _scope(self, figure: Figure) -> Scope:
        scope = Scope(
            broker=self._choice("broker", BROKERS),
            account_id=self._text("account_id", is_account_id, "the id of an account"),
            underlying=self._underlying(),
            currency=self._text("currency", _is_currency, "three letters, such as USD"),
            strategy_tag=self._text("strategy_tag", _is_name, "the tag of a strategy"),
        )
        if figure.kind == "units" and scope.underlying is None:
            self._problem(
                f"{figure.name} adds up within one underlying only; write underlying = "
                '"...", or use dollar_delta or dollar_gamma'
            )
        for key in ("underlying", "strategy_tag"):
            if figure.source != "positions" and getattr(scope, key) is not None:
                self._problem(f"{figure.name} is one of whole accounts; remove {key}")
        if figure.kind not in ("money", "benchmark") and scope.currency is not None:
            self._problem(f"{figure.name} is no money; remove currency")
        return scope

    def _underlying(self) -> str | None:
        typed = self._text("underlying", bool, "the symbol of an underlying")
        if typed is None:
            return None
        try:
            return parse_underlying(typed, BROKERS)
        except ValueError as exc:
            self._problem(f"underlying {exc}")
            return None

    def _limit(self) -> tuple[Comparison, Limit]:
        used = [each for each in get_args(Comparison) if each in self._rest]
        comparison: Comparison = used[0] if len(used) == 1 else "above"
        if len(used) != 1:
            has = f"it has {' and '.join(used)}" if used else "it has no comparison"
            self._problem(f"{has}; write one of {_words(get_args(Comparison))}")
        number = len(self.problems)
        low, high = self._interval(comparison, comparison)
        for each in used[1:]:
            self._rest.pop(each, None)
        recovery_low, recovery_high = low, high
        if "recovery" in self._rest:
            recovery_low, recovery_high = self._interval("recovery", comparison)
        is_inside = low <= recovery_low <= recovery_high <= high
        if len(self.problems) == number and not is_inside:
            self._problem("recovery does not lie within the limit")
        reminder = self._number("remind_every_s", 60.0, 30 * _DAY_S, "seconds")
        limit = Limit(
            low=low,
            high=high,
            recovery_low=recovery_low,
            recovery_high=recovery_high,
            is_absolute=comparison == "abs_above",
            hold_s=self._number("hold_s", 0.0, _DAY_S, "seconds") or 0.0,
            unknown_hold_s=_or(
                self._number("unknown_hold_s", 0.0, _DAY_S, "seconds"), 300.0
            ),
            remind_every_s=reminder,
            max_missing=self._count("max_missing"),
            max_stale=self._count("max_stale"),
        )
        return comparison, limit

    def _interval(self, key: str, comparison: Comparison) -> tuple[float, float]:
        """Return the interval of right values that the value of a key means."""
        value = self._rest.pop(key, None)
        if comparison == "outside":
            if (
                isinstance(value, list)
                and len(value) == 2
                and all(map(_is_number, value))
                and value[0] < value[1]
            ):
                return float(value[0]), float(value[1])
            self._problem(f"{key} is not two numbers, the smaller one first: [-5, 5]")
            return -inf, inf
        if value is not None and not _is_number(value):
            self._problem(f"{key} is not a number")
            value = None
        if value is not None and comparison == "abs_above" and value < 0:
            self._problem(f"{key} is less than 0, and the value has no sign here")
        number = inf if value is None else float(value)
        if comparison == "below":
            return (-inf if value is None else number), inf
        return -inf, number

    def _take_channels(self) -> tuple[str, ...] | None:
        value = self._rest.pop("channels", None)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self._problem('channels is not a list of names: channels = ["desk"]')
            return None
        for each in value:
            if each not in self._channels:
                named = _words(self._channels) if self._channels else "none has one"
                self._problem(
                    f"the channel {clean(each)!r} is no name in GREEKS_ALERT_URLS "
                    f"({named}); write it there like {clean(each)}=mailto://..."
                )
        return tuple(dict.fromkeys(value))

    def _text(
        self, key: str, is_right: Callable[[str], bool], values: str
    ) -> str | None:
        value = self._rest.pop(key, None)
        if value is None or (isinstance(value, str) and is_right(value)):
            return value
        self._problem(f"{key} is not {values}")
        return None

    def _choice(self, key: str, words: Sequence[str]) -> Any:  # noqa: ANN401 - a word
        value = self._rest.pop(key, None)
        if value is None or value in words:
            return value
        self._problem(f"{key} is {clean(repr(value), limit=60)}; use {_words(words)}")
        return None

    def _number(self, key: str, least: float, most: float, unit: str) -> float | None:
        value = self._rest.pop(key, None)
        if value is None:
            return None
        if _is_number(value) and least <= value <= most:
            return float(value)
        self._problem(f"{key} is not a number of {unit} from {least:g} to {most:g}")
        return None

    def _count(self, key: str) -> int:
        value = self._rest.pop(key, 0)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        self._problem(f"{key} is not a whole number of positions from 0 on")
        return 0

    def _problem(self, sentence: str) -> None:
        self.problems.append(sentence)


def _is_name(text: str) -> bool:
    return 0 < len(text.strip()) <= _LONGEST_NAME and not has_controls(text)


def _is_currency(text: str) -> bool:
    return _CURRENCY.fullmatch(text) is not None


def _is_number(value: Any) -> bool:  # noqa: ANN401 - of TOML
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= _GREATEST


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _words(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


KEYS: Final = (
    *("name", "figure", "broker", "account_id", "underlying", "currency"),
    "strategy_tag",
    *(*get_args(Comparison), "recovery", "hold_s", "unknown_hold_s"),
    *("max_missing", "max_stale", "market_hours", "severity", "channels"),
    "remind_every_s",
)
