"""Become another program, as an unprivileged user, that ends with its parent.

Run as a script: ``launcher.py PARENT_PID UID GID PROGRAM ARGUMENT...``.  Empty UID and GID
mean the present user.

`subprocess` can change the user, but it cannot ask the kernel for a signal at the parent's
death.  A ``preexec_fn`` can, but Python warns of it in programs with threads.  This
process starts with its parent's rights, so it may use an interpreter that the other user
cannot reach.  It imports only modules that load quickly.

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
    if os.getppid() != int(parent):  # the parent ended before the request
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
    """Return the function that requests the signal, loaded before the user changes."""
    if sys.platform != "linux":
        return lambda: None
    import ctypes

    # PostgreSQL's fast shutdown.
    prctl = ctypes.CDLL(None).prctl
    return partial(prctl, _PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)


if __name__ == "__main__":
    main()
