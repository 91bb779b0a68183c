from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks_trio.brokers.ibkr.wire import events as ibkr
from greeks_trio.brokers.ibkr.wire.events import (
    AvailabilityNoted,
    Counted,
    FieldsSeen,
    GatewayError,
    GatewayHeartbeat,
    GatewayReady,
    GreeksQuote,
    SessionNews,
    SessionWanted,
    encode_session,
    encode_subscribe,
    encode_unsubscribe,
)
from greeks_trio.brokers.ibkr.wire.protocol import IbkrProtocol
from greeks_trio.errors import ProtocolViolation
from greeks_trio.model.payload import jsonb_safe

RECORDING = Path(__file__).parents[1] / "recordings" / "ibkr_frames.jsonl"
CASES = [json.loads(line) for line in RECORDING.read_text("utf-8").splitlines()]
T = 1_790_000_000_000
GREEKS = {"7308": "delta", "7309": "gamma", "7310": "theta", "7311": "vega"}


def make_frame(at=T, conid=7, **fields):
    fields = {number.removeprefix("f"): value for number, value in fields.items()}
    message = {"topic": f"smd+{conid}", "conid": conid, "_updated": at, **fields}
    return json.dumps(message).encode()


def receive(protocol, at=T, conid=7, **fields):
    """Return the quote of one frame, `None` when there is none."""
    events = protocol.receive_frame(make_frame(at, conid, **fields), T)
    quotes = [event for event in events if isinstance(event, GreeksQuote)]
    return quotes[0] if quotes else None


def load_strictly(quote):
    """Return the payload's content; NaN, which jsonb refuses, fails."""

    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    mended, _ = jsonb_safe(quote.payload)
    return json.loads(mended.decode(), parse_constant=refuse)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
@pytest.mark.parametrize("is_binary", [True, False])
def test_recorded_frame(case, is_binary):
    frame = case["frame"].encode() if is_binary else case["frame"]

    event = IbkrProtocol().receive_frame(frame)[0]

    assert type(event).__name__ == case["kind"]
    for name, value in case["expected"].items():
        owner = event if hasattr(event, name) else event.greeks
        assert getattr(owner, name) == value, name


def test_a_quote_carries_the_frame_as_it_was_read():
    frame = make_frame(f7308="0.5")

    [quote] = IbkrProtocol().receive_frame(frame)

    assert quote.payload == frame


def test_unchanged_fields_are_remembered():
    protocol = IbkrProtocol()
    receive(protocol, f7308="0.5", f7309="0.01", f7633="20%", f6509="RpB")

    quote = receive(protocol, T + 500, f7308="0.6")

    greeks = quote.greeks
    assert (greeks.delta, greeks.gamma, greeks.implied_volatility) == (0.6, 0.01, 0.2)
    assert quote.availability == "realtime"


def test_conids_do_not_share_memory():
    protocol = IbkrProtocol()
    receive(protocol, conid=7, f7308="0.5")

    assert receive(protocol, conid=8, f7309="0.01").greeks.delta is None


def test_a_late_frame_takes_nothing_from_its_future_and_overwrites_nothing():
    protocol = IbkrProtocol()
    receive(protocol, T, f7309="0.01")
    receive(protocol, T + 1000, f7308="0.6", f7310="-0.3")

    late = receive(protocol, T + 500, f7308="0.55")
    after = receive(protocol, T + 1500, f7311="0.2")

    assert (late.greeks.delta, late.greeks.gamma, late.greeks.theta) == (
        0.55,
        0.01,
        None,
    )
    assert (after.greeks.delta, after.greeks.theta) == (0.6, -0.3)


@pytest.mark.parametrize("nothing", ["", "N/A", None, "-", "garbage", [1], {"a": 1}])
def test_a_value_that_is_taken_back_is_forgotten(nothing):
    protocol = IbkrProtocol()
    receive(protocol, T, f7308="0.5", f7309="0.01")

    cleared = receive(protocol, T + 500, f7308=nothing)
    after = receive(protocol, T + 1000, f7309="0.02")

    assert cleared.greeks.delta is None
    assert cleared.greeks.gamma == 0.01
    assert after.greeks.delta is None


def test_the_same_frame_twice_gives_the_same_quote_twice():
    protocol = IbkrProtocol()
    frame = make_frame(f7308="0.5", f7633="20%")

    assert protocol.receive_frame(frame) == protocol.receive_frame(frame)


@pytest.mark.parametrize("at", [T + 10**9, 5, "soon", None, 10**30, -1])
def test_an_impossible_time_does_not_shut_out_the_true_ones(at):
    protocol = IbkrProtocol()
    protocol.receive_frame(make_frame(at, f7308="0.5"), T)

    [quote] = protocol.receive_frame(make_frame(T + 1, f7308="0.6"), T + 1)
    [after] = protocol.receive_frame(make_frame(T + 2, f7309="0.01"), T + 2)

    assert quote.greeks.delta == 0.6
    assert after.greeks.delta == 0.6


@pytest.mark.parametrize("ahead_ms", [-60_000, 0, 60_000])
def test_a_frame_without_a_time_is_as_new_as_the_newest_whatever_our_clock(ahead_ms):
    protocol = IbkrProtocol()
    protocol.receive_frame(make_frame(T, f7308="0.5", f7309="0.01"), T + ahead_ms)

    [untimed] = protocol.receive_frame(make_frame(None, f7308="0.6"), T + ahead_ms)
    [after] = protocol.receive_frame(make_frame(T + 1, f7309="0.02"), T + ahead_ms)
    [newer] = protocol.receive_frame(make_frame(T + 2, f7308="0.7"), T + ahead_ms)

    assert (untimed.greeks.delta, untimed.greeks.gamma) == (0.6, 0.01)
    assert untimed.event_time_ms is None
    assert (after.greeks.delta, newer.greeks.delta) == (0.6, 0.7)


def test_frames_that_never_have_a_time_are_merged_all_the_same():
    protocol = IbkrProtocol()
    protocol.receive_frame(make_frame(None, f7308="0.5"), T)

    [quote] = protocol.receive_frame(make_frame(None, f7309="0.01"), T + 1)

    assert (quote.greeks.delta, quote.greeks.gamma) == (0.5, 0.01)


def test_availability_is_noted_when_its_first_letter_changes():
    protocol = IbkrProtocol()
    noted = [
        [event.letter for event in events if isinstance(event, AvailabilityNoted)]
        for events in (
            protocol.receive_frame(make_frame(T + number, f6509=raw))
            for number, raw in enumerate(["RpB", "RB", "DPB", "N", "", "Z"])
        )
    ]

    assert noted == [["R"], [], ["D"], ["N"], [""], ["Z"]]


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ({"topic": "system", "success": "trader01"}, GatewayReady()),
        ({"topic": "tic", "alive": True}, GatewayHeartbeat()),
        ({"message": "waiting for session"}, SessionWanted()),
        ({"message": "something else"}, Counted("topic.none")),
        ({"topic": "xyz+1"}, Counted("topic.unknown")),
        ({"topic": "ntf", "args": []}, Counted("topic.ntf")),
        (
            {"error": "Topic unknown 'null'", "code": 1},
            GatewayError("Topic unknown 'null'"),
        ),
        ({"topic": "sor", "error": "bad"}, GatewayError("bad")),
        ({"topic": "error", "error": "bad"}, GatewayError("bad")),
        ({"topic": "smd+7", "conid": 7, "error": "bad"}, GatewayError("bad")),
        ({"topic": "smd+7;;;8/1", "_updated": T}, Counted("frame.combination")),
        ({"topic": "sts", "args": {"authenticated": False}}, SessionNews(False, None)),
        (
            {"topic": "sts", "args": {"authenticated": "false"}},
            SessionNews(False, None),
        ),
        ({"topic": "sts", "args": {"established": False}}, SessionNews(False, None)),
        (
            {"topic": "sts", "args": {"authenticated": True, "established": False}},
            SessionNews(False, None),
        ),
        ({"topic": "sts", "args": {"competing": True}}, SessionNews(None, True)),
        ({"topic": "sts", "args": {"message": ""}}, SessionNews(None, None)),
        ({"topic": "sts", "args": []}, Counted("frame.status")),
    ],
)
def test_what_is_no_market_data_says_one_thing(message, event):
    assert IbkrProtocol().receive_frame(json.dumps(message)) == [event]


def test_the_echo_of_a_keep_alive_is_no_json_and_a_sign_of_life():
    assert IbkrProtocol().receive_frame(b"ech+hb") == [GatewayHeartbeat()]


def test_strangers_are_counted_and_leave_no_memory():
    subscribed = {7}
    protocol = IbkrProtocol(subscribed)

    for conid in range(1000, 2000):
        events = protocol.receive_frame(make_frame(conid=conid, f31="668"))
        assert events == [Counted("quote.not-wanted")]
    assert protocol.underlying_price(1000, "share", lambda _: None) is None
    [quote] = protocol.receive_frame(make_frame(f7308="0.5"))
    assert quote.greeks.delta == 0.5
    assert len(protocol._memories) == 1

    subscribed.remove(7)
    protocol.forget(7)
    [event] = protocol.receive_frame(make_frame(f7308="0.5"))
    assert event == Counted("quote.not-wanted")


def test_forgetting_a_conid_drops_its_memory():
    protocol = IbkrProtocol()
    receive(protocol, f7308="0.5")

    protocol.forget(7)

    assert receive(protocol, T + 1, f7309="0.01").greeks.delta is None


def test_a_volatility_without_its_sign_is_percent_and_counted():
    events = IbkrProtocol().receive_frame(make_frame(f7308="0.5", f7633="14.7"))

    assert events[0].greeks.implied_volatility == pytest.approx(0.147)
    assert events[1:] == [Counted("field.volatility-without-percent")]


def test_a_field_that_cannot_be_read_is_counted_and_costs_no_other():
    events = IbkrProtocol().receive_frame(make_frame(f7308=[1], f7309="0.01"))

    assert events[0].greeks.gamma == 0.01
    assert events[1:] == [Counted("field.unreadable")]


def price_after(sequence, kind="share", count=lambda _: None):
    """Return the price of an underlying after frames that are a millisecond apart."""
    protocol = IbkrProtocol()
    for number, fields in enumerate(sequence):
        message = {"topic": "smd+756733", "conid": 756733, "_updated": T + number}
        protocol.receive_frame(json.dumps(message | fields))
    price = protocol.underlying_price(756733, kind, count)
    if price is None:
        return None
    return price.value, round(price.at.timestamp() * 1000) - T


@pytest.mark.parametrize(
    ("sequence", "price"),
    [
        ([{"31": "271.5", "84": "270", "86": "272"}], (271.5, 0)),
        ([{"84": "270", "86": "272"}], (271.0, 0)),
        ([{"84": "4712.49", "86": "4741.13"}], (4726.81, 0)),
        ([{"84": "270"}], None),
        ([{"84": "270", "86": "269"}], None),
        ([{"31": "N/A", "55": "-"}], None),
        ([], None),
        # The last trade is from before the market, also if one frame brings both.
        ([{"31": "260", "84": "270", "86": "272"}], (271.0, 0)),
        ([{"31": "271.5"}, {"84": "280", "86": "281"}], (280.5, 1)),
        ([{"31": "271.5", "84": "271", "86": "272"}, {"86": "280"}], (275.5, 1)),
        ([{"84": "270", "86": "272"}, {"31": "273"}], (273.0, 1)),
        # A previous close, and the last price before a halt.
        ([{"31": "C268"}], (268.0, 0)),
        ([{"31": "C268", "84": "270", "86": "272"}], (271.0, 0)),
        ([{"31": "C270.5", "84": "270", "86": "272"}], (271.0, 0)),
        ([{"31": "C268", "7635": "269.5"}], (269.5, 0)),
        ([{"7635": "269.5"}, {"31": "C268"}], (269.5, 0)),
        ([{"84": "270", "86": "272"}, {"31": "H268.5"}], (271.0, 0)),
        ([{"31": "H268.5", "84": "270", "86": "272"}], (271.0, 0)),
        ([{"31": "H268.5", "84": "-1", "86": "-1"}], (268.5, 0)),
        ([{"31": "C268"}, {"31": "269"}], (269.0, 1)),
        # The mark price.
        ([{"7635": "17.35"}], (17.35, 0)),
        ([{"7635": "17.35", "31": "-1", "84": "-1", "86": "-1"}], (17.35, 0)),
        ([{"31": "17.1"}, {"7635": "17.35"}], (17.35, 1)),
        ([{"31": "17.1", "7635": "17.35"}], (17.35, 0)),
        ([{"7635": "17.35"}, {"31": "17.4"}], (17.4, 1)),
        ([{"7635": "271.2", "84": "270", "86": "272"}], (271.0, 0)),
        # What no share and no index can cost.
        ([{"31": "-1", "84": "-1", "86": "-1"}], None),
        ([{"31": "0", "84": "-1", "86": "-1"}], None),
        ([{"31": "0.00", "84": "118.40", "86": "118.60"}], (118.5, 0)),
        ([{"31": "118.5"}, {"31": "-1.00"}], None),
        ([{"31": "118.5", "84": "118.4", "86": "118.6"}, {"31": "-1"}], (118.5, 0)),
        ([{"31": "118.5", "84": "118.4", "86": "-1"}], (118.5, 0)),
        ([{"31": "1.7976931348623157E308", "7635": 2147483647}], None),
        ([{"31": "9223372036854775807", "84": "1", "86": "2147483647"}], None),
        ([{"31": 118.5, "84": 0.01, "86": 199999.99}], (118.5, 0)),
    ],
)
def test_the_price_of_a_share_or_an_index(sequence, price):
    assert price_after(sequence) == price
    assert price_after(sequence, "index") == price


@pytest.mark.parametrize(
    ("sequence", "price"),
    [
        ([{"31": "-37.63"}], (-37.63, 0)),
        ([{"31": "-12", "84": "-37.65", "86": "-37.61"}], (-37.63, 0)),
        ([{"84": "-0.02", "86": "0.02"}], (0.0, 0)),
        ([{"31": "-1", "84": "-1.01", "86": "-0.99"}], (-1.0, 0)),
        ([{"31": "-1", "84": "-1", "86": "-1"}], None),
        ([{"31": "0", "84": "0", "86": "0"}], None),
        ([{"31": "6012.25", "84": "-1", "86": "6012.5"}], (6012.25, 0)),
        ([{"7635": "6012.25"}], (6012.25, 0)),
        ([{"31": "-1.7976931348623157E308", "7635": "-2147483648"}], None),
    ],
)
def test_the_price_of_a_future_may_be_negative(sequence, price):
    assert price_after(sequence, "future") == price


def test_an_impossible_price_is_counted_once_for_as_long_as_it_stays():
    counted = []
    protocol = IbkrProtocol()

    def price(at, **fields):
        protocol.receive_frame(make_frame(at, **fields))
        found = protocol.underlying_price(7, "share", counted.append)
        return None if found is None else found.value

    assert price(T, f31="-1", f84="-1") is None
    assert price(T + 1, f86="118.60") is None
    assert price(T + 2, f31="118.5") == 118.5
    assert len(counted) == 2
    assert price(T + 3, f31="-1") is None
    assert counted == ["impossible.underlying-price"] * 3


def test_minus_one_of_a_future_is_counted_unless_its_market_is_there():
    counted = []

    real = {"31": "-1.2", "84": "-1.01", "86": "-1"}
    assert price_after([real], "future", counted.append) == (-1.005, 0)
    assert counted == []

    unset = {"31": "-1", "84": "-1", "86": "-1", "7635": "0"}
    assert price_after([unset], "future", counted.append) is None
    assert counted == ["impossible.underlying-price"] * 4


def test_a_price_without_any_time_has_none():
    protocol = IbkrProtocol()
    protocol.receive_frame(make_frame(None, f31="118.5"))

    price = protocol.underlying_price(7, "share", lambda _: None)

    assert (price.value, price.at) == (118.5, None)


@pytest.mark.parametrize(
    ("fields", "prices"),
    [
        (
            {"f31": "2.40", "f84": "2.41", "f86": "2.43", "f7635": "2.42"},
            (2.42, 2.41, 2.43),
        ),
        ({"f31": "2.40"}, (2.4, None, None)),
        ({"f31": "C2.40", "f84": "0", "f86": "0.05"}, (2.4, 0.0, 0.05)),
        ({"f31": "H1,002.5"}, (1002.5, None, None)),
        ({"f7635": "0.00"}, (0.0, None, None)),
        ({"f31": "2.40", "f7635": "-1"}, (2.4, None, None)),
        ({"f31": "N/A", "f84": "", "f86": "-"}, (None, None, None)),
        ({}, (None, None, None)),
    ],
)
def test_an_option_comes_with_its_own_price(fields, prices):
    quote = receive(IbkrProtocol(), f7308="0.5", **fields)

    assert (quote.price, quote.bid, quote.ask) == prices


def test_prices_alone_are_no_tick_and_belong_to_the_next_one():
    protocol = IbkrProtocol()
    receive(protocol, f7308="0.5", f84="2.41", f86="2.43", f7635="2.42")

    assert receive(protocol, T + 1, f84="2.51", f86="2.53", f7635="2.52") is None
    assert receive(protocol, T + 2, f84="2.61") is None
    quote = receive(protocol, T + 3, f7309="0.01")

    assert (quote.price, quote.bid, quote.ask) == (2.52, 2.61, 2.53)


def test_a_late_frame_has_no_price_of_its_future():
    protocol = IbkrProtocol()
    receive(protocol, f7308="0.5", f84="2.41", f7635="2.42")
    receive(protocol, T + 10, f7635="2.52", f86="2.53")

    late = receive(protocol, T + 5, f7308="0.6")

    assert (late.price, late.bid, late.ask) == (None, 2.41, None)


def test_bytes_that_are_no_utf8_are_replaced_and_counted():
    frame = make_frame(f7308="0.5", f58="x").replace(b'"x"', b'"\x99"')

    quote, counted = IbkrProtocol().receive_frame(frame)

    assert quote.greeks.delta == 0.5
    assert json.loads(quote.payload)["58"] == "\N{REPLACEMENT CHARACTER}"
    assert counted == Counted("frame.bad-utf8")


@pytest.mark.parametrize(
    "odd",
    [rb"NaN", b"[1, NaN]", rb'"\ud800"', b"1e400", b"-Infinity", b"[NaN, -1e400]"],
)
def test_what_json_should_not_hold_costs_no_tick(odd):
    frame = make_frame(f7308="0.5", f58="x").replace(b'"x"', odd)

    [quote] = IbkrProtocol().receive_frame(frame)

    assert quote.greeks.delta == 0.5
    load_strictly(quote)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "not-json"),
        (b"not json", "not-json"),
        (b'{"topic":"smd+7"', "not-json"),
        (b"[1, 2]", "not-an-object"),
        (b'"text"', "not-an-object"),
        (b'{"a":' + b"[" * 100_000, "not-json"),
        ("\ud800", "not-json"),
    ],
)
def test_what_is_no_object_is_a_violation(frame, reason):
    with pytest.raises(ProtocolViolation) as caught:
        IbkrProtocol().receive_frame(frame)

    assert caught.value.reason == reason
    assert caught.value.frame == frame


def test_requests_are_what_the_gateway_expects():
    subscribe = encode_subscribe(7)

    assert subscribe.startswith("smd+7+{")
    assert json.loads(subscribe.split("+", 2)[2]) == {
        "fields": [
            *("7308", "7309", "7310", "7311", "7633", "6509", "31", "84", "86", "7635")
        ]
    }
    assert json.loads(encode_subscribe(8, underlying=True).split("+", 2)[2]) == {
        "fields": ["31", "84", "86", "7635", "6509"]
    }
    assert encode_unsubscribe(7) == "umd+7+{}"
    assert json.loads(encode_session("ab")) == {"session": "ab"}


times = st.integers(T - 5, T + 5)
updates = st.lists(
    st.tuples(
        times, st.dictionaries(st.sampled_from(list(GREEKS)), st.integers(-9, 9))
    ),
    max_size=12,
)


@given(updates)
def test_a_row_holds_the_newest_value_that_was_true_at_its_time(sequence):
    """The model: per field all (time, value) in order of arrival."""
    protocol = IbkrProtocol()
    memory = dict.fromkeys(GREEKS.values(), (0, None))
    for at, fields in sequence:
        quote = receive(protocol, at, **{f"f{n}": str(v) for n, v in fields.items()})

        named = {GREEKS[number]: value for number, value in fields.items()}
        expected = {
            name: named.get(name, value if before <= at else None)
            for name, (before, value) in memory.items()
        }
        for name, value in named.items():
            if at >= memory[name][0]:
                memory[name] = (at, value)
        assert (quote is None) == (not fields)
        if quote is not None:
            found = {name: getattr(quote.greeks, name) for name in GREEKS.values()}
            assert found == expected


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["N/A", "-", "31.4%", "C1.5", "24.2M", "1,000", "0.5", "RpB"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.sampled_from(
    [
        "topic",
        "conid",
        "_updated",
        "7308",
        "7309",
        "7310",
        "7311",
        "7633",
        "6509",
        "31",
        "84",
        "86",
        "7635",
        "args",
        "error",
        "message",
        "success",
        "hb",
        "58",
    ]
)
topics = st.sampled_from(
    [
        "smd+7",
        "smd+7@SMART",
        "smd+",
        "smd+x",
        "smd+7;;;8/1",
        "system",
        "sts",
        "tic",
        "é",
    ]
)
messages = st.builds(
    lambda fields, topic: fields | ({"topic": topic} if topic else {}),
    st.dictionaries(keys, values, max_size=10),
    st.none() | topics | values,
)


@given(st.lists(messages, max_size=4), st.booleans(), st.booleans())
def test_any_json_gives_events_and_a_payload_that_is_json(
    sequence, is_binary, is_ascii
):
    protocol = IbkrProtocol()
    for message in sequence:
        frame = json.dumps(message, ensure_ascii=is_ascii)
        if is_binary:
            frame = frame.encode("utf-8", "surrogatepass")
        for event in protocol.receive_frame(frame, T):
            if isinstance(event, GreeksQuote):
                assert isinstance(load_strictly(event), dict)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_frame_gives_events_or_a_violation(frame):
    try:
        events = IbkrProtocol().receive_frame(frame)
    except ProtocolViolation:
        return

    assert all(isinstance(event, ibkr.Event) for event in events)


@given(st.data())
def test_a_damaged_frame_gives_events_or_a_violation(data):
    frame = bytearray(make_frame(f7308="0.5", f7633="20%", f6509="RpB"))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(frame) - 1))
        frame[position] = data.draw(st.integers(0, 255))
    try:
        events = IbkrProtocol().receive_frame(bytes(frame), T)
    except ProtocolViolation:
        return

    for event in events:
        if isinstance(event, GreeksQuote):
            load_strictly(event)


def test_a_heartbeat_needs_no_number():
    assert IbkrProtocol().receive_frame(b'{"topic":"system"}') == [GatewayHeartbeat()]


def test_an_option_that_is_only_quoted_is_not_a_tick():
    events = IbkrProtocol().receive_frame(make_frame(f84="2.41", f86="2.44"))

    assert events == [FieldsSeen(7)]
