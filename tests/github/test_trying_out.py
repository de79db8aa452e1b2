"""One token in place of both Apps: everything is shown, as statuses that say so, and nothing of it can pass for a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from handoffs.github.comments import STATUS
from handoffs.github.connection import Connection, Token
from handoffs.github.contexts import NOT_SEPARATED, TRIAL, context_problem
from handoffs.hosting import Side
from handoffs.models import GitHubRepository, HandoffError
from leoportal import governing
from leoportal.lanes.switching import acting_in
from tests.github.publishing import GATE_3
from tests.support.github import GitHub
from tests.support.github.checks import CommitStatus, is_satisfied, latest_statuses
from tests.support.on_github import OnGitHub, contexts
from tests.support.portal import GOOD_CHANGE
from verdicts.decision import Verdict as VerdictKind
from verdicts.publication_rows import CheckPublication
from verdicts.results import GateOutcome
from verdicts.tasks_composing import compose_projections
from verdicts.tasks_projecting import sweep_projections
from verdicts.tasks_protection import due_for_reading

OWN = f"{TRIAL}{GATE_3}"


@pytest.fixture
def tried(github: GitHub, portal_folder: Path, settings: Any) -> OnGitHub:
    return OnGitHub.on(github, portal_folder, settings, is_trial=True)


def statuses(tried: OnGitHub, sha: str) -> dict[str, CommitStatus]:
    return {one.context: one for one in latest_statuses(tried.remote, sha)}


def states(tried: OnGitHub, sha: str) -> dict[str, str]:
    return {name: one.state for name, one in statuses(tried, sha).items()}


def released(tried: OnGitHub) -> str:
    """A head with a PASS that is shown."""
    tried.hand_over()
    tried.run_work()
    tried.sweep()
    tried.verdict(VerdictKind.PASS)
    tried.publish()
    return tried.pull().head_sha


@pytest.mark.threat("GATE-02")
@pytest.mark.threat("GATE-03")
def test_a_trial_shows_four_statuses_that_no_rule_takes_for_the_gates(tried: OnGitHub, client: Client):
    tried.push_bundle(tried.bundle(GOOD_CHANGE))
    tried.enforce()
    head = tried.pull().head_sha
    tried.publish()
    assert states(tried, head) == dict.fromkeys((f"{TRIAL}{name}" for name in contexts()), "pending")
    tried.sweep()
    tried.run_work()
    tried.sweep()
    assert states(tried, head)[OWN] == "pending"
    tried.verdict(VerdictKind.PASS)
    before = len(tried.remote.statuses)
    tried.publish()
    assert set(states(tried, head).values()) == {"success"}
    assert tried.remote.statuses[-1].context == OWN, "the success of Gate 3 is the last"
    assert len(tried.remote.statuses) > before
    assert all((one.description or "").startswith(NOT_SEPARATED) for one in tried.remote.statuses)
    for name in contexts():
        assert not is_satisfied(tried.remote, head, name, None), "not even a rule that takes anybody's word"
    assert not tried.checks(head)
    shown = CheckPublication.objects.get(is_own=True, conclusion="success")
    assert (shown.context, shown.is_certain) == (OWN, True)
    assert shown.causes == [tried.pull().verdicts.get().log_entry_id]
    written = len(tried.remote.statuses)
    tried.publish()
    assert len(tried.remote.statuses) == written, "what is as it should be is not written again"

    compose_projections()
    with tried.lane(Side.ENFORCER):
        sweep_projections()
    (comment,) = [one.body for one in tried.remote.comments if one.body.startswith(STATUS)]
    assert comment.startswith(f"{STATUS}\n**{NOT_SEPARATED}. Nothing here blocks a merge.**")
    client.force_login(User.objects.get(username="plan"), backend="leoportal.roles.SignInBackend")
    for address in ("/repositories/acme/payments/", f"/prs/acme/payments/{tried.pull().number}/"):
        page = client.get(address).content.decode()
        assert NOT_SEPARATED in page, address
        assert "trial: nothing is blocked" in page.lower(), address
    assert not due_for_reading(seconds=-1).exists(), "there are no rules to read"


@pytest.mark.threat("GATE-03")
def test_a_status_that_somebody_else_wrote_is_written_over(tried: OnGitHub):
    tried.push_bundle(tried.bundle(GOOD_CHANGE))
    tried.enforce()
    tried.publish()
    head, mallory = tried.pull().head_sha, tried.user("mallory")
    forged = CommitStatus(
        tried.remote, tried.github.new_id(), head, "success", OWN, mallory, None, f"{NOT_SEPARATED} · PASS", None,
        tried.github.clock.now(),
    )  # fmt: skip
    tried.remote.statuses.append(forged)
    tried.publish()
    assert states(tried, head)[OWN] == "pending"
    assert statuses(tried, head)[OWN].creator is tried.user("tess")


@pytest.mark.threat("GATE-03")
@pytest.mark.threat("GATE-04")
def test_a_trials_success_is_taken_back_as_a_check_run_is(tried: OnGitHub):
    """When the release ends; and when the head moves, or GitHub fails, before any call around it."""
    judged = released(tried)
    assert states(tried, judged)[OWN] == "success"
    branch = tried.pull().head_ref

    def start() -> int:
        tried.remote.statuses[:] = []
        tried.remote.move(f"refs/heads/{branch}", judged, by=tried.user("tess"))
        GitHubRepository.objects.update(gate_next_try_at=None)
        return len(tried.github.requests)

    first = start()
    tried.publish()
    calls = tried.github.requests[first:]
    assert states(tried, judged)[OWN] == "success"
    wrote = [at for at, one in enumerate(calls) if one.method == "POST"]
    assert calls[-1].path.endswith("/pulls"), "read again after the success"
    for at in range(wrote[-2], len(calls)):
        first, done = start(), list[int]()

        def move(request: Any, first: int = first, at: int = at, done: list[int] = done) -> None:
            if request.number - first == at and not done:
                done.append(at)
                tried.remote.commit({"backdoor.py": "import os\n"}, branch=branch, by=tried.user("tess"))

        stop = tried.github.before_request(move)
        tried.publish()
        stop()
        assert done
        assert states(tried, judged).get(OWN) != "success", (at, calls[at].path)
        GitHubRepository.objects.update(gate_next_try_at=None)
        tried.publish()
        assert states(tried, judged).get(OWN) != "success", (at, calls[at].path)
    start()
    tried.publish()
    tried.report("story-release", GateOutcome.FAILURE, run_id="late")
    tried.publish()
    assert states(tried, judged)[OWN] == "failure"


def test_a_trial_stays_a_trial_and_its_names_are_nobody_elses(tried: OnGitHub, tmp_path: Path, capsys):
    olivia = tried.user("olivia")
    tried.remote.owner.members[olivia.id] = "admin"
    token = tmp_path / "token"
    token.write_text(olivia.token())
    with acting_in("operator"):
        call_command("repo", "govern", "acme/payments", "--trial", "--token-file", str(token))
        said = capsys.readouterr().out
        assert NOT_SEPARATED.upper() in said
        assert "NOTHING HERE BLOCKS A MERGE" in said
        assert GitHubRepository.objects.count() == 1
        connection = Connection(tried.github.api, Token(olivia.token()))
        for act in (
            lambda: governing.govern(governing.Wish("acme/payments"), connection, say=print, pause=lambda: None),
            lambda: governing.check("acme/payments", connection, say=print),
        ):
            with pytest.raises(HandoffError) as refused:
                act()
            assert refused.value.code == "repository.trial"
    assert context_problem(f"{TRIAL}Gate 3").startswith("it begins with leo-trial/")
