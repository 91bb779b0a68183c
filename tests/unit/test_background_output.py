from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from greeks_trio.logs import background
from greeks_trio.logs.background import (
    MAX_BYTES,
    MAX_LINES,
    BackgroundStream,
    background_output,
    lines_dropped,
)


def explain(number: int) -> str:
    return f"<{number} missing>"


def told_in(text: str) -> int:
    return sum(map(int, re.findall(r"^<(\d+) missing>$", text, re.MULTILINE)))


class Pipe:
    """A pipe of 4 KiB with a reader that reads when it is told to."""

    def __init__(self):
        self.read_end, write_end = os.pipe()
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
        # It stays open: a thread may still write to it after its test, and the next pipe
        # must not get its number.
        self.stream = os.fdopen(write_end, "w", closefd=False)

    def read_until(self, end: str) -> str:
        text = ""
        while not text.endswith(end):
            text += os.read(self.read_end, 65_536).decode()
        return text

    def read_until_told(self, missing: int) -> str:
        """Read until the explanations tell so many missing lines."""
        text = ""
        while told_in(text) < missing:
            text += os.read(self.read_end, 65_536).decode()
        return text

    def close_reader(self):
        os.close(self.read_end)
        self.read_end = -1

    def close(self):
        if self.read_end >= 0:
            self.close_reader()


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()
    # What is still in the queues counts as dropped now, and not during the next test.
    for stream in list(background._streams):
        stream.finish()


@contextmanager
def quick():
    """Fail if the block waits."""
    begin = time.perf_counter()
    yield
    assert time.perf_counter() - begin < 10


def test_the_text_is_written_in_order(pipe):
    stream = BackgroundStream(pipe.stream, explain)

    stream.write("one\ntw")
    stream.write("o\n")
    stream.write("thr")
    stream.write("ee")
    stream.finish()

    assert pipe.read_until("three") == "one\ntwo\nthree"


def test_a_full_pipe_makes_nobody_wait_and_the_missing_lines_are_told(pipe):
    stream, before = BackgroundStream(pipe.stream, explain), lines_dropped()
    line = "x" * 99 + "\n"

    with quick():
        for _ in range(20_000):
            stream.write(line)
    missing = lines_dropped() - before
    # The thread may make room in between, and then more than one line tells.
    text = pipe.read_until_told(missing)
    stream.write("flows\n")
    stream.finish()

    assert text.count(line) + missing == 20_000
    # So many are in the queue, and the pipe has room for 40 more.
    assert text.count(line) < MAX_LINES + 50
    assert told_in(text) == missing
    assert text.endswith(" missing>\n")
    assert pipe.read_until("flows\n") == "flows\n"


def test_the_bytes_are_bounded_too(pipe):
    stream = BackgroundStream(pipe.stream, explain)

    for _ in range(100):
        stream.write("x" * 100_000 + "\n")

    assert stream._bytes <= MAX_BYTES
    assert stream._untold >= 89


def test_critical_lines_have_places_of_their_own(pipe):
    stream = BackgroundStream(pipe.stream, explain)
    for _ in range(20_000):
        stream.write("ordinary\n")

    stream.critical.write("the important one\n")

    text = pipe.read_until("the important one\n")
    # So many are in the queue, and the pipe has room for 455 more.
    assert text.count("ordinary") < MAX_LINES + 500
    assert " missing>\nthe important one\n" in text


def test_the_end_waits_for_a_full_pipe_only_a_moment(pipe):
    stream = BackgroundStream(pipe.stream, explain)
    stream.write("x" * 100_000 + "\n")

    with quick():
        stream.finish(limit_s=0.1)


def test_a_pipe_that_does_not_block_is_waited_for_by_the_thread_only(pipe):
    os.set_blocking(pipe.stream.fileno(), False)
    stream = BackgroundStream(pipe.stream, explain)

    with quick():
        stream.write("x" * 20_000 + "\n")
    text = pipe.read_until("\n")
    stream.finish()

    assert text == "x" * 20_000 + "\n"


def test_a_reader_that_is_gone_costs_the_lines_only(pipe):
    stream, before = BackgroundStream(pipe.stream, explain), lines_dropped()
    pipe.close_reader()

    stream.write("one\ntwo\n")
    stream.finish()

    assert lines_dropped() - before == 2


def test_a_full_disk_costs_the_lines_only():
    before = lines_dropped()
    with open("/dev/full", "w") as full:
        stream = BackgroundStream(full, explain)
        stream.write("one\n")
        stream.finish()

    assert lines_dropped() - before == 1


def test_a_disk_with_room_again_gets_the_number_of_the_missing_lines(monkeypatch, pipe):
    write, is_full = os.write, threading.Event()
    is_full.set()

    def write_unless_full(descriptor, data):
        if is_full.is_set() and descriptor == pipe.stream.fileno():
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(background.os, "write", write_unless_full)
    stream, before = BackgroundStream(pipe.stream, explain), lines_dropped()
    stream.write("lost\n")
    while lines_dropped() == before:
        time.sleep(0.001)
    is_full.clear()
    stream.write("kept\n")
    stream.finish()

    assert pipe.read_until("kept\n") == "<1 missing>\nkept\n"


def test_without_a_new_thread_the_lines_wait_for_the_end(monkeypatch, pipe):
    def no_thread(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    stream, before = BackgroundStream(pipe.stream, explain), lines_dropped()

    with quick():
        for _ in range(20_000):
            stream.write("ordinary line\n")
        stream.finish(limit_s=0.1)

    # The pipe took what it could without waiting; everything else is counted.
    text = os.read(pipe.read_end, 65_536).decode()
    assert text.count("ordinary line\n") >= 200
    assert lines_dropped() - before >= 20_000 - MAX_LINES


def test_a_stream_without_a_file_is_written_too(monkeypatch):
    buffer = io.StringIO()
    monkeypatch.setattr(sys, "stderr", buffer)

    with background_output("stderr", explain):
        sys.stderr.write("to the buffer\n")

    assert sys.stderr is buffer
    assert buffer.getvalue() == "to the buffer\n"


def test_a_text_that_the_encoding_lacks_is_escaped(pipe):
    pipe.stream.reconfigure(encoding="ascii")
    stream = BackgroundStream(pipe.stream, explain)

    stream.write("ä€\n")
    stream.finish()

    assert pipe.read_until("\n") == "\\xe4\\u20ac\n"


def test_bytes_are_refused(pipe):
    with pytest.raises(TypeError, match="not bytes"):
        BackgroundStream(pipe.stream, explain).write(b"")


PROGRAM = """
import os, subprocess, sys, time, warnings
from greeks_trio.logs import *
import logging
configure_logging()
with background_output("stderr", explain_dropped):
    for number in range(20_000):
        logging.getLogger("greeks_trio.x").warning("area.event number=%d", number)
        logging.getLogger("greeks_trio.x").critical("area.bug number=%d", number)
    warnings.warn("a warning of Python")
    class Odd:
        def __del__(self):
            raise KeyError("cannot be raised")
    Odd()
    child = os.fork()
    if not child:
        sys.stderr.write("child\\n")
        sys.stderr.finish(0.1)
        os._exit(0)
    os.waitpid(child, 0)
    subprocess.run([sys.executable, "-c", ""], check=True, preexec_fn=lambda: None)
    begin = time.monotonic()
print("done", flush=True)
"""


def test_a_program_with_a_blocked_stderr_ends_with_its_status():
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            stderr=write_end,
            stdout=subprocess.PIPE,
            text=True,
            timeout=20,
        )
    finally:
        os.close(write_end)
        os.close(read_end)

    assert (ended.returncode, ended.stdout) == (0, "done\n")
