"""``deployment``: writes the files for systemd, or for containers, into a directory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final

import click

from greeks_trio.commands.outcome import FAILED, OK

UNIT: Final = "greeks-trio.service"
TEMPLATE: Final = "greeks-trio@.service"
# The lines of the unit that differ in the template, of which each service is an instance.
_IN_TEMPLATE: Final[Mapping[str, str]] = {
    "Description=Option Greeks into PostgreSQL": "Description=Option Greeks of %i into PostgreSQL",
    "/etc/greeks-trio/env": "/etc/greeks-trio/%i.env",
    "/etc/greeks-trio/credentials/": "/etc/greeks-trio/%i/",
    "StateDirectory=greeks-trio": "StateDirectory=greeks-trio/%i",
    "%S/greeks-trio": "%S/greeks-trio/%i",
    "The service greeks_trio under systemd.": "A service of greeks_trio under systemd, one of several.",
    "docs/service.md": "docs/scale.md",
}
# The program in the unit, until `program_path` takes its place.
_UNIT_PROGRAM: Final = "/usr/local/bin/greeks-trio"
# The directories that ProtectHome and PrivateTmp of the unit hide.
_HIDDEN: Final = frozenset(
    map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108
)
_NOT_SEEN: Final = (
    "WARNING: {program} does not start under systemd, because the unit hides {hidden} from"
    " it. Install the program elsewhere, for instance in /opt, and write the unit again."
)

# Where each file lies in this package, by its name in the directory.
FILES: Final[Mapping[str, Mapping[str, str]]] = {
    "systemd": {UNIT: f"deployment/{UNIT}", TEMPLATE: f"deployment/{UNIT}"},
    "compose": {
        "compose.yml": "deployment/compose.yml",
        "prometheus.yml": "deployment/prometheus.yml",
        "alerts.yml": "monitoring/alerts.yml",
        "dashboard.json": "monitoring/dashboard.json",
        "risk_dashboard.json": "monitoring/risk_dashboard.json",
        "grafana/datasource.yml": "deployment/grafana/datasource.yml",
        "grafana/dashboards.yml": "deployment/grafana/dashboards.yml",
        "grafana/reader.sql": "deployment/grafana/reader.sql",
    },
}


def write_deployment(kind: str, directory: Path, *, force: bool) -> int:
    """Write the files of a kind of deployment, and print the name of each.

    Args:
        kind: A key of `FILES`.
        directory: It is made if it does not exist.
        force: Whether files that exist and differ are replaced.

    Returns:
        `OK`, or `FAILED` if a file differs and none was written.
    """
    package = resources.files("greeks_trio")
    texts = {
        directory / name: package.joinpath(source).read_text("utf-8")
        for name, source in FILES[kind].items()
    }
    if kind == "systemd":
        program = program_path()
        for unit in texts:
            texts[unit] = texts[unit].replace(_UNIT_PROGRAM, _in_unit(program))
        template = directory / TEMPLATE
        for line, of_instance in _IN_TEMPLATE.items():
            texts[template] = texts[template].replace(line, of_instance)
        if hidden := next((p for p in program.parents if p in _HIDDEN), None):
            click.echo(_NOT_SEEN.format(program=program, hidden=hidden), err=True)
    if not force and (
        others := [path for path in texts if _differs(path, texts[path])]
    ):
        names = ", ".join(map(str, others))
        click.echo(f"{names}: differs. Add --force to replace it.", err=True)
        return FAILED
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        click.echo(path)
    return OK


def program_path() -> Path:
    """Return the program that systemd starts: the launcher of a checkout, or our script."""
    launcher = Path(__file__).parents[2] / "bin" / "run-ingest"
    return (
        launcher if launcher.exists() else Path(sys.executable).parent / "greeks-trio"
    )


def _in_unit(path: Path) -> str:
    """Return a path as systemd reads it, which splits at spaces and expands ``%``."""
    text = str(path).replace("%", "%%")
    return f'"{text}"' if " " in text else text


def _differs(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8", errors="replace") != text
