"""Becomes another program, as an unprivileged user that dies with its parent.

Run as a script: ``embedded_launcher.py PARENT_PID UID GID PROGRAM ARGUMENT...``, UID and
GID empty for the present user.

Discussion: `subprocess` could change the user itself, but not ask the kernel for a signal
at the parent's death; a ``preexec_fn`` could, but Python warns of it wherever there are
threads.  This process starts with its parent's rights, so it may use an interpreter that
the other user cannot reach.  Imports only what is cheap.

Source: prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Change the user, arrange for the signal, and become the program."""
    parent, uid, gid, *command = sys.argv[1:]
    ask_for_signal = _signal_request()
    try:
        if uid:
            _become_user(int(uid), int(gid))
    except OSError as exc:
        sys.exit(f"cannot become user {uid}: {exc}")
    # After the user: a change of credentials clears the request.
    ask_for_signal()
    if os.getppid() != int(parent):  # it died before the request
        sys.exit(1)
    try:
        os.execv(command[0], command)  # noqa: S606
    except OSError as exc:
        sys.exit(f"cannot run {command[0]}: {exc}")


def _become_user(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _signal_request() -> Callable[[], object]:
    """Return what asks for the signal; loaded while files can still be reached."""
    if sys.platform != "linux":
        return lambda: None
    import ctypes

    # PostgreSQL's fast shutdown.
    prctl = ctypes.CDLL(None).prctl
    return partial(prctl, _PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)


if __name__ == "__main__":
    main()
