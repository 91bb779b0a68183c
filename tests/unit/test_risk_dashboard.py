"""The dashboard on PostgreSQL, checked without a database."""

from __future__ import annotations

import re

import pytest

from tests.grafana import risk_dashboard, risk_panels, risk_queries
from tests.monitoring_parts import dashboard

SOURCE = {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}
SHARED = {"type": "datasource", "uid": "-- Dashboard --"}


def test_the_dashboard_is_one_of_its_own_in_the_form_of_the_other():
    whole, other = risk_dashboard(), dashboard()

    assert set(whole) == set(other)
    assert whole["uid"] != other["uid"]
    assert whole["schemaVersion"] == other["schemaVersion"]
    assert [each["name"] for each in whole["templating"]["list"]] == [
        *("datasource", "broker", "account", "underlying", "strategy", "moments")
    ]
    assert whole["templating"]["list"][0]["query"] == SOURCE["type"]
    annotations = whole["annotations"]["list"]
    assert [each["name"] for each in annotations] == [
        *("Gaps", "Gaps of contracts", "Limits")
    ]
    assert all(each["datasource"] == SOURCE for each in annotations)


def test_panels_have_ids_and_titles_of_their_own_and_do_not_overlap():
    places = []
    for panel in risk_dashboard()["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        places += [
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        ]

    assert len(places) == len(set(places))
    for key in ("id", "title"):
        values = [panel[key] for panel in risk_dashboard()["panels"]]
        assert len(values) == len(set(values))


@pytest.mark.parametrize("panel", risk_panels(), ids=lambda panel: panel["title"])
def test_a_panel_has_one_query_or_that_of_another_panel(panel):
    [target] = panel["targets"]

    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert target["datasource"] == panel["datasource"]
    if panel["datasource"] == SHARED:
        [source] = [each for each in risk_panels() if each["id"] == target["panelId"]]
        assert source["datasource"] == SOURCE
    else:
        assert panel["datasource"] == SOURCE
        assert target["format"] == (
            "time_series"
            if panel["type"] in ("timeseries", "state-timeline")
            else "table"
        )


def test_a_query_has_only_variables_of_the_dashboard():
    names = {each["name"] for each in risk_dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", " ".join(risk_queries().values())))

    assert used <= names | {"__timeFrom", "__timeTo", "__timeFilter"}
    # The conditions know all values by an array with one null.
    for variable in risk_dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            assert variable["allValue"] == "null"
            assert (variable["multi"], variable["includeAll"]) == (True, True)
