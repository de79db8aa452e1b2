"""`leo db lanes`: one PostgreSQL login for each lane, made and checked against the matrix of this release.

DATABASE_ADMIN_URL makes the roles (an administrator of the cluster), DATABASE_MIGRATE_URL grants (the schema's owner);
roles named in DATABASE_OTHER_ROLES, with commas between, are the installation's own business: backups, monitoring.
Exit codes: 0 everything is as the matrix says, 1 something is not, 2 usage, 4 the database cannot be reached.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Final

import psycopg
import typer

from leoportal.lanes.agreeing import connect, find_differences, is_administrator, make_grants, make_roles
from leoportal.lanes.catalogue import Connection
from leoportal.lanes.durability import not_durable

ADMIN: Final = "DATABASE_ADMIN_URL"
OWNER: Final = "DATABASE_MIGRATE_URL"
OTHERS: Final = "DATABASE_OTHER_ROLES"
EXIT_DIFFERENT, EXIT_USAGE, EXIT_UNREACHABLE = 1, 2, 4

db_app = typer.Typer(no_args_is_help=True, help="The portal's PostgreSQL.")


@db_app.callback()
def database() -> None:
    """The portal's PostgreSQL."""


@db_app.command("lanes")
def lanes(
    check: Annotated[bool, typer.Option("--check", help="change nothing")] = False,  # noqa: FBT002 - an option
) -> None:
    """Make the logins of all lanes and give each what the matrix says; print what differed. Safe to repeat.

    A server that may lose what it acknowledged (fsync, full_page_writes or synchronous_commit off) differs, too.
    """
    admin, owner = os.environ.get(ADMIN), os.environ.get(OWNER)
    if not admin and not owner:
        _say(f"neither {ADMIN} nor {OWNER} is set. Next: export an administrator's address, or the schema owner's")
        raise typer.Exit(EXIT_USAGE)
    others = frozenset(filter(None, os.environ.get(OTHERS, "").split(",")))
    try:
        if admin and not check:
            with connect(admin) as connection:
                _refuse_no_administrator(connection)
                _tell("mended", make_roles(connection, others=others))
        if owner and not check:
            with connect(owner) as connection:
                _tell("mended", make_grants(connection, others=others))
        with connect(owner or admin or "") as connection:
            left = [difference.what for difference in find_differences(connection, others=others)]
            left += not_durable(connection)
    except psycopg.OperationalError as error:
        _say(f"the database cannot be reached: {_one_line(error)}. Next: check the address and the login")
        raise typer.Exit(EXIT_UNREACHABLE) from None
    except psycopg.Error as error:
        _say(f"refused: {_one_line(error)}. Next: {ADMIN} needs CREATEROLE, {OWNER} the role leoportal_migrate")
        raise typer.Exit(EXIT_DIFFERENT) from None
    _tell("differs", left)
    if left:
        _say(f"{len(left)} differences are left")
        raise typer.Exit(EXIT_DIFFERENT)
    _say("the database does what the matrix says")


def _refuse_no_administrator(connection: Connection) -> None:
    if not is_administrator(connection):
        _say(
            f"{connection.info.user} may not create roles. Next: give {ADMIN} the address of one that may (CREATEROLE)"
        )
        raise typer.Exit(EXIT_USAGE)


def _tell(word: str, lines: list[str]) -> None:
    for line in lines:
        _say(f"{word}: {line}")


def _one_line(error: psycopg.Error) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:300]


def _say(text: str) -> None:
    typer.echo(text)
