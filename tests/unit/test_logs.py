from __future__ import annotations

import json
import logging
import time

import pytest

from greeks_trio.errors import (
    ConfigError,
    FeedInterrupted,
    StoreUnavailable,
    plain_reason,
)
from greeks_trio.foreign_text import register_secret
from greeks_trio.logs import configure_logging, tell_repeats

logger = logging.getLogger("greeks_trio.test")


class Stderr:
    """The text on stderr."""

    def __init__(self, capture):
        self._capture = capture
        self._text = ""

    def getvalue(self) -> str:
        self._text += self._capture.readouterr().err
        return self._text


@pytest.fixture
def log(capfd):
    """What goes to stderr; logging is as before at the end."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield Stderr(capfd)
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)


def nested(*leaves):
    return ExceptionGroup("outer", [ExceptionGroup("inner", list(leaves))])


def test_a_line_is_time_level_and_message(log):
    configure_logging()

    logger.info("feed.connected broker=%s", "ibkr")

    time, level, *rest = log.getvalue().split()
    assert time.endswith("Z")
    assert len(time) == len("2026-01-31T09:30:00.123Z")
    assert level == "INFO"
    assert rest == ["feed.connected", "broker=ibkr"]


def test_a_message_never_takes_two_lines(log):
    configure_logging()

    logger.warning("feed.odd reason=%s", "one\r\ntwo")

    assert log.getvalue().count("\n") == 1
    assert "reason=one two\n" in log.getvalue()


def test_an_expected_error_is_words_and_not_a_traceback(log):
    configure_logging()

    logger.warning("feed.down", exc_info=nested(FeedInterrupted("no network")))

    assert log.getvalue().count("\n") == 1
    assert "error='no network'" in log.getvalue()


def test_a_bug_keeps_its_traceback(log):
    configure_logging()

    logger.critical(
        "feed.bug", exc_info=nested(FeedInterrupted("x"), KeyError("lost key"))
    )

    assert "lost key" in log.getvalue()
    assert "inner" in log.getvalue()


def test_a_group_among_the_arguments_is_shown_as_the_errors_inside(log):
    configure_logging()

    logger.info("writer.retrying reason=%s", nested(StoreUnavailable("refused")))

    assert log.getvalue().rstrip().endswith("writer.retrying reason=refused")


def test_json_lines_have_the_keys_of_the_message(log):
    configure_logging(log_format="json")

    logger.info("feed.live broker=%s rows=%d p50_ms=%.1f", "ibkr", 3, 1.25)

    [line] = map(json.loads, log.getvalue().splitlines())
    assert line["event"] == "feed.live"
    assert line["message"] == "feed.live broker=ibkr rows=3 p50_ms=1.2"
    assert (line["broker"], line["rows"], line["p50_ms"]) == ("ibkr", 3, 1.25)
    assert (line["level"], line["logger"]) == ("INFO", "greeks_trio.test")


def test_a_json_line_holds_any_text(log):
    configure_logging(log_format="json")

    logger.info("area.event name=%s", "a\ud800")

    [line] = map(json.loads, log.getvalue().splitlines())
    assert line["name"] == "a"


def test_a_traceback_is_one_json_line(log):
    configure_logging(log_format="json")

    logger.error("feed.bug", exc_info=KeyError("lost key"))

    [line] = map(json.loads, log.getvalue().splitlines())
    assert "lost key" in line["traceback"]


@pytest.mark.parametrize(
    ("name", "level", "is_heard"),
    [
        ("tastytrade", logging.DEBUG, False),
        ("tastytrade.session", logging.INFO, False),
        ("tastytrade", logging.WARNING, True),
        ("hypercorn.error", logging.INFO, False),
        ("trio-websocket", logging.DEBUG, False),
        ("httpx2", logging.INFO, False),
        ("greeks_trio.x", logging.DEBUG, True),
    ],
)
def test_others_are_heard_only_when_it_matters(log, name, level, is_heard):
    configure_logging(level=logging.DEBUG)
    other = logging.getLogger(name)
    before = other.level
    # As the SDK does it when it is imported, which may be after us.
    other.setLevel(logging.DEBUG)

    other.log(level, "Bearer token")

    other.setLevel(before)
    assert ("Bearer" in log.getvalue()) == is_heard


def test_a_plain_error_names_each_cause_once():
    group = nested(FeedInterrupted("gone"), FeedInterrupted("gone"), OSError("odd"))

    assert plain_reason(group) == "gone; OSError: odd"
    assert plain_reason(ConfigError(["One.", "Two."])) == "One.; Two."
    assert plain_reason(ValueError()) == "ValueError"


def test_logfmt_quotes_what_a_reader_would_split(log):
    configure_logging(log_format="logfmt")

    logger.info(
        "feed.live broker=%s rows=%d reason=%s path=%s empty=%s",
        "ibkr",
        3,
        'say "no" = no',
        r"C:\x",
        "",
    )

    line = log.getvalue().rstrip("\n").partition(" ")[2]
    assert line == (
        "level=INFO logger=greeks_trio.test event=feed.live broker=ibkr rows=3 "
        r'reason="say \"no\" = no" path="C:\\x" empty="" '
        r'message="feed.live broker=ibkr rows=3 reason=say \"no\" = no path=C:\\x empty="'
    )


def test_logfmt_has_a_traceback_in_its_line(log):
    configure_logging(log_format="logfmt")

    logger.error("feed.bug", exc_info=KeyError("lost key"))

    assert log.getvalue().count("\n") == 1
    assert log.getvalue().endswith("traceback=\"KeyError: 'lost key'\"\n")


@pytest.mark.parametrize("log_format", ["text", "logfmt", "json"])
def test_no_secret_and_no_control_character_reaches_the_log(log, log_format):
    configure_logging(log_format=log_format)
    register_secret("token-of-the-user")

    logger.warning(
        "feed.odd reason=%s",
        "token-of-the-user\x1b[2J\x9b1m\u202e\x07",
        exc_info=ValueError("token-of-the-user\n2026-01-31 CRITICAL forged\x1b"),
    )

    text = log.getvalue()
    assert "token-of-the-user" not in text
    assert "reason=***[2J1m" in text
    assert text.replace("\n", "").isprintable()
    assert not any(line.startswith("2026-01-31 CRITICAL") for line in text.split("\n"))


def test_a_line_that_repeats_itself_is_counted(log, monkeypatch):
    configure_logging()
    now = 1_000.0
    monkeypatch.setattr(time, "time", lambda: now)

    for _ in range(258):
        logger.error("http.accept_failed", exc_info=OSError(24, "Too many open files"))
        logger.warning("feed.same reason=%s", "one")
    logger.warning("feed.same reason=%s", "another")
    assert log.getvalue().count("OSError: [Errno 24]") == 1
    assert log.getvalue().count("reason=one") == 5
    assert log.getvalue().count("reason=another") == 1

    now += 61
    logger.info("status.minute")

    lines = log.getvalue().splitlines()
    [accept, same] = [line for line in lines if "log.repeated" in line]
    assert "ERROR log.repeated times=257 window_s=60 line='http.accept_failed" in accept
    assert "WARNING log.repeated times=253 window_s=60 line='feed.same rea" in same

    logger.warning("feed.same reason=%s", "one")
    assert log.getvalue().count("reason=one\n") == 6


def test_a_repeated_line_is_told_at_the_end(log):
    configure_logging()
    for _ in range(7):
        logger.warning("feed.same")

    tell_repeats()
    tell_repeats()

    assert log.getvalue().count("log.repeated times=2 ") == 1


def test_a_critical_line_is_never_left_out(log):
    configure_logging()

    for _ in range(20):
        logger.critical("ticks.lost number=%d", 1)

    assert log.getvalue().count("ticks.lost") == 20


def test_the_number_of_remembered_lines_is_bounded(log):
    configure_logging()
    [handler] = logging.getLogger().handlers

    for number in range(5_000):
        logger.info("area.event number=%d", number)

    assert len(handler._repeats._lines) <= 1_001
