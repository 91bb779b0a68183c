"""The generator of the benchmarks: its frames, its ledger, its pace."""

from __future__ import annotations

from itertools import count

import msgspec
import pytest
import trio
from wsproto import ConnectionType
from wsproto.connection import Connection

from greeks_trio.simulators.tastytrade.dxlink_events import EVENT_FIELDS, greeks_index
from tests.benchmarks.generator.ibkr import IbkrFrames
from tests.benchmarks.generator.ledger import VALUE_SETS, Ledger, SentTick, read_ticks
from tests.benchmarks.generator.pump import MOST_IN_ONE_SEND, Load, Pump
from tests.benchmarks.generator.tastytrade import DxlinkFrames
from tests.benchmarks.generator.values import NAMES, value_sets

NOW_MS = 1_796_000_000_000
GREEKS_OF_IBKR = {"7308": "delta", "7309": "gamma", "7310": "theta", "7311": "vega"}


def messages(frames):
    """Return what a client reads: the bytes are whole frames of a WebSocket."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(b"".join(frames))
    return [msgspec.json.decode(event.data) for event in client.events()]


def values_of(tick):
    """Return the Greeks of a tick of the ledger by their names."""
    return dict(zip(NAMES, value_sets()[tick.values], strict=True))


def test_frames_of_ibkr_have_the_values_of_the_ledger(tmp_path):
    ledger = Ledger(tmp_path, "ibkr")
    frames = IbkrFrames(["701", "702@SMART"], ledger, server_ids=count(1))

    read = messages(frames.take(VALUE_SETS + 3, NOW_MS))
    ledger.note_batch(VALUE_SETS + 3, 5)
    ledger.flush()

    sent = list(read_ticks(tmp_path, "ibkr"))
    assert len(read) == len(sent) == VALUE_SETS + 3
    for frame, tick in zip(read, sent, strict=True):
        greeks = values_of(tick)
        assert frame["conid"] == (701, 702)[tick.contract]
        assert frame["topic"] == f"smd+{frame['conidEx']}"
        assert frame["_updated"] == tick.event_ms
        for field, name in GREEKS_OF_IBKR.items():
            assert float(frame[field]) == greeks[name]
        volatility = float(frame["7633"].rstrip("%")) / 100
        assert volatility == pytest.approx(greeks["implied_volatility"], abs=1e-12)
    times = [(each.contract, each.event_ms) for each in sent]
    assert len(set(times)) == len(times)


def test_rows_of_dxlink_have_the_announced_columns_and_the_values_of_the_ledger(
    tmp_path,
):
    columns = ["time", "eventSymbol", "index", *EVENT_FIELDS["Greeks"][7:]]
    ledger = Ledger(tmp_path, "tastytrade")
    frames = DxlinkFrames(3, columns, [".SPY1", ".SPY2", ".SPY3"], ledger)

    read = messages(frames.take(600, NOW_MS))
    ledger.note_batch(600, 5)
    ledger.flush()

    flat = []
    for message in read:
        assert message["channel"] == 3
        name, values = message["data"]
        assert name == "Greeks"
        flat += values
    width = len(columns)
    rows = [
        dict(zip(columns, flat[at : at + width], strict=True))
        for at in range(0, len(flat), width)
    ]
    sent = list(read_ticks(tmp_path, "tastytrade"))
    assert len(rows) == len(sent) == 600
    for row, tick in zip(rows, sent, strict=True):
        greeks = values_of(tick)
        assert row["eventSymbol"] == f".SPY{tick.contract + 1}"
        assert (row["time"], row["index"]) == (
            tick.event_ms,
            greeks_index(tick.event_ms, 0),
        )
        assert row["volatility"] == greeks["implied_volatility"]
        for name in ("delta", "gamma", "theta", "vega", "rho"):
            assert row[name] == greeks[name]


def test_the_ledger_keeps_every_batch_across_its_writes(tmp_path):
    ledger = Ledger(tmp_path, "ibkr")
    for number in range(60_000):
        ledger.ticks.extend((number * VALUE_SETS + number % VALUE_SETS, number))
        ledger.note_batch(1, number + 7)
    ledger.flush()

    assert list(read_ticks(tmp_path, "ibkr")) == [
        SentTick(number, number % VALUE_SETS, number, number + 7)
        for number in range(60_000)
    ]


class FakeFrames:
    """Frames without content."""

    def __init__(self, ledger):
        self._ledger = ledger

    def take(self, count, now_ms):
        self._ledger.ticks.extend((0, now_ms) * count)
        return [b"x"] * count


async def pumped(tmp_path, load, *, delay_s=0.0):
    """Return what a pump reports, and when it sent how many frames."""
    ledger = Ledger(tmp_path, "ibkr")
    started_at = trio.current_time()
    sends = []

    async def send(frames):
        sends.append((trio.current_time() - started_at, len(frames)))
        await trio.sleep(delay_s)

    sent = await Pump(ledger, FakeFrames(ledger), send).run(load)
    return sent, sends


async def test_a_load_is_sent_at_its_rate(tmp_path, autojump_clock):
    sent, sends = await pumped(tmp_path, Load(2_000, 1_000))

    assert sent.ticks == sum(number for _, number in sends) == 2_000
    assert sent.seconds == pytest.approx(2.0, abs=0.01)
    assert sent.late_max_s == pytest.approx(0.0, abs=0.002)
    in_time = [number for at, number in sends if at < 1.0]
    assert sum(in_time) == pytest.approx(1_000, abs=5)


async def test_a_slow_reader_makes_ticks_late_and_none_is_left_out(
    tmp_path, autojump_clock
):
    sent, _ = await pumped(tmp_path, Load(100, 1_000), delay_s=0.05)

    assert sent.ticks == 100
    assert sent.late_max_s > 0.04


async def test_a_burst_is_sent_at_once(tmp_path, autojump_clock):
    sent, sends = await pumped(tmp_path, Load(2 * MOST_IN_ONE_SEND + 1, 0))

    assert [number for _, number in sends] == [MOST_IN_ONE_SEND, MOST_IN_ONE_SEND, 1]
    assert sent.seconds == 0
