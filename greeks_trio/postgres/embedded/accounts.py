"""The user that runs the bundled server, and a name for a user without one.

PostgreSQL refuses to run as root.  Root therefore runs it as the owner of the data or,
for new data, as an account of its own: the user ``greeks-trio`` if there is one, else a
user id that no entry of the user list and no process has.  Every process of that account
could change the data, so an account that other programs share is the last resort.

``initdb`` and a few other programs look up the name of their user.  A user id without a
name gets one inside a user namespace: the kernel shows the program another number there,
and files still belong to the real one.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import psutil

from greeks_trio.errors import StoreUnavailable

OWN_USER: Final = "greeks-trio"
LAUNCHER: Final = Path(__file__).with_name("launcher.py")
# Neither the numbers of people, which grow from 1000, nor those that systemd assigns.
_FREE_IDS: Final = range(59_800, 59_900)
_NOBODY: Final = 65_534
_PROBE_LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """The user that runs the server instead of root."""

    uid: int
    gid: int

    @property
    def is_shared(self) -> bool:
        """Whether other programs of the machine commonly run as this user."""
        return self.uid == _NOBODY or (
            self.uid not in _FREE_IDS and _name(self.uid) not in (OWN_USER, "postgres")
        )


def server_account(data: Path) -> Account | None:
    """Return the account that runs the server; `None` means the present user.

    Raises:
        StoreUnavailable: this machine has no user besides root.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.lstat().st_uid != 0:
        return Account(data.lstat().st_uid, data.lstat().st_gid)
    return new_account()


def new_account() -> Account:
    """Return the account for new data of root.

    Raises:
        StoreUnavailable: this machine has no user besides root.
    """
    try:
        own = pwd.getpwnam(OWN_USER)
    except KeyError:
        pass
    else:
        return Account(own.pw_uid, own.pw_gid)
    users = [user for user in pwd.getpwall() if user.pw_uid != 0]
    in_use = {user.pw_uid for user in users} | _ids_of_processes()
    if users and has_user_namespaces():
        free = next((uid for uid in _FREE_IDS if uid not in in_use), None)
        if free is not None:
            return Account(free, free)
    if not users:
        raise StoreUnavailable(
            "PostgreSQL does not run as root, and this machine has no other user: make"
            f" one with `useradd --system {OWN_USER}`"
        )
    idle = [user for user in users if user.pw_uid not in _ids_of_processes()]
    chosen = (idle or users)[-1]
    return Account(chosen.pw_uid, chosen.pw_gid)


def name_for(account: Account | None) -> str:
    """Return the user id that a program sees as its own, empty for its true one.

    A user without a name gets the id of a user that has one.
    """
    uid = os.geteuid() if account is None else account.uid
    if _name(uid) is not None:
        return ""
    named = next((user for user in pwd.getpwall() if user.pw_uid != 0), None)
    return "" if named is None else str(named.pw_uid)


@cache
def has_user_namespaces() -> bool:
    """Return whether the kernel lets a user without rights make a user namespace."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    uid = str(_FREE_IDS[0])
    arguments = (str(os.getpid()), uid, uid, "1", "/bin/true")
    completed = subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-S", str(LAUNCHER), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_PROBE_LIMIT_S,
        cwd="/",
        check=False,
    )
    return completed.returncode == 0


def give_tree(directory: Path, account: Account) -> None:
    """Give everything of the directory's owner in it to the account.

    It follows no link.  A file of another owner stays as it is: the present owner may
    have made a second name of it there.

    Raises:
        OSError: an owner cannot be changed.
    """
    before = directory.lstat().st_uid
    for _, names, files, fd in os.fwalk(directory, topdown=False):
        for name in (*names, *files):
            if os.lstat(name, dir_fd=fd).st_uid == before:
                os.chown(
                    name, account.uid, account.gid, dir_fd=fd, follow_symlinks=False
                )
    os.chown(directory, account.uid, account.gid, follow_symlinks=False)


def _name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _ids_of_processes() -> set[int]:
    return {
        process.info["uids"].real
        for process in psutil.process_iter(["uids"])
        if process.info["uids"] is not None
    }
