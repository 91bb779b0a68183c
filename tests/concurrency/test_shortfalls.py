"""What a standing connection lacks, and what it only notes."""

from __future__ import annotations

import pytest
import trio

from greeks_trio.feeds.health import FeedHealth
from greeks_trio.feeds.shortfalls import LOG_AGAIN_S, MAX_REASONS, Shortfalls, in_short
from tests.concurrency.ibkr_gateway import KeptJournal
from tests.factories import START

GREEKS = "contracts without Greeks"
ONE = "1 contract without Greeks"
SILENT = "subscriptions that have gone silent"


@pytest.fixture
def health():
    return FeedHealth("ibkr", KeptJournal(), now=lambda: START)


@pytest.fixture
def shortfalls(health):
    shortfalls = Shortfalls(health)
    shortfalls.stands()
    return shortfalls


def state(health):
    session = health.session()
    return session.status, session.last_error, session.notes


def logged(caplog):
    """Return the reasons that the log has, oldest first."""
    return [
        text.partition("reason=")[2]
        for text in caplog.messages
        if text.startswith("feed.degraded")
    ]


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["A"], "1 of a kind (A)"),
        (["A", "B", "C"], "3 of a kind (A, B, C)"),
        (["A", "B", "C", "D"], "4 of a kind (A, B, C and 1 more)"),
        ([str(n) for n in range(250)], "250 of a kind (0, 1, 2 and 247 more)"),
        (["x" * 500], f"1 of a kind ({'x' * 60})"),
    ],
)
def test_a_shortfall_names_its_first_contracts(names, text):
    assert in_short("of a kind", names) == text


async def test_a_note_does_not_degrade(autojump_clock, health, shortfalls):
    shortfalls.note("delayed", "delayed data are accepted")

    assert state(health) == ("connected", None, ("delayed data are accepted",))
    shortfalls.clear("delayed")
    assert state(health) == ("connected", None, ())


async def test_a_note_stands_beside_a_fault(autojump_clock, health, shortfalls):
    shortfalls.count({GREEKS: ["A"], SILENT: []})
    shortfalls.note("delayed", "delayed data are accepted")

    fault = f"{ONE} (A)"
    assert state(health) == ("degraded", fault, ("delayed data are accepted",))
    shortfalls.count({})
    assert state(health) == ("connected", None, ("delayed data are accepted",))


async def test_a_note_before_the_connection_stands_is_shown_with_it(
    autojump_clock, health
):
    shortfalls = Shortfalls(health)
    shortfalls.note("delayed", "delayed data are accepted")
    assert state(health) == ("disconnected", None, ())

    shortfalls.stands()

    assert state(health) == ("connected", None, ("delayed data are accepted",))


async def test_the_notes_end_with_the_connection(autojump_clock, health, shortfalls):
    shortfalls.note("delayed", "delayed data are accepted")

    health.disconnected("reset")

    assert health.session().notes == ()


async def test_a_thing_that_turns_from_a_fault_into_a_note(
    autojump_clock, health, shortfalls
):
    shortfalls.add("delayed", "delayed data")
    shortfalls.clear("delayed")
    shortfalls.note("delayed", "delayed data are accepted")

    assert state(health) == ("connected", None, ("delayed data are accepted",))


async def test_a_note_is_logged_once(autojump_clock, shortfalls, caplog):
    caplog.set_level("INFO")
    for number in range(5):
        shortfalls.note("lines", f"{number} contracts take turns")

    assert [text for text in caplog.messages if text.startswith("feed.noted")] == [
        "feed.noted broker=ibkr note=0 contracts take turns"
    ]


async def test_the_state_is_exact_and_the_log_is_calm(
    autojump_clock, health, shortfalls, caplog
):
    """One more contract each second for five minutes: a line a minute."""
    names = []
    for number in range(300):
        names.append(f"C{number}")
        shortfalls.count({GREEKS: names})
        assert health.session().last_error == in_short(GREEKS, names)
        await trio.sleep(1)

    numbers = [int(reason.split()[0]) for reason in logged(caplog)]
    assert numbers == [1, 61, 121, 181, 241]


async def test_the_last_numbers_reach_the_log(autojump_clock, shortfalls, caplog):
    shortfalls.count({GREEKS: ["A"]})
    shortfalls.count({GREEKS: ["A", "B"]})
    await trio.sleep(LOG_AGAIN_S)
    for _ in range(3):
        shortfalls.count({GREEKS: ["A", "B"]})

    assert logged(caplog) == [f"{ONE} (A)", f"2 {GREEKS} (A, B)"]


async def test_a_new_kind_is_logged_at_once(autojump_clock, shortfalls, caplog):
    shortfalls.count({GREEKS: ["A"]})
    shortfalls.count({GREEKS: ["A"], SILENT: ["B"]})
    for _ in range(20):
        shortfalls.count({GREEKS: ["A"]})
        shortfalls.count({GREEKS: ["A"], SILENT: ["B"]})

    assert logged(caplog) == [
        f"{ONE} (A)",
        f"{ONE} (A); 1 subscription that has gone silent (B)",
    ]


async def test_each_reason_of_a_thing_is_logged_up_to_a_limit(
    autojump_clock, shortfalls, caplog
):
    for number in range(2 * MAX_REASONS):
        shortfalls.add("errors", f"the server says {number}")

    assert logged(caplog) == [f"the server says {n}" for n in range(MAX_REASONS)]


@pytest.mark.parametrize(
    ("words", "one"),
    [
        ("contracts without Greeks", "1 contract without Greeks (A)"),
        ("position rows that could not be read", "1 position row that could not be"),
        ("subscriptions that have gone silent", "1 subscription that has gone silent"),
        ("underlyings whose name is odd", "1 underlying whose name is odd (A)"),
    ],
)
def test_one_thing_is_told_in_the_singular(words, one):
    assert in_short(words, ["A"]).startswith(one)
    assert in_short(words, ["A", "B"]) == f"2 {words} (A, B)"
