"""Runs the steps of a Containerfile in a scratch root, without a container engine.

The root is an overlay of this machine in a mount namespace of its own.  The Python of the
tests lies at /usr/local, as in the images of Python.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# Arguments: the scratch directory, the user, the work directory, "ro" or "rw", a volume
# or "-", then the command.  The mounts end with the process.
_ENTER = r"""
set -eu
scratch=$1 user=$2 directory=$3 mode=$4 volume=$5
shift 5
mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o \
    "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
mount --bind "$PYTHON_BASE" "$scratch/root/usr/local"
mount -t tmpfs tmpfs "$scratch/root/tmp"
mount --bind /proc "$scratch/root/proc"
mount --bind /dev "$scratch/root/dev"
if [ "$volume" != - ]; then
    mount --bind "$scratch/root$volume" "$scratch/root$volume"
    mount -o remount,rw,bind "$scratch/root$volume"
fi
if [ "$mode" = ro ]; then mount -o remount,ro,bind "$scratch/root"; fi
if [ "$user" != - ]; then
    set -- setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups \
        --no-new-privs --bounding-set=-all "$@"
fi
exec "$(PATH=$PATH:/usr/sbin:/sbin command -v chroot)" "$scratch/root" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$directory" "$@"
"""


@dataclass
class Image:
    """The result of the last stage.

    Attributes:
        scratch: The directory of its overlay.
        written: The directory with every file that its steps wrote.
    """

    scratch: Path
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "-"
    volume: str = "-"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)

    @property
    def written(self) -> Path:
        return self.scratch / "upper"

    def arguments(self, *command: str, read_only: bool) -> list[str]:
        """Return the command that runs another one in this root."""
        mode = "ro" if read_only else "rw"
        user, volume = (self.user, self.volume) if read_only else ("-", "-")
        return [
            *("unshare", "--mount", "sh", "-c", _ENTER, "sh", str(self.scratch)),
            *(user, self.directory, mode, volume, *command),
        ]

    def variables(self, **more: str) -> dict[str, str]:
        """Return the whole environment of a command in this root."""
        path = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        # A shared Python may look for its library in the place where it was built.
        base = {"PYTHON_BASE": sys.base_prefix, "LD_LIBRARY_PATH": "/usr/local/lib"}
        return path | base | self.environment | more


def can_make_roots() -> bool:
    """Return whether this user may mount in a namespace of its own."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def build(containerfile: Path, context: Path, scratch: Path) -> Image:
    """Run every step; return the last stage."""
    stages: dict[str, Image] = {}
    image = Image(scratch)
    text = containerfile.read_text("utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for number, line in enumerate(lines):
        instruction, _, rest = line.partition(" ")
        match instruction:
            case "FROM":
                image = Image(scratch / str(number))
                image.written.mkdir(parents=True)
                stages[rest.partition(" AS ")[2] or "last"] = image
            case "WORKDIR":
                image.directory = rest
                (image.written / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY":
                _copy(image, shlex.split(rest), context, stages)
            case "RUN":
                subprocess.run(
                    image.arguments("/bin/sh", "-c", rest, read_only=False),
                    env=image.variables(),
                    check=True,
                )
            case "ENV":
                name, _, value = rest.partition("=")
                image.environment[name] = value
            case "USER":
                image.user = rest
            case "VOLUME":
                image.volume = rest
            case "ENTRYPOINT":
                image.entrypoint = json.loads(rest)
            case "CMD":
                image.command = json.loads(rest)
            case "HEALTHCHECK":
                image.health_check = json.loads(rest.partition(" CMD ")[2])
            case "EXPOSE" | "STOPSIGNAL":
                pass
            case _:
                raise AssertionError(f"unknown instruction: {line}")
    return image


def _copy(
    image: Image, words: list[str], context: Path, stages: dict[str, Image]
) -> None:
    source = context
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")].written
    *names, target = words
    base = target if target.startswith("/") else f"{image.directory}/{target}"
    for name in names:
        origin = source / name.lstrip("/")
        end = image.written / base.lstrip("/")
        if target.endswith("/"):
            end /= origin.name
        end.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(
                origin, end, symlinks=True, dirs_exist_ok=True, ignore=ignored
            )
        else:
            shutil.copy2(origin, end)
