"""The simulated IBKR gateway as its clients see it, on a real socket."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

import pytest
import trio
from trio_websocket import ConnectionRejected

from greeks_trio.simulators.faults import Fault
from tests.acceptance.ibkr_client import (
    COOKIE,
    FIELDS,
    PATIENCE_S,
    SILENCE_S,
    merge,
    start_gateway,
)


@pytest.fixture
def start(nursery, tmp_path):
    """Return a function that starts a gateway."""

    async def start(**options):
        return await start_gateway(nursery, tmp_path / "ledger", **options)

    return start


@pytest.fixture
def conids():
    return range(700_000_001, 700_000_007)


async def test_a_connection_begins_with_system_accounts_and_status(start):
    gateway = await start()

    async with gateway.open_socket() as client:
        topics = [(await client.receive())["topic"] for _ in range(4)]

    assert topics == ["system", "act", "sts", "blt"]
    assert client.frames[0]["success"]
    assert client.frames[2]["args"]["authenticated"] is True
    assert isinstance(client.frames[3]["args"], list)


@pytest.mark.parametrize(
    "cookie",
    [
        'api={"session": "0123456789abcdef0123456789abcdef"}',
        'api={"session":"0123456789abcdef0123456789abcdef"}',
        "api=0123456789abcdef0123456789abcdef",
        "x-sess-uuid=0.abc.def",
        "JSESSIONID=1; api=0123456789abcdef0123456789abcdef",
    ],
)
async def test_a_session_may_come_in_any_known_cookie(start, cookie):
    gateway = await start()

    async with gateway.open_socket(cookie) as client:
        first = await client.receive()

    assert first["topic"] == "system"


async def test_a_client_without_a_cookie_is_asked_for_its_session(start):
    gateway = await start()

    async with gateway.open_socket(cookie="") as client:
        first = await client.receive()
        await client.send('{"session":"0123456789abcdef0123456789abcdef"}')
        second = await client.receive()

    assert first == {"message": "waiting for session"}
    assert second["topic"] == "system"


async def test_requests_before_system_are_lost(start, conids):
    gateway = await start()

    async with gateway.open_socket() as client:
        await client.send("tic")
        await client.subscribe(conids[0])
        await client.receive_until("blt")
        await client.receive_until_silent()

    assert [frame["topic"] for frame in client.frames[:4]] == [
        "system",
        "act",
        "sts",
        "blt",
    ]
    assert len(client.frames) == 4


async def test_a_tic_is_answered_four_times(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.receive_until("blt")
        await client.send("tic")
        answers = [await client.receive() for _ in range(4)]
        await client.receive_until_silent()

    assert answers == [answers[0]] * 4 == client.frames[-4:]
    assert answers[0]["topic"] == "tic"
    assert answers[0]["alive"] is True


async def test_an_echo_is_not_json(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.receive_until("blt")
        await client.send("ech+hb")
        answer = await client.receive()

    assert answer == {"text": "ech+hb"}


@pytest.mark.parametrize(
    ("text", "topic"),
    [('{"session":"x"}', '{"s'), ("nonsense", "non"), ("", ""), ("smd+1+{", "smd")],
)
async def test_an_unknown_topic_is_named_by_three_characters(start, text, topic):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.receive_until("blt")
        await client.send(text)
        answer = await client.receive()

    assert answer == {"error": f"Topic unknown '{topic}'", "code": 1}


async def test_the_first_answer_comes_twice_with_its_keys_in_another_order(
    start, conids
):
    gateway = await start(rate=0.0)

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        while len(client.frames) < 4 + 2 * len(conids):
            await client.receive()

    for conid in conids:
        first, second = client.of(conid)[:2]
        assert first == second
        assert list(first) != list(second)


async def test_merged_frames_give_the_ledger(start):
    gateway = await start(contracts=40, rate=400.0)
    conids = [option.conid for option in gateway.market.options]
    underlying = gateway.market.underlyings[0].conid

    async with gateway.open_ready_socket() as client:
        await client.subscribe(underlying, fields=["31", "84", "86"])
        await client.subscribe(*conids)
        await client.receive_ticks(600)
        # A contract is cold for some seconds, which may be longer than 600 ticks take.
        while not set(conids[:10]) <= client.conids_with_greeks():
            await client.receive_ticks(1)
        gateway.simulator.stop()
        reason = await client.receive_until_closed()

    assert reason.code == 1001
    received = merge(client.frames)
    assert received == gateway.written
    # The first frame of a contract comes twice and is one tick.
    assert len(received) >= 600 - len(conids)
    assert {row[0] for row in received} > set(conids[:10])


async def test_later_frames_hold_only_requested_fields_that_changed(start, conids):
    gateway = await start(rate=300.0)

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        await client.receive_ticks(750)  # by then each contract is warm

    envelope = {"topic", "conid", "conidEx", "server_id", "6119", "_updated"}
    for conid in conids:
        known = {}
        for frame in client.of(conid)[2:]:
            values = {k: v for k, v in frame.items() if k not in envelope}
            assert set(values) <= {*FIELDS, "87_raw", "6508"}
            if set(values) != {"6509"}:
                assert not set(values.items()) & set(known.items())
            known |= values
        assert sum("6508" in frame for frame in client.of(conid)[2:]) == 1
    assert any(set(frame) - envelope == {"6509"} for frame in client.frames)


async def test_the_times_of_a_contract_always_grow(start, conids):
    gateway = await start(rate=500.0)

    async with gateway.open_ready_socket() as client:
        await client.subscribe(conids[0], conids[1])
        await client.receive_ticks(200)
    async with gateway.open_ready_socket() as again:
        await again.subscribe(conids[0], conids[1])
        await again.receive_ticks(50)

    for conid in conids[:2]:
        frames = client.of(conid) + again.of(conid)
        times = [
            frame["_updated"]
            for number, frame in enumerate(frames)
            if number == 0 or frame["_updated"] != frames[number - 1]["_updated"]
        ]
        assert times == sorted(set(times))
        assert all(len(str(time)) == 13 for time in times)


async def test_some_contracts_begin_empty_and_some_without_greeks(start):
    gateway = await start(contracts=120)

    async with gateway.open_ready_socket() as client:
        conids = [option.conid for option in gateway.market.options]
        await client.subscribe(*conids)
        while any("7308" not in merged(client.of(conid)) for conid in conids):
            await client.receive()

    firsts = [client.of(conid)[0] for conid in conids]
    assert any(each.get("31") == "N/A" and each["55"] == "-" for each in firsts)
    assert any("7308" not in each and "84" in each for each in firsts)
    assert any("7308" in each for each in firsts)
    # Of some, theta and vega take longer still.
    ticks = merge(client.frames)
    assert any(tick[4] is None and tick[2] is not None for tick in ticks)


def merged(frames):
    return {name: value for frame in frames for name, value in frame.items()}


async def test_an_unknown_contract_shows_a_cold_row_twice_and_nothing_more(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.receive_until("blt")
        await client.subscribe(8595)
        await client.receive_until_silent()

    assert len(client.of(8595)) == 2
    assert client.of(8595)[0] == client.of(8595)[1]
    assert client.of(8595)[0]["31"] == "N/A"


async def test_an_underlying_has_prices_and_no_greeks(start):
    gateway = await start()
    spx = gateway.market.underlyings[1].conid

    async with gateway.open_ready_socket() as client:
        await client.send(f'smd+{spx}@CBOE+{{ "fields": ["31", "84", "86", "7308"] }}')
        while not {"31", "84", "86"} <= set(merged(client.of(spx))):
            await client.receive()

    frame = client.of(spx)[0]
    assert frame["topic"] == f"smd+{spx}@CBOE"
    assert float(merged(client.of(spx))["84"]) == pytest.approx(6690, rel=0.05)
    assert all("7308" not in each for each in client.frames)


async def test_an_unsubscribed_contract_says_nothing_more(start, conids):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        await client.receive_ticks(20)
        for conid in conids:
            await client.send(f"umd+{conid}+{{}}")
        await gateway.simulator.wait_unsubscribed(conids)
        await client.receive_until_silent()
        heard = len(client.frames)
        await client.send("tic")
        await client.receive_until("tic")

    assert len(client.frames) == heard + 1


async def test_a_subscription_ends_silently_and_can_be_renewed(start, conids):
    gateway = await start(stream_end_s=1.0)

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        await client.receive_until_silent()
        before = len(client.of(conids[0]))
        await client.subscribe(*conids)
        await client.receive_ticks(20)

    assert len(client.of(conids[0])) > before


async def test_a_renewed_subscription_does_not_end(start, conids):
    gateway = await start(stream_end_s=1.0)

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        while "7308" not in (first := await client.receive()):
            pass
        for conid in conids:
            if conid != first["conid"]:
                await client.send(f"umd+{conid}+{{}}")
        started = trio.current_time()
        while trio.current_time() < started + 2.0:
            await client.subscribe(first["conid"])
            await client.receive_ticks(20)

    [_] = {each["server_id"] for each in client.of(first["conid"])}


async def test_contracts_beyond_the_line_limit_stay_empty_for_ever(start, conids):
    gateway = await start(line_limit=2)

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids[:4])
        await client.receive_ticks(100)
        refused = client.of(conids[2]) + client.of(conids[3])
        await client.send(f"umd+{conids[0]}+{{}}")
        await client.subscribe(conids[2])
        while not client.of(conids[2]):
            await client.receive()

    assert refused == []


async def test_a_new_connection_hears_nothing_until_it_subscribes(start, conids):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        await client.receive_ticks(20)
    await gateway.simulator.wait_disconnected()
    async with gateway.open_ready_socket() as again:
        await again.receive_until("blt")
        await again.receive_until_silent()
        assert len(again.frames) == 4
        await again.subscribe(conids[3])
        await again.receive_ticks(3)

    assert gateway.simulator.connections == 2
    assert again.of(conids[3])[0]["server_id"] == "q1"


async def test_drop_delivers_all_frames_and_then_refuses_clients_for_a_while(
    nursery, start, conids
):
    gateway = await start(rate=500.0)

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        await client.receive_ticks(100)
        nursery.start_soon(gateway.simulator.faults.drop, 3.0)
        reason = await client.receive_until_closed()
    dropped_at = trio.current_time()

    async with gateway.open_rest() as rest:
        assert (await rest.get("/tickle")).status_code == 503
        with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True) as refused:
            async with gateway.open_socket():
                raise AssertionError("was let in")
        while (await rest.get("/tickle")).status_code == 503:
            assert trio.current_time() < dropped_at + PATIENCE_S
            await trio.sleep(0.1)
    async with gateway.open_ready_socket() as again:
        await again.receive_until("blt")

    assert reason.code == 1006
    assert refused.value.exceptions[0].status_code == 503
    assert len(merge(client.frames)) == len(gateway.ledger)


async def test_a_drop_can_be_arranged_beforehand(start):
    gateway = await start(faults=[Fault("ibkr", "drop", 0.5, 0.0)])

    async with gateway.open_ready_socket() as client:
        reason = await client.receive_until_closed()

    assert reason.code == 1006


async def test_faults_of_the_other_broker_are_not_ours(start):
    gateway = await start(faults=[Fault("tastytrade", "drop", 0.0, 5.0)])

    async with gateway.open_ready_socket() as client:
        await client.send("tic")
        await client.receive_until("tic")


async def test_a_client_that_vanishes_takes_nothing_along(start, conids):
    gateway = await start(rate=500.0)

    async with gateway.open_stream() as stream:
        await stream.send_all(upgrade_request(gateway))
        await stream.receive_some()
        await gateway.simulator.wait_connected()
        await stream.send_all(text_frame(f'smd+{conids[1]}+{{"fields":["7308"]}}'))
        await gateway.simulator.wait_subscribed([conids[1]])
        await trio.aclose_forcefully(stream)
    await gateway.simulator.wait_disconnected()

    async with gateway.open_ready_socket() as client:
        await client.receive_until("blt")


def upgrade_request(gateway):
    url = urlsplit(gateway.endpoints.ws_url)
    key = base64.b64encode(b"0123456789abcdef").decode()
    return (
        f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nCookie: {COOKIE}\r\n"
        f"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    ).encode()


def frame(opcode, payload, *, last=True):
    """Return a client's frame of less than 126 bytes, masked with zeros."""
    head = bytes([opcode | (0x80 if last else 0), 0x80 | len(payload)])
    return head + bytes(4) + payload


def text_frame(text):
    return frame(1, text.encode())


async def test_an_independent_client_may_ping_fragment_and_offer_compression(start):
    gateway = await start()

    async with gateway.open_stream() as stream:
        # The early request comes in one piece with the upgrade, and is lost too.
        await stream.send_all(upgrade_request(gateway) + text_frame("tic"))
        received = await receive_until(stream, b'"blt"')
        await stream.send_all(frame(1, b"ech", last=False) + frame(9, b"you there?"))
        received += await receive_until(stream, frame_of_server(10, b"you there?"))
        await stream.send_all(frame(0, b"+hb"))
        received += await receive_until(stream, frame_of_server(2, b"ech+hb"))
        await stream.send_all(frame(8, b"\x03\xe8"))
        received += await receive_until(stream, frame_of_server(8, b"\x03\xe8"))

    assert received.startswith(b"HTTP/1.1 101")
    assert b"sec-websocket-extensions" not in received.lower()
    assert b'"tic"' not in received


def frame_of_server(opcode, payload):
    return bytes([0x80 | opcode, len(payload)]) + payload


async def receive_until(stream, ending):
    received = b""
    with trio.fail_after(PATIENCE_S):
        while ending not in received:
            part = await stream.receive_some()
            assert part, received
            received += part
    return received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\xff\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/api/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
        b"HEAD /v1/api/tickle HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_an_odd_request_disturbs_no_other_client(start, request_bytes):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        async with gateway.open_stream() as stream:
            await stream.send_all(request_bytes)
            with trio.move_on_after(SILENCE_S):
                await stream.receive_some()
        await client.send("tic")
        await client.receive_until("tic")
