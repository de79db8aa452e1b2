"""One handoff from a builder's commit to an allowed merge, told once, on real git and real PostgreSQL."""

from __future__ import annotations

import pytest

from audit.models import LogEntry, LogLeaf, TreeHead
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import PullStatus, Status
from tests.support.log import settle_log
from tests.support.portal import Portal
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.results import GateOutcome


def test_one_handoff_from_commit_to_merge(portal: Portal):
    handoff = portal.hand_over()
    assert handoff.status == Status.TRIGGERED, list(handoff.checks.exclude(outcome="PASSED").values("code", "got"))
    assert handoff.checks.count() >= 20
    pull = portal.pull()
    assert pull.status == PullStatus.GATES_PASSING
    bare = Git(portal.bare)
    assert bare.message_of(pull.head_sha).startswith(f"[CLAUDE-APPLIED:{handoff.digest}] Add net")
    assert bare.tree_of(pull.head_sha) == handoff.result_tree

    with pytest.raises(GitError, match=r"merge\.no_pass"):
        bare.push(portal.bare, pull.head_sha, "refs/heads/main", old=pull.base_sha)

    portal.run_work()
    portal.report("story-release", GateOutcome.SUCCESS)
    verdict = portal.verdict(VerdictKind.PASS)
    assert verdict.confidence >= 85
    assert portal.pull().status == PullStatus.READY_TO_MERGE

    merged = merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan"))
    assert merged.status == PullStatus.MERGED
    assert bare.resolve("refs/heads/main") == merged.merge_sha
    message = bare.message_of(merged.merge_sha)
    for marker in (f"[CODEX-READY:{handoff.digest}]", f"[CLAUDE-APPLIED:{handoff.digest}]", "PLAN-SUPERVISOR: PASS"):
        assert marker in message
    settle_log()
    assert LogLeaf.objects.count() == LogEntry.objects.count() == TreeHead.objects.latest("size").size
