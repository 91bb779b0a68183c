"""The report of the `status` command: health, problems and table."""

from __future__ import annotations

import io
import warnings
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from rich.console import Console

from greeks_trio.client import GreeksClient
from greeks_trio.commands.ask import checked_url, service_url
from greeks_trio.commands.status_answer import StatusAnswer
from greeks_trio.commands.status_health import HealthReport, Readiness, judge
from greeks_trio.commands.status_table import show
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ConfigError
from greeks_trio.model.records import StreamSession
from greeks_trio.monitoring.figures.table import Figures
from greeks_trio.monitoring.status_json import put

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
READY = Readiness("ready", [])


def session(broker="ibkr", status="connected", **changes):
    return StreamSession(broker=broker, status=status, **changes)


def latency(p50, p95, p99):
    return {"last_minute": {"p50": p50, "p95": p95, "p99": p99}}


def make_status(*sessions, **changes):
    """Return the answer of a service with these sessions and these figures by name."""
    figures = {
        "database_connected": True,
        "latency_to_durable": latency(1.2, 2.0, 2.8),
        "slo_p95": 2.0,
        "slo_target": 500.0,
        "subscription_count": {"ibkr": 100, "tastytrade": 98},
        "subscriptions_wanted": {"ibkr": 100, "tastytrade": 100},
        "feed_reconnects": {"ibkr": 0, "tastytrade": 3},
        "process_resident_memory_bytes": 130 * 1024**2,
        "backlog_max_bytes": 256 * 1024**2,
    }
    sessions = sessions or (session(), session("tastytrade"))
    document = {"sessions": msgspec.to_builtins(sessions)}
    for name, value in (figures | changes).items():
        put(document, getattr(Figures, name), msgspec.to_builtins(value))
    return StatusAnswer(document)


def report_of(status, readiness=READY):
    return judge(status, readiness, NOW)


def test_a_service_without_problems_is_healthy():
    assert report_of(make_status()) == HealthReport("healthy", [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ticks_lost": 1}, "lost: 1 tick since the service started"),
        ({"quarantine_waiting": 3}, "quarantine: 3 rows"),
        ({"spool_last_error": "No space left on device"}, "spool: No space"),
        (
            {"spool_rows": 1234, "spool_oldest": NOW - timedelta(seconds=61)},
            "spool: 1,234 ticks on disk, not in the database, the oldest for 61 s",
        ),
    ],
)
def test_a_problem_for_a_person_is_degraded(changes, words):
    report = report_of(make_status(**changes))

    assert report.health == "degraded"
    assert words in report.problems[0]


def test_a_problem_of_readyz_is_degraded():
    readiness = Readiness("not ready", ["database: no route to host"])

    assert report_of(make_status(), readiness) == HealthReport(
        "degraded", ["database: no route to host"]
    )


def test_a_warning_of_readyz_is_degraded_and_told_once():
    status = make_status(session(status="degraded", last_error="5 without a line"))
    warnings = ["latency: above the SLO", "ibkr: 5 without a line", "betas: refused"]

    report = report_of(status, Readiness("ready", [], warnings, ["database: another"]))

    assert report.health == "degraded"
    assert sorted(report.problems) == sorted(warnings)
    assert report.notes == ["database: another"]


def test_a_broker_that_is_away_while_the_other_streams_is_degraded():
    status = make_status(session(), session("tastytrade", "disconnected"))
    readiness = Readiness("not ready", ["tastytrade: no route to host"])

    assert report_of(status, readiness).health == "degraded"


def test_a_connected_broker_with_something_missing_is_degraded():
    status = make_status(session(status="degraded", last_error="5 without a line"))

    assert report_of(status) == HealthReport("degraded", ["ibkr: 5 without a line"])


@pytest.mark.parametrize("status", ["connecting", "disconnected"])
def test_no_broker_connected_is_down(status):
    report = report_of(
        make_status(session(status=status)), Readiness("not ready", ["ibkr: away"])
    )

    assert report.health == "down"
    assert report.problems == ["nothing streams: no broker is connected", "ibkr: away"]


@pytest.mark.parametrize(
    "changes",
    [
        {"spool_rows": 9, "spool_oldest": NOW - timedelta(seconds=59)},
        {"spool_rows": 9},
        {"contracts_stale": {"ibkr": 7}, "contracts_not_realtime": {"ibkr": 3}},
        {"slo_p95": 400.0},
    ],
)
def test_a_normal_state_is_healthy(changes):
    assert report_of(make_status(**changes)).health == "healthy"


def test_a_stopped_feed_beside_another_one_is_a_note():
    stopped = session(
        "tastytrade",
        "disconnected",
        last_error="stopped by request",
        notes=("stopped by request",),
    )
    status = make_status(session(), stopped)

    report = report_of(status)

    assert report == HealthReport("healthy", [], ["tastytrade: stopped by request"])
    assert shown(report, status).count("stopped by request") == 1


def test_notes_are_no_problem_and_are_shown():
    status = make_status(session(notes=("delayed data", "3 contracts take turns")))

    report = report_of(status)

    assert (report.health, report.problems) == ("healthy", [])
    text = shown(report, status)
    assert [line.split() for line in text.splitlines() if "note" in line] == [
        ["note", "ibkr:", "delayed", "data"],
        ["note", "ibkr:", "3", "contracts", "take", "turns"],
    ]


def test_a_note_that_is_a_problem_as_well_is_told_once():
    stopped = session(status="disconnected", notes=("stopped by request",))
    readiness = Readiness("not ready", ["ibkr: stopped by request"])

    report = report_of(make_status(stopped), readiness)

    assert report.health == "down"
    assert report.notes == []
    assert report.problems[1:] == ["ibkr: stopped by request"]


def test_a_service_may_lack_figures():
    document = {"sessions": [{"broker": "ibkr", "status": "connected"}], "more": 1}
    status = StatusAnswer(document)

    assert report_of(status).health == "healthy"
    assert "no tick in the last minute" in shown(report_of(status), status)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"sessions": "none"},
        {"sessions": [], "ticks": {"lost": "many"}},
        {"sessions": [], "feeds": {"ibkr": {"wanted": {}}}},
        {"sessions": [], "latency_ms": {"last_minute": 3}},
    ],
)
def test_a_document_of_another_shape_is_refused(document):
    with pytest.raises(msgspec.ValidationError):
        StatusAnswer(document)


def shown(report, status=None, *, width=80):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    show("http://127.0.0.1:8080", report, status, NOW, console=console)
    return out.getvalue()


def test_the_table_fits_a_small_terminal():
    error = "the gateway does not answer: all attempts to connect to localhost failed"
    status = make_status(
        session(last_message_at=NOW - timedelta(seconds=4)),
        session("tastytrade", "disconnected", last_error=error),
        spool_rows=12_000,
        spool_bytes=9 * 1024**2,
        spool_oldest=NOW,
        spool_replaying=True,
        storage_database_bytes=41_500_000_000,
        storage_months=26,
        storage_oldest_month=datetime(2024, 11, 1, tzinfo=UTC),
        storage_growth_per_day_bytes=812_000_000.5,
        storage_archived_months=7,
        storage_disk_free_bytes={"database": 99_000_000_000, "spool": None},
        contracts_stale_after=300.0,
        contracts_stale={"ibkr": 12},
        contracts_stale_by_reason={
            "ibkr": {"no tick": 2, "old": 12, "delayed": 3, "frozen": 0},
            "tastytrade": {"no tick": 0, "unknown": 1_998},
        },
        markets_open={"options": True, "futures": False},
        contracts_hours_unknown={"ibkr": {"MEXDER": 1_200}, "tastytrade": {}},
    )

    text = shown(HealthReport("degraded", [f"tastytrade: {error}"]), status)

    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["ibkr", "connected", "4", "s", "100", "of", "100", "12", "0"] in lines
    for words in (
        "is degraded",
        "98 of 100",
        "p50 1.2  p95 2.0  p99 2.8 ms, last minute; p95 below 500: kept",
        "12,000 ticks, 9.0 MiB, the oldest 0 s old, being replayed",
        "41.50 GB, 26 months from 2024-11, 812.0 MB a day, 7 in files",
        "database 99 GB",
        "0 ticks since the start",
        "130 MiB; backlog 0.0 of 256",
        "ibkr: 2 no tick, 12 old, 3 delayed ",
        "tastytrade: 1,998 unknown ",
        "old after 300 s; markets open: options",
        "ibkr: hours of exchange MEXDER are not known: no warning about",
        "1,200 contracts",
    ):
        assert words in text


def test_a_last_error_is_shown_once():
    status = make_status(session(last_error="reset"), session("tastytrade"))

    assert "ibkr        last error: reset" in shown(report_of(status), status)
    said = shown(HealthReport("degraded", ["ibkr: reset"]), status)
    assert said.count("reset") == 1


def test_without_an_answer_there_is_no_table():
    text = shown(HealthReport("down", ["no service answers"]))

    assert (
        text == "greeks_trio at http://127.0.0.1:8080 is down\n  - no service answers\n"
    )


def test_a_long_problem_goes_on_under_its_beginning():
    text = shown(HealthReport("degraded", ["database: " + "word " * 30]))

    assert all(line.startswith("    word") for line in text.splitlines()[2:])
    assert len(text.splitlines()) > 2


def test_no_text_of_the_service_controls_the_terminal():
    status = make_status(session(last_error="\x1b[2J\x07gone[red]"))

    text = shown(HealthReport("healthy", ["\x1b]0;title\x07"]), status)

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]" in text


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [
        (0, "0 s"),
        (-1, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (2e5, "2 d"),
    ],
)
def test_an_age_has_a_unit_that_suits_it(age_s, expected):
    status = make_status(session(last_message_at=NOW - timedelta(seconds=age_s)))

    assert f"connected   {expected:>12}" in shown(report_of(status), status)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104
        ("::", "http://[::1]:8080"),
        ("greeks.example", "http://greeks.example:8080"),
    ],
)
def test_the_url_comes_from_the_bound_address(host, expected):
    assert service_url(HttpConfig(host=host)) == expected


@pytest.mark.parametrize("http", [None, HttpConfig(port=0)])
def test_an_unknown_address_is_a_problem(http):
    with pytest.raises(ConfigError, match="--url"):
        service_url(http)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://greeks.example/", "https://greeks.example"),
        ("http://[::1]:8080/v1/streaming/status", "http://[::1]:8080"),
    ],
)
def test_the_path_of_a_url_is_dropped(text, expected):
    assert checked_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "127.0.0.1:8080", "ftp://x", "http://", "http://x:y", "http://[::1"),
        *("http://a\0b", "http://[v1.a]", "http://\u2028x"),
    ],
)
def test_a_text_that_is_no_address_is_refused(text):
    with pytest.raises(ConfigError, match="--url is not like"):
        checked_url(text)


def test_a_secret_in_the_arguments_is_refused():
    with pytest.raises(ConfigError) as caught:
        checked_url("http://user:s3cret@127.0.0.1:8080")

    assert "GREEKS_API_TOKEN" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("http://greeks.example", "HTTP://10.0.0.7:8080", "http://[2001:db8::1]"),
        *("http://a.localhost:8080", "http://127.0.0.1.example", "http://0.0.0.0:8080"),
    ],
)
def test_the_token_is_not_sent_where_others_can_read_it(text):
    with pytest.raises(ConfigError, match="not encrypted"):
        checked_url(text, has_token=True)

    assert checked_url(text).lower() == text.lower()


@pytest.mark.parametrize("text", ["http://localhost:8080", "https://greeks.example"])
def test_the_token_is_sent_where_others_cannot_read_it(text):
    assert checked_url(text, has_token=True) == text


@pytest.mark.parametrize(
    ("url", "token", "is_told"),
    [
        *(("http://greeks.example", "t", True), ("http://10.0.0.7:8080", "t", True)),
        *(("http://greeks.example", None, False), ("https://10.0.0.7", "t", False)),
        *(("http://[::1]:8080", "t", False), ("http://localhost:8080", "t", False)),
    ],
)
def test_the_client_tells_that_its_token_can_be_read(url, token, is_told):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        GreeksClient(url, token=token).close()

    assert [str(each.message).partition(": ")[0] for each in told] == (
        [f"{url} is not encrypted"] if is_told else []
    )
