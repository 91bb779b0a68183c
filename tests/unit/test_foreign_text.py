from __future__ import annotations

import base64
import html
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio import foreign_text
from greeks_trio.config.settings import Secret
from greeks_trio.errors import FeedInterrupted, plain_reason
from greeks_trio.foreign_text import (
    SecretRegistry,
    clean,
    clean_lines,
    mask,
    register_secret,
)

TOKEN = 'k3y/with+odd="marks"&\\more-and-longer'


@pytest.mark.parametrize(
    ("echo", "shown"),
    [
        (TOKEN, "<***>"),
        (quote(TOKEN, safe=""), "<***>"),
        (quote(TOKEN, safe="").lower(), "<***>"),
        (json.dumps(TOKEN), '<"***">'),
        (repr(TOKEN), "<'***'>"),
        (html.escape(TOKEN), "<***>"),
        # As encodeURI of JavaScript, JSON of Go, HTML of Jinja, a URL in a URL, JSON in
        # JSON, SQL and Java write it.
        (quote(TOKEN, safe=";,/?:@&=+$-_.!~*'()#"), "<***>"),
        (json.dumps(TOKEN).replace("&", r"\u0026"), '<"***">'),
        (html.escape(TOKEN).replace("&quot;", "&#34;"), "<***>"),
        (quote(quote(TOKEN, safe=""), safe=""), "<***>"),
        (json.dumps(json.dumps(TOKEN))[3:-3], "<***>"),
        (TOKEN.replace('"', '""'), "<***>"),
        (TOKEN.replace("/", r"\/"), "<***>"),
        (f"{TOKEN}\r\n", "<*** >"),
        (TOKEN[:12], "<***>"),
        (TOKEN[:20], "<***>"),
        (TOKEN[:11], f"<{TOKEN[:11]}>"),
        (f"{TOKEN} {TOKEN}", "<*** ***>"),
        ("\x00".join(TOKEN), "<***>"),
    ],
)
def test_a_secret_is_masked_in_each_form(echo, shown):
    register_secret(TOKEN)

    assert clean(f"<{echo}>") == shown


@pytest.mark.parametrize("user", ["", "u", "us", "use", "user"])
def test_a_secret_is_masked_inside_of_base64(user):
    register_secret(TOKEN)
    header = base64.b64encode(f"{user}:{TOKEN}".encode()).decode()

    shown = clean(f"Basic {header}")

    # At most the user and the two digits at each end are left.
    assert "***" in shown
    assert len(shown) < len("Basic ***") + 4 + 8


def test_a_secret_with_a_line_end_or_a_space_at_its_end_is_masked_without_them():
    register_secret("long-token-of-the-user \r")

    assert clean("Illegal header value b'long-token-of-the-user'") == (
        "Illegal header value b'***'"
    )


def test_a_short_secret_is_not_masked():
    register_secret("portf")

    assert clean("the portfolio") == "the portfolio"


def test_the_secrets_of_the_configuration_outlive_those_of_the_brokers():
    register_secret("configured-secret", lasting=True)
    for number in range(1000):
        register_secret(f"issued-token-{number:04}")

    assert mask("configured-secret issued-token-0999") == "*** ***"
    # The registry is bounded; all these tokens have one beginning.
    assert len(foreign_text._secrets._forms) < 100


def test_each_secret_is_masked_as_soon_as_it_is_made():
    secret = Secret("first-token-of-today")

    assert clean(f"it said {secret.reveal()}") == "it said ***"


@pytest.mark.parametrize(
    "odd",
    [
        "\x1b",  # ESC
        "\x07",  # BEL
        "\x9b",  # CSI of C1
        "\x7f",
        "\u202e",  # right to left
        "\u2066",
        "\u200f",
        "\u200b",
        "\ufeff",
        "\ud800",
        "\U000e0041",
    ],
)
def test_control_characters_disappear(odd):
    assert clean(f"a{odd}b") == "ab"


@pytest.mark.parametrize(
    "odd", ["\n", "\r\n", "\t", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"]
)
def test_a_text_is_one_line(odd):
    assert clean(f"a{odd}b") == "a b"


def test_words_of_other_scripts_stay():
    text = "Überweisung 口座 café 😀"

    assert clean(text) == text


@given(st.text())
def test_any_text_becomes_one_line_that_can_be_printed(text):
    shown = clean(text)

    assert len(shown) <= 500
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    shown.encode()


def test_a_huge_text_is_cut_and_costs_little():
    register_secret(TOKEN)
    huge = TOKEN + "\x1bx" * 10_000_000
    begin = time.thread_time()

    shown = clean(huge, limit=100)

    assert time.thread_time() - begin < 0.1
    assert len(shown) == 100
    assert shown.startswith("***xxx")
    assert shown.endswith("...")


def test_a_secret_that_the_limit_cuts_is_masked():
    register_secret(TOKEN)

    assert clean(f"{'x' * 92}{TOKEN}", limit=100) == f"{'x' * 92}***"


def test_the_lines_of_a_traceback_stay_and_their_secrets_do_not():
    register_secret(TOKEN)

    assert clean_lines(f"Trace\n  {TOKEN}\x1b[31m\n\rend") == "Trace\n  ***[31m\n end"


def test_an_error_has_neither_secrets_nor_control_characters():
    register_secret(TOKEN)
    error = FeedInterrupted(f"it said {TOKEN}\x1b]0;\x07")

    assert str(error) == "it said ***]0;"
    assert repr(error) == "FeedInterrupted('it said ***]0;')"
    assert plain_reason(ValueError(f"bad {TOKEN}")) == "ValueError: bad ***"


def test_masking_many_secrets_takes_microseconds():
    registry = SecretRegistry()
    for number in range(60):
        registry.register(f"{number}-secret-{number * 7919:08}", lasting=True)
    line = "feed.connected broker=ibkr account=U1234567 reason=none " * 4
    best = min(_seconds(registry, line) for _ in range(5))

    assert best / 1000 < 200e-6


def _seconds(registry, line):
    begin = time.thread_time()
    for _ in range(1000):
        registry.mask(line)
    return time.thread_time() - begin


@pytest.mark.parametrize("odd", ["'", '"', "\\"])
def test_a_token_of_quotes_costs_little(odd):
    registry = SecretRegistry()
    registry.register(odd * 11 + "a", lasting=False)
    begin = time.thread_time()

    registry.mask(odd * 5_000)

    assert time.thread_time() - begin < 0.5
    assert registry.mask(f"<{odd * 11}a>") == "<***>"
