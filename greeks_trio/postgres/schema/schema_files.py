"""The files of ``db/``: the migrations, and the whole present schema."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``db/migrations``."""

    name: str
    sql: bytes

    @property
    def sha256(self) -> str:
        """The file's checksum, as `schema_migrations` has it."""
        return hashlib.sha256(self.sql).hexdigest()


def schema_directory() -> Traversable:
    """Return ``db/``: inside the package when installed, beside it in a checkout."""
    packaged = resources.files("greeks_trio").joinpath("db")
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "db"


def load_migrations() -> list[Migration]:
    """Return every migration in the order in which they apply."""
    files = schema_directory().joinpath("migrations").iterdir()
    return sorted(
        (
            Migration(file.name.removesuffix(".sql"), file.read_bytes())
            for file in files
            if file.name.endswith(".sql")
        ),
        key=lambda migration: migration.name,
    )


def schema_text() -> str:
    """Return the whole present schema."""
    return schema_directory().joinpath("schema.sql").read_text(encoding="utf-8")
