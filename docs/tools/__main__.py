"""``bin/docs``: makes the pages that are made from code, their picture, and the site."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import trio

from docs.tools.catalog_file import write_catalog
from docs.tools.pages import ROOT, write_pages
from docs.tools.record import record_outputs
from docs.tools.site import TARGET, SiteError, build_site, serve_site
from docs.tools.terminal_svg import write_picture


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def docs() -> None:
    """Make the documentation."""


@docs.command()
def write() -> None:
    """Write the pages that are made from the code, and .env.example."""
    for path in write_pages():
        click.echo(path.relative_to(ROOT))


@docs.command()
def catalog() -> None:
    """Write db/catalog.txt after a change of db/schema.sql."""
    click.echo(trio.run(write_catalog, ROOT).relative_to(ROOT))


@docs.command()
@click.option(
    "--seconds", default=20, show_default=True, help="How long the demo runs."
)
def picture(seconds: int) -> None:
    """Run the demo, and make its picture anew."""
    click.echo(write_picture(ROOT, seconds=seconds).relative_to(ROOT))


@docs.command()
def screenshots() -> None:
    """Run the tests that take the pictures of the page, and keep these in docs/images."""
    where = ROOT / "docs/images"
    pytest = [sys.executable, "-m", "pytest", "-q", "tests/browser"]
    sys.exit(
        subprocess.run([*pytest, f"--screenshots={where}"], check=False).returncode
    )


@docs.command()
def record() -> None:
    """Run the demo, and write its answers below the queries of the cookbook."""
    for path in record_outputs(ROOT):
        click.echo(path.relative_to(ROOT))


@docs.command()
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / TARGET,
    help=f"Default: {TARGET}.",
)
def build(to: Path) -> None:
    """Build the site; a broken link is an error."""
    build_site(ROOT, to)
    click.echo(to)


@docs.command()
@click.option("--port", default=8000, show_default=True, help="On 127.0.0.1.")
def serve(port: int) -> None:
    """Build the site, and serve it on this machine until Ctrl-C."""
    build_site(ROOT, ROOT / TARGET)
    serve_site(ROOT / TARGET, port)


if __name__ == "__main__":
    try:
        docs(prog_name="bin/docs")
    except SiteError as exc:
        sys.exit(str(exc))
