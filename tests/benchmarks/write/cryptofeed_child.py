"""Stores rows through cryptofeed's Postgres backend; runs in its own environment.

    python cryptofeed_child.py store|commit ROWS.json WARM_UPS

Reads how to connect from the variables of libpq.  ROWS.json is a list of objects, of which
the first WARM_UPS are not measured.  Prints one object.  Only cryptofeed and the standard
library are available here.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

from cryptofeed.backends.backend import BackendCallback
from cryptofeed.backends.postgres import PostgresCallback


class GreeksPostgres(PostgresCallback, BackendCallback):
    """The backend as a user would adapt it to a table: it names fields and columns."""

    default_table = "greek_snapshots"


def make_backend(fields, rows):
    """Return a backend with its default batches, and room for all rows in its queue."""
    renamed = {"timestamp": "event_time", "receipt_timestamp": "received_at"}
    return GreeksPostgres(
        host=os.environ["PGHOST"],
        port=int(os.environ["PGPORT"]),
        user=os.environ["PGUSER"],
        pw=os.environ["PGPASSWORD"],
        db=os.environ["PGDATABASE"],
        custom_columns={name: renamed.get(name, name) for name in fields},
        max_depth=rows + 1,
    )


async def store(rows, warm_ups):
    """Put all rows into the backend's queue, and end it when they are stored."""
    backend = make_backend(rows[0], len(rows))
    await backend.connect()
    for row in rows[:warm_ups]:
        await backend.write_batch([row])
    rest = rows[warm_ups:]
    wall, client = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        backend.start_writer(group, "writer")
        for row in rest:
            await backend.write(row)
        await backend.stop()
    return {
        "wall_s": time.perf_counter() - wall,
        "client_s": time.process_time() - client,
        "written": backend.stats.written,
    }


async def commit(rows, warm_ups):
    """Store the rows one by one."""
    backend = make_backend(rows[0], len(rows))
    await backend.connect()
    times = []
    for row in rows:
        started_at = time.perf_counter()
        await backend.write_batch([row])
        times.append(time.perf_counter() - started_at)
    await backend.close()
    return {"times": times[warm_ups:]}


if __name__ == "__main__":
    _, what, path, warm_ups = sys.argv
    function = {"store": store, "commit": commit}[what]
    rows = json.loads(Path(path).read_text())
    sys.stdout.write(json.dumps(asyncio.run(function(rows, int(warm_ups)))))
