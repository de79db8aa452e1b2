"""The repositories' pages from every side: empty, enforced, drifted, observed, and making the Apps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from django.utils import timezone
from playwright.sync_api import expect

from handoffs.actions import Enrolment, govern_on_github
from handoffs.github.live import Expected, Live, Unseen
from handoffs.github.onboarding import check_onboarding
from handoffs.models import CanaryOutcome, GitHubCircuit, GitHubRepository, Reader
from handoffs.protecting import Attempt, Canary, expect_protection, record_canary, record_reading
from leoportal.lanes.switching import acting_in
from leoportal.setup import OPERATOR
from tests.support.browser import Site
from tests.support.protection import CONTEXTS, EXPECTED, LIVE, NOW, required, swap

SAID = "got 405: Repository rule violations found. Required status check LEO Gate Validation / Gate 3 is expected."
REFUSED = Canary(CanaryOutcome.REFUSED, 7, "a" * 40, (Attempt("merge the pull request", 405, SAID, True),))
DRIFTED = replace(
    LIVE,
    rules=swap("required_status_checks", required(*CONTEXTS[1:])),
    secrets=Unseen("got 403: Resource not accessible"),
)


def enrol(number: int, live: Live, folder: Path, *, is_observed: bool = False) -> None:
    enrolment = Enrolment(number, f"acme/service-{number}", "main", "b" * 40, folder / f"{number}.git", 2, 3, 4)
    repository = govern_on_github(enrolment, by=OPERATOR).repository
    with acting_in("operator"):
        expectation = expect_protection(repository, EXPECTED, is_observed=is_observed, by=OPERATOR)
        if not is_observed:
            record_canary(expectation, REFUSED, by=OPERATOR)
        record_reading(expectation, check_onboarding(EXPECTED, live, now=NOW), reader=Reader.ADMINISTRATOR, by=OPERATOR)


def try_out(number: int, folder: Path) -> GitHubRepository:
    """A repository with one token in place of both Apps, as `leo repo govern --trial` leaves it."""
    enrolment = Enrolment(
        number, f"acme/service-{number}", "main", "b" * 40, folder / f"{number}.git", is_observed=True
    )
    hosted = govern_on_github(enrolment, by=OPERATOR)
    with acting_in("operator"):
        expected = Expected("main", CONTEXTS, gate_app=0, enforcer_app=0)
        expect_protection(hosted.repository, expected, is_observed=True, by=OPERATOR)
    return hosted


@contextmanager
def silent(api_url: str) -> Iterator[GitHubCircuit]:
    """GitHub has not answered for nine minutes, and one worker asks again within the minute."""
    now = timezone.now()
    said = {"failing_since": now - timedelta(minutes=9), "tries": 5, "next_try_at": now + timedelta(seconds=40)}
    circuit, _ = GitHubCircuit.objects.update_or_create(api_url=api_url, defaults=said)
    yield circuit
    circuit.delete()


def test_the_repositories_pages(site: Site, gallery, tmp_path: Path, settings):
    xena = gallery("xena")
    xena.visit("/repositories/", "repositories-local")
    xena.visit("/repositories/apps/?owner=acme", "apps")
    xena.visit("/repositories/apps/?owner=a/b", "apps-wrong", status=422)
    nobody = gallery("")
    nobody.visit("/repositories/apps/gate/?code=a1b2c3d4e5f6&state=forged", "app-code-refused", status=400)
    enrol(1, LIVE, tmp_path)
    enrol(2, DRIFTED, tmp_path)
    enrol(3, DRIFTED, tmp_path, is_observed=True)
    plan = gallery("plan")
    plan.visit("/repositories/", "repositories")
    for number, name in ((1, "enforced"), (2, "drifted"), (3, "observed")):
        plan.visit(f"/repositories/acme/service-{number}/", f"repository-{name}")
    try_out(4, tmp_path)
    plan.visit("/repositories/acme/service-4/", "repository-trial")
    with silent(settings.GITHUB_API_URL) as circuit:
        plan.visit("/repositories/acme/service-1/", "repository-silent")
        said = f"GitHub has not answered since {circuit.failing_since:%Y-%m-%d %H:%M:%S} UTC"
        expect(plan.visitor.page.locator("#protection")).to_contain_text(said)
        plan.visit("/repositories/acme/service-4/", "repository-trial-silent")
    plan.visit("/repositories/", "repositories-trial")
    tried = plan.visitor.page.locator("tr", has_text="acme/service-4")
    expect(tried).to_contain_text("Trial: nothing is blocked")
    expect(tried).not_to_contain_text("Late")
    page = plan.visitor.page
    plan.visitor.open("/repositories/acme/service-4/")
    page.keyboard.press("u")
    page.wait_for_url("**/repositories/")
