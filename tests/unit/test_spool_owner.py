"""Looking at a spool's directory without locking it."""

from __future__ import annotations

import os
import shutil

import pytest

from greeks_trio.errors import ConfigError
from greeks_trio.spool.lock import look_at, take_directory


def test_a_directory_that_is_not_there_yet_is_not_made(tmp_path):
    directory = tmp_path / "a" / "b"

    assert look_at(directory) == f"{directory}, which serve makes"
    assert list(tmp_path.iterdir()) == []


def test_it_names_the_process_that_uses_the_directory(tmp_path):
    owner = take_directory(tmp_path)
    assert look_at(tmp_path) == f"{tmp_path}, in use by process {os.getpid()}"

    owner.release(is_clean=True)
    assert look_at(tmp_path) == str(tmp_path)
    take_directory(tmp_path).release(is_clean=True)


def test_a_file_in_the_way_is_a_problem(tmp_path):
    (tmp_path / "file").touch()

    for directory in (tmp_path / "file", tmp_path / "file" / "spool"):
        with pytest.raises(ConfigError, match="file is not a directory"):
            look_at(directory)


def test_an_owner_notices_that_its_directory_is_deleted(tmp_path):
    owner = take_directory(tmp_path / "spool")
    assert owner.is_in_place()

    shutil.rmtree(tmp_path / "spool")
    assert not owner.is_in_place()

    take_directory(tmp_path / "spool").release(is_clean=True)
    assert not owner.is_in_place()
