"""More contracts than market-data lines: turns, and what is said of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import trio

from greeks_trio.brokers.ibkr.lines.renewals import RENEW_LATEST_S
from greeks_trio.brokers.ibkr.lines.rotation import GREEKS_WAIT_S, TURN_S
from greeks_trio.brokers.ibkr.shortfalls import StreamReport
from greeks_trio.brokers.ibkr.subscriber import CHECK_INTERVAL_S
from greeks_trio.model.contracts import ContractKey
from tests.concurrency.ibkr_gateway import CONFIG, Scene, T, make_row
from tests.factories import records_of

UNDERLYING = 756733
HOUR_S = 3600.0


def key_of(conid):
    return ContractKey(f"SPY   261218C{(600 + conid) * 1000:08d}")


class Broker:
    """Answers requests as IBKR does, with a limit of lines.

    Attributes:
        answer_s: Seconds until the Greeks come by conid; `None` for never.
        gammas: The gamma of each conid; 0.01 by default.
        most: The largest number of lines in use.
        empty: Requests beyond the limit.
    """

    def __init__(self, scene, lines):
        self._scene = scene
        self._limit = lines
        self._open = {}
        self.answer_s = {}
        self.gammas = {}
        self.letters = {}
        self.ticks_every_s = None
        self.is_cold = False
        self.most = 0
        self.empty = 0

    async def run(self):
        gateway, seen = self._scene.gateway, 0
        async with trio.open_nursery() as nursery:
            while True:
                while len(gateway.received) == seen:
                    await gateway.wait_arrived()
                for _, text in gateway.received[seen:]:
                    seen += 1
                    verb, conid = text[:4], text.split("+")[1] if "+" in text else ""
                    if verb == "umd+":
                        if scope := self._open.pop(int(conid), None):
                            scope.cancel()
                    elif verb == "smd+":
                        self._subscribe(int(conid), nursery)

    def _subscribe(self, conid, nursery):
        if scope := self._open.pop(conid, None):
            scope.cancel()
        if len(self._open) >= self._limit:
            self.empty += 1
            return
        self._open[conid] = trio.CancelScope()
        self.most = max(self.most, len(self._open))
        nursery.start_soon(self._stream, conid, self._open[conid])

    def end_all(self):
        """End all streams, as with a connection."""
        while self._open:
            self._open.popitem()[1].cancel()

    async def _stream(self, conid, scope):
        with scope:
            letter = self.letters.get(conid, "RpB")
            if conid == UNDERLYING:
                await self._send(conid, f31="668.2", f6509="RB")
                return
            if self.is_cold or conid in self.answer_s:
                await self._send(conid, f55="-", f31="N/A", f6509=letter)
            answer_s = self.answer_s.get(conid, 1.0)
            if answer_s is None:
                return
            await trio.sleep(answer_s)
            gamma = str(self.gammas.get(conid, 0.01))
            await self._send(conid, f7308="0.5", f7309=gamma, f7311="0.1", f6509=letter)
            while self.ticks_every_s:
                await trio.sleep(self.ticks_every_s)
                await self._send(conid, f7308="0.51")

    async def _send(self, conid, **fields):
        at = T + int(trio.current_time() * 1000)
        await self._scene.gateway.send_fields(conid, at=at, **fields)


class Ticks:
    """Everything that the feed hands over."""

    def __init__(self):
        self.records = []
        self.at = {}

    async def take(self, frames):
        async for frame in frames:
            for record in records_of(frame):
                self.records.append(record)
                self.at.setdefault(record.contract_key, []).append(trio.current_time())

    def longest_s(self, key):
        return max((b - a for a, b in pairwise(self.at[key])), default=0.0)


async def start(
    nursery, number, lines, *, watched=(), held=None, jitter=lambda: 0.5, **settings
):
    """Stream so many held options of one underlying on so many lines."""
    config = replace(CONFIG, market_data_lines=lines, **settings)
    scene = Scene(nursery, config, jitter=jitter)
    held = range(1, number + 1) if held is None else held
    scene.gateway.positions["U1"] = [make_row(n, 600 + n) for n in held]
    broker, ticks = Broker(scene, lines), Ticks()
    nursery.start_soon(ticks.take, scene.frames)
    nursery.start_soon(broker.run)
    scene.start()
    await scene.gateway.wait_received("smd+")
    return scene, broker, ticks


async def test_every_contract_is_seen_as_often_as_the_status_says(
    nursery, autojump_clock
):
    scene, broker, ticks = await start(nursery, 24, 8)

    await trio.sleep(HOUR_S / 6)

    statistics = scene.health.statistics()
    assert len(ticks.at) == 24
    longest = [ticks.longest_s(key) for key in ticks.at]
    assert max(longest) <= statistics.rotation_seen_within_s
    assert statistics.rotation_longest_s <= max(longest)
    assert scene.status == "connected"
    assert (broker.most, broker.empty) == (8, 0)
    assert scene.gaps() == []
    assert scene.endings == []
    [note] = scene.health.session().notes
    assert note == (
        "24 contracts share 7 lines: each is seen at least every"
        f" {statistics.rotation_seen_within_s:.0f} s; the longest interval was"
        f" {statistics.rotation_longest_s:.0f} s"
    )


async def test_ticks_say_that_they_come_in_turns_and_have_the_underlyings_price(
    nursery, autojump_clock
):
    _, _, ticks = await start(nursery, 6, 3)

    await trio.sleep(300)

    assert {each.in_rotation for each in ticks.records} == {True}
    assert {each.underlying_price for each in ticks.records} == {668.2}


async def test_a_contract_with_a_line_of_its_own_is_not_in_rotation(
    nursery, autojump_clock
):
    _, _, ticks = await start(nursery, 2, 3)

    await trio.sleep(300)

    assert {each.in_rotation for each in ticks.records} == {False}


async def test_messages_come_at_a_humane_pace(nursery, autojump_clock):
    scene, _, _ = await start(nursery, 236, 100)
    await trio.sleep(60)
    since = len(scene.gateway.received)

    await trio.sleep(60)

    sent = Counter(int(at) for at, _ in scene.gateway.received[since:])
    assert max(sent.values()) <= 13
    assert sum(sent.values()) / 60 <= 10.5


async def test_the_largest_risk_is_seen_the_most_often(nursery, autojump_clock):
    _, broker, ticks = await start(nursery, 12, 5)
    broker.gammas = {3: 1.0, 9: 0.5}
    broker.ticks_every_s = 2.0

    await trio.sleep(HOUR_S / 2)

    seen = Counter({key: len(at) for key, at in ticks.at.items()})
    assert [key for key, _ in seen.most_common(2)] == [key_of(3), key_of(9)]
    assert seen[key_of(3)] > 3 * seen[key_of(1)]


async def test_even_turns_can_be_had_by_a_reload(nursery, autojump_clock):
    scene, broker, ticks = await start(nursery, 12, 5)
    broker.gammas = {3: 1.0}
    await trio.sleep(600)
    scene.feed.reload(replace(CONFIG, market_data_lines=5, rotation="even"))
    await trio.sleep(120)
    ticks.at.clear()

    await trio.sleep(HOUR_S / 2)

    turns = [len(at) for at in ticks.at.values()]
    assert max(turns) - min(turns) <= 1


async def test_one_that_never_answers_and_one_without_greeks_hold_up_no_other(
    nursery, autojump_clock
):
    scene, broker, ticks = await start(nursery, 9, 4)
    broker.answer_s = {5: None}
    await trio.sleep(1)
    limit_s = scene.health.statistics().rotation_seen_within_s

    await trio.sleep(2 * limit_s - GREEKS_WAIT_S)
    assert scene.gaps() == []
    assert scene.status == "connected"
    await trio.sleep(GREEKS_WAIT_S + 2 * CHECK_INTERVAL_S)

    assert scene.gaps() == [(key_of(5), "no greeks", False)]
    assert scene.status == "degraded"
    assert scene.last_error == f"1 contract without Greeks so far ({key_of(5)})"
    await trio.sleep(HOUR_S)
    assert len(scene.gaps()) == 1
    assert set(ticks.at) == {key_of(n) for n in range(1, 10) if n != 5}
    assert max(map(ticks.longest_s, ticks.at)) <= limit_s
    turns = len(scene.gateway.sent("umd+5+"))
    assert HOUR_S / limit_s < turns < HOUR_S / GREEKS_WAIT_S

    broker.answer_s = {5: 2.0}
    await trio.sleep(limit_s)
    assert scene.gaps()[1:] == [(key_of(5), "no greeks", True)]
    assert scene.status == "connected"


async def test_lines_that_another_program_uses_are_shown_once(nursery, autojump_clock):
    """IBKR gives no error beyond the limit: the requests stay without an answer."""
    config = replace(CONFIG, market_data_lines=5)
    scene = Scene(nursery, config)
    scene.gateway.positions["U1"] = [make_row(n, 600 + n) for n in range(1, 9)]
    ticks = Ticks()
    nursery.start_soon(ticks.take, scene.frames)
    broker = Broker(scene, 1)  # the underlying has the only one
    nursery.start_soon(broker.run)
    scene.start()
    await trio.sleep(HOUR_S)

    assert {each[1:] for each in scene.gaps()} == {("subscription unanswered", False)}
    assert len(scene.gaps()) == 8
    assert "8 subscriptions without an answer" in scene.last_error


async def test_a_closed_market_is_no_silence(nursery, autojump_clock):
    """Held options have lines of their own; watched ones bring frozen Greeks in turns."""
    watched = tuple(key_of(n) for n in range(3, 9))
    scene, broker, ticks = await start(nursery, 8, 5)
    broker.ticks_every_s = 2.0
    scene.gateway.positions["U1"] = [make_row(n, 600 + n) for n in (1, 2)]
    scene.feed.reload(replace(CONFIG, market_data_lines=5, watchlist=watched))
    await trio.sleep(600)
    assert scene.health.statistics().in_rotation == 6
    broker.ticks_every_s = None
    broker.answer_s = dict.fromkeys(range(1, 9), 8.0)
    ticks.records.clear()
    await trio.sleep(HOUR_S / 2)

    assert scene.gaps() == []
    assert scene.status == "connected"
    assert {each.contract_key for each in ticks.records if each.in_rotation} == {
        *watched
    }


async def test_held_contracts_come_before_a_long_watch_list(nursery, autojump_clock):
    watched = tuple(key_of(n) for n in range(1, 41))
    scene, _, ticks = await start(nursery, 40, 7)
    scene.gateway.positions["U1"] = [make_row(n, 600 + n) for n in range(1, 7)]
    scene.feed.reload(replace(CONFIG, market_data_lines=7, watchlist=watched))
    await trio.sleep(60)
    assert scene.health.statistics().in_rotation == 40
    ticks.at.clear()

    await trio.sleep(HOUR_S / 2)

    held = [len(ticks.at[key_of(n)]) for n in range(1, 7)]
    others = [len(ticks.at[key_of(n)]) for n in range(7, 41)]
    assert min(held) > 2 * max(others)
    assert min(others) > 0


async def test_a_lost_connection_forgets_no_turn(nursery, autojump_clock):
    """Connections of a minute would else never reach the last contracts."""
    scene, broker, ticks = await start(nursery, 40, 5, rotation="even")
    for _ in range(10):
        await trio.sleep(41)
        since = len(scene.gateway.received)
        broker.end_all()
        await scene.gateway.close()
        scene.start()
        await scene.gateway.wait_received("smd+", since=since)

    assert len(ticks.at) == 40


async def test_lines_and_positions_may_change_at_any_time(nursery, autojump_clock):
    scene, broker, _ = await start(nursery, 6, 7)
    await trio.sleep(200)
    assert scene.health.statistics().in_rotation == 0

    scene.gateway.positions["U1"] = [make_row(n, 600 + n) for n in range(1, 9)]
    scene.feed.reload(replace(CONFIG, market_data_lines=7))
    await trio.sleep(200)
    assert scene.health.statistics().in_rotation == 8
    assert broker.empty == 0

    scene.feed.reload(replace(CONFIG, market_data_lines=4))
    await trio.sleep(200)
    assert len(broker._open) == 4

    scene.gateway.positions["U1"] = [make_row(n, 600 + n) for n in (4, 5, 6)]
    scene.feed.reload(replace(CONFIG, market_data_lines=4))
    await trio.sleep(200)
    assert scene.health.statistics().in_rotation == 0
    assert scene.health.session().notes == ()
    assert set(broker._open) == {4, 5, 6, UNDERLYING}
    assert scene.gaps() == []
    assert scene.status == "connected"
    assert broker.empty == 0


async def test_frames_that_were_on_their_way_at_the_end_of_a_turn_are_ticks(
    nursery, autojump_clock
):
    scene = Scene(nursery, replace(CONFIG, market_data_lines=2))
    scene.gateway.positions["U1"] = [make_row(n, 600 + n) for n in (1, 2)]
    ticks = Ticks()
    nursery.start_soon(ticks.take, scene.frames)
    scene.start()
    await scene.gateway.wait_received("smd+1+")
    await scene.gateway.send_fields(1, f7308="0.5", f7309="0.02")
    await scene.gateway.wait_received("umd+1+")
    await scene.gateway.send_fields(1, at=T + 1, f7308="0.6")
    await trio.sleep(1)

    assert [(each.delta, each.gamma) for each in ticks.records] == [
        (0.5, 0.02),
        (0.6, 0.02),
    ]


async def test_a_turn_begins_without_the_values_of_the_last_one(
    nursery, autojump_clock
):
    """What changed in between is not known."""
    scene = Scene(nursery, replace(CONFIG, market_data_lines=2))
    scene.gateway.positions["U1"] = [make_row(n, 600 + n) for n in (1, 2)]
    ticks = Ticks()
    nursery.start_soon(ticks.take, scene.frames)
    scene.start()
    await scene.gateway.wait_received("smd+1+")
    await scene.gateway.send_fields(1, f7308="0.5", f7309="0.02")
    await scene.gateway.wait_received("umd+1+")
    since = len(scene.gateway.received)
    await scene.gateway.wait_received("smd+1+", since=since)
    await scene.gateway.send_fields(1, at=T + 10**6, f7308="0.6")
    await trio.sleep(1)

    assert (ticks.records[-1].delta, ticks.records[-1].gamma) == (0.6, None)


async def test_delayed_data_are_shown_between_the_turns_too(nursery, autojump_clock):
    scene, broker, _ = await start(nursery, 6, 3)
    broker.letters = dict.fromkeys(range(1, 7), "DPB")
    await trio.sleep(300)

    for _ in range(20):
        await trio.sleep(TURN_S / 3)
        assert scene.last_error.startswith("6 subscriptions with delayed market data")


async def test_a_renewal_is_no_reason_to_look_at_all_contracts(
    nursery, autojump_clock, monkeypatch
):
    looks = []
    update = StreamReport.update

    def counted(report, view, now):
        looks.append(now)
        update(report, view, now)

    monkeypatch.setattr(StreamReport, "update", counted)
    scene, broker, _ = await start(nursery, 60, 100, jitter=Random(1).random)
    broker.ticks_every_s = 10.0
    await trio.sleep(CHECK_INTERVAL_S)
    asked, looked = len(scene.gateway.sent("smd+")), len(looks)

    await trio.sleep(RENEW_LATEST_S)

    assert len(scene.gateway.sent("smd+")) - asked >= 60
    # The positions are read each minute, which is a reason.
    checks = RENEW_LATEST_S / CHECK_INTERVAL_S + RENEW_LATEST_S / 60.0
    assert checks - 3 <= len(looks) - looked <= checks + 3
