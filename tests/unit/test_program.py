from __future__ import annotations

import gc
import re
import sys
from pathlib import Path

import pytest

from greeks_trio import program
from greeks_trio.archive import parquet
from greeks_trio.errors import ConfigError, StoreUnavailable
from greeks_trio.postgres.embedded import binaries
from greeks_trio.postgres.embedded.cluster import _refuse_other_version

PACKAGE = Path(program.__file__).parent
# The name of the program with one of its commands, outside of the files for packages.
FIXED_NAME = re.compile(
    r"greeks-trio (?:archive|check|db|dsn|init|migrate|psql|quarantine|serve|verify)\b"
)


def test_messages_name_the_program_as_the_user_started_it():
    fixed = {
        f"{path.relative_to(PACKAGE)}: {found}"
        for path in PACKAGE.rglob("*.py")
        for found in FIXED_NAME.findall(path.read_text(encoding="utf-8"))
    }
    assert not fixed


def test_an_upgrade_of_the_data_is_advised_by_the_same_name(tmp_path):
    (tmp_path / "postgres-16").mkdir()
    with pytest.raises(StoreUnavailable) as raised:
        _refuse_other_version(tmp_path, 18)
    assert f"`{program.program_name()} db upgrade" in str(raised.value)


def test_a_checkout_installs_the_package_and_others_install_the_extra(
    tmp_path, monkeypatch
):
    pip = f"{sys.executable} -m pip install"
    command = program.installation_command("parquet", "pyarrow>=26,<27")
    assert command == f"{pip} 'pyarrow>=26,<27'"
    monkeypatch.setattr(program, "_ROOT", tmp_path)
    command = program.installation_command("parquet", "pyarrow>=26,<27")
    assert command == f"{pip} 'greeks-trio[parquet]'"


def test_a_missing_package_is_named_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_ROOT", tmp_path)
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    monkeypatch.setattr(binaries.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'greeks-trio\[parquet\]'"):
        parquet.need_pyarrow()
    with pytest.raises(
        StoreUnavailable, match=r"pip install 'greeks-trio\[embedded\]'"
    ):
        binaries.find_programs(18, None)


def test_imported_objects_are_left_to_no_collection():
    before = gc.get_freeze_count()
    with program.quick_imports():
        assert not gc.isenabled()
        kept = [[] for _ in range(1_000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)
