"""The address of a database as a URI of libpq."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from greeks_trio.config.settings import DatabaseConfig, Server


def database_uri(
    config: DatabaseConfig, *, with_password: bool = False, passfile: str = ""
) -> str:
    """Return the URI; the password is in it only on request.

    Args:
        config: The way to connect.
        with_password: Whether the URI contains the password as plain text.
        passfile: A file from which libpq reads the password.
    """
    login = quote(config.user, safe="")
    if with_password and config.password.reveal():
        login += f":{quote(config.password.reveal(), safe='')}"
    options = {"sslmode": config.sslmode}
    if config.sslrootcert:
        options["sslrootcert"] = str(config.sslrootcert)
    if passfile:
        options["passfile"] = passfile
    if len(config.servers) > 1:
        options["target_session_attrs"] = "read-write"
    if config.schema:
        options["options"] = search_path_option(config.schema)
    places = ",".join(map(_place, config.servers))
    path = quote(config.dbname, safe="")
    return f"postgresql://{login}@{places}/{path}?{urlencode(options, quote_via=quote)}"


def search_path_option(schema: str) -> str:
    """Return libpq's ``options`` that put the schema on the ``search_path``."""
    quoted = '"' + schema.replace('"', '""') + '"'
    escaped = "".join(rf"\{each}" if each in "\\ " else each for each in quoted)
    return f"-csearch_path={escaped}"


def _place(server: Server) -> str:
    """Return host and port; the slashes in the directory of a socket are escaped."""
    host = f"[{server.host}]" if ":" in server.host else quote(server.host, safe="@")
    return f"{host}:{server.port}"
