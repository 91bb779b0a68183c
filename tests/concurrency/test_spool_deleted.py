"""The spool of a running service is deleted."""

from __future__ import annotations

import logging
import shutil

import trio

from greeks_trio.spool.directory import open_spool


class Waiting(logging.Handler):
    """Keeps an event for a text in the log."""

    def __init__(self, text):
        super().__init__()
        self.text = text
        self.found = trio.Event()

    def emit(self, record):
        if self.text in record.getMessage():
            self.found.set()


async def test_a_deleted_spool_is_logged(tmp_path, nursery):
    said = Waiting(f"spool.directory_deleted directory={tmp_path / 'spool'}")
    logging.getLogger("greeks_trio.spool.directory").addHandler(said)
    async with open_spool(tmp_path / "spool", max_bytes=2**30) as opened:
        shutil.rmtree(tmp_path / "spool")
        nursery.start_soon(opened.run_alive_mark, dict)
        with trio.fail_after(20):
            await said.found.wait()
        nursery.cancel_scope.cancel()
    logging.getLogger("greeks_trio.spool.directory").removeHandler(said)
