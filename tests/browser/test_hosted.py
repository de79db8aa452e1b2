"""The pages of a pull request on GitHub from every side: nothing said yet, under way, released, in trouble, landed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone
from playwright.sync_api import expect

from audit import events
from audit.actions import append_event
from audit.covering import wait_covered
from handoffs.github.contexts import NOT_SEPARATED, TRIAL
from handoffs.github.onboarding import check_onboarding
from handoffs.github.workflow_names import WORKFLOWS
from handoffs.models import (
    GitHubRepository,
    Handoff,
    ProtectionExpectation,
    PullRequest,
    PullStatus,
    Reader,
    WorkflowEvidence,
    WorkflowRun,
)
from handoffs.protecting import record_reading
from leoportal.lanes.switching import acting_in
from leoportal.setup import OPERATOR
from tests.browser.test_repositories import DRIFTED, enrol, silent, try_out
from tests.support.browser import Site, address, change, rows_of, tab_to
from tests.support.portal import git
from tests.support.protection import CONTEXTS, EXPECTED, LIVE, NOW
from verdicts.decision import Verdict as VerdictKind
from verdicts.landing_rows import LandedClass, LandedCommit
from verdicts.publication_rows import CheckPublication


@transaction.atomic
def say(pull: PullRequest, context: str, conclusion: str = "", **other: Any) -> CheckPublication:
    """What leo-gate keeps of one check run; GitHub answered, unless `published_at` is None."""
    number = 7000 + CheckPublication.objects.count()
    row = {
        "repository": pull.repository,
        "pull_number": pull.number,
        "head_sha": pull.head_sha,
        "context": context,
        "is_own": context == CONTEXTS[0],
        "status": "completed" if conclusion else "in_progress",
        "conclusion": conclusion,
        "title": conclusion or "Waiting for its result",
        "digest": "0" * 64,
        "run_number": number,
        "published_at": timezone.now(),
        "log_entry": append_event(events.CHECK_INTENDED, OPERATOR, "", {"context": context}),
    }
    return CheckPublication.objects.create(**(row | other))


@transaction.atomic
def run(pull: PullRequest, path: str, number: int | None, **other: Any) -> None:
    """A workflow that the enforcer asked for, and the evidence that its job sent if it passed."""
    now = timezone.now()
    entry = append_event(events.HANDOFF_TRIGGERED, OPERATOR, "", {})
    row = {"pull_request": pull, "head_sha": pull.head_sha, "run": 1, "workflow": path, "tried_at": now, "seen_at": now}
    WorkflowRun.objects.create(**(row | {"remote_id": number, "attempt": 1, "log_entry": entry} | other))


@transaction.atomic
def prove(pull: PullRequest, path: str, number: int) -> None:
    entry = append_event(events.EVIDENCE_RECEIVED, OPERATOR, "", {})
    WorkflowEvidence.objects.create(
        repository=pull.repository, head_sha=pull.head_sha, workflow=path, ref="", run_id=number, run_attempt=1,
        document=b"{}", digest="0" * 64, log_entry=entry,
    )  # fmt: skip


def move(pull: PullRequest, hosted: GitHubRepository) -> None:
    """To another repository, with its handoff."""
    PullRequest.objects.filter(pk=pull.pk).update(repository=hosted.repository)
    Handoff.objects.filter(pk=pull.handoff_id).update(repository=hosted.repository)
    pull.refresh_from_db()


def test_what_github_shows_of_a_pull_request(site: Site, gallery, tmp_path: Path, settings):
    mirror = tmp_path / "11.git"
    # Without the staging branches of tests before: they would be handed over here, too.
    git(tmp_path, "clone", "--quiet", "--bare", "--single-branch", str(site.portal.bare), str(mirror))
    enrol(11, LIVE, tmp_path)
    hosted = GitHubRepository.objects.get(github_id=11)
    pull = site.portal.verified(change("netted"), branch="staging/codex-netted", task="Net the fee")
    git(mirror, "fetch", "--quiet", str(site.portal.bare), pull.head_sha)
    # It belongs to the other repository from here on: here nobody hands it over again.
    git(site.portal.bare, "update-ref", "-d", "refs/heads/staging/codex-netted")
    move(pull, hosted)
    plan = gallery("plan")
    page = plan.visitor.page
    plan.visitor.open(address(pull))
    assert [row.split()[-1] for row in rows_of(page, "#github")] == ["–"] * 4
    expect(page.locator("#github")).to_contain_text("No workflow was asked for on this head yet")
    expect(page.locator("#github")).to_contain_text("never by leo-enforcer")

    GitHubRepository.objects.filter(pk=hosted.pk).update(
        enforcer_looked_at=timezone.now(), gate_looked_at=timezone.now()
    )
    paths = list(WORKFLOWS)
    run(pull, paths[0], 501, status="completed", conclusion="success")
    prove(pull, paths[0], 501)
    run(pull, paths[1], 502, status="completed", conclusion="success")
    run(pull, paths[2], 503, status="in_progress")
    run(pull, paths[3], None, error="github.forbidden: got 403, expected 204: Resource not accessible by integration")
    for context in CONTEXTS[1:]:
        say(pull, context)
    say(pull, CONTEXTS[0], title="No verdict yet; 1 gates passed", published_at=None, run_number=None)
    plan.visit(address(pull), "hosted-busy")
    assert rows_of(page, "#github")[0].startswith(f"{CONTEXTS[0]} ? Not confirmed")
    runs = page.locator("#github table").nth(1)
    assert "Passed without evidence" in runs.inner_text()
    link = page.locator("#github").get_by_role("link", name=paths[0].rpartition("/")[2])
    expect(link).to_have_attribute("href", f"{settings.GITHUB_URL}/acme/service-11/actions/runs/501/attempts/1")
    page.keyboard.press("w")
    tab_to(page, link)

    verdict = site.portal.verdict(VerdictKind.PASS)
    assert wait_covered([verdict.log_entry_id], seconds=30)
    for context in CONTEXTS[1:]:
        say(pull, context, "success")
    released = say(pull, CONTEXTS[0], "success", title="PASS · 95.0 %", causes=[verdict.log_entry_id])
    plan.visitor.open(address(pull))
    assert [row.split(" ✓ ")[1].startswith("Passed") for row in rows_of(page, "#github")] == [True] * 4

    with acting_in("operator"):
        drift = check_onboarding(EXPECTED, DRIFTED, now=NOW)
        record_reading(ProtectionExpectation.objects.latest("pk"), drift, reader=Reader.APP, by=OPERATOR)
    old = timezone.now() - timedelta(minutes=14)
    GitHubRepository.objects.filter(pk=hosted.pk).update(gate_looked_at=old, gate_error="github.unreachable: got 502")
    CheckPublication.objects.filter(pk=released.pk).update(withdrawn_at=timezone.now())
    plan.visit(address(pull), "hosted-trouble")
    expect(page.locator("#pr-live")).to_contain_text("leo-gate has not published to GitHub since")
    expect(page.locator("#pr-live")).to_contain_text("UNENFORCED: The rules at GitHub are not the expected ones.")
    assert rows_of(page, "#github")[0].startswith(f"{CONTEXTS[0]} ✗ Taken back")
    plan.visitor.open("/repositories/acme/service-11/")
    expect(page.locator("#protection")).to_contain_text("What stands here may be old. Next: see that its worker runs")
    plan.visit("/prs/", "hosted-list")
    expect(page.locator("tr", has_text="acme/service-11")).to_contain_text("Taken back")

    (tmp_path / "12.git").symlink_to(mirror)
    tried = try_out(12, tmp_path)
    move(pull, tried)
    for context in CONTEXTS[1:]:
        say(pull, f"{TRIAL}{context}", "success", title="Passed")
    causes = [verdict.log_entry_id]
    say(pull, f"{TRIAL}{CONTEXTS[0]}", "success", is_own=True, title="OBSERVE MODE · PASS · 95.0 %", causes=causes)
    with silent(settings.GITHUB_API_URL):
        plan.visit(address(pull), "hosted-trial")
        expect(page.locator("#pr-live")).to_contain_text("GitHub has not answered since")
        expect(page.locator("#pr-live")).to_contain_text(f"TRIAL: NOTHING IS BLOCKED. {NOT_SEPARATED}.")
    page.get_by_role("radio", name="Escalate").check()
    page.get_by_label("Reason").fill("It is tried out with one token.")
    page.get_by_label("Question for LEAD").fill("Is that enough for this change?")
    page.get_by_role("button", name="Review verdict…").click()
    plan.look("hosted-trial-confirm")
    expect(page.locator("main")).to_contain_text("TRIAL: NOTHING IS BLOCKED.")
    plan.visit("/prs/", "hosted-trial-list")
    listed = page.locator("tr", has_text="acme/service-12")
    expect(listed).to_contain_text(f"{TRIAL}{CONTEXTS[0]}")
    expect(listed).to_contain_text("Trial: nothing is blocked")
    move(pull, hosted)

    commit = "c" * 40
    with transaction.atomic():
        entry = append_event(events.BYPASS_DETECTED, OPERATOR, "", {"commit": commit})
        LandedCommit.objects.create(
            repository=hosted.repository, commit=commit, tree="d" * 40, kind=LandedClass.BYPASS, code="landed.no_release",
            pull_request=pull, pull_number=pull.number, log_entry=entry,
        )  # fmt: skip
    PullRequest.objects.filter(pk=pull.pk).update(status=PullStatus.MERGED, merge_sha=commit, merged_at=timezone.now())
    plan.visitor.open(address(pull))
    expect(page.locator("#github")).to_contain_text("landed.no_release")
