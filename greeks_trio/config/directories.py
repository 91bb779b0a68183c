"""Judge a directory before it is used, and open files without following a link.

A directory that another user owns or may write can hold links and files that the other
user prepared.  A service that writes through them overwrites files of its own user, and
root would overwrite any file.  So every directory on the way must belong to us or to
root, and no other user may write it.

A directory such as ``/tmp`` is an exception: everybody may write it, but its sticky bit
lets only the owner of an entry rename or remove the entry.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from grp import getgrgid
from pathlib import Path
from typing import Final

from greeks_trio.errors import ConfigError

# The kernel gives up after as many links.
_MAX_LINKS: Final = 40


def refuse_foreign_directory(path: Path, *, setting: str = "") -> None:
    """Return if no other user can change the content of the directory.

    A directory that is missing is judged by the directories on the way to it.

    Args:
        path: The directory.  Its last part may be a link only if the link is ours.
        setting: The setting or option that names the directory, for the message.

    Raises:
        ConfigError: another user owns or may write it, or a directory on the way to it.
    """
    prefix = f"{setting}: " if setting else ""
    try:
        fault = _fault(path)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigError([f"{prefix}cannot use {path}: {reason}."]) from exc
    if fault is not None:
        raise ConfigError([f"{prefix}{path} is not safe: {fault}."])


def make_own_directory(path: Path, *, setting: str = "") -> None:
    """Make the directory for its owner only if it is missing, then judge it.

    Raises:
        ConfigError: it is not safe (see `refuse_foreign_directory`) or cannot be made.
    """
    # First the way: nothing is made below a directory of another user.
    refuse_foreign_directory(path, setting=setting)
    prefix = f"{setting}: " if setting else ""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ConfigError([f"{prefix}cannot make {path}: {reason}."]) from exc
    refuse_foreign_directory(path, setting=setting)


def open_own_file(path: Path, flags: int, *, mode: int = 0o600) -> int:
    """Open a file in a directory of ours, and return its descriptor.

    Raises:
        OSError: it cannot be opened, or it is a link (``ELOOP``).
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def data_home(name: str) -> Path:
    """Return the default directory of that name for data of the present user.

    It lies in ``$XDG_DATA_HOME/greeks_trio``, by default ``~/.local/share/greeks_trio``.
    Data that is in the default place already stays there.

    Raises:
        RuntimeError: this user has neither the variable nor a home directory.
    """
    xdg = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not xdg.is_absolute():
        return Path("~/.local/share/greeks_trio").expanduser() / name
    chosen = xdg / "greeks_trio" / name
    with suppress(RuntimeError):
        usual = Path("~/.local/share/greeks_trio").expanduser() / name
        if usual.exists() and not chosen.exists():
            return usual
    return chosen


def _fault(path: Path) -> str | None:
    """Return the first thing on the way that another user can change."""
    trusted = _trusted_users()
    last = None
    for part, found in _walk(path.absolute()):
        if found.st_uid not in trusted:
            return (
                f"{part} belongs to {_user(found.st_uid)}; choose a directory of your "
                "own, or run as that user"
            )
        if stat.S_ISLNK(found.st_mode):
            continue
        if not stat.S_ISDIR(found.st_mode):
            return f"{part} is not a directory"
        if _others_may_write(found) and not found.st_mode & stat.S_ISVTX:
            return f"other users may write {part}; run: chmod go-w {part}"
        last = (part, found)
    if last is not None and last[0] == _resolved(path) and _others_may_write(last[1]):
        return f"every user may write {last[0]}; choose a directory inside it"
    return None


def _walk(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every directory and link on the way, until one is missing."""
    here, links = Path(path.anchor), 0
    left = [*reversed(path.parts[1:])]
    yield here, here.lstat()
    while left:
        part = here / left.pop()
        if part.name == "..":
            here = here.parent
            continue
        try:
            found = part.lstat()
        except FileNotFoundError:
            return
        yield part, found
        if not stat.S_ISLNK(found.st_mode):
            here = part
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = Path(os.readlink(part))
        if target.is_absolute():
            here = Path(target.anchor)
            left.extend(reversed(target.parts[1:]))
        else:
            left.extend(reversed(target.parts))


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _trusted_users() -> set[int]:
    """Return root and the present user, as this process sees them."""
    trusted = {0, os.geteuid()}
    # In a user namespace without root, the files of root belong to the overflow user.
    with suppress(OSError, ValueError):
        mapped = Path("/proc/self/uid_map").read_text().split("\n")
        if not any(line.split()[:1] == ["0"] for line in mapped):
            trusted.add(int(Path("/proc/sys/kernel/overflowuid").read_text()))
    return trusted


def _others_may_write(found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_own_group(found.st_gid)


def _is_own_group(gid: int) -> bool:
    """Return whether the group has no member besides the present user and root.

    Some systems give each user a group of its own and let it write.  A volume of
    Kubernetes belongs to root and to a group without a name.
    """
    if gid not in (os.getegid(), *os.getgroups()):
        return False
    try:
        members = set(getgrgid(gid).gr_mem)
    except KeyError:
        members = set()
    members |= {user.pw_name for user in pwd.getpwall() if user.pw_gid == gid}
    return members <= {_user(0), _user(os.geteuid())}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
