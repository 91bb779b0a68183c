"""Room on the disk for giving room back.

A spool that has filled its disk cannot even delete: deleting is written to the log first,
and the log can be emptied only into a file that may have to grow.  Nothing would ever end
that, so a file of zeros lies beside and is given up at that moment.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

# Twice what the log is let grow to.
_BYTES: Final = 8 * 2**20


class Reserve:
    """A file whose only use is its size."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def restore(self) -> None:
        """Make the file if it is not there; a disk without room for it has it later."""
        if self._path.exists():
            return
        with suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, _BYTES)
            except OSError:
                self._path.unlink()
            finally:
                os.close(fd)

    def give_up(self) -> None:
        """Delete the file."""
        with suppress(OSError):
            self._path.unlink()
            logger.warning("spool.reserve_given_up bytes=%d", _BYTES)
