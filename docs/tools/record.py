"""The answers below the queries of a page: those that a demo gives.

A query is a block of SQL, and the block of text behind it is its answer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

from docs.tools.blocks import read_blocks
from greeks_trio.postgres.embedded.binaries import find_programs

_PAGES: Final = ("docs/sql-cookbook.md",)

# One outage, so that there is a gap to show.
_DEMO: Final = ("demo", "--json", "--fault", "tastytrade:drop@4:3")
_RUNS_FIRST_S: Final = 20.0


def record_outputs(root: Path) -> list[Path]:
    """Run a demo, write its answers into the pages, and return these."""
    command = [str(root / "bin/run-ingest"), *_DEMO]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as demo:
        assert demo.stdout is not None
        dsn = json.loads(demo.stdout.readline())["dsn"]
        time.sleep(_RUNS_FIRST_S)
        for name in _PAGES:
            path = root / name
            page = path.read_text("utf-8")
            path.write_text(with_answers(page, lambda sql: ask(dsn, sql)), "utf-8")
        demo.send_signal(signal.SIGINT)
        demo.stdout.read()
    return [root / name for name in _PAGES]


def ask(dsn: str, sql: str) -> str:
    """Return the rows of a query as psql shows them."""
    psql = find_programs(18, None) / "psql"
    done = subprocess.run(
        [psql, "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--pset=null=", dsn],
        input=sql,
        env=os.environ | {"PGTZ": "UTC", "PAGER": "cat"},
        capture_output=True,
        text=True,
        check=True,
    )
    return (
        "\n".join(line.rstrip() for line in done.stdout.strip("\n").split("\n")) + "\n"
    )


def with_answers(page: str, ask_it: Callable[[str], str]) -> str:
    """Return the page with a new answer in each block of text behind a query."""
    blocks = read_blocks(page)
    for query, answer in reversed(list(pairwise(blocks))):
        if (query.language, answer.language) == ("sql", "text"):
            page = page[: answer.start] + ask_it(query.text) + page[answer.end :]
    return page
