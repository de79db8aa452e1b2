"""Reads: what our rows say of a pull request, as the publisher's pure function takes it, and the words for its checks.

Nothing is written. What cannot be read is a doubt, and a doubt is no success.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audit.covering import covered_of, log_alarm
from audit.names import names_of
from audit.separation import Assurance
from handoffs.clocks import current_skew
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.github.findings import Protection
from handoffs.models import GitHubRepository, PullRequest, PullStatus, Status
from verdicts import evidence
from verdicts.check_text import AgentLine, Block, Story, gate_summary, said_of_verdict, summary
from verdicts.decision import Verdict as VerdictKind
from verdicts.evidence import Evidence
from verdicts.models import Decision, GateExecution, Verdict
from verdicts.policy_document import Policy
from verdicts.protection import protection_of
from verdicts.publishing import Cause, Doubt, Known, Release, Seen, Stage
from verdicts.results import GateOutcome
from verdicts.reviewing import find_blocks

STAGES: Final[Mapping[str, Stage]] = {
    PullStatus.GATES_PASSING: Stage.VERIFYING,
    PullStatus.READY_TO_MERGE: Stage.RELEASED,
    PullStatus.NEEDS_REVISION: Stage.SENT_BACK,
    PullStatus.LEAD_REVIEW: Stage.WITH_LEAD,
    PullStatus.MERGED: Stage.ENDED,
    PullStatus.CLOSED: Stage.ENDED,
}
RELEASES: Final[Mapping[str, Release]] = {
    "OVERRIDE/BREAK-GLASS": Release.BREAK_GLASS,
    "OVERRIDE": Release.OVERRIDE,
    "APPROVED": Release.APPROVED,
}


@dataclass(frozen=True)
class Reading:
    """One pull request as it stands, judged. `entries` are those that a success would rest on."""

    pull: PullRequest
    found: Evidence
    verdict: Verdict | None
    approval: Decision | None
    known: Known
    entries: tuple[int, ...]


def labels_of(hosted: GitHubRepository, policy: Policy) -> tuple[str, ...]:
    """What stands before every title of Gate 3, and over its summary: that nothing blocks, or only seems to."""
    standing = protection_of(hosted.repository, policy)
    observed = Protection.OBSERVED.value if hosted.is_observed else ""
    return tuple(dict.fromkeys(label for label in (standing.label, observed) if label))


def read_pulls(repository_id: int, numbers: set[int]) -> dict[int, Reading]:
    """The pull requests of these numbers that are handed over, each as it stands.

    Raises: VerdictError("policy.none").
    """
    rows = PullRequest.objects.filter(repository=repository_id, number__in=numbers)
    rows = rows.select_related("repository", "handoff__repository", "handoff__builder", "handoff__signature__key")
    deferred = rows.defer("handoff__signature__key__secret_key").order_by("number")
    return {pull.number: read_pull(pull) for pull in deferred}


def read_pull(pull: PullRequest) -> Reading:
    """One pull request as it stands, with why what released it may not be relied on now."""
    doubts = []
    try:
        tree = evidence.observed_tree(pull, Git(Path(pull.repository.path)))
    except GitError as error:
        tree = ""
        doubts.append(Doubt(f"the head cannot be read: {error.code}", "operator"))
    found = evidence.gather(pull, tree=tree)
    verdict = evidence.live_verdict(pull, related=("supervisor", "policy"))
    approval = evidence.live_approval(pull, related=("lead", "verdict"))
    cause, entry = _cause(pull, verdict, approval), 0
    if cause is not None:
        entry = cause.entry
        doubts += _doubts(pull, found, is_emergency=cause.release is Release.BREAK_GLASS)
    entries = tuple(row.log_entry_id for row in found.executions.values()) + ((entry,) if entry else ())
    covered = covered_of(entries)
    gates = {
        key: Seen(GateOutcome(row.conclusion), row.log_entry_id in covered) for key, row in found.executions.items()
    }
    stage = STAGES[pull.status]
    known = Known(
        number=pull.number,
        head_sha=pull.head_sha,
        base_ref=pull.base_ref,
        base_sha=pull.base_sha,
        merge_tree=pull.merge_tree,
        stage=Stage.WAITING if stage is Stage.VERIFYING and pull.triggered_at is None else stage,
        gates=gates,
        cause=_covered(cause, entry in covered) if cause is not None else None,
        label=_label(pull, verdict),
        doubts=tuple(doubts),
    )
    return Reading(pull, found, verdict, approval, known, entries)


def _cause(pull: PullRequest, verdict: Verdict | None, approval: Decision | None) -> Cause | None:
    """The newer of the live PASS and the live approval. An approval binds the base through the tree it names."""
    is_passed = verdict is not None and verdict.binds(pull) and verdict.verdict == VerdictKind.PASS.value
    if approval is not None and not (is_passed and verdict and verdict.log_entry_id > approval.log_entry_id):
        base = approval.verdict.base_sha if approval.verdict is not None else pull.base_sha
        release = RELEASES[approval.release_class]
        return Cause(release, approval.log_entry_id, approval.head_sha, base, approval.merge_tree, is_covered=False)
    if verdict is None or verdict.verdict != VerdictKind.PASS.value:
        return None
    parts = (verdict.log_entry_id, verdict.head_sha, verdict.base_sha, verdict.merge_tree)
    return Cause(Release.PASS, *parts, is_covered=False)


def _covered(cause: Cause, is_covered: bool) -> Cause:  # noqa: FBT001 - the one thing that was not known before
    return Cause(cause.release, cause.entry, cause.head_sha, cause.base_sha, cause.merge_tree, is_covered)


def _doubts(pull: PullRequest, found: Evidence, *, is_emergency: bool) -> list[Doubt]:
    """What speaks against showing a success now. The portal's own merge asks the same, `verdicts.merging`."""
    doubts = []
    if alarm := log_alarm():
        doubts.append(Doubt(f"the log has an alarm, {alarm}", "operator"))
    if not found.standing.is_enrolled:
        doubts.append(Doubt("no canary has proved that the gates block here", "operator"))
    if current_skew():
        doubts.append(Doubt("a clock is wrong", "operator"))
    if pull.handoff.status != Status.TRIGGERED or pull.handoff.applied_commit != pull.head_sha:
        doubts.append(Doubt("the handoff is not what it was", "CODEX"))
    if evidence.has_work_left(pull) and not is_emergency:
        doubts.append(Doubt("checks run on this head again", "time"))
    if news := evidence.news_since(evidence.released_judgement(pull), found.judgement):
        doubts.append(Doubt(f"since it was released: {news[0].code}", news[0].who.value))
    return doubts


def _label(pull: PullRequest, verdict: Verdict | None) -> str:
    if verdict is not None and verdict.binds(pull):
        return f"{verdict.verdict} · {verdict.confidence} %"
    return "TIMED_OUT" if pull.timed_out_at is not None else ""


def page_of(pull: PullRequest, portal_url: str) -> str:
    """The portal's page of a pull request."""
    return f"{portal_url}/prs/{pull.repository.full_name}/{pull.number}/"


def gate_3_summary(reading: Reading, notes: tuple[str, ...], portal_url: str) -> tuple[str, Story]:
    """The summary of Gate 3, and the story it was made of."""
    pull, found = reading.pull, reading.found
    blocks = find_blocks(pull, found, "PLAN asks LEAD a question; it is in the portal." if reading.verdict else "")
    names = names_of(texts=[block.sentence for block in blocks])
    doubts = [Block(f"Not shown as a success: {doubt.sentence}", doubt.who) for doubt in reading.known.doubts]
    if found.assurance is Assurance.SINGLE_OPERATOR:
        notes = (*notes, "Single operator: one person answers for makers and deciders")
    story = Story(
        blocks=(*(Block(names.within(block.sentence), block.who) for block in blocks), *doubts),
        agents=tuple(
            AgentLine(term.kind.value.capitalize(), term.outcome, str(term.confidence))
            for term in found.judgement.terms
        ),
        verdict=_judged(reading),
        notes=notes,
        findings=tuple(one for result in found.inputs.results for one in result.findings),
        url=page_of(pull, portal_url),
    )
    return summary(story), story


def _judged(reading: Reading) -> str:
    verdict, approval, digest = reading.verdict, reading.approval, reading.found.digest
    said = []
    if verdict is not None and verdict.binds(reading.pull):
        version = verdict.policy.number
        said.append(said_of_verdict("Verdict", verdict.supervisor.name, "PLAN", verdict.created_at, version, digest))
    if approval is not None:
        version = reading.found.policy_version.number
        what = f"{approval.release_class} decision"
        said.append(said_of_verdict(what, approval.lead.name, "LEAD", approval.created_at, version, digest))
        if approval.expires_at is not None:
            said.append(f"It holds until {approval.expires_at:%Y-%m-%d %H:%M} UTC")
    return "  \n".join(said)


def input_summary(reading: Reading, execution: GateExecution | None, portal_url: str) -> str:
    """The summary of one of the gates that a verdict waits for."""
    url = page_of(reading.pull, portal_url)
    if execution is None:
        return gate_summary("", (), "", url)
    listed = execution.evidence.get("checks")
    checks = [
        (str(one.get("name", "")), one.get("met") is True, str(one.get("got", "")))
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    ]
    return gate_summary(execution.conclusion, checks, execution.run_id, url)
