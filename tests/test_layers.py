"""Which module may import what, and other rules that can be read from the source."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.for_each import for_each

PACKAGE = Path(__file__).parents[1] / "greeks_trio"
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if "__pycache__" not in path.parts
)

# Pure by its path: importable and testable with no event loop, no clock, no chance, no
# socket and no database.
PURE_FOLDERS = {"model", "risk", "wire", "positions", "lines"}
# Pure modules in folders that are not.
PURE_MODULES = ("feeds/quiet", "foreign_text")
IMPURE_STDLIB = {
    "asyncio",
    "os",
    "random",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}

# A module may import from its own package and from those on later lines.
ORDER = (
    ("__main__",),
    ("commands",),
    ("drill",),
    ("service", "fleet"),
    ("background",),
    ("assembly",),
    ("parts",),
    ("api", "alerts", "archive", "estimates", "leases", "monitoring", "brokers"),
    ("feeds", "postgres", "spool", "worker"),
    ("pipeline",),
    ("config",),
    ("risk",),
    ("model",),
    ("logs",),
    ("errors", "program", "waiting", "signals", "version"),
    ("foreign_text",),
)
LEVELS = {name: level for level, names in enumerate(ORDER) for name in names}
BROKERS = {path.parent.name for path in (PACKAGE / "brokers").glob("*/__init__.py")}
# The brokers' doubles know the contracts and nothing of the product that they test.
SIMULATORS_SEE = {"model", "config", "signals"}
RUN_SIMULATORS = {"commands", "drill"}
# Stands alone: users take it into their own programs.
ALONE = {"__init__", "client"}

BROAD = {"Exception", "BaseException"}
# One bug of one broker ends there; every other bug ends at the command line.
MAY_CATCH_ALL = {
    "commands/outcome.py": 1,
    "feeds/supervisor.py": 1,
    "pipeline/supervised.py": 1,
}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def imports_of(module: str) -> Iterator[str]:
    """Yield the full name of every import, anywhere in the module."""
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
    """Return the module's imports of this package, without the name of the package."""
    prefix = "greeks_trio."
    return [
        name[len(prefix) :] for name in imports_of(module) if name.startswith(prefix)
    ]


def is_pure(module: str) -> bool:
    path = Path(module)
    is_state = path.parts[0] == "brokers" and path.stem == "state"
    if path.parts[0] == "config":
        return not module.startswith(
            ("config/directories", "config/load", "config/reload")
        )
    if module.startswith(PURE_MODULES):
        return True
    return is_state or not PURE_FOLDERS.isdisjoint(path.parts[:-1])


@for_each(list(filter(is_pure, MODULES)))
def test_pure_modules_need_no_event_loop_and_do_no_io(module):
    packages = top_level(imports_of(module))
    third_party = packages - set(sys.stdlib_module_names) - {"greeks_trio"}

    arrays = {"numpy"} if module.startswith("risk/") else set()
    assert third_party <= {"msgspec"} | arrays
    assert not packages & IMPURE_STDLIB


@for_each(list(filter(is_pure, MODULES)))
def test_pure_modules_stand_on_pure_modules(module):
    for name in ours(module):
        path = name.replace(".", "/")

        assert path.startswith("errors/") or is_pure(path), f"{module} imports {name}"


def test_every_pure_folder_exists():
    for folder in PURE_FOLDERS:
        assert any(folder in Path(module).parts[:-1] for module in MODULES), folder


def room_of(path: str) -> str:
    """Return the package or module directly below `greeks_trio` that the path names."""
    return Path(path.replace(".", "/")).parts[0]


def may_import(room: str, other: str) -> bool:
    if room == other:
        return True
    if room in ALONE:
        return False
    if room == "simulators":
        return other in SIMULATORS_SEE
    if other == "simulators":
        return room in RUN_SIMULATORS
    return LEVELS[other] > LEVELS[room]


@for_each(MODULES)
def test_imports_go_down_only(module):
    room = room_of(module.removesuffix(".py"))
    for name in ours(module):
        assert may_import(room, room_of(name)), f"{module} imports {name}"


def test_every_room_has_a_level():
    rooms = {room_of(module.removesuffix(".py")) for module in MODULES}

    assert rooms == LEVELS.keys() | ALONE | {"simulators"}


@for_each(MODULES)
def test_the_brokers_never_see_each_other(module):
    parts = Path(module).parts
    if parts[0] not in {"brokers", "simulators"} or len(parts) < 3:
        return
    for name in ours(module):
        other = name.split(".")
        if other[0] == parts[0] and other[1] in BROKERS:
            assert other[1] == parts[1], f"{module} imports {name}"


# These packages know which brokers there are.  The API names some in its examples, and
# the log limits a library of that name.
KNOW_BROKERS = {"brokers", "config", "drill", "simulators"}
NAME_BROKERS = KNOW_BROKERS | {"api", "logs"}


def broker_names_in(node: ast.AST) -> set[str]:
    return BROKERS & {
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }


@for_each(MODULES)
def test_nothing_depends_on_the_name_of_a_broker(module):
    room = room_of(module.removesuffix(".py"))
    if room not in NAME_BROKERS:
        assert not broker_names_in(tree_of(module))
    if room not in KNOW_BROKERS:
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Compare | ast.match_case | ast.Subscript):
                assert not broker_names_in(node), f"{module}:{ast.unparse(node)}"


@for_each([each for each in MODULES if each.startswith("pipeline/")])
def test_the_pipeline_knows_trio_and_neither_brokers_nor_postgresql(module):
    packages = top_level(imports_of(module))
    third_party = packages - set(sys.stdlib_module_names) - {"greeks_trio"}

    assert third_party <= {"trio", "msgspec"}


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


@for_each(MODULES)
def test_only_three_handlers_catch_everything(module):
    broad = [name for name in handlers_of(module) if name in BROAD | {""}]
    # `suppress` is a handler too.
    source = (PACKAGE / module).read_text(encoding="utf-8")

    assert len(broad) <= MAY_CATCH_ALL.get(module, 0)
    assert "suppress(Exception" not in source
    assert "suppress(BaseException" not in source


@for_each(MODULES)
def test_the_environment_is_read_in_one_place(module):
    # The last one takes the variables of the service manager, which are no settings.
    if module in ("config/load.py", "config/directories.py", "monitoring/systemd.py"):
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

    assert running == ["commands/outcome.py"]


@for_each(MODULES)
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
