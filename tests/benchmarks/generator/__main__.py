"""Run the generator: ``python -m tests.benchmarks.generator DIRECTORY``.

The first line of the output has the addresses, as the ``simulate`` command prints them.
Then each line of the input is an order: ``wait`` is answered when the service has
subscribed every contract, a `Load` for all brokers when it was sent, with a `Done`.  The
generator stops as the simulators do at the end of the input.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import trio

from greeks_trio.simulators import ledger as simulated
from greeks_trio.simulators.book.book import Plan
from greeks_trio.simulators.book.textbook import make_textbook
from greeks_trio.simulators.endpoints import Endpoints
from greeks_trio.simulators.run import write_line
from tests.benchmarks.generator.ibkr import GeneratorIbkr
from tests.benchmarks.generator.ledger import Ledger
from tests.benchmarks.generator.pump import Load, Sent
from tests.benchmarks.generator.tastytrade import GeneratorTastytrade

BROKERS = ("ibkr", "tastytrade")
# The ledger of the simulators' own ticks, such as the first answers.
ANSWERS = "answers.jsonl"


class Done(msgspec.Struct, frozen=True):
    """A load was sent.

    Attributes:
        cpu_s: CPU time of this process for it.
    """

    brokers: dict[str, Sent]
    cpu_s: float


@dataclass
class Generator:
    """Both brokers."""

    ibkr: GeneratorIbkr
    tastytrade: GeneratorTastytrade

    async def wait_ready(self) -> None:
        """Return when every held option is subscribed at each broker."""
        await self.ibkr.ready.wait()
        await self.tastytrade.ready.wait()

    async def send(self, load: Load) -> Done:
        """Send half of a load on each connection."""
        half = Load(load.ticks // len(BROKERS), load.rate / len(BROKERS))
        sent: dict[str, Sent] = {}

        async def run(name: str, broker: GeneratorIbkr | GeneratorTastytrade) -> None:
            sent[name] = await broker.pump.run(half)

        before = sum(os.times()[:2])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "ibkr", self.ibkr)
            nursery.start_soon(run, "tastytrade", self.tastytrade)
        return Done(sent, sum(os.times()[:2]) - before)


def make_generator(options: argparse.Namespace, answers: simulated.Ledger) -> Generator:
    """Return brokers that hold equal parts of the contracts of the textbook."""
    plan = Plan(
        contracts=options.contracts,
        seed=options.seed,
        today=datetime.now(UTC).date(),
        brokers=BROKERS,
    )
    book = make_textbook(plan)
    held = book.options
    ibkr = GeneratorIbkr(
        book.market, held["ibkr"], answers, rate=0.0, seed=options.seed
    )
    ibkr.prepare(
        held["ibkr"],
        Ledger(options.directory, "ibkr"),
        one_record_a_frame=options.one_record_a_frame,
    )
    tastytrade = GeneratorTastytrade(
        book.market, held["tastytrade"], answers, rate=0.0, seed=options.seed
    )
    tastytrade.prepare(held["tastytrade"], Ledger(options.directory, "tastytrade"))
    return Generator(ibkr, tastytrade)


async def obey(generator: Generator) -> None:
    """Answer each order until the end of the input."""
    lines = b""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as orders:
        async for data in orders:
            lines += data
            while b"\n" in lines:
                line, _, lines = lines.partition(b"\n")
                if line == b"wait":
                    await generator.wait_ready()
                    write_line("ready")
                else:
                    done = await generator.send(msgspec.json.decode(line, type=Load))
                    write_line(msgspec.json.encode(done).decode())


async def run(options: argparse.Namespace) -> None:
    """Serve until the end of the input, then close the connections cleanly."""
    with simulated.Ledger(options.directory / ANSWERS) as answers:
        generator = make_generator(options, answers)
        async with trio.open_nursery() as nursery:
            endpoints = Endpoints(
                {
                    name: await nursery.start(getattr(generator, name).run, 0)
                    for name in BROKERS
                }
            )
            write_line(endpoints.encode())
            await obey(generator)
            generator.ibkr.stop()
            generator.tastytrade.stop()


def main() -> None:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--contracts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one-record-a-frame", action="store_true")
    trio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()
