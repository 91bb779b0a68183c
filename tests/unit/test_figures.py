"""The table of figures: one name for each figure, wherever it appears."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from greeks_trio.fleet.metrics import FLEET_METRICS
from greeks_trio.monitoring.figures.table import FIGURES, METRICS
from greeks_trio.monitoring.status_json import (
    IN_STATUS,
    find,
    status_example,
    status_schema,
)
from tests.monitoring_parts import (
    NOT_ON_THE_DASHBOARD,
    alert_rules,
    dashboard_queries,
    expressions,
    label_names,
    metric_names,
)

BY_NAME = {figure.name: figure for figure in FIGURES}
# The status has the latency to durable under `latency_ms` itself, and the process's memory
# beside the memory of the buffers.
OTHER_PATHS = {
    "latency_to_durable": "latency_ms",
    "process_resident_memory_bytes": "memory.resident_bytes",
}


def words_of(text):
    """Return a key without its unit."""
    return re.sub(r"_(ms|s|at)$", "", text)


def names(figures):
    return [figure.name for figure in figures]


@pytest.mark.parametrize("figure", FIGURES, ids=names(FIGURES))
def test_a_figure_has_one_name_in_status_and_minute_line(figure):
    if figure.status is not None:
        key = figure.status.rpartition(".")[2]
        known = OTHER_PATHS.get(figure.name) == figure.status
        assert known or words_of(figure.name).endswith(words_of(key)), figure.status
    if isinstance(figure.minute, str):
        assert figure.name.endswith(figure.minute)


@pytest.mark.parametrize("figure", FIGURES, ids=names(FIGURES))
def test_a_figure_is_described_and_appears_somewhere(figure):
    assert re.fullmatch(r"[A-Z0-9p].*\.", figure.about)
    assert figure.status is not None or figure.samples
    if figure.kind == "fact":
        assert not figure.samples


@pytest.mark.parametrize("figure", METRICS, ids=names(METRICS))
def test_the_name_of_a_metric_follows_from_the_name_of_the_figure(figure):
    assert figure.metric.startswith(("greeks_", "process_"))
    if figure.metric_name is None:
        words = figure.name.removesuffix("_at")
        assert figure.metric.removeprefix("greeks_").startswith(words)
    if figure.unit in ("seconds", "bytes"):
        assert figure.metric.endswith(figure.unit)


def test_no_two_figures_share_a_name_a_path_or_a_metric():
    for values in (
        [figure.name for figure in FIGURES],
        [figure.status for figure in IN_STATUS],
        [figure.metric for figure in METRICS],
        [figure.minute for figure in FIGURES if figure.minute],
    ):
        assert set(Counter(values).values()) == {1}


@pytest.mark.parametrize("expression", expressions())
def test_dashboard_and_alerts_use_declared_names(expression):
    declared = {
        sample: figure.labels for figure in METRICS for sample in figure.samples
    } | {name: ("service",) for name, _, _ in FLEET_METRICS}
    used = metric_names(expression)

    assert used <= declared.keys()
    labels = {label for name in used for label in declared[name]}
    assert label_names(expression) <= labels | {"job", "instance", "service", "le"}


def test_every_metric_is_on_the_dashboard_or_listed_as_not():
    shown = {name for query in dashboard_queries() for name in metric_names(query)}
    missing = {
        figure.metric for figure in METRICS if not shown.intersection(figure.samples)
    }

    assert missing == NOT_ON_THE_DASHBOARD


def test_the_texts_of_the_alerts_use_declared_names():
    declared = {sample for figure in METRICS for sample in figure.samples}
    for rule in alert_rules():
        for text in rule["annotations"].values():
            assert metric_names(text) <= declared | {"greeks_trio"}


def test_the_example_of_the_status_has_every_figure():
    example = status_example("ibkr")

    assert json.loads(json.dumps(example)) == example
    for figure in IN_STATUS:
        node = example
        for key in figure.status.replace("*", "ibkr").split("."):
            assert key in node, figure.status
            node = node[key]


def test_the_schema_of_the_status_describes_every_figure():
    schema = {"properties": status_schema()}

    for figure in IN_STATUS:
        node = schema
        for key in figure.status.split("."):
            node = (
                node["additionalProperties"] if key == "*" else node["properties"][key]
            )
        assert node["description"] == figure.about


def test_a_figure_is_found_in_a_status_and_may_be_missing():
    status = {
        "spool": {"rows": 3},
        "feeds": {"ibkr": {"wanted": 7}, "tastytrade": {}},
    }

    assert find(status, BY_NAME["spool_rows"]) == 3
    assert find(status, BY_NAME["spool_bytes"]) is None
    assert find({}, BY_NAME["spool_rows"]) is None
    wanted = find(status, BY_NAME["subscriptions_wanted"])
    assert wanted == {"ibkr": 7, "tastytrade": None}
