"""One Chromium and one portal for the whole folder; every test has its own windows and its own pull request."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from playwright.sync_api import Browser, sync_playwright

from tests.conftest import with_database
from tests.support.browser import ARGUMENTS, Site, find_chromium, running_site
from tests.support.emptying import empty
from tests.support.gallery import Gallery

UNSAFE = "DJANGO_ALLOW_ASYNC_UNSAFE"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """The Chromium of this machine.

    Playwright runs its event loop in this thread, but only while one of its own calls waits: no coroutine is ever
    suspended in the middle of our queries. Django cannot see that and would refuse the database, hence the variable.
    """
    executable = find_chromium()
    if not executable:
        pytest.skip("no Chromium here; `make chromium` installs Debian's, or name one in CHROMIUM")
    before = os.environ.get(UNSAFE)
    with sync_playwright() as playwright:
        os.environ[UNSAFE] = "true"
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
            os.environ.pop(UNSAFE)
            if before is not None:
                os.environ[UNSAFE] = before


@pytest.fixture(scope="package")
def transactional_db(chromium: Browser, django_db_setup, django_db_blocker) -> Iterator[None]:
    """The test database for all of the folder. pytest-django's own, by whose name it knows us, empties it every time."""
    with django_db_blocker.unblock():
        yield
        empty(is_tidied=True)
        connection.close()  # under Playwright's loop this is a connection of its own, which nobody else would close


@pytest.fixture(scope="package")
def site_of_folder(chromium: Browser, transactional_db: None) -> Iterator[Site]:
    """The portal, its people, its server."""
    with tempfile.TemporaryDirectory(prefix="lb-") as folder:
        hook_url = with_database(os.environ["DATABASE_HOOK_URL"], connection.settings_dict["NAME"])
        with running_site(Path(folder), chromium, hook_url) as site:
            yield site


@pytest.fixture
def site(site_of_folder: Site) -> Iterator[Site]:
    """The folder's portal with nothing open. Whatever a test is about, no page may fail or leave the portal."""
    yield site_of_folder
    problems = site_of_folder.close()
    site_of_folder.put_away()
    assert problems == []


@pytest.fixture
def gallery(site: Site):
    """Galleries of people; at the end nothing may be wrong in any of them."""
    galleries: list[Gallery] = []

    def of(name: str) -> Gallery:
        galleries.append(Gallery(site.visitor(name)))
        return galleries[-1]

    yield of
    wrong = [f"{what} ({', '.join(sides)})" for gallery in galleries for what, sides in gallery.wrong.items()]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
