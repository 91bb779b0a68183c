"""The lock of the spool's directory, and the marks that tell how its owner ended."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from greeks_trio.config.directories import (
    make_own_directory,
    open_own_file,
    refuse_foreign_directory,
)
from greeks_trio.errors import ConfigError

logger = logging.getLogger(__name__)

SETTING: Final = "GREEKS_SPOOL_DIR"
_LOCK: Final = "lock"
_ALIVE: Final = "alive"


class Owner:
    """The lock on a directory, held until `release` or the end of the process.

    The lock is on an open file that no program started by this process inherits.

    The marks of the earlier owner stay until `touch` or `forget_earlier`: a run that ends
    before it streams must not hide the end of the run before it.

    Attributes:
        killed_at: When the earlier owner was last alive, `None` if it ended cleanly.
        heard_at: When it last heard of each broker, empty if it ended cleanly.
    """

    def __init__(self, directory: Path, lock_fd: int) -> None:
        self._lock_fd = lock_fd
        self._has_begun = False
        self._directory = directory
        self._lock = directory / _LOCK
        self._mark = directory / _ALIVE
        self.killed_at = _modified_at(self._mark)
        marks = self._marks_of_brokers()
        self.heard_at = {
            mark.suffix[1:]: heard_at
            for mark in marks
            if (heard_at := _modified_at(mark)) is not None
        }

    def forget_earlier(self) -> None:
        """Delete the marks of the earlier owner, because its end is stored elsewhere."""
        with suppress(OSError):
            self._delete_marks()

    def touch(self, heard_at: Mapping[str, datetime]) -> None:
        """Mark that this process is alive now, and when it last heard of each broker.

        Missing marks are made, unless the disk is full.
        """
        self._has_begun = True
        with suppress(OSError):
            _touch(self._mark, None)
            for broker, moment in heard_at.items():
                _touch(self._mark.with_suffix(f".{broker}"), moment.timestamp())

    def is_in_place(self) -> bool:
        """Return whether the directory still has the file that is locked.

        A deleted directory can still be written to; it ends with this process.  See
        `take_again`.
        """
        try:
            there = self._lock.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True  # unknown: no reason for an alarm
        return os.path.samestat(there, os.fstat(self._lock_fd))

    def take_again(self) -> bool:
        """Make a deleted directory again and lock it.  Return whether that worked."""
        try:
            fd = _lock(self._directory)
        except ConfigError as exc:
            logger.debug("spool.directory_not_made reason=%s", exc)
            return False
        old, self._lock_fd = self._lock_fd, fd
        os.close(old)
        return True

    def release(self, *, is_clean: bool) -> None:
        """Unlock the directory.  A clean end of a run that has begun deletes the marks."""
        if is_clean and self._has_begun:
            with suppress(OSError):
                self._delete_marks()
        # A child process that has not executed its program yet shares the open file, so
        # closing alone would leave the lock in place until it does.
        with suppress(OSError):
            fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        os.close(self._lock_fd)

    def _delete_marks(self) -> None:
        for mark in (self._mark, *self._marks_of_brokers()):
            mark.unlink(missing_ok=True)

    def _marks_of_brokers(self) -> list[Path]:
        return sorted(self._mark.parent.glob(f"{_ALIVE}.*"))


def take_directory(directory: Path) -> Owner:
    """Make the directory if need be and lock it.

    Raises:
        ConfigError: it cannot be made or written, another user can change it, or another
            process holds its lock.
    """
    return Owner(directory, _lock(directory))


def _lock(directory: Path) -> int:
    make_own_directory(directory, setting=SETTING)
    try:
        fd = open_own_file(directory / _LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as exc:
        raise _unusable(directory, exc.strerror or str(exc)) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _pid_in(fd)
        os.close(fd)
        raise _taken(directory, pid) from None
    except OSError as exc:
        os.close(fd)
        raise _unusable(directory, exc.strerror or str(exc)) from exc
    if not os.access(directory, os.W_OK | os.X_OK):
        os.close(fd)
        raise _unusable(directory, "no permission to write")
    # On a full disk the lock holds no process id.
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def look_at(directory: Path) -> str:
    """Return in words whether a service could use the directory.  Change nothing.

    Raises:
        ConfigError: the directory cannot be used.
    """
    refuse_foreign_directory(directory, setting=SETTING)
    there = next(each for each in (directory, *directory.parents) if each.exists())
    if not there.is_dir():
        raise _unusable(directory, f"{there} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise _unusable(directory, f"no permission to write to {there}")
    if there != directory:
        return f"{directory}, which serve makes"
    holder = holder_of(directory)
    return f"{directory}, in use by process {holder}" if holder else f"{directory}"


def holder_of(directory: Path) -> str:
    """Return the id of the process that holds the lock, empty if none does."""
    try:
        fd = open_own_file(directory / _LOCK, os.O_RDONLY)
    except OSError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid_in(fd)
    finally:
        os.close(fd)
    return ""


def _pid_in(fd: int) -> str:
    return os.pread(fd, 20, 0).decode("ascii", "replace").strip() or "unknown"


def _taken(directory: Path, pid: str) -> ConfigError:
    return ConfigError(
        [
            f"the spool directory {directory} is in use by process {pid}: stop that "
            "one, or give this one another GREEKS_SPOOL_DIR."
        ]
    )


def _unusable(directory: Path, reason: str) -> ConfigError:
    return ConfigError([f"{SETTING}: cannot use the directory {directory}: {reason}."])


def _touch(path: Path, seconds: float | None) -> None:
    """Make the file if it is missing, and set its time; `None` for now."""
    fd = open_own_file(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.utime(fd, None if seconds is None else (seconds, seconds))
    finally:
        os.close(fd)


def _modified_at(path: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return None
