from __future__ import annotations

import json
import logging

import pytest

from greeks_trio.errors import (
    ConfigError,
    FeedInterrupted,
    StoreUnavailable,
    plain_reason,
)
from greeks_trio.logs import configure_logging

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
    assert r"one\r\ntwo" in log.getvalue()


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
    configure_logging(json=True)

    logger.info("feed.live broker=%s rows=%d p50_ms=%.1f", "ibkr", 3, 1.25)

    [line] = map(json.loads, log.getvalue().splitlines())
    assert line["event"] == "feed.live"
    assert line["message"] == "feed.live broker=ibkr rows=3 p50_ms=1.2"
    assert (line["broker"], line["rows"], line["p50_ms"]) == ("ibkr", 3, 1.25)
    assert (line["level"], line["logger"]) == ("INFO", "greeks_trio.test")


def test_a_json_line_holds_any_text(log):
    configure_logging(json=True)

    logger.info("area.event name=%s", "a\ud800")

    [line] = map(json.loads, log.getvalue().splitlines())
    assert line["name"] == "a\ud800"


def test_a_traceback_is_one_json_line(log):
    configure_logging(json=True)

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
