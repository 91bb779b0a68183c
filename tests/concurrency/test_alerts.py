"""Alerts to a real web server and a real mail server, so with the real clock."""

from __future__ import annotations

import builtins
import logging
import threading
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest
import trio

from greeks_trio.alerts.channels import Channel, open_channels
from greeks_trio.alerts.inspection import inspect_alerts
from greeks_trio.alerts.service_alerts import (
    MOST_PER_HOUR,
    REMIND_S,
    Alert,
    ServiceAlerts,
)
from greeks_trio.alerts.service_watch import run_service_alerts
from greeks_trio.alerts.task import run_alerts
from greeks_trio.config.settings import Secret
from greeks_trio.errors import ConfigError
from greeks_trio.foreign_text import mask
from greeks_trio.model.condition_kinds import ConditionKind
from greeks_trio.pipeline.conditions import Conditions
from tests.alert_receivers import WebHook, take_mail

# apprise imports it where Python still has it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated:DeprecationWarning"
)

logger = logging.getLogger("greeks_trio.test")


@pytest.fixture
def hook():
    made = WebHook()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


class Recorder:
    """Takes messages at once, or when it is let go."""

    def __init__(self):
        self.sent = []
        self.go = threading.Event()
        self.go.set()
        self.accepts = True

    def notify(self, body, *, title, **_):
        self.go.wait(20)
        if self.accepts:
            self.sent.append((title, body))
        return self.accepts


class Direct(Channel):
    """Sends within the call, for tests of the channel."""

    def __init__(self):
        super().__init__("desk", Recorder())
        self.sent = []

    def send(self, title, text, *, key=None, done=None):
        self.sent.append((title, text))

    def titles(self):
        return [title for title, _ in self.sent]


@contextmanager
def channel_at(clock):
    channel = Direct()
    yield (
        ServiceAlerts([channel], source="desk", clock=lambda: clock[0]),
        channel,
    )


def test_a_fault_is_told_at_its_begin_and_at_its_end_and_reminded_of():
    clock = [0.0]
    with channel_at(clock) as (channel, sent):
        for clock[0] in range(0, int(REMIND_S) + 60, 60):
            channel.update({"journal stuck": f"for {clock[0]} s"})
        channel.update({})
        channel.update({})

    assert sent.titles() == [
        "desk: journal stuck",
        "desk: journal stuck (still)",
        "desk: journal stuck (over)",
    ]
    assert sent.sent[-1][1] == f"It is over: for {int(REMIND_S)} s"


def test_an_hour_has_a_highest_number_and_the_next_message_tells_the_rest():
    clock = [0.0]
    with channel_at(clock) as (channel, sent):
        for number in range(MOST_PER_HOUR + 12):
            channel.send(Alert(f"alert {number}", "text"))
        assert len(sent.sent) == MOST_PER_HOUR

        clock[0] = 3601.0
        channel.send(Alert("later", "text"))

    assert sent.sent[-1] == (
        "desk: later",
        "text (and 12 more alerts in the last hour: see the log)",
    )


def test_a_message_is_cleaned_and_cut():
    Secret("secret-of-the-user")
    with channel_at([0.0]) as (channel, sent):
        channel.send(Alert("a\nb\x1b", f"secret-of-the-user\x07 {'x' * 9999}"))

    [(title, text)] = sent.sent
    assert title == "desk: a b"
    assert text.startswith("*** xxx")
    assert len(text) == 2000


def test_a_slow_address_holds_up_nobody_and_a_full_queue_is_counted():
    recorder = Recorder()
    recorder.go.clear()
    channel = Channel("desk", recorder)
    for number in range(150):
        channel.send("title", f"text {number}")

    assert channel.fault() == (
        "alerts do not reach desk (test): the queue is full (50 not sent)"
    )
    recorder.go.set()
    channel.close(10)
    assert len(recorder.sent) == 100
    assert channel.fault() is None


def test_a_message_is_tried_again(caplog):
    recorder = Recorder()
    recorder.accepts = False
    channel = Channel("desk", recorder, retry_delays_s=(0.01,) * 3)
    channel.send("title", "text")
    channel.close(0.0)  # no more retries after this
    channel._thread.join(10)

    assert channel.fault() == (
        "alerts do not reach desk (test): it was not accepted (1 not sent)"
    )

    recorder.accepts = True
    again = Channel("desk", recorder, retry_delays_s=(0.01,) * 3)
    again.send("title", "text")
    again.close(10)
    assert recorder.sent == [("title", "text")]
    assert again.fault() is None


def test_the_end_waits_only_a_moment(caplog):
    recorder = Recorder()
    recorder.go.clear()
    channel = Channel("desk", recorder)
    channel.send("title", "text")

    channel.close(0.05)

    assert "alerts.not_sent to=desk (test) number=1" in caplog.text
    recorder.go.set()
    channel._thread.join(10)


def test_without_a_new_thread_the_message_is_counted(monkeypatch):
    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    channel = Channel("desk", Recorder())

    channel.send("title", "text")

    assert "can't start new thread" in channel.fault()


@asynccontextmanager
async def running(urls, *, unready=lambda: ""):
    conditions = Conditions()
    channels = open_channels(Secret(urls))
    alerts = ServiceAlerts(channels, source="desk")
    run = partial(run_service_alerts, alerts, conditions, unready, interval_s=0.02)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_alerts, channels, [run], trio.lowlevel.checkpoint)
        await trio.testing.wait_all_tasks_blocked()
        yield conditions
        nursery.cancel_scope.cancel()


async def test_conditions_and_critical_lines_reach_a_webhook(hook):
    async with running(hook.url) as conditions:
        conditions.begin(ConditionKind.JOURNAL_STUCK, "the journal does not move")
        await hook.wait(1)
        conditions.end(ConditionKind.JOURNAL_STUCK)
        await hook.wait(2)
        logger.critical("ticks.lost number=%d", 3)
        logger.error("not.critical")

    # The end of the service has waited for the last one.
    assert [(each["title"], each["message"]) for each in hook.bodies] == [
        ("desk: journal stuck", "the journal does not move"),
        ("desk: journal stuck (over)", "It is over: the journal does not move"),
        ("desk: ticks.lost", "ticks.lost number=3"),
    ]


async def test_an_address_that_refuses_is_a_condition_and_the_others_go_on(hook):
    other = WebHook()
    other.server.server_close()  # nothing listens there any more
    async with running(f"{hook.url}, {other.url}") as conditions:
        conditions.begin(ConditionKind.JOURNAL_STUCK, "the journal does not move")
        [_, (title, words)] = await hook.wait(2)

        assert conditions.has(ConditionKind.ALERTS_NOT_SENT)
    assert title == "desk: alerts not sent"
    assert words.startswith("alerts do not reach address 2 (json): A Connection error")


async def test_a_service_that_is_not_ready_is_told_after_a_minute(hook, monkeypatch):
    monkeypatch.setattr("greeks_trio.alerts.service_watch._UNREADY_FOR_S", 0.1)
    words = ["database: not connected yet"]
    async with running(hook.url, unready=lambda: words[0]):
        await hook.wait(1)
        words[0] = ""
        messages = await hook.wait(2)

    assert messages == [
        ("desk: not ready", "database: not connected yet"),
        ("desk: not ready (over)", "It is over: database: not connected yet"),
    ]


async def test_a_mail_arrives():
    mails = []
    done = trio.Event()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        talk = partial(take_mail, mails, done)
        nursery.start_soon(trio.serve_listeners, talk, listeners)
        port = listeners[0].socket.getsockname()[1]
        url = (
            f"mailto://127.0.0.1:{port}?smtp=127.0.0.1&mode=insecure"
            "&from=desk@example.com&to=risk@example.com"
        )
        [channel] = open_channels(Secret(url))
        reason = await trio.to_thread.run_sync(channel.deliver, "title", "text")
        assert reason is None
        with trio.fail_after(10):
            await done.wait()
        nursery.cancel_scope.cancel()

    [mail] = mails
    assert mail["To"] == "risk@example.com"
    assert "title" in mail["Subject"]


def test_no_address_is_shown():
    token = "T0KENT0KENT0KENT0KENT0KEN"
    url = f"json://user:p4ssword-of-the-hook@127.0.0.1:9/{token}"

    [channel] = open_channels(Secret(url))

    assert (channel.name, channel.shown) == ("address 1", "address 1 (json)")
    assert mask(f"{url} p4ssword-of-the-hook {token}") == "*** *** ***"


@pytest.mark.parametrize("address", ["desk:p%E2%82%AC@{}", "{}?+Tag=%E2%82%AC"])
def test_a_letter_that_no_protocol_can_send_is_a_reason(hook, address):
    place = address.format(hook.url.partition("://")[2])
    [broken] = open_channels(Secret(f"json://{place}"))
    broken._retry_delays_s = (0.0,)
    ends, ended = [], threading.Semaphore(0)

    def done(*outcome):
        ends.append(outcome)
        ended.release()

    for number in range(2):
        broken.send("title", f"{number}", done=done)
        assert ended.acquire(timeout=20)
    broken.close(20)

    assert [attempts for attempts, _ in ends] == [2, 2]
    assert all("ASCII" in reason for _, reason in ends)
    assert "\u20ac" not in f"{ends}"
    assert "ASCII" in broken.fault()
    assert hook.bodies == []


def test_a_wrong_address_is_named_by_its_number():
    with pytest.raises(ConfigError) as caught:
        open_channels(Secret("json://127.0.0.1/ nonsense://s3cret"))

    assert "address 2 of 2 is not one that apprise knows" in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_the_check_of_the_addresses_shows_no_secret():
    [finding] = await inspect_alerts(Secret("json://u:p4ssword-of-us@127.0.0.1/"))
    [wrong] = await inspect_alerts(Secret("nonsense://s3cret-of-us"))

    assert (finding.verdict, wrong.verdict) == ("fine", "failed")
    assert finding.sentence.startswith("address 1 (json)")
    assert "address 1 of 1 is not one that apprise knows" in wrong.sentence
    assert "of-us" not in finding.sentence + wrong.sentence


def test_without_the_package_the_message_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def without_apprise(name, *args, **more):
        if name == "apprise":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without_apprise)

    with pytest.raises(ConfigError, match=r"pip install 'apprise>=2\.3,<3'"):
        open_channels(Secret("json://127.0.0.1/"))
