"""Faults of the simulated IBKR gateway on its WebSocket, seen by a client.

In each test the ledger is equal to the values that the client can know, and afterwards
the gateway is as before.
"""

from __future__ import annotations

import itertools

import pytest
import trio

from greeks_trio.simulators.ibkr.fault_kinds import IBKR_FAULTS
from greeks_trio.simulators.ibkr.stream import HEARTBEAT_INTERVAL_S
from tests.acceptance.ibkr_client import GREEKS, PATIENCE_S, merge, start_gateway

# Long enough for every contract to have its Greeks.
WARM_UP_S = 2.2


@pytest.fixture
def start(nursery, tmp_path):
    """Return a function that starts a gateway."""

    async def start(**options):
        return await start_gateway(nursery, tmp_path / "ledger", **options)

    return start


async def finish(gateway, client):
    """Stop the gateway, read to the end, and compare with the ledger."""
    gateway.simulator.stop()
    await client.receive_until_closed()
    assert merge(client.frames) == gateway.written


async def receive_ticks_of_each(client, conids):
    heard = set()
    with trio.fail_after(PATIENCE_S):
        while heard != set(conids):
            frame = await client.receive()
            heard |= {frame["conid"]} if "7308" in frame else set()


async def test_every_fault_has_a_verb_and_the_other_way_round(start):
    gateway = await start()

    assert set(gateway.verbs) == set(IBKR_FAULTS)


async def test_a_silent_gateway_answers_later(start, nursery):
    """The socket lives all the time: a ping is answered."""
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids[:3])
        await client.receive_ticks(20)
        nursery.start_soon(gateway.verbs["silent"], 1.5)
        await client.receive_until_silent()
        before = len(client.frames)
        await client.subscribe(*gateway.conids[3:])
        await client.socket.ping(b"there?")
        await client.receive_for(0.3)
        during = len(client.frames)
        await receive_ticks_of_each(client, gateway.conids)
        await finish(gateway, client)

    assert during == before


async def test_a_silent_gateway_starts_no_new_client(start):
    """Messages before ``system`` are lost, as always."""
    gateway = await start()

    async with trio.open_nursery() as both:
        both.start_soon(gateway.verbs["silent"], 1.0)
        async with gateway.open_socket() as client:
            await client.subscribe(*gateway.conids)
            await client.receive_until_silent()
            during = list(client.frames)
            await client.receive_until("blt")
            await client.receive_until_silent()

    assert during == []
    assert len(client.frames) == 4


async def test_without_data_heartbeats_go_on_until_somebody_asks_again(
    start, nursery, monkeypatch
):
    monkeypatch.setattr("greeks_trio.simulators.ibkr.stream.HEARTBEAT_INTERVAL_S", 0.2)
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(50)
        await gateway.verbs["no-data"](0.0)
        await client.receive_for(0.3)  # frames under way
        client_heard = len(client.frames)
        await client.receive_for(1.0)
        later = client.frames[client_heard:]
        await client.subscribe(gateway.conids[0])
        await client.receive_ticks(10)
        await finish(gateway, client)

    assert HEARTBEAT_INTERVAL_S == 10.0
    assert sum("hb" in frame for frame in later) >= 4
    assert not any("conid" in frame for frame in later)
    assert len({each["server_id"] for each in client.of(gateway.conids[0])}) == 2


async def test_garbage_comes_among_good_frames(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["garbage"], 1.6)
            await client.receive_for(2.0)
        heard = len(client.frames)
        await client.receive_ticks(20)
        good = [f for f in client.frames if f.get("conid") in gateway.conids]
        gateway.simulator.stop()
        await client.receive_until_closed()

    texts = {frame.get("text", "")[:3] for frame in client.frames}
    assert {"", "{", "42", "[]", "[[[", "nul"} <= texts
    assert {"xyz+1", "error", 5} <= client.topics()
    assert any(
        "error" in f and f.get("topic") is None and "code" in f for f in client.frames
    )
    assert len(good) > 50
    assert not any("text" in frame for frame in client.frames[heard:])
    mine = [f for f in client.frames if f.get("conid") in gateway.conids]
    assert merge(mine) == gateway.written


async def test_bytes_that_are_no_utf8_come_in_notices_and_in_ticks(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["bad-utf8"], 1.0)
            await client.receive_for(1.5)
        heard = len(client.frames)
        await client.receive_ticks(20)
        await finish(gateway, client)

    broken = [
        frame
        for raw, frame in zip(client.raw, client.frames, strict=True)
        if b"\x99" in raw
    ]
    assert {frame["topic"][:3] for frame in broken} == {"smd", "ntf"}
    assert any("7308" in frame and "\ufffd" in frame["58"] for frame in broken)
    assert not any(b"\x99" in raw for raw in client.raw[heard:])


async def test_a_frame_may_have_several_mebibytes(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        client.socket._max_message_size = 8 * 2**20
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(10)
        await gateway.verbs["oversize"](3.0)
        await client.receive_until("ntf")
        large = len(client.raw[-1])
        await client.receive_ticks(10)
        await finish(gateway, client)

    assert 3 * 2**20 < large < 3 * 2**20 + 200


async def test_a_half_open_connection_neither_speaks_nor_ends(start, nursery):
    gateway = await start()

    async with gateway.open_rest() as rest, gateway.open_ready_socket() as client:
        assert (await rest.get("/tickle")).status_code == 200
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(20)
        started = trio.current_time()
        nursery.start_soon(gateway.verbs["half-open"], 2.0)
        await client.receive_until_silent()
        with trio.move_on_after(0.3) as pinging:
            await client.socket.ping(b"there?")
        with trio.move_on_after(0.3) as asking:
            await rest.get("/tickle")
        known = gateway.written
        async with gateway.open_ready_socket() as other:
            await other.receive_until("blt")
        reason = await client.receive_until_closed()

    assert pinging.cancelled_caught
    assert asking.cancelled_caught
    assert trio.current_time() - started >= 2.0
    assert reason.code == 1006
    assert merge(client.frames) == known == gateway.written


async def test_every_frame_comes_twice(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(20)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["duplicate"], 1.0)
            await client.receive_for(0.1)
            doubled = len(client.raw)
            await client.receive_for(0.5)
            until = len(client.raw)
            await client.receive_for(0.6)
        heard = len(client.raw)
        await client.receive_ticks(20)
        await finish(gateway, client)

    ticks = [raw for raw in client.raw[doubled:until] if b'"7308"' in raw]
    assert len(ticks) > 20
    assert all(client.raw.count(raw) == 2 for raw in ticks)
    after = [raw for raw in client.raw[heard:] if b'"7308"' in raw]
    assert len(after) == len(set(after))


async def test_frames_that_come_after_newer_ones_are_right_in_the_ledger(
    start,
):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        await client.receive_ticks(20)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["reorder"], 1.0)
            await client.receive_for(1.3)
        heard = len(client.frames)
        await client.receive_ticks(50)
        await finish(gateway, client)

    assert sum(late(client.frames[:heard], conid) for conid in gateway.conids) > 20
    assert all(not late(client.frames[heard:], conid) for conid in gateway.conids)
    times = [row[1] for row in gateway.written]
    assert times != sorted(times)


def late(frames, conid):
    """Return how many frames of a contract are older than the one before."""
    times = [frame["_updated"] for frame in frames if frame.get("conid") == conid]
    return sum(after < before for before, after in itertools.pairwise(times))


async def test_cold_options_warm_up_when_it_is_over(start, nursery):
    gateway = await start()

    nursery.start_soon(gateway.verbs["cold"], 1.5)
    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        await client.receive_until_silent()
        await client.subscribe(gateway.conids[0])  # impatient
        await client.receive_until_silent()
        cold = list(client.frames)
        await receive_ticks_of_each(client, gateway.conids)
        await finish(gateway, client)

    rows = [frame for frame in cold if "conid" in frame]
    assert len(rows) == 2 * len(gateway.conids) + 2
    assert all((row["31"], row["55"]) == ("N/A", "-") for row in rows)
    assert not any(set(row) & set(GREEKS) for row in rows)


@pytest.mark.parametrize(("name", "code"), [("close-1000", 1000), ("close-1012", 1012)])
async def test_sockets_are_closed_and_new_ones_too_for_a_while(start, name, code):
    gateway = await start()

    async with trio.open_nursery() as both:
        async with gateway.open_ready_socket() as client:
            await client.subscribe(*gateway.conids)
            await client.receive_ticks(50)
            both.start_soon(gateway.verbs[name], 1.0)
            reasons = [await client.receive_until_closed()]
            known = gateway.written
        for _ in range(2):
            async with gateway.open_socket() as refused:
                reasons.append(await refused.receive_until_closed())
                assert refused.frames == []
    async with gateway.open_ready_socket() as again:
        await again.subscribe(*gateway.conids)
        await again.receive_ticks(5)

    assert [reason.code for reason in reasons] == [code] * 3
    assert merge(client.frames) == known


async def test_contracts_beyond_a_line_limit_are_silent(start, nursery):
    gateway = await start()
    conids = gateway.conids

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        await receive_ticks_of_each(client, conids)
        async with trio.open_nursery() as inner:
            inner.start_soon(gateway.verbs["line-limit"], 2)
            await client.receive_for(0.3)
            heard = len(client.frames)
            await client.subscribe(conids[4])
            await client.receive_for(1.0)
            limited = client.frames[heard:]
            inner.cancel_scope.cancel()
        await client.subscribe(*conids)
        await receive_ticks_of_each(client, conids)
        await finish(gateway, client)

    assert {f["conid"] for f in limited if "conid" in f} == set(conids[:2])


async def test_a_closed_market_is_frozen_and_says_so(start, monkeypatch):
    monkeypatch.setattr("greeks_trio.simulators.ibkr.stream.HEARTBEAT_INTERVAL_S", 0.2)
    gateway = await start()
    conids = gateway.conids

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        await receive_ticks_of_each(client, conids)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["market-closed"], 1.8)
            await client.receive_for(0.3)
            heard = len(client.frames)
            before = {conid: known(client.of(conid)) for conid in conids}
            await client.receive_for(0.6)
            still = client.frames[heard:]
            for underlying in gateway.market.underlyings:  # moved by somebody else
                underlying.price *= 1.1
            await client.subscribe(conids[0])
            await client.receive_for(0.3)
            asked = client.of(conids[0])[-1]
        await receive_ticks_of_each(client, conids)
        await finish(gateway, client)

    assert {each["6509"][0] for each in before.values()} == {"Z"}
    assert sum("hb" in frame for frame in still) >= 2
    assert not any("conid" in frame for frame in still)
    frozen = [before[conids[0]].get(name) for name in GREEKS]
    assert frozen == [asked.get(name) for name in GREEKS]
    assert asked["6509"][0] == "Z"
    assert {known(client.of(conid))["6509"][0] for conid in conids} == {"R"}


def known(frames):
    return {name: value for frame in frames for name, value in frame.items()}


async def test_data_may_be_delayed_for_a_while(start):
    gateway = await start()
    conids = gateway.conids

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*conids)
        await receive_ticks_of_each(client, conids)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["delayed"], 0.6)
            await client.receive_for(0.3)
            during = {known(client.of(conid))["6509"][0] for conid in conids}
        await client.receive_for(0.3)
        await finish(gateway, client)

    assert during == {"D"}
    assert {known(client.of(conid))["6509"][0] for conid in conids} == {"R"}


async def test_greeks_may_be_blank_and_come_back(start):
    gateway = await start(rate=400.0)

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["nan"], WARM_UP_S)
            await client.receive_for(WARM_UP_S + 0.2)
        await client.receive_ticks(100)
        await finish(gateway, client)

    blanks = [
        frame[name]
        for frame in client.frames
        for name in (*GREEKS, "7633")
        if frame.get(name) in ("", "N/A")
    ]
    assert set(blanks) == {"", "N/A"}
    assert any(None in row for row in gateway.written)
    assert not any(None in row for row in gateway.written[-20:])


async def test_a_cancelled_fault_is_over(start):
    gateway = await start()

    for name, verb in gateway.verbs.items():
        with trio.move_on_after(0.05):
            await verb(30.0)
        if name in ("http-503", "expire-session"):
            async with gateway.open_rest() as rest:
                await rest.post("/iserver/auth/ssodh/init", json={"publish": True})
    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        await receive_ticks_of_each(client, gateway.conids)
        await finish(gateway, client)


async def test_data_without_subscription_is_marked_and_empty(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids[:3])
        await client.receive_ticks(10)
        async with trio.open_nursery() as both:
            both.start_soon(gateway.verbs["not-subscribed"], 1.5)
            await client.receive_until_silent()
            heard = len(client.frames)
            await client.subscribe(*gateway.conids[3:])
            await client.receive_until_silent()
            during = client.frames[heard:]
        await client.receive_ticks(20)
        await finish(gateway, client)

    rows = [frame for frame in during if "conid" in frame]
    assert {row["conid"] for row in rows} == set(gateway.conids[3:])
    assert all(row["6509"].startswith("N") for row in rows)
    assert not any({"31", *GREEKS} & row.keys() for row in rows)


async def test_an_unsolicited_pong_upsets_only_the_gateway(start):
    gateway = await start()

    async with gateway.open_ready_socket() as client:
        await client.subscribe(*gateway.conids)
        await client.socket.pong(b"here")
        while "error" not in (frame := await client.receive()):
            pass
        await client.receive_ticks(10)
        await finish(gateway, client)

    assert frame == {"error": "Topic unknown 'null'", "code": 1}
