"""A service whose output is not read."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from contextlib import contextmanager

import httpx2
import pytest
import trio

from tests.fix_processes import LAUNCHER

pytestmark = pytest.mark.timeout(120)


@contextmanager
def full_pipe():
    """Yield the end for writing of a pipe of 4 KiB that is full and is never read."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write_end, False)
    os.write(write_end, b"x" * 4096)
    with pytest.raises(BlockingIOError):
        os.write(write_end, b"x")
    os.set_blocking(write_end, True)
    try:
        yield write_end
    finally:
        os.close(write_end)
        os.close(read_end)


async def test_full_pipes_stop_neither_ticks_nor_http_nor_the_end(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    arguments = ("demo", "--contracts", "20", "--rate", "60", "--http", address)
    with full_pipe() as output:
        process = await trio.lowlevel.open_process(
            [LAUNCHER, *arguments],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            async with httpx2.AsyncClient(
                base_url=f"http://{address}", trust_env=False, timeout=30
            ) as web:
                status = await wait_for_ticks(web)
                alive = await web.get("/livez")
            process.terminate()
            # The drain is quick.  Each stream waits 1.5 s for its reader.
            with trio.fail_after(40):
                exit_status = await process.wait()
        finally:
            process.kill()

    assert alive.status_code == 200
    assert status["log"] == {"lines_dropped": 0}
    # The demo has compared the sent ticks with the stored ones.
    assert exit_status == 0


async def wait_for_ticks(web):
    with trio.fail_after(60):
        while True:
            try:
                status = (await web.get("/v1/streaming/status")).json()
                if sum(status["ticks"]["persisted"].values()) > 50:
                    return status
            except httpx2.ConnectError:
                pass  # not started yet
            await trio.sleep(0.1)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
