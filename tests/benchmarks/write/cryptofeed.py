"""cryptofeed's Postgres backend, in a virtual environment that this module makes.

cryptofeed 3 needs a newer Python than this project and versions of packages that differ
from the locked ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from greeks_trio.model.records import Tick
from greeks_trio.postgres.tick_rows import COLUMNS
from tests.benchmarks.environments import environment
from tests.benchmarks.write.others import WARM_UPS, libpq_environment
from tests.benchmarks.write.rows import Need, Rows, plain_row, warm_up_tick

PACKAGES = ("cryptofeed==3.0.1", "asyncpg==0.32.0")
OLDEST_PYTHON = (3, 13)
_CHILD = Path(__file__).with_name("cryptofeed_child.py")


class Cryptofeed:
    """The backend with its own queue and its batches of at most 500 rows."""

    name = "cryptofeed 3.0.1, Postgres backend"
    share = 0.2
    # Its own choice.
    batch = 500

    def __init__(self) -> None:
        """Make the environment.

        Raises:
            Unavailable: there is no fitting Python, or the packages cannot be installed.
        """
        self._python = environment("cryptofeed", PACKAGES, OLDEST_PYTHON)

    def store(self, rows: Rows, number: int) -> Need:
        """Put the rows into its queue."""
        found = self._run("store", rows, number)
        if found["written"] != number:
            raise RuntimeError(f"{self.name} wrote {found['written']} of {number} rows")
        return Need(found["wall_s"], found["client_s"])

    def commit_each(self, rows: Rows, number: int) -> list[float]:
        """Store each tick as a batch, without the half second that it waits for more."""
        return self._run("commit", rows, number)["times"]

    def _run(self, what: str, rows: Rows, number: int) -> dict:
        ticks = [*map(warm_up_tick, range(WARM_UPS)), *rows.ticks[:number]]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([*map(_object, ticks)], file)
            file.flush()
            done = subprocess.run(
                [self._python, "-I", _CHILD, what, file.name, str(WARM_UPS)],
                env=os.environ | libpq_environment(rows.config),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)


def _object(tick: Tick) -> dict[str, object]:
    """Return a row as the backend's callbacks give it: times in seconds, numbers as text."""
    named = dict(zip((name for name, _ in COLUMNS), plain_row(tick), strict=True))
    named["timestamp"] = named.pop("event_time").timestamp()
    named["receipt_timestamp"] = named.pop("received_at").timestamp()
    return {
        name: value if value is None or isinstance(value, int | float) else str(value)
        for name, value in named.items()
    }
