"""Which module may import what, and other rules that can be read from the source."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "greeks_trio"
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if "__pycache__" not in path.parts
)

# Level 0: importable and testable with no event loop, no socket and no database.
PURE = (
    "__init__.py",
    "errors.py",
    "config.py",
    "config_parse.py",
    "config_values.py",
    "version.py",
    "model/",
    "brokers/__init__.py",
    "brokers/ibkr/__init__.py",
    "brokers/ibkr/fields.py",
    "brokers/ibkr/line_watch.py",
    "brokers/ibkr/plan.py",
    "brokers/ibkr/positions.py",
    "brokers/ibkr/positions_rows.py",
    "brokers/ibkr/protocol.py",
    "brokers/ibkr/protocol_events.py",
    "brokers/ibkr/protocol_frames.py",
    "brokers/tastytrade/__init__.py",
    "brokers/tastytrade/answers.py",
    "brokers/tastytrade/dxlink.py",
    "brokers/tastytrade/dxlink_columns.py",
    "brokers/tastytrade/dxlink_events.py",
    "brokers/tastytrade/dxlink_messages.py",
    "brokers/tastytrade/dxlink_requests.py",
    "brokers/tastytrade/dxlink_rows.py",
    "brokers/tastytrade/dxlink_text.py",
    "brokers/tastytrade/portfolio.py",
    "brokers/tastytrade/positions.py",
    "simulators/market.py",
)
# A clock, chance and the world outside.
IMPURE_STDLIB = {
    "asyncio",
    "os",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}
# Chance is the market's trade, from a seed.
MAY_USE_RANDOM = {"simulators/market.py"}

# Level 3: packages that never import one another.
SEPARATE = (
    "brokers/ibkr",
    "brokers/tastytrade",
    "postgres",
    "spool",
    "web",
    "simulators",
)
# What each level-3 package stands on, besides its own modules.
BELOW = (
    *("errors", "config", "version", "model", "brokers.feed", "pipeline"),
    *("signals", "logs"),
)

BROAD = {"Exception", "BaseException"}
# One bug of one broker ends there; every other bug ends at the command line.
MAY_CATCH_ALL = {"cli_run.py": 1, "pipeline/supervisor.py": 1}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imports_of(module: str) -> Iterator[str]:
    """Yield the full names of what is imported, wherever in the module."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def top_level(names) -> set[str]:
    return {name.split(".")[0] for name in names}


def ours(module: str) -> list[str]:
    """Return what the module imports of this package, without the package's name."""
    prefix = "greeks_trio."
    return [
        name[len(prefix) :] for name in imports_of(module) if name.startswith(prefix)
    ]


def is_pure(module: str) -> bool:
    return module.startswith(PURE)


def is_inside(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


@pytest.mark.parametrize("module", list(filter(is_pure, MODULES)))
def test_pure_modules_need_no_event_loop_and_do_no_io(module):
    packages = top_level(imports_of(module))
    third_party = packages - set(sys.stdlib_module_names) - {"greeks_trio"}
    forbidden = IMPURE_STDLIB | (set() if module in MAY_USE_RANDOM else {"random"})

    assert third_party <= {"msgspec"}
    assert not packages & forbidden


@pytest.mark.parametrize("module", list(filter(is_pure, MODULES)))
def test_pure_modules_stand_on_pure_modules(module):
    for name in ours(module):
        path = name.replace(".", "/")

        assert any(
            f"{path}.py".startswith(pure) or path.startswith(pure.removesuffix(".py"))
            for pure in PURE
        ), f"{module} imports {name}"


def test_every_pure_module_exists():
    for pure in PURE:
        assert any(module.startswith(pure) for module in MODULES), pure


@pytest.mark.parametrize(
    "module",
    [each for each in MODULES if each.startswith(("pipeline/", "brokers/feed"))],
)
def test_the_pipeline_knows_trio_and_neither_brokers_nor_postgresql(module):
    packages = top_level(imports_of(module))
    third_party = packages - set(sys.stdlib_module_names) - {"greeks_trio"}

    assert third_party <= {"trio", "msgspec"}
    for name in ours(module):
        assert any(
            is_inside(name, below)
            for below in ("errors", "config", "model", "brokers.feed", "pipeline")
        ), f"{module} imports {name}"


@pytest.mark.parametrize(
    "module", [each for each in MODULES if each.startswith(SEPARATE)]
)
def test_packages_side_by_side_do_not_import_one_another(module):
    own = next(each for each in SEPARATE if module.startswith(each)).replace("/", ".")
    for name in ours(module):
        allowed = (own, *BELOW, "config_values")

        assert any(is_inside(name, each) for each in allowed), (
            f"{module} imports {name}"
        )


def test_the_connection_can_be_used_without_the_rest():
    packages = top_level(imports_of("postgres/connection.py"))

    assert packages - set(sys.stdlib_module_names) == {"trio", "psycopg"}


def handlers_of(module: str) -> Iterator[str]:
    """Yield each name that an except clause of the module catches, "" for a bare one."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ExceptHandler):
            caught = [] if node.type is None else list(ast.walk(node.type))
            names = [each.id for each in caught if isinstance(each, ast.Name)]
            yield from names or [""]


@pytest.mark.parametrize("module", MODULES)
def test_only_two_handlers_catch_everything(module):
    broad = [name for name in handlers_of(module) if name in BROAD | {""}]
    # `suppress` is a handler too.
    source = (PACKAGE / module).read_text(encoding="utf-8")

    assert len(broad) <= MAY_CATCH_ALL.get(module, 0)
    assert "suppress(Exception" not in source
    assert "suppress(BaseException" not in source


@pytest.mark.parametrize("module", MODULES)
def test_the_environment_is_read_in_one_place(module):
    if module == "config_file.py":
        return
    attributes = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }

    assert not attributes & {"os.getenv"}
    assert "os.environ" not in attributes or module.startswith("postgres/embedded")


def test_there_is_one_trio_run():
    running = [
        module
        for module in MODULES
        if "trio.run(" in (PACKAGE / module).read_text(encoding="utf-8")
    ]

    assert running == ["cli_run.py"]


@pytest.mark.parametrize("module", MODULES)
def test_no_buffer_is_unbounded(module):
    for node in ast.walk(tree_of(module)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)

        if name.startswith("trio.open_memory_channel"):
            assert "inf" not in ast.unparse(node), f"{module}:{node.lineno}"


def test_the_wheel_has_every_package():
    pyproject = PACKAGE.parent / "pyproject.toml"
    listed = tomllib.loads(pyproject.read_text())["tool"]["setuptools"]["packages"]
    found = {Path(module).parent.as_posix() for module in MODULES} - {"."}

    packages = {f"greeks_trio.{each.replace('/', '.')}" for each in found}
    assert set(listed) == {"greeks_trio", "greeks_trio.db", *packages}
