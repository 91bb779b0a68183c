"""The kinds of settings: how a text becomes a value, and which texts are right.  Pure.

Each parser raises a `ValueError` for a wrong text.  Its message names the fault and the
right texts; the name of the variable goes in front of it.  A message never shows a text
that may hold a password.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Literal, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

from greeks_trio.config.addresses import is_loopback

ValueT = TypeVar("ValueT")

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_LONGEST_NAME: Final = 63
_METHODS: Final = ("scram-sha-256", "md5", "password", "gss", "sspi", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[ValueT]):
    """How a text becomes a value.

    Attributes:
        parse: Returns the value of a text that is not empty.
        values: The texts that are right, in words; ends a sentence such as "use ...".
        write: Returns the text of a value.
        is_secret: No output may show the value, and spaces around it belong to it.
        is_file: A value that is a path names a file that must exist.
    """

    parse: Callable[[str], ValueT]
    values: str
    write: Callable[[ValueT], str] = str
    is_secret: bool = False
    is_file: bool = False


class Address(NamedTuple):
    """The host and the port on which a server listens; port 0 means any free port."""

    host: str
    port: int


def choice(*words: str) -> Kind[str]:
    """Return the kind with these words; capitals do not matter."""
    by_name = {word.lower(): word for word in words}
    values = f"{', '.join(words[:-1])} or {words[-1]}"

    def parse(text: str) -> str:
        if word := by_name.get(text.lower()):
            return word
        raise _wrong(text, values)

    return Kind(parse=parse, values=values)


def whole_number(least: int, most: int, unit: str = "") -> Kind[int]:
    """Return the kind of whole numbers within the bounds."""
    values = f"a whole number {_of(unit)}from {least} to {most}"

    def parse(text: str) -> int:
        with suppress(ValueError):
            number = int(text)
            if least <= number <= most:
                return number
        raise _wrong(text, values)

    return Kind(parse=parse, values=values)


def number(least: float, most: float, unit: str) -> Kind[float]:
    """Return the kind of finite numbers within the bounds."""
    values = f"a number {_of(unit)}from {least:g} to {most:g}"

    def parse(text: str) -> float:
        with suppress(ValueError):
            value = float(text)
            if least <= value <= most and math.isfinite(value):
                return value
        raise _wrong(text, values)

    return Kind(parse=parse, values=values, write="{:g}".format)


def zero_or(least: float, most: float, unit: str) -> Kind[float]:
    """Return the kind of numbers that are 0 or within the bounds."""
    within = number(least, most, unit)
    values = f"0 or {within.values}"

    def parse(text: str) -> float:
        with suppress(ValueError):
            if float(text) == 0:
                return 0.0
            return within.parse(text)
        raise _wrong(text, values)

    return Kind(parse=parse, values=values, write=within.write)


def url(scheme: Literal["http", "ws"], path: str = "") -> Kind[str]:
    """Return the kind of URLs, without a slash at the end.

    Args:
        scheme: The scheme without encryption.  It is right only for this machine.
        path: The end that the URL must have.
    """
    example = f"{scheme}s://HOST:PORT{path or '/PATH'}"
    values = f"a URL such as {example}; {scheme}:// only for this machine"

    def parse(text: str) -> str:
        if not text.isprintable() or " " in text:
            # `urlsplit` drops some of them without a word.
            raise ValueError("holds a space or a control character; copy it again")
        fault: str | None = f"is not a URL; write {example}"
        address = ""
        with suppress(ValueError):  # wrong brackets or a wrong port
            parts = urlsplit(text)
            fault = _url_fault(parts, scheme, example)
            # Not the text itself, because its scheme may be in capitals.
            address = parts.geturl().rstrip("/")
        if not fault and not address.endswith(path):
            fault = f"does not end in {path}; write {example}"
        if fault:
            raise ValueError(fault)
        return address

    return Kind(parse=parse, values=values)


def _parse_flag(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise _wrong(text, "true or false")


def _parse_hosts(text: str) -> tuple[str, ...]:
    # Two servers may have the same name, and differ by the port.
    return tuple(_checked_host(part.strip()) for part in text.split(","))


def _checked_host(text: str) -> str:
    is_socket = text.startswith(("/", "@"))
    # The text may be a URL with a password, so the message does not show it.
    if not text.isprintable():
        raise ValueError("holds a control character; copy it again")
    if not text:
        raise ValueError("has a comma without a host; write one between two commas")
    if not is_socket and any(odd in text for odd in "/@ ?="):
        raise ValueError(
            "is not a host; write only the name or the address of the server, the other "
            "parts of a URL have variables of their own"
        )
    name, colon, port = text.partition(":")
    if not is_socket and ("[" in text or (name and colon and port.isdecimal())):
        raise ValueError(
            "has a port or brackets; write only the host, and an IPv6 address without "
            "brackets; the ports have a variable of their own"
        )
    return text


def _parse_ports(text: str) -> tuple[int, ...]:
    return tuple(_PORT.parse(part.strip()) for part in text.split(","))


def _parse_login_name(text: str) -> str:
    # A connection string may hold a password, so the message does not show it.
    if "://" in text or "=" in text:
        raise ValueError(
            "is a connection string; write only the name, the other parts have "
            "variables of their own"
        )
    return text


def _parse_schema(text: str) -> str:
    # PostgreSQL cuts a longer name, keeps pg_ for itself, and takes $user on a
    # search_path for the name of the role.
    reserved = text.startswith("pg_") or text in {"information_schema", "$user"}
    if reserved or not text.isprintable() or len(text.encode()) > _LONGEST_NAME:
        raise _wrong(text, SCHEMA_NAME.values)
    return text


def _parse_certificates(text: str) -> Path | Literal["system"]:
    return "system" if text == "system" else Path(text)


def _parse_methods(text: str) -> str:
    methods = parse_names(text)
    allowed = [method.removeprefix("!") for method in methods]
    is_mixed = len({method.startswith("!") for method in methods}) > 1
    if is_mixed or not set(allowed) <= set(_METHODS):
        raise _wrong(text, METHODS.values)
    return ",".join(methods)


def parse_names(text: str) -> tuple[str, ...]:
    """Return the comma-separated names in their order, each once."""
    names = (part.strip() for part in text.split(","))
    return tuple(dict.fromkeys(filter(None, names)))


def _parse_bind(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""  # an IPv6 address needs its brackets
    if not (colon and host and port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise _wrong(text, BIND.values)
    return Address(host, int(port))


def _write_bind(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _url_fault(parts: SplitResult, scheme: str, example: str) -> str | None:
    """Return the fault.  The URL may hold a password, so the text does not show it."""
    host, port = parts.hostname, parts.port  # a wrong port raises here
    if parts.scheme not in (scheme, f"{scheme}s") or not host or port == 0:
        return f"is not a URL of this kind; write {example}"
    if parts.username is not None or parts.password is not None:
        return "holds a user or a password; credentials have variables of their own"
    if parts.query or parts.fragment:
        return "holds a query or a fragment; write only the address"
    if parts.scheme == scheme and not is_loopback(host):
        return f"is not encrypted; use {scheme}s://, or an address of this machine"
    return None


def _wrong(text: str, values: str) -> ValueError:
    # The text may be an address with a password in it.
    if "@" in text or "password=" in text.lower():
        return ValueError(f"may hold a password, so it is not shown; use {values}")
    return ValueError(f"is {text!r}; use {values}")


def _of(unit: str) -> str:
    return f"of {unit} " if unit else ""


def _write_flag(value: bool) -> str:
    return "true" if value else "false"


def _write_optional(value: object) -> str:
    return "" if value is None else str(value)


_PORT: Final = whole_number(1, 65_535)
FLAG: Final = Kind(parse=_parse_flag, values="true or false", write=_write_flag)
TEXT: Final = Kind(parse=str, values="any text")
HOSTS: Final[Kind[tuple[str, ...]]] = Kind(
    parse=_parse_hosts,
    values="a host name, an address, or the directory of a socket; several with commas "
    "between",
    write=",".join,
)
PORTS: Final = Kind(
    parse=_parse_ports,
    values="a whole number from 1 to 65535; several with commas between",
    write=lambda ports: ",".join(map(str, ports)),
)
LOGIN_NAME: Final = Kind(parse=_parse_login_name, values="any text")
SCHEMA_NAME: Final = Kind(
    parse=_parse_schema,
    values="the name of a schema, at most 63 bytes, without pg_ at its beginning, and not "
    "$user",
)
METHODS: Final = Kind(
    parse=_parse_methods,
    values=f"one or more of {', '.join(_METHODS)}, separated by commas; a ! before every "
    "method excludes them",
)
NAMES: Final = Kind(
    parse=parse_names, values="names separated by commas", write=",".join
)
FILE: Final[Kind[Path | None]] = Kind(
    parse=Path, values="the path of a file", write=_write_optional, is_file=True
)
CERTIFICATES: Final[Kind[Path | Literal["system"] | None]] = Kind(
    parse=_parse_certificates,
    values="the path of a file, or system",
    write=_write_optional,
    is_file=True,
)
DIRECTORY: Final[Kind[Path | None]] = Kind(
    parse=Path, values="the path of a directory", write=_write_optional
)
BIND: Final = Kind(
    parse=_parse_bind,
    values="HOST:PORT such as 127.0.0.1:8080 or [::1]:8080; port 0 means any free port",
    write=_write_bind,
)
