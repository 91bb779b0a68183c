"""The files of the page, each read and compressed once.

The page lies in `greeks_trio/page`: files at its top, in folders below it, and in folders of
those.  Deeper files, hidden files and other kinds of files are no part of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, TypeAlias

import trio

from greeks_trio.api.fixed_content import FixedContent, make_content

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
# Reading and compressing take up to 0.1 s of a processor.
_THREADS: Final = 2

# The time of the last change, in nanoseconds, and the size.
_Version: TypeAlias = tuple[int, int]


class PageFiles:
    """The files that were asked for so far.

    A file that changes in a checkout is read again.
    """

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory
        self._kept: dict[str, tuple[_Version, FixedContent]] = {}
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def find(self, name: str) -> FixedContent | None:
        """Return a file; `None` if the page has no file of this name."""
        found = _NAME.fullmatch(name)
        if found is None:
            await trio.lowlevel.checkpoint()
            return None
        media_type = MEDIA_TYPES[found[1]]
        return await trio.to_thread.run_sync(
            self._read, name, media_type, limiter=self._limiter
        )

    def _read(self, name: str, media_type: str) -> FixedContent | None:
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
        file = make_content(content, media_type)
        self._kept[name] = version, file
        return file
