"""The page of the alerts, from the rules for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from docs.tools.markdown import code, page, table

RULES: Final = Path(__file__).parents[2] / "greeks_trio/monitoring/alerts.yml"

_ABOUT: Final = """\
`page` means: look now, ticks are lost or soon will be, or nothing streams. `warn` means: look today.
[Prometheus and Grafana](grafana.md) shows how to load the rules, [Metrics](metrics.md) has the metrics,
and [the runbook](runbook.md) has the events of the log. BROKER and N stand for the values of an alert.
"""


def alerts_page() -> str:
    """Return ``docs/alerts.md``."""
    rules = yaml.safe_load(RULES.read_text("utf-8"))
    rows = table(("alert", "severity", "meaning", "action"), _rows(rules))
    return page("Alerts", "greeks_trio/monitoring/alerts.yml", _ABOUT, rows)


def _rows(rules: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for group in rules["groups"]:
        for rule in group["rules"]:
            texts = rule["annotations"]
            yield (
                code(rule["alert"]),
                rule["labels"]["severity"],
                _plain(texts["summary"]),
                _plain(texts["action"]),
            )


def _plain(text: str) -> str:
    """Return the text with words in the places of its values."""
    text = re.sub(r"\{\{ *\$labels\.(\w+) *\}\}", lambda m: m[1].upper(), text)
    return re.sub(r"\{\{[^}]*\}\}", "N", text)
