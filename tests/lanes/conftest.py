from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from leoportal.lanes.matrix import read_matrix
from tests.web.scene import Scene, make_scene


@pytest.fixture
def scene(db: None, settings, tmp_path: Path) -> Scene:
    settings.BUNDLE_STORE = tmp_path / "bundles"
    return make_scene(tmp_path)


@pytest.fixture
def as_role(db: None, address: Callable[[str], str]) -> Iterator[Callable[[str], psycopg.Connection]]:
    """A real connection as one role of the matrix: signed in as it, or as the web that becomes it."""
    roles, found = read_matrix().roles, {}

    def connect(key: str) -> psycopg.Connection:
        if key not in found:
            role = roles[key]
            found[key] = ends.enter_context(psycopg.connect(address(key if role.is_login else "web"), autocommit=True))
            if not role.is_login:
                found[key].execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role.name)))
        return found[key]

    with ExitStack() as ends:
        yield connect
