"""Runs the command line for ``python -m greeks_trio``."""

from __future__ import annotations

import sys

INTERRUPTED = 130

if __name__ == "__main__":
    try:
        # Imported here, so that Ctrl-C during the imports has no traceback either.
        from greeks_trio.commands.cli import main

        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
