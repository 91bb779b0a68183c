"""The files of the page, each read and compressed once.

The page lies in `greeks_trio/page`: files at its top, in folders below it, and in folders of
those.  Deeper files, hidden files and other kinds of files are no part of it.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import trio

DIRECTORY: Final = Path(__file__).parents[1] / "page"

MEDIA_TYPES: Final = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "woff2": "font/woff2",
}

# No name begins with a point, so no path leads out of the directory.
_NAME: Final = re.compile(
    rf"(?:[a-z0-9-]+/){{0,2}}[A-Za-z0-9_-][A-Za-z0-9._-]*\.({'|'.join(MEDIA_TYPES)})",
    re.ASCII,
)
# A font is compressed already, and a little less is not worth the work of unpacking it.
_WORTH_IT: Final = 0.9
# Reading and compressing take up to 0.1 s of a processor.
_THREADS: Final = 2

# The time of the last change, in nanoseconds, and the size.
_Version: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PageFile:
    """A file of the page.

    Attributes:
        compressed: The content with gzip; `None` if that is not much smaller.
        tag: The ETag.
    """

    content: bytes
    compressed: bytes | None
    media_type: str
    tag: str


class PageFiles:
    """The files that were asked for so far.

    A file that changes in a checkout is read again.
    """

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory
        self._kept: dict[str, tuple[_Version, PageFile]] = {}
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def find(self, name: str) -> PageFile | None:
        """Return a file; `None` if the page has no file of this name."""
        found = _NAME.fullmatch(name)
        if found is None:
            await trio.lowlevel.checkpoint()
            return None
        media_type = MEDIA_TYPES[found[1]]
        return await trio.to_thread.run_sync(
            self._read, name, media_type, limiter=self._limiter
        )

    def _read(self, name: str, media_type: str) -> PageFile | None:
        path = self._directory / name
        try:
            state = path.stat()
            version = state.st_mtime_ns, state.st_size
            kept = self._kept.get(name)
            if kept is not None and kept[0] == version:
                return kept[1]
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        file = _make_file(content, media_type)
        self._kept[name] = version, file
        return file


def _make_file(content: bytes, media_type: str) -> PageFile:
    compressed = gzip.compress(content, mtime=0)
    is_smaller = len(compressed) < len(content) * _WORTH_IT
    return PageFile(
        content=content,
        compressed=compressed if is_smaller else None,
        media_type=media_type,
        # Weak, because the compressed and the plain answer share it.
        tag=f'W/"{hashlib.sha256(content).hexdigest()[:32]}"',
    )
