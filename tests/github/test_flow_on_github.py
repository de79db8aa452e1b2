"""One handoff on GitHub from a builder's push to a merge, over HTTP, on real git and real PostgreSQL."""

from __future__ import annotations

from audit import events
from audit.models import LogEntry
from handoffs.models import PullStatus, Status, WorkflowRun
from tests.support.log import settle_log
from tests.support.on_github import OnGitHub
from verdicts.decision import Verdict as VerdictKind
from verdicts.landing_rows import LandedCommit
from verdicts.merging import merge_pull_request


def test_one_handoff_from_a_push_to_a_merge_found_by_looking_alone(on_github: OnGitHub):
    handoff = on_github.hand_over()
    assert handoff.status == Status.TRIGGERED, (handoff.error, handoff.refusal_code)
    pull, remote = on_github.pull(), on_github.remote_pull()
    assert (pull.number, remote.head_sha, remote.base) == (remote.number, pull.head_sha, "main")
    assert handoff.digest in (remote.body or "")
    assert remote.user.login == "leo-enforcer[bot]"
    assert WorkflowRun.objects.filter(pull_request=pull, remote_id=None).count() == 4
    on_github.enforce()
    assert set(on_github.runs()) == {"leo-slsa", "leo-policy", "leo-story", "leo-agents"}
    on_github.run_workflows()
    on_github.sweep()
    on_github.sweep()
    assert on_github.verdict(VerdictKind.PASS).confidence >= 85
    settle_log()
    merge_pull_request(pull.pk, on_github.tools(), by=on_github.actor("plan"))
    on_github.enforce()
    assert not remote.merged  # GitHub's own rules still want leo-gate's checks
    on_github.make_green(pull.head_sha)
    on_github.enforce()
    on_github.sweep()
    assert on_github.pull().status == PullStatus.MERGED
    message = on_github.remote.git.commit(on_github.remote.sha()).message
    assert {"PLAN-SUPERVISOR: PASS", "Verdict-By: plan"} <= set(message.splitlines())
    landed = LandedCommit.objects.get(commit=on_github.remote.sha())
    assert (landed.kind, landed.pull_request_id) == ("PASS", pull.pk)
    assert not LogEntry.objects.filter(kind=events.BYPASS_DETECTED).exists()
