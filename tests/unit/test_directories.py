"""A directory that another user owns or may write is refused before it is used."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from greeks_trio.config import directories
from greeks_trio.config.directories import (
    data_home,
    make_own_directory,
    open_own_file,
    refuse_foreign_directory,
)
from greeks_trio.errors import ConfigError

ROOT = Path(__file__).parents[2]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="two users need root")
STRANGER = 65534
# The stranger may read the interpreter and the checkout, wherever they are.
SETPRIV = (
    *("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"),
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory in which everybody may make entries, as in /tmp."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        path = Path(name) / "shared"
        path.mkdir()
        path.chmod(0o1777)
        Path(name).chmod(0o755)
        yield path


def refused(path: Path, **setting: str) -> str:
    with pytest.raises(ConfigError) as caught:
        refuse_foreign_directory(path, **setting)
    [problem] = caught.value.problems
    return problem


def as_stranger(*command: str) -> None:
    subprocess.run(
        command, user=STRANGER, group=STRANGER, extra_groups=[], check=True, cwd="/"
    )


def test_a_directory_of_our_own_is_fine(tmp_path, shared):
    refuse_foreign_directory(tmp_path)
    refuse_foreign_directory(tmp_path / "missing" / "too")
    make_own_directory(shared / "inside")
    refuse_foreign_directory(shared / "inside")
    assert (shared / "inside").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_directory_that_others_may_write_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    assert f"chmod go-w {tmp_path}" in refused(tmp_path / "data", setting="--data-dir")
    assert refused(tmp_path, setting="--data-dir").startswith("--data-dir: ")


def test_a_group_of_several_users_is_others(tmp_path, monkeypatch):
    tmp_path.chmod(0o770)
    refuse_foreign_directory(tmp_path)  # the group has no other member
    me = pwd.getpwuid(os.geteuid())
    other = pwd.struct_passwd(("other", "x", 4711, os.getegid(), "", "/", "/bin/sh"))
    monkeypatch.setattr(directories.pwd, "getpwall", lambda: [me, other])
    assert "other users may write" in refused(tmp_path)


def test_a_sticky_directory_itself_is_refused(shared):
    assert "choose a directory inside" in refused(shared)


def test_a_file_is_not_a_directory(tmp_path):
    (tmp_path / "file").touch()
    assert "is not a directory" in refused(tmp_path / "file" / "data")


def test_a_circle_of_links_ends(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert "symbolic links" in refused(tmp_path / "one")


def test_our_own_link_is_followed_and_its_target_judged(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "up").symlink_to("target/../target")
    refuse_foreign_directory(tmp_path / "link")
    refuse_foreign_directory(tmp_path / "up" / "data")
    target.chmod(0o777)
    assert str(target) in refused(tmp_path / "link")
    assert str(target) in refused(tmp_path / "up" / "data")


def test_a_file_of_ours_is_never_opened_through_a_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        os.close(open_own_file(tmp_path / "lock", os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    assert victim.read_text() == "kept"


def test_data_has_its_place_by_xdg_and_stays_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    usual = tmp_path / ".local/share/greeks_trio/spool"
    assert data_home("spool") == usual
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert data_home("spool") == usual
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    chosen = tmp_path / "xdg/greeks_trio/spool"
    assert data_home("spool") == chosen
    usual.mkdir(parents=True)
    assert data_home("spool") == usual
    chosen.mkdir(parents=True)
    assert data_home("spool") == chosen


@needs_root
def test_root_refuses_a_directory_that_another_user_prepared(shared):
    as_stranger("mkdir", str(shared / "trap"))
    as_stranger("mkdir", "-m", "700", str(shared / "trap" / "data"))
    as_stranger("ln", "-s", "/root", str(shared / "link"))
    name = pwd.getpwuid(STRANGER).pw_name
    for path in ("trap", "trap/data", "trap/new", "link", "link/data"):
        assert f"belongs to {name}" in refused(shared / path)


@needs_root
def test_another_user_refuses_what_it_does_not_own(shared):
    (shared / "roots").mkdir(mode=0o755)
    code = (
        "import sys; from pathlib import Path\n"
        "from greeks_trio.config.directories import make_own_directory\n"
        "from greeks_trio.errors import ConfigError\n"
        "try:\n    make_own_directory(Path(sys.argv[1]))\n"
        "except ConfigError as exc:\n    print(exc)\n"
    )
    out = {
        path: subprocess.run(
            [*SETPRIV, sys.executable, "-c", code, str(shared / path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for path in ("roots/data", "own")
    }
    assert "cannot make" in out["roots/data"]
    assert out["own"] == ""
    assert (shared / "own").stat().st_uid == STRANGER
