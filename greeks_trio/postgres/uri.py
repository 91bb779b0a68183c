"""The address of a database as a URI of libpq."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from greeks_trio.config.settings import DatabaseConfig


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
    host = config.host
    if host.startswith(("/", "@")):  # the directory of a Unix socket
        options["host"], host = host, ""
    elif ":" in host:
        host = f"[{host}]"
    place = f"{host}:{config.port}/{quote(config.dbname, safe='')}"
    return f"postgresql://{login}@{place}?{urlencode(options, quote_via=quote)}"
