"""What a workflow's run on GitHub is worth to its gate: nothing, unless it is the one asked for and sent its evidence.

A conclusion is a colour that anybody's `exit 0` can give; names are never trusted.
Source: GATE-09, GATE-10, GATE-13 and GATE-14 of the threat list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audit.canonical import JsonValue
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.github.workflow_names import WORKFLOWS
from handoffs.models import PullRequest, Repository, WorkflowEvidence, WorkflowRun
from verdicts.models import VerdictError
from verdicts.results import GateOutcome
from verdicts.signature_checks import GateCheck

STORY: Final = "story-release"
RUNNING: Final = "workflow.running"


@dataclass(frozen=True)
class RunResult:
    """A run that ended. `code` says why a success is not one; the conclusion is GitHub's otherwise."""

    outcome: GateOutcome
    code: str
    run_id: str
    evidence: dict[str, JsonValue]

    @property
    def said(self) -> str:
        """For a check of a gate."""
        return f"{self.run_id} {self.outcome.value}{f', {self.code}' if self.code else ''}"


def judge_run(row: WorkflowRun, git: Git) -> RunResult:
    """Compare a run that ended with what was asked for, its file with the protected branch's, and look for evidence."""
    pull = row.pull_request
    sent = WorkflowEvidence.objects.filter(
        repository=pull.repository_id, run_id=row.remote_id or 0, run_attempt=row.attempt
    ).first()
    is_own = sent is not None and sent.head_sha == row.head_sha and sent.workflow == row.workflow
    code = row.problem
    if not code and not _is_same_file(git, row.workflow, row.head_sha, pull.base_sha):
        code = "workflow_ref.mismatch"
    if not code and not is_own:
        code = "evidence.missing"
    outcome = _outcome(row.conclusion)
    if outcome is GateOutcome.SUCCESS and code:
        outcome = GateOutcome.FAILURE
    said: dict[str, JsonValue] = {
        "workflow": row.workflow,
        "conclusion": row.conclusion,
        "problem": code,
        "intent": row.intent,
        "evidence": sent.digest if sent and is_own else "",
    }
    return RunResult(outcome, code, f"github-{row.remote_id}-{row.attempt}", said)


def check_workflow(pull: PullRequest, gate: str, git: Git) -> tuple[GateCheck, ...]:
    """The one more check that a built-in gate has on GitHub; none elsewhere.

    Raises: VerdictError("workflow.running") while there is nothing to judge yet: the gate runs again later.
    """
    if pull.repository.forge != Repository.Forge.GITHUB:
        return ()
    path = next(path for path, key in WORKFLOWS.items() if key == gate)
    row = WorkflowRun.objects.current().select_related("pull_request").filter(pull_request=pull, workflow=path).first()
    name = f"the workflow {path} ran on this head, is the protected branch's own, and sent its evidence"
    if row is None:
        return (GateCheck(name, is_met=False, got="no workflow was asked for on this head"),)
    if not row.is_done:
        raise VerdictError(RUNNING, f"{path} has not ended on this head ({row.error or row.status or 'asked for'})")
    result = judge_run(row, git)
    return (GateCheck(name, is_met=result.outcome is GateOutcome.SUCCESS, got=result.said),)


def _outcome(conclusion: str) -> GateOutcome:
    """GitHub's nine conclusions as they are; whatever else it may say one day is a failure."""
    try:
        outcome = GateOutcome(conclusion)
    except ValueError:
        return GateOutcome.FAILURE
    return GateOutcome.FAILURE if outcome is GateOutcome.MISSING else outcome


def _is_same_file(git: Git, path: str, head: str, base: str) -> bool:
    """Whether the workflow's file on the head is byte for byte the protected branch's, and is there at all."""
    blobs = {_blob(git, head, path), _blob(git, base, path)}
    return len(blobs) == 1 and "" not in blobs


def _blob(git: Git, commit: str, path: str) -> str:
    try:
        return git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}:{path}").decode().strip()
    except GitError:
        return ""
