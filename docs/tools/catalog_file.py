"""Write ``db/catalog.txt`` from ``db/schema.sql``, with the bundled PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from greeks_trio.postgres.connect import open_connection
from greeks_trio.postgres.embedded.server import embedded_server
from greeks_trio.postgres.schema.catalog import catalog_text, read_catalog
from greeks_trio.postgres.schema.schema_files import schema_directory


async def write_catalog(root: Path) -> Path:
    """Make the schema in an empty database, and return the file."""
    target = root / "db" / "catalog.txt"
    with embedded_server() as config:
        async with open_connection(config, autocommit=True) as connection:
            schema = schema_directory().joinpath("schema.sql").read_bytes()
            await connection.execute(schema)
            target.write_text(catalog_text(await read_catalog(connection)))
    return target
