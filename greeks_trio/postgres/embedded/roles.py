"""The roles of a bundled server.

=====================  ===============================================================
`ADMIN`                the superuser that ``initdb`` makes; it has no password, and
                       ``pg_hba.conf`` refuses each login as it
`USER`                 the role of the service; owns the database, is no superuser
=====================  ===============================================================

The superuser acts only in single-user mode: the program ``postgres`` works on the files of
a server that does not run.  So no password and no connection leads to a superuser, which
could run programs and read files with the rights of the server's account.

Earlier versions of this program made `USER` the superuser.  The next start gives its
objects to a new role of that name.

Source: PostgreSQL documentation, "postgres", "Options for Single-User Mode".
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from greeks_trio.config.settings import Secret
from greeks_trio.errors import StoreUnavailable
from greeks_trio.postgres.embedded.files import write_small
from greeks_trio.postgres.embedded.programs import Runner

DATABASE: Final = "portfolio_engine"
# The statements below contain both names.
USER: Final = "portfolio"
ADMIN: Final = "greeks_admin"

# Earlier versions kept the password of the superuser in this file of the cluster.
EARLIER_PASSWORD: Final = "greeks_trio.password"  # noqa: S105  (the name of a file)

HBA: Final = """\
# Written by greeks_trio.  The superuser has no login; every other role needs its password.
local  all  all                          reject
host   all  greeks_admin  all           reject
host   all  all           127.0.0.1/32  scram-sha-256
"""

# Of a cluster whose superuser is USER.  A role cannot be renamed by its own session, and
# the session that has taken another role cannot drop it.
_RENAME: Final = """\
do $$
begin
    if (select rolname from pg_authid where oid = 10) = 'portfolio' then
        create role greeks_renames superuser;
        set session authorization greeks_renames;
        alter role portfolio rename to greeks_admin;
    end if;
end $$;
"""
_DROP_HELPER: Final = "drop role if exists greeks_renames;\n"
_MAKE_ROLE: Final = """\
do $$
begin
    alter role greeks_admin password null;
    if not exists (select from pg_authid where rolname = 'portfolio') then
        create role portfolio;
    end if;
end $$;
"""
_GIVE_DATABASES: Final = """\
do $$
declare
    database text;
begin
    for database in
        select datname from pg_database
        where datdba = 10 and not datistemplate and datname <> 'postgres'
    loop
        execute format('alter database %I owner to portfolio', database);
    end loop;
end $$;
"""
# Sequences of columns and types of tables follow their tables.
_GIVE_OBJECTS: Final = """\
do $$
declare
    command text;
begin
    for command in
        select format('alter schema %I owner to portfolio', nspname)
        from pg_namespace
        where nspowner = 10 and nspname !~ '^pg_' and nspname <> 'information_schema'
        union all
        select format('alter table %s owner to portfolio', pg_class.oid::regclass)
        from pg_class
        where relowner = 10 and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
          and pg_class.oid >= 16384
          and not exists (
              select from pg_depend
              where classid = 'pg_class'::regclass and objid = pg_class.oid
                and deptype in ('a', 'i', 'e') and relkind = 'S'
          )
        union all
        select format('alter routine %s owner to portfolio', pg_proc.oid::regprocedure)
        from pg_proc
        where proowner = 10 and pg_proc.oid >= 16384
          and not exists (
              select from pg_depend
              where classid = 'pg_proc'::regclass and objid = pg_proc.oid
                and deptype = 'e'
          )
        union all
        select format('alter type %s owner to portfolio', pg_type.oid::regtype)
        from pg_type
        where typowner = 10 and pg_type.oid >= 16384
          and typtype in ('d', 'e', 'r', 'c')
          and (typrelid = 0 or exists (
              select from pg_class where oid = typrelid and relkind = 'c'
          ))
    loop
        execute command;
    end loop;
end $$;
"""


def prepare_roles(
    runner: Runner,
    directory: Path,
    server_path: str,
    *,
    durable: bool = True,
    is_superuser: bool = False,
) -> Secret:
    """Make or correct both roles, and return the new password of `USER`.

    It can be repeated after an interruption.  With ``is_superuser`` true `USER` is a
    superuser as well; only tests and drills need that.

    Raises:
        StoreUnavailable: PostgreSQL refused a statement.
        OSError: ``pg_hba.conf`` cannot be written.
    """
    password = secrets.token_urlsafe(24)  # SQL takes it without an escape
    rights = f"{'' if is_superuser else 'no'}superuser login createdb createrole"
    login = f"alter role {USER} {rights} password '{password}';\n"
    # To see its own settings, sessions and waits, as the owner of a server can.
    monitor = f"grant pg_monitor to {USER};\n"

    def run(database: str, *statements: str) -> None:
        # An empty line ends a statement.
        text = "\n".join(f"{statement}\n" for statement in statements)
        runner.run(
            *("postgres", "--single", "-j", "-D", server_path),
            *([] if durable else ["-F"]),
            *("-c", "exit_on_error=on", database),
            text=text.encode(),
            needs_name=True,
        )

    if (directory / EARLIER_PASSWORD).exists():
        run("postgres", _DROP_HELPER, _RENAME)
    run("postgres", _DROP_HELPER, _MAKE_ROLE, _GIVE_DATABASES, login, monitor)
    try:
        run(DATABASE, _GIVE_OBJECTS)
    except StoreUnavailable as exc:
        # It is made at the first start.
        if f'database "{DATABASE}" does not exist' not in str(exc):
            raise
    write_small(directory / "pg_hba.conf", HBA, runner.account)
    return Secret(password)
