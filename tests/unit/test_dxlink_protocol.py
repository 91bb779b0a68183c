"""DXLink frames into events: recorded cases, hand-written ones, and any input at all."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.brokers.tastytrade.wire.columns import MAX_OTHER_CHANNELS, Columns
from greeks_trio.brokers.tastytrade.wire.messages import (
    GreeksEvent,
    Ignored,
    OddRows,
    QuoteEvent,
    TradeEvent,
)
from greeks_trio.brokers.tastytrade.wire.protocol import DxlinkProtocol
from greeks_trio.errors import ProtocolViolation
from greeks_trio.model.records import Greeks

RECORDINGS = Path(__file__).parents[1] / "recordings"
CHANNELS = (1, 3)
COLUMNS = ["eventSymbol", "eventFlags", "time", "delta", "gamma", "vega"]


def as_json(event):
    """Return the event as the recordings show it."""
    shown = {"event": type(event).__name__} | msgspec.structs.asdict(event)
    if isinstance(event, GreeksEvent):
        shown["greeks"] = msgspec.structs.asdict(event.greeks)
        shown["payload"] = json.loads(event.payload)
        assert (shown.pop("bid"), shown.pop("ask")) == (None, None)
    # For those who read the server's mind, not its rows.
    shown.pop("aggregation_period", None)
    shown.pop("event_type", None)
    return shown


def announced(columns=COLUMNS, event_type="Greeks"):
    protocol = DxlinkProtocol(CHANNELS)
    protocol.receive_frame(
        json.dumps(
            {
                "type": "FEED_CONFIG",
                "channel": 1,
                "eventFields": {event_type: columns},
            }
        )
    )
    return protocol


def frame_of(*parts):
    """Return FEED_DATA with these JSON texts as its parts."""
    data = ",".join(parts)
    return f'{{"type":"FEED_DATA","channel":1,"data":[{data}]}}'


@pytest.mark.parametrize(
    "path", sorted(RECORDINGS.glob("dxlink_*.jsonl")), ids=lambda path: path.stem
)
def test_a_recorded_connection_gives_the_events_it_says(path):
    protocol = DxlinkProtocol(CHANNELS)
    for line in path.read_text().splitlines():
        case = json.loads(line)

        events = protocol.receive_frame(case["frame"])

        assert [as_json(event) for event in events] == case["events"]


def test_the_payload_holds_every_number_as_it_was_written():
    row = '".X261218C1",0,1795188600123,1.50E-1,0.010,12345678901234567890'

    [event] = announced().receive_frame(frame_of('"Greeks"', f"[{row}]"))

    assert event.payload == (
        b'{"eventSymbol":".X261218C1","eventFlags":0,"time":1795188600123,'
        b'"delta":1.50E-1,"gamma":0.010,"vega":12345678901234567890}'
    )
    assert event.greeks == Greeks(delta=0.15, gamma=0.01, vega=1.2345678901234567e19)


def test_spaces_and_line_breaks_do_not_matter():
    row = '[ ".X261218C1" ,\n 0, 1 ,0.5 , 0.1 ,"NaN" ]'

    [event] = announced().receive_frame(frame_of(' "Greeks" ', row))

    assert event.greeks == Greeks(delta=0.5, gamma=0.1)


@pytest.mark.parametrize(
    "value",
    ['"NaN"', '"Infinity"', '"-Infinity"', "null", '""', "1e999", "true", "[]", "{}"],
)
def test_whatever_is_no_real_number_is_missing(value):
    row = f'[".X261218C1",0,1,0.5,{value},0.7]'

    [event] = announced().receive_frame(frame_of('"Greeks"', row))

    assert event.greeks == Greeks(delta=0.5, vega=0.7)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("1795188600123", 1795188600123),
        ("1.795188600123E12", 1795188600123),
        ("0", 0),
        ('"NaN"', None),
        ("null", None),
        ("1e999", None),
        ("9" * 5000, None),
    ],
)
def test_the_time_is_a_whole_number_or_missing(time, expected):
    row = f'[".X261218C1",0,{time},0.5,0.1,0.7]'

    [event] = announced().receive_frame(frame_of('"Greeks"', row))

    assert event.event_time_ms == expected
    assert event.greeks.delta == 0.5


@pytest.mark.parametrize(
    "column", ["100%", "%b", 'a"b', "\N{GREEK SMALL LETTER DELTA}"]
)
def test_a_column_may_have_any_name(column):
    protocol = announced(["eventSymbol", column, "delta"])

    [event] = protocol.receive_frame(frame_of('"Greeks"', '[".X261218C1",7,0.5]'))

    assert json.loads(event.payload) == {
        "eventSymbol": ".X261218C1",
        column: 7,
        "delta": 0.5,
    }


def test_channels_have_their_own_columns():
    frame = frame_of('"Greeks"', '[".X261218C1",0,1,0.5,0.1,0.7]')

    [event] = announced().receive_frame(frame.replace('"channel":1', '"channel":3'))

    assert isinstance(event, OddRows)


def config_of(channel, **columns):
    message = {"type": "FEED_CONFIG", "channel": channel, "eventFields": columns}
    return json.dumps(message)


def test_only_a_few_channels_that_are_not_ours_are_remembered():
    columns = Columns([1])
    for channel in range(100, 1000):
        columns.announce(channel, "Greeks", COLUMNS)
    others = len(columns)

    columns.announce(1, "Greeks", COLUMNS)

    assert others == MAX_OTHER_CHANNELS
    assert len(columns) == MAX_OTHER_CHANNELS + 1


def test_columns_of_types_that_nobody_reads_are_not_remembered():
    columns = Columns([1])
    for number in range(1000):
        columns.announce(1, f"Type{number}", COLUMNS)

    assert len(columns) == 0
    assert columns.events(1, "Type7", []) == [Ignored("other-type")]


def test_rows_of_a_channel_that_is_not_remembered_are_ignored():
    protocol = announced()
    for channel in range(100, 1000):
        protocol.receive_frame(config_of(channel, Greeks=COLUMNS))
    row = '[".X261218C1",0,1,0.5,0.1,0.7]'
    frame = frame_of('"Greeks"', row)

    [stranger] = protocol.receive_frame(frame.replace('"channel":1', '"channel":999'))
    [ours] = protocol.receive_frame(frame)

    assert stranger == Ignored("other-channel")
    assert ours.greeks.delta == 0.5


def test_odd_rows_of_another_channel_say_nothing_of_our_greeks():
    protocol = announced()
    protocol.receive_frame(config_of(99, Greeks=COLUMNS))
    frame = frame_of('"Greeks"', '[".X261218C1"]')

    [ours] = protocol.receive_frame(frame)
    [stranger] = protocol.receive_frame(frame.replace('"channel":1', '"channel":99'))

    assert (ours.reason, ours.event_type) == ("incomplete-row", "Greeks")
    assert (stranger.reason, stranger.event_type) == ("incomplete-row", None)


@pytest.mark.parametrize(
    ("flags", "values", "is_marker"),
    [
        (0x01, "0.5,0.1,0.7", False),  # a transaction is open
        (0x02, "0.5,0.1,0.7", True),  # the event is removed
        (0x04, "0.5,0.1,0.7", False),  # a snapshot begins
        (0x08, "0.5,0.1,0.7", False),  # ends
        (0x10, "0.5,0.1,0.7", False),  # is cut off
        (0x40, "0.5,0.1,0.7", False),  # will come
        (0x04, '"NaN","NaN","NaN"', True),
        (0x08, '"NaN","NaN","NaN"', True),
        (0x10, '"NaN","NaN","NaN"', True),
        (0x0A, '"NaN","NaN","NaN"', True),  # the end, removed
        (0x0E, '"NaN","NaN","NaN"', True),  # an empty snapshot
        (0x00, '"NaN","NaN","NaN"', False),  # no market
        (0x01, '"NaN","NaN","NaN"', False),
    ],
)
def test_a_row_that_is_there_for_its_flags_only_is_a_marker(flags, values, is_marker):
    row = f'[".X261218C1",{flags},1,{values}]'

    [event] = announced().receive_frame(frame_of('"Greeks"', row))

    assert (event == Ignored("marker")) == is_marker


def test_rows_without_a_symbol_column_are_odd():
    protocol = announced(["delta"])

    events = protocol.receive_frame(frame_of('"Greeks"', "[0.5,0.6]"))

    assert [event.reason for event in events] == ["event-without-symbol"] * 2


@pytest.mark.parametrize("event_type", ["null", "7", "1e999", "[]", "9" * 400])
def test_a_full_event_of_no_type_is_odd(event_type):
    odd, event = announced().receive_frame(
        frame_of(
            f'{{"eventType":{event_type},"eventSymbol":"X"}}',
            '{"eventType":"Greeks","eventSymbol":"X","delta":0.5}',
        )
    )

    assert odd.reason == "event-without-type"
    assert event.greeks == Greeks(delta=0.5)


@pytest.mark.parametrize(
    ("event_type", "columns", "row", "expected"),
    [
        ("Quote", ["bidPrice", "askPrice"], '0,"0"', QuoteEvent("SPY", None, None)),
        ("Quote", ["bidPrice", "askPrice"], "0.0,1", QuoteEvent("SPY", None, 1.0)),
        ("Trade", ["price"], "0", TradeEvent("SPY", None)),
        ("Trade", ["price"], "-37.63", TradeEvent("SPY", -37.63)),
    ],
)
def test_a_price_of_zero_is_missing(event_type, columns, row, expected):
    protocol = announced(["eventSymbol", *columns], event_type)

    events = protocol.receive_frame(frame_of(f'"{event_type}"', f'["SPY",{row}]'))

    assert events == [expected]


@pytest.mark.parametrize(
    ("event_type", "columns", "row", "expected"),
    [
        (
            "Quote",
            ["bidTime", "bidPrice", "askTime", "askPrice"],
            "1795188600000,600.0,1795188601000,601.0",
            QuoteEvent("SPY", 600.0, 601.0, 1795188601000),
        ),
        (
            "Quote",
            ["bidTime", "bidPrice", "askTime", "askPrice"],
            '0,600.0,"NaN",601.0',
            QuoteEvent("SPY", 600.0, 601.0, 0),
        ),
        (
            "Quote",
            ["bidTime", "bidPrice", "askTime", "askPrice"],
            "1.795188600E12,600.0,null,601.0",
            QuoteEvent("SPY", 600.0, 601.0, 1795188600000),
        ),
        ("Trade", ["price", "time"], "600.5,7", TradeEvent("SPY", 600.5, 7)),
        ("TradeETH", ["price", "time"], "600.5,7", TradeEvent("SPY", 600.5, 7)),
        ("TradeETH", ["price", "time"], '600.5,"x"', TradeEvent("SPY", 600.5, 0)),
    ],
)
def test_a_price_carries_the_time_that_the_server_tells(
    event_type, columns, row, expected
):
    protocol = announced(["eventSymbol", *columns], event_type)

    events = protocol.receive_frame(frame_of(f'"{event_type}"', f'["SPY",{row}]'))

    assert events == [expected]


@pytest.mark.parametrize(
    ("text", "price"),
    [("12.75", 12.75), ("0", 0.0), ('"NaN"', None), ("null", None), ("-1", -1.0)],
)
def test_greeks_come_with_the_price_of_the_option(text, price):
    protocol = announced(["eventSymbol", "price", "delta"])

    [event] = protocol.receive_frame(frame_of('"Greeks"', f'[".X261218C1",{text},0.5]'))

    assert (event.price, event.bid, event.ask) == (price, None, None)
    assert event.greeks.delta == 0.5


def test_half_a_character_does_not_cost_the_frame():
    row = r'[".X261218C1",0,1,0.5,"\ud800",0.7]'

    mended, event = announced().receive_frame(frame_of('"Greeks"', row))

    assert mended == Ignored("mended-text")
    assert event.greeks == Greeks(delta=0.5, vega=0.7)
    assert json.loads(event.payload)["gamma"] == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("bare", ["NaN", "Infinity", "-Infinity"])
def test_a_bare_number_that_json_lacks_costs_only_its_field(bare):
    rows = f'[".X261218C1",0,1,0.5,{bare},0.7,".NaN261218C1",0,1,0.4,0.1,0.6]'

    mended, first, second = announced().receive_frame(frame_of('"Greeks"', rows))

    assert mended == Ignored("mended-text")
    assert first.greeks == Greeks(delta=0.5, vega=0.7)
    assert json.loads(first.payload)["gamma"] == bare
    assert second.symbol == ".NaN261218C1"
    assert second.greeks == Greeks(delta=0.4, gamma=0.1, vega=0.6)


def test_an_endless_text_is_refused_at_once():
    """A look for its end at each of its quotes would take minutes."""
    with pytest.raises(ProtocolViolation, match="not-json"):
        announced().receive_frame('{"q":[NaN,"' + r"\"" * 500_000 + "\\")


def test_a_frame_may_come_as_bytes():
    frame = frame_of('"Greeks"', '[".X261218C1",0,1,0.5,0.1,0.7]')

    assert announced().receive_frame(frame.encode()) == announced().receive_frame(frame)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("", "not-json"),
        ("hello", "not-json"),
        ('{"type":"KEEPALIVE"', "not-json"),
        ('{"type":"KEEPALIVE","q":"\ud800', "not-json"),
        ("[]", "not-a-message"),
        ("7", "not-a-message"),
        ("{}", "not-a-message"),
        ('{"type":7}', "not-a-message"),
        ('{"type":"AUTH_STATE"}', "bad-fields"),
        ('{"type":"FEED_DATA","channel":1}', "bad-data"),
        ('{"type":"FEED_DATA","channel":1,"data":"Greeks"}', "bad-data"),
        ('{"type":"FEED_DATA","data":["Greeks",7]}', "bad-data"),
        (b'{"type":"\xff"}', "bad-utf8"),
        ('{"type":' * 100_000, "not-a-message"),
        ('{"q":' + "[" * 100_000, "too-deep"),
    ],
    ids=range(15),
)
def test_what_makes_no_sense_is_a_violation_with_a_reason(frame, reason):
    with pytest.raises(ProtocolViolation) as caught:
        DxlinkProtocol(CHANNELS).receive_frame(frame)

    assert caught.value.reason == reason
    assert caught.value.frame == frame


@pytest.mark.parametrize("fields", ['{"Greeks":7,"Quote":["x"]}', "7", "[]"])
def test_columns_that_cannot_be_read_make_rows_odd_and_not_wrong(fields):
    protocol = announced()

    [odd_config] = protocol.receive_frame(
        f'{{"type":"FEED_CONFIG","channel":1,"eventFields":{fields}}}'
    )
    [odd_row] = protocol.receive_frame(
        frame_of('"Greeks"', '[".X261218C1",0,1,0.5,0.1,0.7]')
    )

    assert odd_config.reason == "bad-config"
    assert (odd_row.reason, odd_row.event_type) == ("unannounced-type", "Greeks")


@pytest.mark.parametrize(
    "config",
    [
        '"eventFields":{"Quote":{},"Greeks":["eventSymbol","vega"],"Trade":[1]}',
        '"aggregationPeriod":"soon","eventFields":{"Greeks":["eventSymbol","vega"]}',
    ],
)
def test_what_can_be_read_of_a_config_is_applied(config):
    protocol = announced()

    protocol.receive_frame(f'{{"type":"FEED_CONFIG","channel":1,{config}}}')

    [event] = protocol.receive_frame(frame_of('"Greeks"', '[".X261218C1",0.7]'))
    assert event.greeks == Greeks(vega=0.7)


def test_a_spoilt_config_of_one_channel_does_not_touch_another():
    protocol = announced()
    protocol.receive_frame('{"type":"FEED_CONFIG","channel":3,"eventFields":7}')

    [event] = protocol.receive_frame(
        frame_of('"Greeks"', '[".X261218C1",0,1,0.5,0.1,0.7]')
    )

    assert event.greeks.delta == 0.5


def test_a_refused_config_leaves_the_columns_as_they_are():
    protocol = announced()
    with pytest.raises(ProtocolViolation):
        protocol.receive_frame('{"type":"FEED_CONFIG","eventFields":{"Greeks":[]}}')

    [event] = protocol.receive_frame(
        frame_of('"Greeks"', '[".X261218C1",0,1,0.5,0.1,0.7]')
    )

    assert event.greeks == Greeks(delta=0.5, gamma=0.1, vega=0.7)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["NaN", "Infinity", "Greeks", "Quote", "Trade", "Candle"])
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(
            st.sampled_from([*COLUMNS, "eventType", "price"]) | st.text(), inner
        )
    ),
    max_leaves=20,
)
message_types = st.sampled_from(
    ["SETUP", "AUTH_STATE", "CHANNEL_OPENED", "FEED_CONFIG", "FEED_DATA", "ERROR"]
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "type": message_types | json_values,
        "channel": st.integers(0, 3) | json_values,
        "data": st.lists(st.sampled_from(["Greeks", "Quote"]) | json_values),
        "eventFields": st.dictionaries(
            st.sampled_from(["Greeks", "Quote"]),
            st.lists(st.sampled_from(COLUMNS) | st.text(), max_size=4),
        )
        | json_values,
        "state": json_values,
        "keepaliveTimeout": json_values,
        "error": json_values,
        "message": json_values,
    },
)


def check_outcome(protocol, frame):
    """Accept events, nothing or a violation, and no other outcome."""
    try:
        events = protocol.receive_frame(frame)
    except ProtocolViolation:
        return
    for event in events:
        if isinstance(event, GreeksEvent):
            assert isinstance(json.loads(event.payload), dict)


@given(st.text() | st.binary())
def test_any_text_gives_events_or_a_violation(frame):
    check_outcome(announced(), frame)


@given(st.lists(messages | json_values, max_size=4))
def test_any_json_gives_events_or_a_violation(frames):
    protocol = announced()
    for frame in frames:
        check_outcome(protocol, json.dumps(frame))
        check_outcome(protocol, json.dumps(frame, ensure_ascii=False))


@given(
    st.permutations(COLUMNS),
    st.lists(
        st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3), max_size=5
    ),
)
def test_values_follow_their_columns_in_any_order(columns, greeks):
    rows = [
        dict(zip(("delta", "gamma", "vega"), values, strict=True))
        | {"eventSymbol": ".X261218C1", "eventFlags": 0, "time": 1}
        for values in greeks
    ]
    flat = [row[column] for row in rows for column in columns]
    frame = frame_of('"Greeks"', json.dumps(flat))

    events = announced(columns).receive_frame(frame)

    assert [
        (event.greeks.delta, event.greeks.gamma, event.greeks.vega) for event in events
    ] == greeks
    assert [json.loads(event.payload) for event in events] == rows


@given(st.data())
def test_a_mutilated_frame_never_yields_a_broken_payload(data):
    frame = frame_of('"Greeks"', '[".X261218C1",0,1,0.5,0.1,0.7]', '"Quote"', "[1]")
    start = data.draw(st.integers(0, len(frame)))
    end = data.draw(st.integers(start, len(frame)))
    middle = data.draw(st.text(alphabet='[]{}",:0123456789.eE+-\\ud8NaN', max_size=6))

    check_outcome(announced(), frame[:start] + middle + frame[end:])
