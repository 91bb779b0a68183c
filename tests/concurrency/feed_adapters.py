"""An adapter for each broker: the conformance suite drives all feeds in the same way.

A new feed adds one adapter here.  Each adapter holds a feed and the fake of its broker,
which holds two contracts in one account.  The ``send_*`` methods wait until the frame is
on its way.
"""

from __future__ import annotations

from dataclasses import replace

from greeks_trio.errors import CredentialsRejected, FeedInterrupted
from greeks_trio.feeds.quiet import GREEKS_LIMIT_S
from greeks_trio.model.contracts import ContractKey
from greeks_trio.model.records import FeedGap
from tests.concurrency import tastytrade_fakes as tastytrade
from tests.concurrency.ibkr_gateway import CONFIG, KeptJournal, Scene, T, make_row
from tests.factories import SPY_CALL, SPY_PUT

LOW_CALL = ContractKey("SPY   261218C00590000")
NEW_CALL = ContractKey("SPY   261218C00610000")
UNDERLYING = 756733
CONIDS = {SPY_CALL: 7, LOW_CALL: 8, NEW_CALL: 9}
SYMBOLS = {
    SPY_CALL: tastytrade.CALL,
    SPY_PUT: tastytrade.PUT,
    NEW_CALL: ".SPY261218C610",
}


class IbkrAdapter:
    """IBKR's feed against a fake gateway.

    Attributes:
        refusal: The error that a refused login raises.
    """

    refusal = FeedInterrupted
    contracts = (SPY_CALL, LOW_CALL)

    def __init__(self, nursery, room=1000):
        self.config = replace(CONFIG, accounts=("U1",))
        self._scene = scene = Scene(nursery, self.config, intake=room)
        self._gateway = scene.gateway
        self._gateway.positions = {"U1": [make_row(), make_row(8, 590)]}
        self._at = T
        self.feed, self.frames = scene.feed, scene.frames
        self.health, self.journal = scene.health, scene.journal

    async def wait_streaming(self):
        """Wait until both contracts are subscribed on the present connection."""
        for conid in (7, 8):
            await self._gateway.wait_received(f"smd+{conid}+")
        await self.health.wait_status("connected", "degraded")

    async def wait_requested(self, contract, times=1):
        """Wait until the contract was requested so often."""
        await self._gateway.wait_received(f"smd+{CONIDS[contract]}+", times)

    def requests(self, contract):
        """Return how often the contract was requested."""
        return len(self._gateway.sent(f"smd+{CONIDS[contract]}+"))

    async def send_tick(self, contract, delta):
        """Send Greeks of a contract."""
        self._at += 1
        await self._gateway.send_fields(CONIDS[contract], at=self._at, f7308=str(delta))

    async def send_price(self):
        """Send a price of the underlying."""
        await self._gateway.send_fields(UNDERLYING, f31="668.25")

    async def send_delayed(self):
        """Say that the data of the first contract are delayed."""
        await self._gateway.send_fields(CONIDS[self.contracts[0]], f6509="DPB")

    async def send_300(self):
        """Send one frame that makes 300 ticks."""
        await self.send_tick(self.contracts[0], 0.5)

    def hold_for_300(self):
        """Prepare `send_300`: 300 accounts hold the contract."""
        accounts = tuple(f"U{number}" for number in range(1, 301))
        self._gateway.positions = {each: [make_row()] for each in accounts}
        self._gateway.positions["U1"].append(make_row(8, 590))
        self.config = replace(self.config, accounts=())
        self.feed.reload(self.config)

    async def send_without_greeks(self, contract):
        """Send an answer for a contract that has no Greeks."""
        self._at += 1
        await self._gateway.send_fields(CONIDS[contract], at=self._at, f31="1.5")

    def fall_silent(self):
        """Send no heartbeat any more."""
        self._gateway.heartbeat_s = 0

    async def close(self):
        """Close the connection as for a restart."""
        await self._gateway.close(1012)

    @property
    def close_codes(self):
        """The code with which each connection was closed."""
        return self._gateway.close_codes

    def refuse_login(self):
        """Have no login."""
        self._gateway.status = {"authenticated": False}

    async def lose_subscription(self, contract):
        """Leave the requests for the contract unanswered, and answer the others."""
        [other] = set(self.contracts) - {contract}
        await self._gateway.send_fields(UNDERLYING, f31="668.25")
        await self.send_tick(other, 0.1)

    def be_delayed(self):
        """Have delayed data only, see `send_delayed`."""

    def hold_nothing(self):
        """Hold no contract any more."""
        self._gateway.positions["U1"] = []

    def want_unknown(self):
        """Want a contract that IBKR does not know; return its key."""
        key = ContractKey("QQQ   261218C00600000")
        self._gateway.answers["/iserver/secdef/search"] = (200, [])
        self.config = replace(self.config, watchlist=(key,))
        return key

    def forget_unknown(self):
        """Want it no longer."""
        self.config = replace(self.config, watchlist=())

    def hold_expired(self):
        """Hold an option whose last day is over; return its key."""
        occ = "SPY   261119C00600000"
        text = f"SPY    NOV2026 600 C [{occ} 100]"
        self._gateway.positions["U1"].append(make_row(10, contractDesc=text))
        return ContractKey(occ)

    def hold_one_more(self):
        """Hold `NEW_CALL` too."""
        self._gateway.positions["U1"].append(make_row(9, 610))


class TastytradeAdapter:
    """Tastytrade's feed against a fake API and a fake quote server."""

    refusal = CredentialsRejected
    contracts = (SPY_CALL, SPY_PUT)

    def __init__(self, nursery, room=1000):
        items = [tastytrade.make_item(each) for each in self.contracts]
        self.journal = KeptJournal()
        self._tastytrade = each = tastytrade.Tastytrade(
            nursery, *items, room=room, journal=self.journal
        )
        self._dxlink = each.dxlink
        self.config = each.config
        self.feed, self.frames, self.health = each.feed, each.frames, each.health

    async def wait_streaming(self):
        """Wait until both contracts are subscribed on the present connection."""
        await self._dxlink.wait_subscribed()
        await self.health.wait_status("connected", "degraded")

    async def wait_requested(self, contract, times=1):
        """Wait until the contract was requested so often."""
        while self.requests(contract) < times:
            await self._dxlink.wait_subscribed()

    def requests(self, contract):
        """Return how often the contract was requested."""
        wanted = ("Greeks", SYMBOLS[contract])
        sent = self._dxlink.all("FEED_SUBSCRIPTION")
        return sum(wanted in tastytrade.entries(each) for each in sent)

    async def send_tick(self, contract, delta):
        """Send Greeks of a contract."""
        row = tastytrade.greeks_row(SYMBOLS[contract], delta)
        await self._dxlink.send_rows(("Greeks", [row]))

    async def send_price(self):
        """Send a price of the underlying."""
        await self._dxlink.send_rows(("Trade", [["SPY", 668.25]]))

    async def send_delayed(self):
        """Do nothing: the quote token says it from the beginning, see `be_delayed`."""

    async def send_300(self):
        """Send one frame that makes 300 ticks."""
        symbol = SYMBOLS[self.contracts[0]]
        rows = [tastytrade.greeks_row(symbol, n / 1000) for n in range(300)]
        await self._dxlink.send_rows(("Greeks", rows))

    def hold_for_300(self):
        """Prepare `send_300`; there is nothing to do."""

    async def send_without_greeks(self, contract):
        """Send an event for a contract that has no Greeks."""
        missing = dict.fromkeys(("gamma", "theta", "rho", "vega"), "NaN")
        row = tastytrade.greeks_row(SYMBOLS[contract], "NaN", **missing)
        await self._dxlink.send_rows(("Greeks", [row]))

    def fall_silent(self):
        """Send no keep-alive any more."""
        self._dxlink.keepalives = False

    async def close(self):
        """Close the connection as for a restart."""
        await self._dxlink.close(1012)

    @property
    def close_codes(self):
        """The code with which each connection was closed."""
        return self._dxlink.close_codes

    def refuse_login(self):
        """Refuse the refresh token."""
        answer = b'{"error_code": "invalid_grant"}'
        self._tastytrade.api.answers["/oauth/token"] = (400, {}, answer)

    async def lose_subscription(self, contract):
        """Refuse a request, after the other contract has brought a tick."""
        [other] = set(self.contracts) - {contract}
        await self.send_tick(other, 0.1)
        await self._dxlink.send(
            type="ERROR", channel=0, error="BAD_ACTION", message="rate is too high"
        )

    def be_delayed(self):
        """Have delayed data only, see `send_delayed`."""
        self._tastytrade.api.level = "demo"

    def hold_nothing(self):
        """Hold no contract any more."""
        self._tastytrade.api.positions[tastytrade.ACCOUNT].clear()

    def want_unknown(self):
        """Hold an option that has no streamer symbol; return its key."""
        item = tastytrade.make_item("./ZYXM7 OZYM7 270514P56", kind="Future Option")
        self._tastytrade.api.positions[tastytrade.ACCOUNT].append(item)
        return ContractKey("./OZY 270514P56")

    def forget_unknown(self):
        """Hold it no longer."""
        self._tastytrade.api.positions[tastytrade.ACCOUNT].pop()

    def hold_expired(self):
        """Hold an option whose last day is over; return its key."""
        item = tastytrade.make_item("SPY   261119C00600000")
        self._tastytrade.api.positions[tastytrade.ACCOUNT].append(item)
        return ContractKey("SPY   261119C00600000")

    def hold_one_more(self):
        """Hold `NEW_CALL` too."""
        positions = self._tastytrade.api.positions[tastytrade.ACCOUNT]
        positions.append(tastytrade.make_item(NEW_CALL))


ADAPTERS = {"ibkr": IbkrAdapter, "tastytrade": TastytradeAdapter}

# After this time a contract without Greeks is told from one that is slow.
WITHOUT_GREEKS_S = GREEKS_LIMIT_S + 30.0


def gaps_of(adapter):
    """Return (contract, whether it has ended) of each recorded gap."""
    return [
        (each.contract_key, each.ended_at is not None)
        for each in adapter.journal.recorded
        if isinstance(each, FeedGap)
    ]
