"""The dashboard and the alert rules, checked without a service.

Prometheus' own promtool checks them too, where it is installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests.monitoring_parts import (
    ALERTS,
    DIRECTORY,
    alert_rules,
    dashboard,
    dashboard_queries,
    expressions,
    label_names,
    metric_names,
    panels,
)

PROMTOOL = shutil.which("promtool")
DURATION = re.compile(r"([0-9]+(ms|[smhdwy]))+")
# Values for Grafana's own variables.
VARIABLES = {
    "$__rate_interval": "1m",
    "$__range": "1h",
    "$job": ".*",
    "$instance": ".*",
    "$broker": ".*",
}
# The labels of Prometheus itself and of our metrics.
LABELS = {
    "job",
    "instance",
    "le",
    "service",
    "broker",
    "disk",
    "status",
    "market",
    "event",
    "stale_reason",
}
PAGING = {
    "GreeksServiceAbsent",
    "GreeksFleetServiceDown",
    "GreeksFeedDown",
    "GreeksNoTicks",
    "GreeksTicksLost",
    "GreeksDatabaseDown",
    "GreeksSpoolUnavailable",
    "GreeksSpoolNearlyFull",
    "GreeksBacklogGrowing",
}


def promtool(*arguments):
    """Run promtool if it is installed, and check that it accepts the files."""
    if PROMTOOL is None:
        return
    done = subprocess.run(
        [PROMTOOL, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def is_balanced(expression):
    """Return whether each bracket has its partner, in the right order."""
    pairs, open_ones = {")": "(", "]": "[", "}": "{"}, []
    for character in re.sub(r'"[^"]*"', "", expression):
        if character in pairs.values():
            open_ones.append(character)
        elif character in pairs and (
            not open_ones or open_ones.pop() != pairs[character]
        ):
            return False
    return not open_ones and expression.count('"') % 2 == 0


def test_the_wheel_has_the_files():
    pyproject = DIRECTORY.parents[1] / "pyproject.toml"
    tools = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]

    listed = tools["setuptools"]["package-data"]["greeks_trio"]
    # The page has patterns, and a test of its own.
    assert sorted(name for name in listed if not name.startswith("page/")) == sorted(
        str(file.relative_to(DIRECTORY.parent))
        for directory in ("monitoring", "deployment")
        for file in DIRECTORY.parent.joinpath(directory).rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    )


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_summary_and_an_action(rule):
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Greeks([A-Z][a-z]+)+", rule["alert"])
    assert DURATION.fullmatch(rule.get("for", "1m"))
    assert rule["labels"] == {"severity": "page" if rule["alert"] in PAGING else "warn"}
    assert set(rule["annotations"]) == {"summary", "action"}
    assert all(len(text) > 20 for text in rule["annotations"].values())
    for text in rule["annotations"].values():
        # A text may use a label only if the rule's result has it.
        used = set(re.findall(r"\$labels\.(\w+)", text))
        assert used <= {"broker", "disk", "kind", "service"}
        assert not used or "broker" not in str(
            re.findall(r"without \((.*?)\)", rule["expr"])
        )


def test_no_two_alerts_have_one_name():
    names = Counter(rule["alert"] for rule in alert_rules())

    assert set(names.values()) == {1}
    assert set(names) >= PAGING


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_is_well_formed_and_about_us(expression):
    assert is_balanced(expression)
    assert metric_names(expression)
    assert label_names(expression) <= LABELS
    assert "contract" not in label_names(expression)


@pytest.mark.parametrize("expression", expressions())
def test_counters_are_queried_by_their_rate(expression):
    for found in re.finditer(r"(\w+)\(\s*((?:greeks|process)_\w+)", expression):
        function, name = found.groups()
        if name.endswith(("_total", "_bucket")):
            assert function in {"rate", "increase"}, expression
        else:
            assert function not in {"rate", "increase"}, expression


def test_promtool_accepts_the_rules_and_each_fires_in_its_case():
    promtool("check", "rules", ALERTS)
    promtool("test", "rules", Path(__file__).with_name("alerts_test.yml"))

    tested = Path(__file__).with_name("alerts_test.yml").read_text(encoding="utf-8")
    for rule in alert_rules():
        assert f"alertname: {rule['alert']}" in tested


def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path):
    queries = dashboard_queries()
    for name, value in VARIABLES.items():
        queries = [query.replace(name, value) for query in queries]
    rules = [
        {"record": f"dashboard:query:{number}", "expr": query}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))

    promtool("check", "rules", "--lint=none", file)
    assert not [query for query in queries if "$" in query]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_has_a_unit_a_description_and_the_chosen_source(panel):
    source = {"type": "prometheus", "uid": "${datasource}"}

    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"]
    assert panel["datasource"] == source
    assert panel["targets"]
    assert all(target["datasource"] == source for target in panel["targets"])
    assert all(target["legendFormat"] for target in panel["targets"])


def test_the_dashboard_has_variables_for_source_job_instance_and_broker():
    variables = {each["name"]: each for each in dashboard()["templating"]["list"]}

    assert variables["datasource"]["type"] == "datasource"
    assert set(variables) == {"datasource", "job", "instance", "broker"}
    used = set(re.findall(r"\$(\w+)", " ".join(dashboard_queries())))
    assert used <= set(variables) | {"__rate_interval", "__range"}


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    places = []
    for panel in dashboard()["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        places += [
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        ]

    assert len(places) == len(set(places))
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
