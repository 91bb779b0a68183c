"""Reads the file of betas: at the start, at SIGHUP, and for ``check``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from greeks_trio.config.broker_settings import BROKERS
from greeks_trio.errors import ConfigError
from greeks_trio.model.contract_keys import parse_underlying
from greeks_trio.model.market_metrics import parse_metric

# All futures of a product, such as /ES.
_PRODUCT: Final = re.compile("/[A-Z0-9]{1,4}")
_EXAMPLE: Final = "AAPL = { beta = 1.24, date = 2026-11-02 }"


class FileBeta(msgspec.Struct, frozen=True):
    """The beta of one underlying in the file, and its day."""

    symbol: str
    beta: float
    day: date


def load_betas(path: Path | None) -> tuple[FileBeta, ...]:
    """Return the betas of the file; none without a file.

    Raises:
        ConfigError: with every problem of the file, or why it cannot be read.
    """
    if path is None:
        return ()
    source = f"{path.absolute()}"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(
            [f"GREEKS_BETAS_FILE: {source} cannot be read ({reason})"]
        ) from exc
    betas, problems = parse_betas(text)
    if problems:
        raise ConfigError([f"GREEKS_BETAS_FILE: {source}: {each}" for each in problems])
    return betas


def parse_betas(text: str) -> tuple[tuple[FileBeta, ...], list[str]]:
    """Return the betas of a text in TOML, and a sentence for each problem."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        return (), [f"it is not valid TOML: {exc}"]
    problems = [
        f"{name!r} is not known; the file has one table, [betas]"
        for name in content
        if name != "betas"
    ]
    table = content.get("betas", {})
    if not isinstance(table, dict):
        return (), [*problems, f"betas is no table; write [betas], then {_EXAMPLE}"]
    found: dict[str, FileBeta] = {}
    for name, entry in table.items():
        try:
            beta = _parse_entry(name, entry)
        except ValueError as exc:
            problems.append(str(exc))
            continue
        if beta.symbol in found:
            problems.append(f"{name!r} is {beta.symbol}, which has a beta already")
        found[beta.symbol] = beta
    return tuple(found.values()), problems


def _parse_entry(name: str, entry: Any) -> FileBeta:  # noqa: ANN401
    """Return the beta of one line.

    Raises:
        ValueError: It is none; the message has the name and the reason.
    """
    typed = name.strip().upper()
    is_product = _PRODUCT.fullmatch(typed) is not None
    symbol = typed if is_product else parse_underlying(name, BROKERS)
    if not isinstance(entry, Mapping) or set(entry) != {"beta", "date"}:
        raise ValueError(f"{name!r} needs beta and date, such as {_EXAMPLE}")
    day = entry["date"]
    problem = ""
    if not isinstance(day, date) or isinstance(day, datetime):
        problem = "the date has to be a day, such as 2026-11-02"
    elif isinstance(entry["beta"], str):
        problem = "the beta has to be a number without quotes"
    if problem:
        raise ValueError(f"{name!r}: {problem}")
    try:
        beta = parse_metric("beta", entry["beta"])
    except ValueError as exc:
        raise ValueError(f"{name!r}: the beta {exc}") from None
    return FileBeta(symbol, beta, day)
