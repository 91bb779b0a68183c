"""Reads ``alerts.toml``: at the start, at SIGHUP, and for commands."""

from __future__ import annotations

from pathlib import Path

from greeks_trio.alerts.channels import channel_names
from greeks_trio.alerts.rules import Rule, parse_rules
from greeks_trio.config.secret import Secret
from greeks_trio.errors import ConfigError


def load_rules(path: Path | None, urls: Secret) -> tuple[Rule, ...]:
    """Return the rules of the file; none without a file.

    Args:
        path: The file; `None` if the setting is empty.
        urls: The setting with the channels.

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
        raise ConfigError([f"{source} cannot be read ({reason})"]) from exc
    return parse_rules(text, channel_names(urls), source)
