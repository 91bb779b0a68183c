"""What is too damaged to use and too precious to delete."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

# Whole files, each as large as the spool may be.
_KEPT_FILES: Final = 3


class Keepsakes:
    """A directory for the bytes of entries and notes that cannot be decoded."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, name: str, content: bytes) -> None:
        """Write the bytes to a file of their own, as well as the disk allows it."""
        path = self._directory / f"{name}-{stamp()}.bin"
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(fd, "wb") as file:
                file.write(content)
        except OSError as exc:
            logger.error("spool.bytes_not_kept path=%s reason=%s", path, exc.strerror)


def stamp() -> str:
    """Return the time for the name of a file, UTC."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"


def limit_damaged(path: Path) -> None:
    """Delete the oldest damaged files of this name beyond a few."""
    names = {
        each.name.removesuffix("-wal")
        for each in path.parent.glob(f"{path.name}.damaged-*")
    }
    for name in sorted(names)[:-_KEPT_FILES]:
        logger.warning("spool.damaged_file_deleted path=%s", path.parent / name)
        for suffix in ("", "-wal"):
            (path.parent / f"{name}{suffix}").unlink(missing_ok=True)
