"""Fixtures for every test: a database whose append-only triggers are in force, and a portal to act in."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase

from handoffs.checks.catalogue import CHECKS, RECORD_CHECKS
from handoffs.models import BundleCheck, Lane
from handoffs.signatures.key_rules import Algorithm
from leoportal.lanes.agreeing import make_grants
from leoportal.lanes.matrix import read_matrix
from leoportal.stack.postgres import TESTER
from tests.support.described import (  # noqa: F401  hooks
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)
from tests.support.emptying import empty
from tests.support.log import log_running
from tests.support.portal import Portal

IN_CATALOGUE = {check.code for check in (*CHECKS, *RECORD_CHECKS)}
TESTS_PER_VACUUM = 25


def pytest_configure() -> None:
    """Half the time of a portal's set-up would go into its people's passwords. The tests' login is declared."""
    settings.PASSWORD_HASHERS = ["tests.support.passwords.QuickHasher"]
    settings.DATABASE_OTHER_ROLES = [TESTER]
    # A live server is a thread of the tests' process, where triggers are taken away now and then: it does not watch.
    settings.WSGI_APPLICATION = None


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """Grants as in production."""
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)
    with django_db_blocker.unblock():
        make_grants(connection.connection, others=frozenset({TESTER}))


@pytest.fixture(scope="session", autouse=True)
def emptying():
    """After a test, what it wrote is deleted, table by table where there is something: the append-only triggers let it
    for that moment. Afterwards every trigger is in force again, also one that a test played the owner with.

    Django would truncate every table and announce a migration: a tenth of a second, most of it for empty tables.
    """
    tests = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TransactionTestCase, "_fixture_teardown", lambda self: empty(is_tidied=not next(tests) % TESTS_PER_VACUUM)
        )
        yield


def with_database(url: str, name: str) -> str:
    """The address of another database of the same server."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, f"/{name}", parts.query, ""))


@pytest.fixture
def portal(portal_folder: Path) -> Portal:
    """A portal with people, a key, a policy and one governed repository; hooks and triggers are real."""
    return Portal.make(portal_folder)


@pytest.fixture
def portal_folder(transactional_db, settings, tmp_path: Path) -> Iterator[Path]:
    """Where a portal's files go, its log running; nobody and nothing is in it yet.

    Whatever a test made it record, no check may be missing from the catalogue and its page.
    """
    name = connection.settings_dict["NAME"]
    settings.DATABASE_HOOK_URL = with_database(os.environ["DATABASE_HOOK_URL"], name)
    settings.VAR = tmp_path
    settings.BUNDLE_STORE = tmp_path / "bundles"
    settings.EXPORTS = tmp_path / "exports"
    settings.FORGE_ROOT = tmp_path / "forge"
    settings.SIGNING_ALGORITHMS = dict.fromkeys(Lane, Algorithm.ED25519)
    settings.LOG_WAIT_SECONDS = 60.0  # another worker's long transaction holds the log back
    settings.LOG_KEY_FILE = tmp_path / "log-key" / "log.key"
    settings.LOG_COPY = tmp_path / "log-copy"
    with log_running(tmp_path):
        yield tmp_path
    assert set(BundleCheck.objects.values_list("code", flat=True)) <= IN_CATALOGUE, "a check docs/checks.md lacks"


@pytest.fixture
def address() -> Callable[[str], str]:
    """The address of the test database for one login of the lanes' matrix: what processes use in production."""
    return lambda key: with_database(os.environ[read_matrix().roles[key].variable], connection.settings_dict["NAME"])
