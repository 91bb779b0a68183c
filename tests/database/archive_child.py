"""Runs ``archive`` and kills it at a chosen moment; a program for a test.

Each line of stdin is an order, and each line of stdout its result, in JSON.  Each run is a
copy of this process, because a start costs seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile

import greeks_trio.archive.export as export_module
import greeks_trio.archive.files as files_module
import greeks_trio.archive.leave as leave_module
import greeks_trio.archive.payloads as payloads_module
from greeks_trio.commands.cli import main

# The function that is called at that moment.
MOMENTS = {
    "in a file": (files_module.FileWriter, "write"),
    "before the name": (files_module, "put_in_place"),
    "before the record": (export_module, "write_part"),
    "before the detach": (leave_module, "_detach"),
    "before the rename": (leave_module, "_rename"),
    "before the second comparison": (leave_module, "_compare"),
    "before the drop": (leave_module, "_drop"),
    "before the commit of the drop": (leave_module, "mark_dropped"),
    "before the exchange": (payloads_module, "_exchange"),
    "after the exchange": (payloads_module, "_compare"),
}


def die_at(moment, occurrence):
    owner, name = MOMENTS[moment]
    real, calls = getattr(owner, name), []

    def die(*args, **options):
        calls.append(name)
        if len(calls) == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    setattr(owner, name, die)


def run_once(order):
    """Run the command in a copy of this process; return its wait status and output."""
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            os.environ.update(order["settings"])
            if order["moment"] in MOMENTS:
                die_at(order["moment"], order["occurrence"])
            main(order["arguments"], prog_name="archive")
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode()


if __name__ == "__main__":
    files_module.GROUP_ROWS = 64
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run_once(json.loads(line))) + "\n")
        sys.stdout.flush()
