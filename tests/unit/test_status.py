"""What a service's answers say of its health, and how that looks."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from rich.console import Console

from greeks_trio.commands.status import checked_url, service_url
from greeks_trio.commands.status_health import (
    Database,
    Feed,
    Latency,
    Memory,
    Percentiles,
    Quarantine,
    Readiness,
    Slo,
    Spool,
    Staleness,
    Status,
    Ticks,
    Verdict,
    judge,
)
from greeks_trio.commands.status_table import show
from greeks_trio.config.settings import HttpConfig
from greeks_trio.errors import ConfigError
from greeks_trio.model.records import StreamSession

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
READY = Readiness("ready", [])


def session(broker="ibkr", status="connected", **changes):
    return StreamSession(broker=broker, status=status, **changes)


def make_status(*sessions, **changes):
    values = {
        "sessions": list(sessions) or [session(), session("tastytrade")],
        "database": Database(connected=True),
        "latency_ms": Latency(Percentiles(1.2, 2.0, 2.8)),
        "slo": Slo(p95_ms=2.0, target_ms=500.0),
        "feeds": {"ibkr": Feed(100, 100, 0), "tastytrade": Feed(100, 98, 3)},
        "memory": Memory(130 * 1024**2, 0, 256 * 1024**2),
    }
    return Status(**(values | changes))


def verdict_of(status, readiness=READY):
    return judge(status, readiness, NOW)


def test_a_service_without_problems_is_healthy():
    assert verdict_of(make_status()) == Verdict("healthy", [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ticks": Ticks(lost=1)}, "lost: 1 tick since the service started"),
        ({"quarantine": Quarantine(3)}, "quarantine: 3 rows"),
        ({"slo": Slo(True, 12.0, 812.0, 500.0)}, "p95 812 ms, above 500 ms for 12 s"),
        ({"slo": Slo(True, None, None, 500.0)}, "p95 unknown"),
        ({"spool": Spool(last_error="No space left on device")}, "spool: No space"),
        (
            {"spool": Spool(rows=1234, oldest_at=NOW - timedelta(seconds=61))},
            "spool: 1,234 ticks on disk, not in the database, the oldest for 61 s",
        ),
    ],
)
def test_what_a_person_should_look_at_is_degraded(changes, words):
    verdict = verdict_of(make_status(**changes))

    assert verdict.health == "degraded"
    assert words in verdict.problems[0]


def test_all_that_readyz_says_is_degraded():
    readiness = Readiness("not ready", ["database: no route to host"])

    assert verdict_of(make_status(), readiness) == Verdict(
        "degraded", ["database: no route to host"]
    )


def test_a_broker_that_is_away_while_the_other_streams_is_degraded():
    status = make_status(session(), session("tastytrade", "disconnected"))
    readiness = Readiness("not ready", ["tastytrade: no route to host"])

    assert verdict_of(status, readiness).health == "degraded"


def test_a_connected_broker_with_something_missing_is_degraded():
    status = make_status(session(status="degraded", last_error="5 without a line"))

    assert verdict_of(status) == Verdict("degraded", ["ibkr: 5 without a line"])


@pytest.mark.parametrize("status", ["connecting", "disconnected"])
def test_no_broker_connected_is_down(status):
    verdict = verdict_of(
        make_status(session(status=status)), Readiness("not ready", ["ibkr: away"])
    )

    assert verdict.health == "down"
    assert verdict.problems == ["nothing streams: no broker is connected", "ibkr: away"]


@pytest.mark.parametrize(
    "changes",
    [
        {"spool": Spool(rows=9, oldest_at=NOW - timedelta(seconds=59))},
        {"spool": Spool(rows=9)},
        {"staleness": Staleness(300.0, {"ibkr": 7}, {"ibkr": 3})},
        {"slo": Slo(False, None, 400.0, 500.0)},
        {
            "sessions": [
                session(),
                session("tastytrade", "disconnected", last_error="stopped by request"),
            ]
        },
    ],
)
def test_what_is_part_of_normal_life_is_healthy(changes):
    assert verdict_of(make_status(**changes)).health == "healthy"


def test_a_part_that_the_service_does_not_have_is_not_needed():
    status = msgspec.json.decode(
        b'{"sessions": [{"broker": "ibkr", "status": "connected"}], "more": 1}',
        type=Status,
    )

    assert verdict_of(status).health == "healthy"
    assert "no tick in the last minute" in shown(verdict_of(status), status)


def shown(verdict, status=None, *, width=80):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False)
    show("http://127.0.0.1:8080", verdict, status, NOW, console=console)
    return out.getvalue()


def test_the_table_fits_a_small_terminal():
    error = "the gateway does not answer: all attempts to connect to localhost failed"
    status = make_status(
        session(last_message_at=NOW - timedelta(seconds=4)),
        session("tastytrade", "disconnected", last_error=error),
        spool=Spool(rows=12_000, bytes=9 * 1024**2, oldest_at=NOW, replaying=True),
        staleness=Staleness(
            after_s=300.0,
            contracts={"ibkr": 12},
            not_realtime={"ibkr": 3, "tastytrade": 1_998},
            markets_open={"options": True, "futures": False},
        ),
    )

    text = shown(Verdict("degraded", [f"tastytrade: {error}"]), status)

    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["ibkr", "connected", "4", "s", "100", "of", "100", "12", "0"] in lines
    for words in (
        "is degraded",
        "98 of 100",
        "p50 1.2  p95 2.0  p99 2.8 ms, last minute; p95 below 500: kept",
        "12,000 ticks, 9.0 MiB, the oldest 0 s old, being stored",
        "0 ticks since the start",
        "130 MiB; waiting ticks 0.0 of 256",
        "ibkr: 12 no ticks for 300 s, 3 not realtime",
        "tastytrade: 1,998 not realtime",
        "markets open: options",
    ):
        assert words in text


def test_a_last_error_is_said_once():
    status = make_status(session(last_error="reset"), session("tastytrade"))

    assert "ibkr        last error: reset" in shown(verdict_of(status), status)
    said = shown(Verdict("degraded", ["ibkr: reset"]), status)
    assert said.count("reset") == 1


def test_without_an_answer_there_is_no_table():
    text = shown(Verdict("down", ["nobody answers"]))

    assert text == "greeks_trio at http://127.0.0.1:8080 is down\n  - nobody answers\n"


def test_a_long_problem_goes_on_under_its_beginning():
    text = shown(Verdict("degraded", ["database: " + "word " * 30]))

    assert all(line.startswith("    word") for line in text.splitlines()[2:])
    assert len(text.splitlines()) > 2


def test_no_text_of_the_service_reaches_the_terminals_controls():
    status = make_status(session(last_error="\x1b[2J\x07gone[red]"))

    text = shown(Verdict("healthy", ["\x1b]0;title\x07"]), status)

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
def test_an_age_has_the_unit_that_a_person_would_use(age_s, expected):
    status = make_status(session(last_message_at=NOW - timedelta(seconds=age_s)))

    assert f"connected   {expected:>12}" in shown(verdict_of(status), status)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),  # noqa: S104
        ("::", "http://[::1]:8080"),
        ("greeks.example", "http://greeks.example:8080"),
    ],
)
def test_the_service_is_asked_where_it_is_bound(host, expected):
    assert service_url(HttpConfig(host=host)) == expected


@pytest.mark.parametrize("http", [None, HttpConfig(port=0)])
def test_where_it_is_must_be_known(http):
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
def test_of_an_url_only_the_address_counts(text, expected):
    assert checked_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "127.0.0.1:8080", "ftp://x", "http://", "http://x:y", "http://[::1"),
        *("http://a\0b", "http://[v1.a]", "http://\u2028x"),
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ConfigError, match="--url is not like"):
        checked_url(text)


def test_a_secret_in_the_arguments_is_refused():
    with pytest.raises(ConfigError) as caught:
        checked_url("http://user:s3cret@127.0.0.1:8080")

    assert "GREEKS_API_TOKEN" in str(caught.value)
    assert "s3cret" not in str(caught.value)
