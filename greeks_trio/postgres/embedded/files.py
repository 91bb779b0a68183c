"""Read and write the small files of a data directory without following a link.

The files of the cluster itself belong to the server's account.  A program of that account
could put links there, so even root opens them only as plain files.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from greeks_trio.config.directories import open_own_file
from greeks_trio.postgres.embedded.accounts import Account

_MAX_BYTES: Final = 65_536


def read_small(path: Path, *, at_end: bool = False) -> str | None:
    """Return the text of a plain file, `None` if there is none.

    Args:
        path: The file.
        at_end: Whether to return the end of a file that is too long, and not its begin.

    Raises:
        OSError: it cannot be read, or it is a link.
    """
    try:
        fd = open_own_file(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is not a plain file")
        if at_end:
            file.seek(max(os.fstat(fd).st_size - _MAX_BYTES, 0))
        return file.read(_MAX_BYTES).decode("utf-8", "replace")


def write_small(path: Path, text: str, account: Account | None = None) -> None:
    """Replace a file, so that a reader sees the old text or the new one; mode 600.

    Raises:
        OSError: it cannot be written.
    """
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = open_own_file(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with open(fd, "w") as file:
            file.write(text)
            file.flush()
            if account is not None:
                os.fchown(fd, account.uid, account.gid)
            os.fsync(fd)
        fresh.rename(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
