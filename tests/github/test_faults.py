"""What goes wrong between the portal and GitHub: every effect happens once, and what waits goes on by itself."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now

from audit import events
from audit.models import LogEntry
from handoffs.models import GitHubCircuit, GitHubRepository, Handoff, PullRequest, Status, WorkflowRun
from tests.support.on_github import OnGitHub


def hurry(on_github: OnGitHub) -> None:
    """What waits has waited long enough."""
    Handoff.objects.update(next_try_at=None)
    GitHubRepository.objects.update(enforcer_next_try_at=None)
    GitHubCircuit.objects.update(next_try_at=Now())
    on_github.sweep()


def test_an_effect_whose_answer_was_lost_is_found_and_not_made_again(on_github: OnGitHub):
    """K5 the branch, K6 the pull request, K7 each workflow: the worker learns nothing, as if it had died after it."""
    on_github.push_bundle(on_github.bundle({"notes.md": "x\n"}))
    chaos = on_github.github.chaos
    chaos.plant("reset", method="POST", path=r"git-receive-pack", after=True)
    chaos.plant("reset", method="POST", path=r"/pulls$", after=True)
    chaos.plant("reset", method="POST", path=r"/dispatches$", times=2, after=True)
    for _ in range(6):
        hurry(on_github)
    handoff = Handoff.objects.get()
    assert (handoff.status, handoff.error) == (Status.TRIGGERED, "")
    assert list(on_github.remote.pulls) == [1]
    assert on_github.remote.sha(handoff.feature_branch) == handoff.applied_commit
    assert sorted(run.workflow.path for run in on_github.remote.runs) == sorted(
        WorkflowRun.objects.values_list("workflow", flat=True)
    )
    assert not WorkflowRun.objects.filter(remote_id=None).exists()
    kinds = LogEntry.objects.filter(subject=f"H-{handoff.pk}").values_list("kind", flat=True)
    for kind in (events.HANDOFF_APPLIED, events.HANDOFF_OPENED, events.HANDOFF_TRIGGERED):
        assert list(kinds).count(kind) == 1


def test_a_run_that_does_not_show_yet_is_not_asked_for_twice(on_github: OnGitHub):
    on_github.github.runs_are_hidden = True
    on_github.hand_over({"notes.md": "x\n"})
    for _ in range(3):
        hurry(on_github)
    assert len([one for one in on_github.github.requests if one.path.endswith("/dispatches")]) == 4
    on_github.github.show_runs()
    hurry(on_github)
    assert not WorkflowRun.objects.filter(remote_id=None).exists()


@pytest.mark.threat("HOK-04")
def test_an_outage_that_outlives_the_tokens_costs_time_and_nothing_else(on_github: OnGitHub):
    on_github.enforce()
    on_github.github.chaos.outage()
    on_github.push_bundle_past_the_outage({"notes.md": "x\n"})
    for _ in range(2):  # tests/github/test_outage.py takes half an hour
        hurry(on_github)
    row = GitHubRepository.objects.get()
    assert row.enforcer_error.startswith("github.unavailable")
    assert row.enforcer_next_try_at is not None
    assert not Handoff.objects.exists()
    on_github.github.expire_tokens()
    on_github.github.chaos.end()
    hurry(on_github)  # the old token is refused once
    assert GitHubRepository.objects.get().enforcer_error.startswith("github.unauthorized")
    hurry(on_github)
    assert Handoff.objects.get().status == Status.TRIGGERED
    assert GitHubRepository.objects.get().enforcer_error == ""


@pytest.mark.parametrize("status", [403, 429])
def test_a_limit_in_the_middle_waits_as_long_as_github_says_and_uses_no_attempt_up(on_github: OnGitHub, status: int):
    on_github.push_bundle(on_github.bundle({"notes.md": "x\n"}))
    limits = on_github.github.limits

    def limit(request) -> None:
        if request.method == "POST" and request.path.endswith("/pulls") and not limits.secondary:
            limits.start_secondary(90, status=status)

    stop = on_github.github.before_request(limit)
    on_github.enforce()
    handoff = Handoff.objects.get()
    assert (handoff.status, handoff.attempts) == (Status.APPLIED, 0)
    assert handoff.next_try_at is not None
    wait = (handoff.next_try_at - handoff.moved_at).total_seconds()
    assert 85 <= wait <= 95
    stop()
    on_github.github.clock.advance(91)
    hurry(on_github)
    assert Handoff.objects.get().status == Status.TRIGGERED


def test_a_renamed_repository_is_followed_by_its_number(on_github: OnGitHub):
    on_github.hand_over({"notes.md": "x\n"})
    on_github.github.rename(on_github.remote, "billing", by=on_github.user("olivia"))
    on_github.enforce()
    row = GitHubRepository.objects.get()
    assert (row.full_name, row.repository.full_name) == ("acme/billing", "acme/payments")
    said = LogEntry.objects.get(kind=events.REPOSITORY_RENAMED).open()
    assert (said["old"], said["new"], said["github_id"]) == ("acme/payments", "acme/billing", on_github.remote.id)
    on_github.enforce()
    assert LogEntry.objects.filter(kind=events.REPOSITORY_RENAMED).count() == 1
    assert len(on_github.runs()) == 4  # asked for under the new name
    assert PullRequest.objects.get().number == 1


def test_a_transferred_repository_waits_for_the_app_and_goes_on_when_it_is_there(on_github: OnGitHub):
    github, other = on_github.github, on_github.github.create_organization("other")
    on_github.enforce()
    github.transfer(on_github.remote, other, by=on_github.user("olivia"))
    on_github.enforce()
    assert GitHubRepository.objects.get().enforcer_error.startswith("github.not_found")
    moved = github.install(on_github.enforcer_app, on_github.remote)
    GitHubRepository.objects.update(enforcer_installation=moved.id)  # what `leo repo govern` does
    hurry(on_github)
    row = GitHubRepository.objects.get()
    assert (row.full_name, row.enforcer_error) == ("other/payments", "")
