"""The queries of the dashboard on PostgreSQL, with its variables as Grafana replaces them."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from tests.monitoring_parts import DIRECTORY

RISK_DASHBOARD = DIRECTORY / "risk_dashboard.json"
ALL = "null"
_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")
_VARIABLE = re.compile(r"\$(\w+)")


def risk_dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    return json.loads(RISK_DASHBOARD.read_text("utf-8"))


def risk_panels() -> list[dict[str, Any]]:
    """Return its panels without the row titles."""
    return [each for each in risk_dashboard()["panels"] if each["type"] != "row"]


def risk_queries() -> dict[str, str]:
    """Return every query of a panel, a variable or an annotation by its name."""
    whole = risk_dashboard()
    queries = {
        panel["title"]: target["rawSql"]
        for panel in risk_panels()
        for target in panel["targets"]
        if "rawSql" in target
    }
    for variable in whole["templating"]["list"]:
        if variable["type"] == "query":
            queries[f"${variable['name']}"] = variable["query"]
    for annotation in whole["annotations"]["list"]:
        queries[f"annotation {annotation['name']}"] = annotation["target"]["rawSql"]
    return queries


def interpolated(
    query: str,
    start: datetime,
    end: datetime,
    *,
    moments: int = 5,
    **chosen: list[str],
) -> str:
    """Return the query as PostgreSQL gets it.

    Args:
        query: A value of `risk_queries`.
        start: The first moment of the time range.
        end: The last one.
        moments: The value of the variable of this name.
        chosen: The values of other variables; those that are absent stand for all.

    Raises:
        KeyError: The query has a variable or macro that is not known.
    """
    bounds = {"__timeFrom": start, "__timeTo": end}

    def macro(found: re.Match[str]) -> str:
        name, argument = found.groups()
        if name == "__timeFilter":
            return f"{argument} BETWEEN {_literal(start)} AND {_literal(end)}"
        return _literal(bounds[name])

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name == "moments":
            return str(moments)
        if name not in ("broker", "account", "underlying", "strategy"):
            raise KeyError(name)
        quoted = ["'" + each.replace("'", "''") + "'" for each in chosen.get(name, [])]
        return ",".join(quoted) or ALL

    return _VARIABLE.sub(value, _MACRO.sub(macro, query))


def _literal(moment: datetime) -> str:
    return f"'{moment.isoformat()}'"
