"""The rules of ``alerts.toml``: read whole, or refused with every problem at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from docs.tools.blocks import read_blocks
from greeks_trio.alerts.channels import channel_names
from greeks_trio.alerts.limit_book import LimitBook, reading_of
from greeks_trio.alerts.messages import text_of, title_of
from greeks_trio.alerts.rules import KEYS, Market, parse_rules
from greeks_trio.alerts.rules_file import load_rules
from greeks_trio.assembly import _is_market_open, _unread_positions
from greeks_trio.config.secret import Secret
from greeks_trio.errors import ConfigError
from greeks_trio.feeds.sharing import Sharing
from greeks_trio.model.alerts import AlertState
from greeks_trio.monitoring.market_hours import AMERICAN, MarketHours
from greeks_trio.postgres.reads.limits import ScopeSums
from greeks_trio.risk.figures import FIGURES, Scope
from greeks_trio.risk.limits import Reading

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/limits.md").read_text("utf-8")
START = datetime(2026, 11, 30, 15, tzinfo=UTC)
CHANNELS = ["desk", "phone"]
DELTA = '[[rule]]\nname = "d"\nfigure = "delta"\nunderlying = "spy"\n'


def parse(text, channels=CHANNELS):
    return parse_rules(text, channels, "alerts.toml")


def problems(text):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return caught.value.problems


def test_the_example_is_right_and_uses_every_key():
    text = (ROOT / "alerts.example.toml").read_text("utf-8")
    rules = parse(text)

    assert [each.name for each in rules][:2] == ["SPY delta", "Book dollar delta"]
    assert rules[0].limit.recovery_high == 450
    assert rules[1].limit.low == -2_000_000
    assert {each for each in KEYS if each not in text} == {"unknown_hold_s"}


def test_the_page_explains_every_key_and_figure_and_its_example_is_right():
    [example] = [each for each in read_blocks(PAGE) if each.language == "toml"]

    assert len(parse(example.text)) >= 2
    for name in (*KEYS, *FIGURES):
        assert f"| `{name}` |" in PAGE, name


def test_a_short_rule_has_defaults():
    [rule] = parse(f"{DELTA}above = 500")

    assert rule.scope == Scope(underlying="SPY")
    assert (rule.limit.high, rule.limit.recovery_high, rule.limit.low) == (
        500,
        500,
        -inf,
    )
    assert (rule.limit.hold_s, rule.limit.unknown_hold_s) == (0, 300)
    assert (rule.severity, rule.channels, rule.market) == ("warning", None, None)
    assert rule.limit.remind_every_s is None
    assert parse("") == ()


def test_every_problem_of_every_rule_is_told_at_once():
    text = """
        limits = 1
        [[rule]]
        name = "a"
        figure = "delta"
        above = 1
        below = 2
        hold_s = -1
        hold = 3
        channels = ["desk", "pager"]
        [[rule]]
        figure = "detla"
        outside = [5, 1]
        severity = "bad"
        currency = "usd"
        market_hours = "crypto"
        [[rule]]
        name = "a"
        figure = "vega"
        above = nan
        recovery = 5
        max_missing = true
        underlying = "SPY 261218C00600000"
        """
    found = problems(text)

    assert all(each.startswith("alerts.toml: ") for each in found)
    for place, words in [
        ("'limits'", "not known"),
        ("line 3: rule 1 (a)", "adds up within one underlying"),
        ("line 3: rule 1 (a)", "above and below"),
        ("line 3: rule 1 (a)", "hold_s is not a number of seconds from 0 to 86400"),
        ("line 3: rule 1 (a)", "hold is not known"),
        (
            "line 3: rule 1 (a)",
            "'pager' is no name in GREEKS_ALERT_URLS (desk or phone)",
        ),
        ("line 11: rule 2", "no name"),
        ("line 11: rule 2", "figure is 'detla'; use delta,"),
        ("line 11: rule 2", "outside is not two numbers"),
        ("line 11: rule 2", "severity is 'bad'"),
        ("line 11: rule 2", "currency is not three letters"),
        ("line 11: rule 2", "market_hours is 'crypto'"),
        ("line 17: rule 3 (a)", "its name is that of an earlier rule"),
        ("line 17: rule 3 (a)", "above is not a number"),
        ("line 17: rule 3 (a)", "max_missing"),
        ("line 17: rule 3 (a)", "underlying"),
    ]:
        assert any(place in each and words in each for each in found), words


def test_a_line_is_named_only_if_it_is_certain():
    [found] = problems('rule = [{name = "a", figure = "vega", above = "x"}]')
    assert found == "alerts.toml: rule 1 (a): above is not a number"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("above = 5\nrecovery = 6", "recovery does not lie within"),
        ("below = 5\nrecovery = 4", "recovery does not lie within"),
        ("outside = [0, 5]\nrecovery = [-1, 5]", "recovery does not lie within"),
        ("outside = [0, 5]\nrecovery = 1", "recovery is not two numbers"),
        ("abs_above = -5", "less than 0"),
        ("above = '5'", "above is not a number"),
        ("", "no comparison"),
        ("above = 5\ncurrency = 'USD'", "delta is no money"),
        ("above = 5\naccount_id = ''", "account_id"),
        ("above = 5\nbroker = 'schwab'", "broker is 'schwab'"),
        ("above = 5\nremind_every_s = 1", "remind_every_s"),
    ],
)
def test_a_wrong_rule_is_refused(lines, words):
    [problem] = problems(f"{DELTA}{lines}")

    assert words in problem


@pytest.mark.parametrize("text", ["[[rule", "rule = 1", "rule = [1]"])
def test_another_file_is_refused(text):
    assert problems(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "no.toml"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_rules(path, Secret(""))
    assert load_rules(None, Secret("")) == ()


def test_channels_have_names_or_numbers():
    urls = Secret("desk=json://127.0.0.1/a=b, mailto://x phone=ntfys://t")

    assert channel_names(urls) == ["desk", "address 2", "phone"]


def sums(value=600.0, **changes):
    names = {"positions": 3, "stale": 0, "currencies": ["USD"], "is_known": True}
    return ScopeSums(
        **(names | changes),
        values=dict.fromkeys(FIGURES, value),
        missing=dict.fromkeys(FIGURES, 1),
    )


def test_a_reading_has_the_figure_and_its_counts():
    [delta, vega, stale] = parse(
        f'{DELTA}above = 5\n[[rule]]\nname = "v"\nfigure = "vega"\nabove = 5\n'
        '[[rule]]\nname = "s"\nfigure = "stale"\nabove = 5\n'
    )

    assert reading_of(delta, sums(stale=2)).gap(delta.limit) == (
        "1 of 3 positions are missing and 2 of 3 positions are stale"
    )
    assert reading_of(stale, sums(stale=2)).gap(stale.limit) == ""
    mixed = sums(currencies=["CAD", "USD"])
    assert "the amounts are in CAD and USD" in reading_of(vega, mixed).reason
    assert reading_of(delta, mixed).reason == ""
    closed = reading_of(delta, sums(None, positions=0, currencies=[]))
    assert (closed.value, closed.reason) == (0.0, "")
    never = reading_of(delta, sums(None, positions=0, is_known=False))
    assert never.reason == "no position is known (SPY)"


class Desk:
    """A book with its rows in the place of the table."""

    def __init__(self, text):
        self.book = LimitBook()
        self.book.rules = parse(text)
        self.now = START

    def look(self, value, **more):
        """Return the messages after ten more seconds."""
        self.now += timedelta(seconds=10)
        reading = Reading(value=value, positions=3, currency="USD", **more)
        return self.book.evaluate(lambda _: reading, self.now, CHANNELS)

    def restart(self):
        rows = {each.rule: each for each in self.book.rows()}
        rules = self.book.rules
        self.book = LimitBook()
        self.book.rules = rules
        self.book.load(rows)


def test_a_figure_of_accounts_counts_accounts():
    rule = '[[rule]]\nname = "m"\nfigure = "margin_use"\nabove = 0.5\n'
    [margin] = parse(rule)

    assert reading_of(margin, sums(0.6, stale=3)).gap(margin.limit) == (
        "1 of 3 accounts are missing and 3 of 3 accounts are stale"
    )
    never = reading_of(margin, sums(None, positions=0, is_known=False))
    assert never.reason == "no account is known (whole book)"
    [problem] = problems(f"{rule}underlying = 'SPY'")
    assert "margin_use is one of whole accounts; remove underlying" in problem


def test_a_beta_weighted_figure_is_one_of_whole_accounts():
    rule = '[[rule]]\nname = "b"\nfigure = "beta_weighted_delta"\nabs_above = 500\n'
    [found] = parse(f"{rule}account_id = 'U1'\ncurrency = 'USD'")
    [problem] = problems(f"{rule}underlying = 'SPY'")
    [also] = problems(f"{rule}strategy_tag = 'wheel'")

    assert "remove strategy_tag" in also
    assert found.unit("USD") == "shares of the benchmark"
    assert reading_of(found, sums(1.0, currencies=["EUR", "USD"])).reason == ""
    assert "beta_weighted_delta is one of whole accounts; remove underlying" in problem


def test_the_markets_of_rules_are_those_that_are_always_prepared():
    hours = MarketHours()

    assert get_args(Market) == AMERICAN
    # The calendars are read some seconds after the start.
    assert _is_market_open(hours, "equity", START) is False
    hours.are_readable = False
    assert _is_market_open(hours, "equity", START) is None


def test_sums_count_only_when_the_positions_of_every_broker_are_read_and_stored():
    def feed(is_read):
        return SimpleNamespace(
            positions=SimpleNamespace(is_read=is_read), sharing=Sharing()
        )

    status = SimpleNamespace(
        feeds={"ibkr": feed(True), "tastytrade": feed(False)}, journal=[]
    )

    late = "the positions of tastytrade were not read since the start"
    assert _unread_positions(status, None) == late
    assert _unread_positions(status, "ibkr") == ""
    assert _unread_positions(status, "schwab") == "schwab is not enabled"
    status.journal.append("positions")
    waits = "changed positions wait to be stored"
    assert _unread_positions(status, "ibkr") == waits

    status.journal.clear()
    status.feeds["tastytrade"].sharing.holder = "another service"
    assert _unread_positions(status, None) == ""


def test_messages_say_figure_scope_value_and_limit():
    desk = Desk(
        f"{DELTA}above = 500\nrecovery = 450\nhold_s = 10\nseverity = 'critical'"
    )
    assert desk.look(612.25) == []
    [breach] = desk.look(612.25, stale=0)
    [recovery] = desk.look(440.0)
    texts = [text_of(breach), text_of(recovery)]

    assert title_of(breach, "greeks") == "greeks: critical: d: breach"
    assert breach.channels == ("desk", "phone")
    assert texts == [
        "d: delta (SPY) is 612.25 units of the underlying, above 500 for 10 s. "
        "3 positions.\nAs of 2026-11-30 15:00:20Z.",
        "d: delta (SPY) is 440 units of the underlying, within the limit (above 500). "
        "The breach lasted 10 s. 3 positions.\nAs of 2026-11-30 15:00:30Z.",
    ]
    [event] = breach.events
    assert (event.from_state, event.to_state, event.value) == (
        "new",
        "breached",
        612.25,
    )


def test_an_unknown_figure_says_the_reason_and_the_last_value():
    desk = Desk(f"{DELTA}above = 500\nunknown_hold_s = 10")
    [_] = desk.look(600.0)
    desk.look(None, missing=1)
    [message] = desk.look(None, missing=1)

    assert text_of(message) == (
        "d: delta (SPY) is not known, so this rule (above 500) cannot speak: 1 of 3 "
        "positions are missing. It was in breach before; the last value was 600 at "
        "2026-11-30 15:00:10Z.\nAs of 2026-11-30 15:00:30Z."
    )


def test_the_events_of_one_moment_are_one_message_for_each_set_of_channels():
    rule = '[[rule]]\nname = "{}"\nfigure = "stale"\nabove = 1\n'
    text = "".join(map(rule.format, "abcde"))
    desk = Desk(f'{text}channels = ["desk"]')

    [to_all, to_desk] = desk.look(5.0)

    assert to_all.channels == ("desk", "phone")
    assert title_of(to_all, "x") == (
        "x: warning: a (breach), b (breach), c (breach) and 1 more"
    )
    assert len(text_of(to_all).splitlines()) == 5
    assert to_desk.channels == ("desk",)
    assert to_all.id != to_desk.id


def test_a_restart_in_mid_breach_says_nothing_twice_and_loses_nothing():
    desk = Desk(f"{DELTA}above = 500\nhold_s = 20")
    assert desk.look(600.0) + desk.look(600.0) == []
    desk.restart()
    # The hold time goes on, without the pause.
    assert desk.look(600.0) == []
    [breach] = desk.look(600.0)
    desk.restart()
    assert desk.look(600.0) == []
    desk.restart()
    [recovery] = desk.look(100.0)

    kinds = [each.events[0].kind for each in (breach, recovery)]
    assert kinds == ["breach", "recovery"]


def test_a_rule_that_is_changed_or_removed_in_breach_ends_without_a_message():
    desk = Desk(f"{DELTA}above = 500")
    desk.look(600.0)
    desk.book.rules = parse(f"{DELTA}above = 700")
    [kept] = desk.look(600.0)
    assert kept.events[0].kind == "recovery"

    desk.book.rules = parse(f"{DELTA}above = 500")
    desk.look(600.0)
    desk.book.rules = parse(f"{DELTA}above = 500".replace("spy", "qqq"))
    ended, begun = desk.look(600.0)
    assert (ended.channels, ended.events[0].kind) == ((), "ended")
    assert begun.events[0].kind == "breach"

    desk.book.rules = ()
    [removed] = desk.look(0.0)
    assert removed.events[0].to_state == "removed"
    assert [each.state for each in desk.book.rows()] == ["removed"]
    desk.book.forget_removed()
    assert desk.book.rows() == []


def test_the_states_of_the_table_are_those_of_the_engine():
    desk = Desk(f"{DELTA}above = 500")
    desk.look(600.0)
    [row] = desk.book.rows()

    assert isinstance(row, AlertState)
    assert (row.state, row.known_state, row.reason) == ("breached", "breached", None)
    assert row.threshold == "above 500"
