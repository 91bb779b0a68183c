"""A simulated Tastytrade on a real port, with the ledger that it keeps."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from datetime import date

from greeks_trio.simulators.ledger import Ledger, read_ledger
from greeks_trio.simulators.market import Market
from greeks_trio.simulators.tastytrade.broker import SimulatedTastytrade
from greeks_trio.simulators.tastytrade.instruments import streamer_symbol
from tests.acceptance.dxlink_client import greeks_by_tick, ledger_by_tick

TODAY = date(2026, 11, 20)


class Simulation:
    """A broker that runs, and what a test asks about it."""

    def __init__(self, path, *, contracts=20, held=None, rate=500.0, **more):
        self.market = Market(contracts=contracts, seed=7, today=TODAY)
        self.options = self.market.options[:held] + more.pop("extra", ())
        self.path = path / "ledger"
        self.ledger_file = Ledger(self.path)
        self.broker = SimulatedTastytrade(
            self.market, self.options, self.ledger_file, rate=rate, seed=7, **more
        )
        everything = (*self.market.options, *self.options)
        self.key_of = {streamer_symbol(o): o.contract.contract_key for o in everything}
        self.symbols = [streamer_symbol(option) for option in self.options]

    def ledger(self):
        return ledger_by_tick(list(read_ledger(self.path)))

    def received(self, client):
        return greeks_by_tick(client.events, self.key_of)


@contextmanager
def open_simulations(nursery, path):
    """Yield a function that starts a broker in the nursery."""
    with ExitStack() as ledgers:

        async def start(**settings):
            simulation = Simulation(path, **settings)
            ledgers.enter_context(simulation.ledger_file)
            return simulation, await nursery.start(simulation.broker.run, 0)

        yield start
