"""A real Chromium against a portal on this machine: people with a browser each, watched for what must not happen.

Playwright drives the Chromium that is installed here; it never downloads one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    Request,
    Response,
    expect,
)
from pytest_django.live_server_helper import LiveServer

from audit.actions import add_identity
from audit.events import Role
from audit.models import Principal
from handoffs.git.repository import Git
from handoffs.models import Lane, PullRequest, PullStatus
from handoffs.signatures.key_rules import Algorithm
from leoportal import setup
from tests.support.log import log_running
from tests.support.portal import Portal
from verdicts.models import VerificationWork, WorkStatus

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PASSWORD: Final = "battery horse staple 7"
PATIENCE_MS: Final = 15_000
PEOPLE: Final = {"exec": Role.ENFORCER, "rita": Role.REPORTER, "mallory": Role.REPORTER, "petra": Role.PLAN}
POLL_MS: Final = 12_000
SCRIPTED: Final = "Failed to load resource"


def find_chromium() -> str:
    """The Chromium named by CHROMIUM, or one on the path; empty when there is none."""
    given = os.environ.get("CHROMIUM", "")
    return next((found for name in (given, *NAMES) if name and (found := shutil.which(name))), "")


@dataclass
class Visitor:
    """One person's browser window. `problems` is what went wrong without anybody asking."""

    page: Page
    origin: str
    problems: list[str] = field(default_factory=list)
    has_scripts: bool = True

    def open(self, path: str, *, status: int = 200) -> None:
        """Go to an address of the portal and wait until its parts are loaded."""
        response = self.page.goto(f"{self.origin}{path}")
        assert response is not None
        assert response.status == status, f"{path}: {response.status}, expected {status}"
        self.settle()

    def settle(self) -> None:
        """Wait until the parts a page loads by itself are there."""
        self.page.wait_for_load_state("load")
        if self.has_scripts:
            expect(self.page.locator("[hx-trigger=load]")).to_have_count(0, timeout=PATIENCE_MS)

    def sign_in(self, name: str) -> None:
        """Through the form, with the password."""
        self.open("/")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.settle()

    @property
    def path(self) -> str:
        """Where the window is now."""
        return self.page.url.removeprefix(self.origin)

    def watch(self, context: BrowserContext) -> None:
        """Collect errors of scripts, of the policy, of the server, and every request to somewhere else."""
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.problems.append(f"script: {error.error}"))
        context.on("request", self._requested)
        context.on("response", self._answered)
        context.on("dialog", self._asked)

    def _asked(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(SCRIPTED):
            self.problems.append(f"console on {self.path}: {message.text}")

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:")):
            self.problems.append(f"request leaves the portal: {request.url}")

    def _answered(self, response: Response) -> None:
        is_page = response.request.resource_type == "document"
        if response.status >= (500 if is_page else 400):
            self.problems.append(f"{response.request.method} {response.url} answered {response.status}")


@dataclass
class Site:
    """The portal in a browser's reach: the cast, its people's windows."""

    portal: Portal
    url: str
    chromium: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    visitors: list[Visitor] = field(default_factory=list)

    def visitor(self, name: str = "", **options: Any) -> Visitor:
        """A window of its own; signed in as `name`, if given."""
        options = {"viewport": {"width": 1360, "height": 900}, "color_scheme": "light", **options}
        context = self.chromium.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        self.contexts.append(context)
        if name:
            client = Client()
            client.force_login(User.objects.get(username=name), backend=settings.AUTHENTICATION_BACKENDS[-1])
            context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": self.url}])
        visitor = Visitor(context.new_page(), self.url, has_scripts=options.get("java_script_enabled", True))
        visitor.watch(context)
        self.visitors.append(visitor)
        return visitor

    def close(self) -> list[str]:
        """Close all windows; what went wrong in any of them."""
        problems = [problem for visitor in self.visitors for problem in visitor.problems]
        for context in self.contexts:
            context.close()
        self.contexts.clear()
        self.visitors.clear()
        return problems

    def put_away(self) -> None:
        """End what is open, so that the next test finds an empty queue and nothing is verified again for it."""
        ended = (PullStatus.MERGED, PullStatus.CLOSED)
        PullRequest.objects.exclude(status__in=ended).update(status=PullStatus.CLOSED)
        VerificationWork.objects.filter(status=WorkStatus.WAITING).delete()


@contextmanager
def running_site(folder: Path, chromium: Browser, hook_url: str) -> Iterator[Site]:
    """A portal with real hooks in `folder`, its people with passwords, and Django's own server before it."""
    values = {
        "DATABASE_HOOK_URL": hook_url,
        "VAR": folder,
        "BUNDLE_STORE": folder / "bundles",
        "FORGE_ROOT": folder / "forge",
        "SIGNING_ALGORITHMS": dict.fromkeys(Lane, Algorithm.ED25519),
        "ALLOWED_HOSTS": ["localhost"],
        "LOG_WAIT_SECONDS": 60.0,
        "LOG_KEY_FILE": folder / "log-key" / "log.key",
    }
    with override_settings(**values), log_running(folder):
        portal = Portal.make(folder)
        for name, role in PEOPLE.items():
            setup.ensure_person(name, role)
        add_identity(Principal.objects.get(name="petra"), "email", "petra@acme.invalid", by=setup.OPERATOR)
        setup.appoint(("xena", "yuri"))
        for user in User.objects.all():
            user.set_password(PASSWORD)
            user.save()
        server = LiveServer("localhost")
        try:
            yield Site(portal, server.url, chromium)
        finally:
            server.stop()


def change(name: str, **more: str) -> dict[str, str | None]:
    """A change that every check likes: a small module with its test. Each name is another change."""
    return {
        f"payments/{name}.py": f'"""{name.capitalize()}."""\n\n\ndef {name}(cents: int) -> int:\n'
        f'    """The {name}."""\n    return cents + {len(name)}\n',
        f"tests/test_{name}.py": f"from payments.{name} import {name}\n\n\n"
        f"def test_{name}():\n    assert {name}(1000) == {1000 + len(name)}\n",
        **more,
    }


def address(pull: PullRequest) -> str:
    """The address of a pull request's page."""
    return f"/prs/{pull.repository.full_name}/{pull.number}/"


def rows_of(page: Page, section: str) -> list[str]:
    """The text of each row of a section's first table, white space collapsed."""
    rows = page.locator(f"{section} table").first.locator("tbody tr").all_inner_texts()
    return [" ".join(text.split()) for text in rows]


def assert_merged(site: Site, pull: PullRequest, *trailers: str) -> None:
    """The protected branch is the merge commit, which says what was handed over, applied and decided."""
    pull.refresh_from_db()
    git = Git(site.portal.bare)
    tip = git.resolve("refs/heads/main")
    assert (pull.status, pull.merge_sha) == (PullStatus.MERGED, tip)
    assert git.parents_of(tip) == (pull.base_sha, pull.head_sha)
    message = git.message_of(tip)
    marks = (f"[CODEX-READY:{pull.handoff.digest}]", f"[CLAUDE-APPLIED:{pull.handoff.digest}]")
    for trailer in (*trailers, *marks, f"/handoffs/{pull.handoff_id}/"):
        assert trailer in message, message


def tab_to(page: Page, wanted: Locator, *, limit: int = 80) -> None:
    """Press Tab until `wanted` has the focus; it must show that it has."""
    for _ in range(limit):
        if wanted.evaluate("element => element === document.activeElement"):
            outline = wanted.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline != "none", "the focus cannot be seen"
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{limit} Tabs do not reach {wanted}; the focus is on {focused(page)}")


def focused(page: Page) -> str:
    """What has the focus, as its opening tag."""
    return str(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
