"""The wheel, made from the source distribution and installed outside of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.fix_postgres import connect, connect_options

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """The sdist, built from a copy, because a build leaves files in its directory."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    source.mkdir()
    for name in ("greeks_trio", "db", "docs"):
        shutil.copytree(
            ROOT / name,
            source / name,
            symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__", "node_modules"),
        )
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    (source / "tests").mkdir()
    shutil.copy(__file__, source / "tests")
    build = "import setuptools.build_meta as b; b.build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True)
    [built] = directory.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(sdist) -> Path:
    """The wheel, built from the sdist."""
    directory = sdist.parent
    with tarfile.open(sdist) as archive:
        # Python before 3.11.4 has no filters; we have made the archive ourselves.
        archive.extractall(directory / "unpacked")  # noqa: S202
    [unpacked] = (directory / "unpacked").iterdir()
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", directory, unpacked),
        ],
        check=True,
    )
    [built] = directory.glob("*.whl")
    return built


def test_the_sdist_holds_the_documents_and_no_tests(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    documents = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert documents | {"CHANGELOG.md", "CONTRIBUTING.md", "README.md"} <= names
    assert not [name for name in names if name.startswith(("tests", "docs/tools"))]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The command in an environment with the wheel and the dependencies of the tests."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    [packages] = (venv / "lib").glob("python*/site-packages")
    # After the packages of the environment itself, so that the wheel comes first.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", venv / "bin/python"),
            *("install", "--quiet", "--no-deps", wheel),
        ],
        check=True,
    )
    return venv / "bin/greeks-trio"


def run(command: Path, *args: str, cwd: Path, env: dict[str, str]):
    quiet = {name: text for name, text in os.environ.items() if "PYTHON" not in name}
    return subprocess.run(
        [command, *args],
        cwd=cwd,
        env={**quiet, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_only_the_package_and_its_sql(wheel):
    names = zipfile.ZipFile(wheel).namelist()

    assert "greeks_trio/db/schema.sql" in names
    assert any(name.startswith("greeks_trio/db/migrations/0001") for name in names)
    assert "greeks_trio/deployment/greeks-trio.service" in names
    assert "greeks_trio/deployment/grafana/dashboards.yml" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"greeks_trio"}


def test_the_wheel_holds_every_file_of_the_page(wheel):
    shipped = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "greeks_trio/page").rglob("*")
        if path.is_file() and "node_modules" not in path.parts
    }
    for_npm = ("/.npmrc", "/package.json", "/package-lock.json", ".mjs")
    names = zipfile.ZipFile(wheel).namelist()

    assert {each for each in names if "/page/" in each} == {
        name for name in shipped if not name.endswith(for_npm)
    }
    assert "greeks_trio/page/index.html" in names


def test_the_index_shows_the_readme_the_licence_and_the_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith("/METADATA")]
        text = archive.read(name).decode()
    fields, _, description = text.partition("\n\n")

    assert "Requires-Python: >=3.11" in fields
    assert "License-Expression: MIT" in fields
    assert "Description-Content-Type: text/markdown" in fields
    extras = {
        line.removeprefix("Provides-Extra: ")
        for line in fields.splitlines()
        if line.startswith("Provides-Extra: ")
    }
    assert extras >= {"dev", "embedded", "parquet", "simulators"}
    assert description.startswith("# ")


def test_the_wheel_migrates_a_database(installed, empty_database, tmp_path):
    options = connect_options(empty_database)
    env = {
        "POSTGRES_HOST": str(options["host"]),
        "POSTGRES_PORT": str(options["port"]),
        "POSTGRES_USER": str(options["user"]),
        "POSTGRES_PASSWORD": str(options["password"]),
        "POSTGRES_DB": str(options["dbname"]),
    }

    first = run(installed, "migrate", cwd=tmp_path, env=env)
    second = run(installed, "migrate", cwd=tmp_path, env=env)

    assert first.returncode == 0, first.stderr
    assert "0001" in first.stdout
    assert second.stdout == "database: nothing to apply\n"
    with connect(empty_database) as connection:
        [count] = connection.execute("select count(*) from greek_snapshots").fetchone()
    assert count == 0


def test_the_tests_import_the_wheel_and_not_the_checkout(installed):
    where = subprocess.run(
        [
            installed.parent / "python",
            "-P",
            "-c",
            "import greeks_trio as g; print(g.__file__)",
        ],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert Path(where.strip()).is_relative_to(installed.parents[1])


def test_a_database_that_does_not_answer_gives_status_1_and_a_message(
    installed, tmp_path
):
    env = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1"}

    done = run(installed, "migrate", cwd=tmp_path, env=env)

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
