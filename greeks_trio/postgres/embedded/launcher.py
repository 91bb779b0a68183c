"""Become another program, as an unprivileged user, that ends with its parent.

Run as a script: ``launcher.py PARENT_PID UID GID SEEN_UID PROGRAM ARGUMENT...``.  Empty
UID and GID mean the present user.  With SEEN_UID the program sees that number as its user
id; its files still belong to UID.

`subprocess` can change the user, but it cannot ask the kernel for a signal at the parent's
death.  A ``preexec_fn`` can, but Python warns of it in programs with threads.  This
process starts with its parent's rights, so it may use an interpreter that the other user
cannot reach.  It imports only modules that load quickly.

Sources: prctl(2), PR_SET_PDEATHSIG; user_namespaces(7).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_CLONE_NEWUSER: Final = 0x10000000


def main() -> None:
    """Change the user, arrange for the signal, and become the program."""
    parent, uid, gid, seen_uid, *command = sys.argv[1:]
    library = _load_library()
    try:
        if uid:
            _become_user(int(uid), int(gid))
    except OSError as exc:
        sys.exit(f"cannot become user {uid}: {exc}")
    if seen_uid:
        _take_name(library, int(seen_uid))
    # After the user: a change of credentials clears the request.
    if library is not None:
        # PostgreSQL's fast shutdown.
        library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
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


def _take_name(library: Any, seen_uid: int) -> None:  # noqa: ANN401 - ctypes has no type
    """Enter a user namespace in which this user has the id of a user with a name."""
    uid, gid = os.geteuid(), os.getegid()
    if library is None:
        sys.exit(_nameless(uid, "this system has no user namespaces"))
    try:
        # Otherwise the files below belong to root after the change of the user.
        library.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
        _unshare(library)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{seen_uid} {uid} 1"),
            ("gid_map", f"{seen_uid} {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    except OSError as exc:
        sys.exit(_nameless(uid, str(exc)))


def _nameless(uid: int, reason: str) -> str:
    return (
        f"user {uid} has no name, and PostgreSQL needs one ({reason}); add a line for it"
        " to /etc/passwd, or run as a user with a name"
    )


def _unshare(library: Any) -> None:  # noqa: ANN401 - ctypes has no type
    import ctypes

    if library.unshare(_CLONE_NEWUSER) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _load_library() -> Any:  # noqa: ANN401 - ctypes has no type
    """Return the C library, loaded before the user changes."""
    if sys.platform != "linux":
        return None
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    main()
