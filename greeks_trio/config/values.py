"""One variable at a time: text in, value or problem out.  Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from greeks_trio.config.addresses import is_loopback
from greeks_trio.config.settings import BROKERS, Secret
from greeks_trio.model.contracts import ContractKey, contract_from_occ
from greeks_trio.model.records import Broker

ValueT = TypeVar("ValueT")

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})


class Values:
    """The variables, and the problems that reading them has found.

    Each method returns the default when the variable is absent, empty or wrong; when
    it is wrong, there is a problem more.
    """

    def __init__(self, env: Mapping[str, str], is_file: Callable[[Path], bool]) -> None:
        self.problems: list[str] = []
        self._env = env
        self._is_file = is_file
        self._wrong: set[str] = set()

    def problem(self, name: str, what: str) -> None:
        """Add the sentence ``NAME what.``."""
        self._wrong.add(name)
        self.problems.append(f"{name} {what}.")

    def problem_free(self, *names: str) -> bool:
        """Return whether none of these variables has a problem."""
        return self._wrong.isdisjoint(names)

    def is_switched_off(self, name: str) -> bool:
        """Return whether the variable is there and empty."""
        return name in self._env and not self._env[name].strip()

    def text(self, name: str, default: str) -> str:
        """Return the text without spaces around it."""
        return self._env.get(name, "").strip() or default

    def secret(self, name: str) -> Secret:
        """Return the text as it is."""
        return Secret(self._env.get(name, ""))

    def parsed(
        self, name: str, parse: Callable[[str], ValueT], default: ValueT
    ) -> ValueT:
        """Return what ``parse`` makes of the text; its `ValueError` says the problem."""
        text = self.text(name, "")
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as exc:
            self.problem(name, str(exc))
            return default

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        return self.parsed(name, _parse_flag, default)

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """Return one of the allowed words; capitals do not matter."""
        text = self.text(name, default)
        for word in allowed:
            if word.lower() == text.lower():
                return word
        self.problem(name, f"is {text!r}; use one of {', '.join(allowed)}")
        return default

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number within the bounds."""
        text = self.text(name, str(default))
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            self.problem(
                name, f"is {text!r}; use a whole number from {least} to {most}"
            )
            return default
        return number

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """Return a finite number within the bounds."""
        text = self.text(name, str(default))
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:  # also when it is NaN
            self.problem(name, f"is {text!r}; use a number from {least:g} to {most:g}")
            return default
        return number

    def file(self, name: str) -> Path | None:
        """Return the path of an existing file."""
        text = self.text(name, "")
        if not text:
            return None
        path = Path(text)
        if not self._is_file(path):
            self.problem(name, f"is {text!r}, and there is no such file")
        return path

    def host(self, name: str, default: str) -> str:
        """Return a host name, an address, or the directory of a socket."""
        text = self.text(name, default)
        is_socket = text.startswith(("/", "@"))
        # The text may be a URL with a password, so it is not shown.
        if not is_socket and any(odd in text for odd in "/@ ?="):
            self.problem(
                name,
                "is not a host name; the other parts of a URL have "
                "variables of their own",
            )
            return default
        return text

    def url(self, name: str, default: str, scheme: Literal["http", "ws"]) -> str:
        """Return a URL without a slash at its end; unencrypted only to loopback."""
        return self.parsed(name, lambda text: _parse_url(text, scheme), default)


def parse_names(text: str) -> tuple[str, ...]:
    """Return the comma-separated names in their order, each once."""
    names = (part.strip() for part in text.split(","))
    return tuple(dict.fromkeys(filter(None, names)))


def parse_bind(text: str) -> tuple[str, int]:
    """Return host and port of ``127.0.0.1:8080`` or ``[::1]:0``.

    Raises:
        ValueError: it is neither, nor a name and a port.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""  # an IPv6 address needs its brackets
    if not (colon and host and port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise ValueError(
            f"is {text!r}; use HOST:PORT such as 127.0.0.1:8080 or [::1]:8080, "
            "port 0 for any free one"
        )
    return host, int(port)


def parse_watchlist(text: str) -> dict[Broker, tuple[ContractKey, ...]]:
    """Return each broker's contracts; one without a prefix is everybody's.

    Raises:
        ValueError: names every symbol that is not right.
    """
    lists: dict[Broker, dict[ContractKey, None]] = {broker: {} for broker in BROKERS}
    odd: list[str] = []
    for item in parse_names(text):
        prefix, colon, symbol = item.rpartition(":")
        brokers = [each for each in BROKERS if not colon or each == prefix.strip()]
        key = _contract_key(symbol.strip().upper())
        if key is None or not brokers:
            odd.append(repr(item))
            continue
        for broker in brokers:
            lists[broker][key] = None
    if odd:
        raise ValueError(
            f"holds {', '.join(odd)}; use OCC symbols such as SPY261218C00600000, "
            "with ibkr: or tastytrade: in front for one broker only"
        )
    return {broker: tuple(keys) for broker, keys in lists.items()}


def _contract_key(symbol: str) -> ContractKey | None:
    try:
        return contract_from_occ(symbol).contract_key
    except ValueError:
        return None


def _parse_flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f"is {text!r}; use true or false")


def _parse_url(text: str, scheme: Literal["http", "ws"]) -> str:
    complaint: str | None = f"is not a URL; write {scheme}s://HOST:PORT/PATH"
    address = ""
    with suppress(ValueError):  # brackets or port
        parts = urlsplit(text)
        complaint = _url_complaint(parts, scheme)
        # Not the text itself, in which the scheme may be in capitals.
        address = parts.geturl().rstrip("/")
    if complaint:
        raise ValueError(complaint)
    return address


def _url_complaint(parts: SplitResult, scheme: str) -> str | None:
    """Say what is wrong, never with the URL itself: it may hold a password."""
    host, port = parts.hostname, parts.port  # a wrong port raises here
    if parts.scheme not in (scheme, f"{scheme}s") or not host or port == 0:
        return f"is not a URL of this kind; write {scheme}s://HOST:PORT/PATH"
    if parts.username is not None or parts.password is not None:
        return "holds a user or a password; credentials have variables of their own"
    if parts.query or parts.fragment:
        return "holds a query or a fragment; write only the address"
    if parts.scheme == scheme and not is_loopback(host):
        return f"is not encrypted; only localhost may do without, use {scheme}s://"
    return None
