"""Find the server that runs on a cluster, by the file that PostgreSQL keeps for it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from greeks_trio.postgres.embedded.accounts import Account
from greeks_trio.postgres.embedded.files import read_small

# The argument of a server that outlives the process that started it.
DETACHED: Final = "--cluster_name=greeks_trio_detached"
_PORT_LINE: Final = 3
_STATE_LINE: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A running server of a cluster.

    Attributes:
        pid: Its first process.
        port: Its TCP port on 127.0.0.1, 0 while it starts.
        is_ready: Whether it accepts connections.
        is_detached: Whether ``db start`` started it, so that it outlives a service.
    """

    pid: int
    port: int
    is_ready: bool
    is_detached: bool


def find_running(directory: Path, account: Account | None) -> RunningServer | None:
    """Return the server of the cluster, `None` if none runs.

    Another process may have the number in a file that was left behind.  So the process
    must belong to the server's account and work in the cluster's directory.

    Raises:
        OSError: the file cannot be read.
    """
    text = read_small(directory / "postmaster.pid")
    lines = (text or "").split("\n")
    if not lines[0].strip().isdecimal():
        return None
    pid = int(lines[0])
    try:
        process = psutil.Process(pid)
        uid = os.geteuid() if account is None else account.uid
        if process.status() == psutil.STATUS_ZOMBIE or process.uids().real != uid:
            return None
        if not _works_in(pid, directory):
            return None
        arguments = process.cmdline()
    except (OSError, psutil.Error):
        return None
    port = lines[_PORT_LINE].strip() if len(lines) > _PORT_LINE else ""
    state = lines[_STATE_LINE].strip() if len(lines) > _STATE_LINE else ""
    return RunningServer(
        pid=pid,
        port=int(port) if port.isdecimal() else 0,
        is_ready=state == "ready",
        is_detached=DETACHED in arguments,
    )


def _works_in(pid: int, directory: Path) -> bool:
    return sys.platform != "linux" or Path(f"/proc/{pid}/cwd").samefile(directory)
