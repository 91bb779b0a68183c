"""The parts of the dashboard and of the alert rules, for tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

DIRECTORY = Path(__file__).parents[1] / "greeks_trio" / "monitoring"
ALERTS = DIRECTORY / "alerts.yml"
DASHBOARD = DIRECTORY / "dashboard.json"

# For alert rules, or for a look by hand.
NOT_ON_THE_DASHBOARD = {
    "greeks_estimated_contracts",
    "greeks_not_estimated_contracts",
    "greeks_account_values_age_seconds",
    "greeks_account_values_unread",
    "greeks_part_outages",  # the panel of the conditions shows them
    "greeks_backlog_max_bytes",
    "greeks_buffers_max_bytes",
    "greeks_clock_correction_seconds",
    "greeks_clock_difference_seconds",
    "greeks_contracts_hours_unknown",
    "greeks_contracts_not_realtime",
    "greeks_contracts_stale",
    "greeks_contracts_stale_after_seconds",
    "greeks_contracts_stale_trading",
    "greeks_contracts_trading",
    "greeks_http_connections_full",
    "greeks_log_lines_dropped",
    "greeks_feed_accepts_delayed",
    "greeks_feed_stopped_by_request",
    "greeks_feed_standby",
    "greeks_feed_lease_held",
    "greeks_feed_connection_changed_timestamp_seconds",
    "greeks_partitions_ahead",
    "greeks_read_lag_seconds",
    "greeks_rotation_lines",
    "greeks_rotation_longest_seconds",
    "greeks_rotation_seen_within_seconds",
    "greeks_slo_breaches",
    "greeks_tasks",
    "greeks_spool_up",
    "greeks_storage_disk_size_bytes",
    "greeks_storage_payload_share",
    "greeks_subscriptions_warming",
    "greeks_writer_retries",
}

_METRIC = re.compile(r"\b(?:greeks|process)_[a-z0-9_]+\b")
_MATCHER = re.compile(r"""(\w+)\s*(?:=~|!~|!=|=)\s*(?:"[^"]*"|'[^']*')""")
_LABEL_LISTS = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")


def alert_rules():
    """Return every rule of every group."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard():
    """Return the dashboard."""
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def panels():
    """Return the dashboard's panels without the row titles."""
    return [each for each in dashboard()["panels"] if each["type"] != "row"]


def dashboard_queries():
    """Return each expression of the dashboard."""
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def expressions():
    """Return each expression of the dashboard and of the alert rules."""
    return dashboard_queries() + [rule["expr"] for rule in alert_rules()]


def metric_names(expression):
    """Return the names of the metrics in an expression."""
    return set(_METRIC.findall(re.sub(r'"[^"]*"', '""', expression)))


def label_names(expression):
    """Return the labels that an expression selects or groups by."""
    lists = ",".join(_LABEL_LISTS.findall(expression))
    listed = {each.strip() for each in lists.split(",") if each.strip()}
    return listed | set(_MATCHER.findall(expression))
