"""kill -9 of the enforcer's process around each effect on GitHub: the branch (K5), the pull request (K6), each workflow (K7)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest
from django.utils import timezone

from audit import events
from audit.models import LogEntry
from handoffs.models import GitHubRepository, Handoff, PullRequest, Status, WorkflowRun
from leoportal.stack.services import ROOT
from tests.support.on_github import WORKFLOWS, OnGitHub

# What the worker was at, which time in this process, and whether GitHub had done it when the worker died.
PLACES = ("branch 1", "pull 1", *["workflow 1"] * len(WORKFLOWS))
ALL = tuple(f"{place} {moment}" for place in PLACES for moment in ("before", "after"))
DEATHS = ALL if os.environ.get("LEO_KILLS") else ("branch 1 after", "pull 1 after", "workflow 2 after")

WORKER = """
import functools, os, signal, sys
import django
django.setup()
from github.Repository import Repository as Remote
from handoffs import reconciling
from handoffs.git.repository import Git
from handoffs.models import GitHubRepository, Handoff
from handoffs.tasks import advance, sweep_staging
from handoffs.tasks_github import reconcile
from verdicts.tasks import sweep_verification

place, time, moment = sys.argv[1].split()
owner, name = {"branch": (Git, "push"), "pull": (Remote, "create_pull"), "workflow": (reconciling, "dispatch")}[place]
effect, times = getattr(owner, name), []

@functools.wraps(effect)
def deadly(*arguments, **named):
    times.append(1)
    is_here = len(times) == int(time)
    if is_here and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    found = effect(*arguments, **named)
    if is_here:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

setattr(owner, name, deadly)
number = GitHubRepository.objects.get().repository_id
reconcile(number)
sweep_staging()
for handoff in list(Handoff.objects.due().values_list("pk", flat=True)):
    advance(handoff)
sweep_verification()
GitHubRepository.objects.update(enforcer_next_try_at=None)
reconcile(number)
"""


def later() -> None:
    """The dead worker's leases have run out, and a run that was asked for had its time to appear."""
    Handoff.objects.update(lease_until=None, next_try_at=None)
    GitHubRepository.objects.update(enforcer_next_try_at=None)
    WorkflowRun.objects.filter(remote_id=None).update(tried_at=timezone.now() - timedelta(seconds=61))


def effects(on_github: OnGitHub) -> Counter[str]:
    """What GitHub did, each time it did it."""
    ends = {"/git-receive-pack": "branch", "/pulls": "pull", "/dispatches": "workflow"}
    asked = [one for one in on_github.github.requests if one.method == "POST" and one.status < 300]
    by_enforcer = [one for one in asked if "codex-bot" not in one.actor]
    return Counter(name for one in by_enforcer for end, name in ends.items() if one.path.endswith(end))


@pytest.mark.threat("GATE-12")
def test_a_worker_killed_around_each_effect_on_github_leaves_it_once(
    on_github: OnGitHub, address: Callable[[str], str]
):
    """The short form dies three times, LEO_KILLS=1 (`make kill`) at every place on both sides, one after the other."""
    settings = on_github.settings
    environment: Mapping[str, str] = {
        **os.environ,
        "DATABASE_URL": address("enforcer"),
        "DJANGO_SETTINGS_MODULE": "leoportal.settings",
        "LEOPORTAL_EMBEDDED": "1",
        "LEOPORTAL_VAR": str(settings.VAR),
        "SECRET_KEY": settings.SECRET_KEY,
        "SIGNING_KEY_PASSWORD": settings.SIGNING_KEY_PASSWORD,
        "GITHUB_URL": on_github.github.url,
        "GITHUB_API_URL": on_github.github.api,
        "GITHUB_POLL_SECONDS": "0",
        "GITHUB_ENFORCER_APP_ID": str(on_github.enforcer_app.id),
        "GITHUB_ENFORCER_KEY": on_github.enforcer_app.private_key(),
    }
    on_github.push_bundle(on_github.bundle({"notes.md": "x\n"}))
    first = effects(on_github)
    for death in DEATHS:
        done = subprocess.run(
            [sys.executable, "-c", WORKER, death],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, (death, done.stderr[-2000:])
        later()
    on_github.sweep()
    handoff = Handoff.objects.get()
    assert (handoff.status, handoff.error) == (Status.TRIGGERED, "")
    assert effects(on_github) - first == Counter(branch=1, pull=1, workflow=len(WORKFLOWS))
    assert list(on_github.remote.pulls) == [PullRequest.objects.get().number]
    assert on_github.remote.sha(handoff.feature_branch) == handoff.applied_commit
    assert len(on_github.runs()) == len(WORKFLOWS) == WorkflowRun.objects.exclude(remote_id=None).count()
    kinds = Counter(LogEntry.objects.filter(subject=f"H-{handoff.pk}").values_list("kind", flat=True))
    assert {kinds[kind] for kind in (events.HANDOFF_APPLIED, events.HANDOFF_OPENED, events.HANDOFF_TRIGGERED)} == {1}
    said = [one.open() for one in LogEntry.objects.filter(kind=events.HANDOFF_APPLYING)]
    assert {one["commit"] for one in said} == {handoff.applied_commit}
