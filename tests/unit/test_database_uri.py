from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from greeks_trio.config.settings import DatabaseConfig, Secret
from greeks_trio.postgres.uri import database_uri

ODD = "p@ss:w/o rd?&#%[é]"


@pytest.mark.parametrize("host", ["db.example", "::1", "/run/postgresql", "@abstract"])
def test_libpq_reads_what_went_in(host):
    config = DatabaseConfig(
        hosts=(host,),
        ports=(5433,),
        user=f"u{ODD}",
        password=Secret(ODD),
        dbname=f"d{ODD}",
        sslmode="verify-full",
        sslrootcert=Path("/a b/root.crt"),
    )
    assert ODD not in database_uri(config)
    assert "password" not in conninfo_to_dict(database_uri(config))
    assert conninfo_to_dict(
        database_uri(config, with_password=True, passfile="/x/y")
    ) == {
        "host": host,
        "port": "5433",
        "user": f"u{ODD}",
        "password": ODD,
        "dbname": f"d{ODD}",
        "sslmode": "verify-full",
        "sslrootcert": "/a b/root.crt",
        "passfile": "/x/y",
    }


def test_libpq_reads_several_servers():
    config = DatabaseConfig(hosts=("db1", "/run/postgresql", "::1"), ports=(1, 2, 3))

    found = conninfo_to_dict(database_uri(config))
    assert (found["host"], found["port"]) == ("db1,/run/postgresql,::1", "1,2,3")
    assert found["target_session_attrs"] == "read-write"
