"""Gives frames to ibind's own parser; runs in an environment of its own.

    python ibind_child.py FRAMES.json ROUNDS

Prints the seconds of processor time of each round, and the number of events.  Only ibind and
the standard library are available here.
"""

import json
import sys
import time
from pathlib import Path

from ibind.ibkr_ws.ibkr_router import IbkrRouter


def main(path, rounds):
    """Parse all frames in each round."""
    frames = json.loads(Path(path).read_text())
    times, events = [], 0
    for _ in range(rounds):
        route = IbkrRouter().route
        started_at = time.process_time()
        found = [route(frame) for frame in frames]
        times.append(time.process_time() - started_at)
        events = sum(event.conid.isdecimal() for event in found)
    sys.stdout.write(json.dumps({"times": times, "events": events}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
