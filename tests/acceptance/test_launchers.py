"""bin/run-ingest on a new machine.

Most tests use a small checkout: the real launcher, one small package to install, and a
program that only tells how it was started.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCHER_FILES = ("run-ingest", "test", "environment.sh", "setup-environment")
# pip installs everything from the index or from its cache, which takes time.
pytestmark = pytest.mark.timeout(300)

PROGRAM = """\
import json, os, signal, sys
print(json.dumps({
    "args": sys.argv[1:], "cwd": os.getcwd(), "pid": os.getpid(), "path": sys.path,
}), flush=True)
import decouple
if "wait" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
    print("ready", flush=True)
    signal.pause()
"""


def make_checkout(root: Path) -> Path:
    """Make a checkout with the real launcher and a program that prints its arguments."""
    (root / "bin").mkdir(parents=True)
    for name in LAUNCHER_FILES:
        shutil.copy2(ROOT / "bin" / name, root / "bin" / name)
    lock = (ROOT / "bin/requirements.lock").read_text()
    [pin] = re.findall(r"^python-decouple==(?:.*\\\n)+.*\n", lock, re.MULTILINE)
    (root / "bin/requirements.lock").write_text(pin)
    (root / "greeks_trio").mkdir()
    (root / "greeks_trio/__init__.py").touch()
    (root / "greeks_trio/__main__.py").write_text(PROGRAM)
    return root


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A small checkout that was never started."""
    return make_checkout(tmp_path / "a checkout")


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A small checkout, and the two processes of its first starts with their outputs."""
    root = make_checkout(tmp_path_factory.mktemp("launcher") / "a checkout")
    # So only the setup can have compiled the package.
    only_setup = {"PYTHONDONTWRITEBYTECODE": "1"}
    both = [start(root, "simulate", **only_setup) for _ in range(2)]
    return root, [(process, *process.communicate()) for process in both]


@pytest.fixture
def set_up(started, tmp_path) -> Path:
    """A copy of a small checkout that was started once.  A start installs nothing."""
    return shutil.copytree(started[0], tmp_path / "a checkout", symlinks=True)


def environment(**changes: str) -> dict[str, str]:
    """Return a user's environment, not that of a test in a virtual environment."""
    ours = ("PYTHON", "VIRTUAL_ENV", "COVERAGE")
    env = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    own_bin = str(Path(sys.executable).parent)
    path = [each for each in env["PATH"].split(":") if each != own_bin]
    base = str(Path(sys.base_prefix) / "bin")
    return {**env, "PATH": ":".join([base, *path]), **changes}


def start(checkout: Path, *args: str, cwd: Path | None = None, **env: str):
    return subprocess.Popen(
        [checkout / "bin/run-ingest", *args],
        cwd=cwd or checkout,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(checkout: Path, *args: str, cwd: Path | None = None, **env: str):
    """Run to the end; return (exit status, stdout, stderr)."""
    process = start(checkout, *args, cwd=cwd, **env)
    stdout, stderr = process.communicate()
    return process.returncode, stdout, stderr


def installed(stderr: str) -> bool:
    return "installing the packages of" in stderr


def test_two_first_starts_at_once_install_once_and_report_only_on_stderr(started):
    root, outputs = started

    assert [process.returncode for process, *_ in outputs] == [0, 0], outputs
    assert sorted(installed(stderr) for *_, stderr in outputs) == [False, True]
    for process, stdout, _ in outputs:
        told = json.loads(stdout)
        assert told["args"] == ["simulate"]
        # The setup is the same process, so signals of the parent reach each part.
        assert told["pid"] == process.pid
    assert list(root.glob(".venv/lib/*/site-packages/__pycache__/decouple.*.pyc"))


def test_the_second_start_installs_nothing(set_up):
    stamp = set_up / ".venv/requirements.lock"
    before = stamp.stat()

    # PYTHON names no interpreter, so only the one in .venv can run.
    status, _, stderr = run(set_up, PYTHON="/nonexistent", PIP_NO_INDEX="1")

    assert (status, stderr) == (0, "")
    assert stamp.stat().st_mtime_ns == before.st_mtime_ns


def test_a_changed_lock_is_noticed(set_up):
    with (set_up / "bin/requirements.lock").open("a") as lock:
        lock.write("# changed\n")

    first = run(set_up)
    second = run(set_up)

    assert installed(first[2])
    assert not installed(second[2])


def test_a_missing_python_is_noticed(set_up):
    python = set_up / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/usr/bin/python3.0")

    status, _, stderr = run(set_up)

    assert status == 0, stderr
    assert installed(stderr)


def test_after_a_setup_that_was_killed_the_next_starts_from_the_beginning(
    set_up, tmp_path
):
    """The first one is killed while it installs.  The next one has foreign variables."""
    with (set_up / "bin/requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    first = start(set_up)
    assert first.stderr is not None
    line = first.stderr.readline()
    first.kill()
    first.communicate()
    assert "installing" in line
    assert (set_up / ".venv/setup-is-running").exists()
    python = set_up / ".venv/bin/python"
    python.unlink()  # a link to the Python of the machine
    python.write_text("half of it")
    (tmp_path / "decouple.py").write_text("raise SystemExit('the wrong one')")
    (tmp_path / "greeks_trio.py").write_text("raise SystemExit('the wrong one')")

    status, stdout, stderr = run(
        set_up,
        cwd=tmp_path,
        PYTHONPATH=str(tmp_path),
        PYTHONHOME="/nonexistent",
        PIP_TARGET=str(tmp_path / "target"),
        PIP_USER="1",
        CDPATH=str(tmp_path),
    )

    assert status == 0, stderr
    assert "is not complete" in stderr
    assert installed(stderr)
    assert not (set_up / ".venv/setup-is-running").exists()
    assert str(tmp_path) not in json.loads(stdout)["path"]
    assert not (tmp_path / "target").exists()


def test_signals_reach_the_program(set_up):
    process = start(set_up, "wait")
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert process.stdout.readline() == "ready\n"

    process.send_signal(signal.SIGTERM)
    process.communicate()

    assert told["pid"] == process.pid
    assert process.returncode == 42


def test_it_starts_in_any_directory_and_stays_there(set_up, tmp_path):
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "link").symlink_to(set_up / "bin/run-ingest")

    done = subprocess.run(
        ["./link", "a b", "*"],
        cwd=elsewhere,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )

    told = json.loads(done.stdout)
    assert told["cwd"] == str(elsewhere)
    assert told["args"] == ["a b", "*"]


@pytest.mark.parametrize("version", [None, "3.10.4"])
def test_without_a_new_enough_python_the_message_names_the_version(
    checkout, tmp_path, version
):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "cat", "readlink"):
        (tools / name).symlink_to(str(shutil.which(name)))
    if version:
        (tools / "python3").write_text(
            f'#!/bin/sh\n[ "$1" = -V ] && echo "Python {version}"\nexit 1\n'
        )
        (tools / "python3").chmod(0o755)

    status, _, stderr = run(checkout, PATH=str(tools))

    assert status == 1
    assert "needs Python 3.11 or later" in stderr
    assert (version or "") in stderr
    assert not (checkout / ".venv").exists()


# The Python of these tests may lie below /root, where no other user can go.
_SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/bin") or sys.executable


@pytest.fixture
def setup(monkeypatch):
    """The program that installs the packages, as a module."""
    path = str(ROOT / "bin/setup-environment")
    loader = importlib.machinery.SourceFileLoader("setup_environment", path)
    spec = importlib.util.spec_from_loader("setup_environment", loader)
    assert spec is not None
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_without_the_venv_package_of_debian_the_message_names_it(
    setup, tmp_path, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "ensurepip")

    with pytest.raises(setup.SetupError, match=r"apt install python3\.\d+-venv"):
        setup.make_venv(tmp_path / ".venv")


def test_musl_gets_everything_but_the_bundled_postgresql(
    setup, tmp_path, monkeypatch, capsys
):
    commands = []
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(
        setup.subprocess, "run", lambda command, **_: commands.append(command) or done
    )
    monkeypatch.setattr(
        setup.sysconfig, "get_config_var", lambda name: "x86_64-pc-linux-musl"
    )
    setup.install(tmp_path, ROOT / "bin/requirements.lock", 0)

    used = Path(commands[0][-1]).read_text()
    assert set(re.findall(r"^([\w.-]+==\S+)", used, re.MULTILINE)) == {
        pin for pin in pins("requirements.lock") if "pixeltable" not in pin
    }
    assert "no bundled PostgreSQL" in capsys.readouterr().err
    monkeypatch.undo()
    assert not setup.is_musl()


@pytest.mark.skipif(os.geteuid() != 0, reason="two users need root")
def test_packages_that_this_user_cannot_use_are_the_cause_that_is_named(tmp_path):
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        root = Path(name, "checkout")
        (root / ".venv").mkdir(parents=True, mode=0o700)
        (root / ".venv").chmod(0o700)
        shutil.copy(ROOT / "bin/setup-environment", root)
        found = subprocess.run(
            [_SYSTEM_PYTHON, "-I", root / "setup-environment", root, "x.lock", "x"],
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
        )

    assert found.returncode == 1
    assert f"user 65534 cannot use {root}/.venv, which the packages" in found.stderr
    assert "or run this as user 0" in found.stderr


def pins(name: str) -> set[str]:
    text = (ROOT / "bin" / name).read_text()
    return set(re.findall(r"^([\w.-]+==\S+)", text, re.MULTILINE))


def test_the_development_lock_holds_the_other_one():
    assert pins("requirements.lock") < pins("requirements-dev.lock")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_has_hashes_and_no_index(name):
    text = (ROOT / "bin" / name).read_text()

    assert text.count("==") >= len(pins(name))
    assert "--hash=sha256:" in text
    assert "://" not in text
    for entry in re.split(r"\n(?=[a-z])", text):
        assert "--hash=sha256:" in entry, entry[:60]
