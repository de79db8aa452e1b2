"""Merging: the portal makes the merge commit, the repository's own hook decides whether it may land.

Source: SOP sections 4.1 step 11 and 4.2 (trailers).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event, take_part
from audit.canonical import JsonValue
from audit.covering import WAITING, log_state, wait_covered
from audit.events import Actor, AuditError, Role, numbered
from handoffs.actions import Tools, record_event
from handoffs.bundles.markers import MarkerKind, write_marker
from handoffs.forges.protocol import ForgeError, NewCommit
from handoffs.models import Handoff, PullRequest, PullStatus, Repository, Status
from verdicts import evidence
from verdicts.actions import refuse_wrong_clock
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import BREAK_GLASS, MergeIntent, VerdictError
from verdicts.refusals import log_refusal


def merge_pull_request(pull_id: int, tools: Tools, *, by: Actor) -> PullRequest:
    """Merge a pull request that PASS or LEAD released, as one merge commit with the SOP's trailers.

    On GitHub the enforcer's worker asks for it (`verdicts.merging_github`): the pull request comes back as it was.
    Safe to repeat after a crash: the commit is the same, the push is a no-op, the record is made once.
    Raises: VerdictError or AuditError with a stable code; a refusal is in the trail and nothing moved.
    """
    try:
        return _merge(pull_id, tools, by)
    except (VerdictError, AuditError, ForgeError) as error:
        log_refusal(events.MERGE_REFUSED, pull_id, by, error)
        if isinstance(error, ForgeError):
            raise VerdictError(error.code, error.detail) from None
        raise


def _merge(pull_id: int, tools: Tools, by: Actor) -> PullRequest:
    require(by, Act.MERGE)
    pull = PullRequest.objects.select_related("repository", "handoff").get(pk=pull_id)
    if pull.status == PullStatus.MERGED:
        return pull
    if pull.status != PullStatus.READY_TO_MERGE or pull.handoff.status != Status.TRIGGERED:
        raise VerdictError(
            "merge.no_pass",
            f"PR-{pull.number} is {pull.label}; it merges only after PASS, or after LEAD approved what PLAN escalated",
        )
    _wait_for_the_log(pull, tools.log_seconds)
    tip = tools.forge.branch(pull.base_ref)
    is_asked = pull.repository.forge == Repository.Forge.GITHUB
    merge_sha = "" if is_asked else _write_merge_commit(pull, tools)
    if tip not in {pull.base_sha, merge_sha}:
        raise VerdictError(
            "merge.base_moved",
            f"{pull.base_ref} is at {tip[:12]}, the verdict was on {pull.base_sha[:12]}; verify again",
        )
    tree = pull.merge_tree if is_asked else tools.git.tree_of(merge_sha)
    if tree != tools.git.merge_tree(pull.base_sha, pull.head_sha):
        raise VerdictError("merge.tree_mismatch", "the merge does not give the tree that was judged; nothing moved")
    with transaction.atomic(durable=True):
        locked = PullRequest.objects.select_for_update().get(pk=pull.pk)
        is_same = (locked.head_sha, locked.base_sha) == (pull.head_sha, pull.base_sha)
        if locked.status != PullStatus.READY_TO_MERGE or not is_same:
            raise VerdictError("merge.no_pass", f"PR-{pull.number} changed while it was being merged")
        take_part(pull.handoff.chain, by)
        refuse_wrong_clock(tools.clock)
        _refuse_worse(locked)
        PullRequest.objects.filter(pk=pull.pk).update(merge_sha=merge_sha)
        _intend(pull, merge_sha, by, trailers="" if merge_sha else _asked_trailers(pull, tools))
    if is_asked:
        return PullRequest.objects.get(pk=pull.pk)
    tools.forge.update_branch(pull.base_ref, old=pull.base_sha, new=merge_sha)
    record_merge(pull.pk, merge_sha, is_deciders=True)
    return PullRequest.objects.get(pk=pull.pk)


def _wait_for_the_log(pull: PullRequest, seconds: float) -> None:
    """Nothing lands before its cause is in a signed checkpoint. The repository's hook asks the same again."""
    rows = [row for row in (evidence.live_verdict(pull), evidence.live_approval(pull)) if row is not None]
    if not rows:
        detail = f"what released PR-{pull.number} no longer holds: the approval has expired; LEAD decides again"
        raise VerdictError("merge.no_pass", detail)
    if not wait_covered([row.log_entry_id for row in rows], seconds=seconds):
        alarms = log_state().alarms
        detail = f"the log has an alarm, {alarms[0].code}: an operator has to look at it" if alarms else WAITING
        raise VerdictError(alarms[0].code if alarms else "merge.not_covered", detail)


def _refuse_worse(pull: PullRequest) -> None:
    """Judge once more, as late as possible: evidence may have aged or changed since the release."""
    approval = evidence.live_approval(pull)
    is_emergency = approval is not None and approval.reason_class == BREAK_GLASS
    if evidence.has_work_left(pull) and not is_emergency:
        raise VerdictError("merge.still_running", "checks are running on this head; wait for them, they take seconds")
    now = evidence.gather(pull, tree=pull.handoff.result_tree).judgement
    news = evidence.news_since(evidence.released_judgement(pull), now)
    if news:
        detail = f"since PR-{pull.number} was released: {news[0].sentence}; PLAN looks again"
        raise VerdictError("merge.evidence_changed", detail)


def _intend(pull: PullRequest, merge_sha: str, by: Actor, *, trailers: str) -> None:
    """Say what is about to be pushed or asked for, in the caller's transaction; a repeat says it once."""
    at = {"merge_sha": merge_sha, "head_sha": pull.head_sha, "base_sha": pull.base_sha}
    if MergeIntent.objects.filter(pull_request=pull, **at).exists():
        return
    body: dict[str, JsonValue] = {"pr": pull.number, "commit": merge_sha, "head": pull.head_sha, "base": pull.base_sha}
    MergeIntent.objects.create(
        pull_request=pull,
        handoff_id=pull.handoff_id,
        **at,
        trailers=trailers,
        actor_id=by.principal_id,
        role=by.role.value,
        log_entry=append_event(events.MERGE_INTENDED, by, f"H-{pull.handoff_id}", body),
    )


@transaction.atomic(durable=True)
def record_merge(pull_id: int, merge_sha: str, *, is_deciders: bool = False) -> bool:
    """An intended merge commit is on the protected branch: say so, once, whatever else happened to the row meanwhile.

    A newer bundle that took the pull request over before the merge was seen gets a pull request of its own. That one,
    and a row whose head or base moved meanwhile, the deciders' lanes leave to the enforcer's next sweep: they open
    nothing and move no head.
    Not checked: that the commit is on the branch; the caller has just pushed or found it.
    """
    pull = PullRequest.objects.select_for_update().get(pk=pull_id)
    intent = MergeIntent.objects.select_related("actor").filter(pull_request=pull, merge_sha=merge_sha).first()
    if intent is None or pull.status == PullStatus.MERGED:
        return False
    by = Actor(intent.actor_id, intent.actor.name, Role(intent.role))
    landing = Landing(intent.handoff_id or pull.handoff_id, merge_sha, intent.head_sha, intent.base_sha)
    return land(pull, landing, by=by, is_deciders=is_deciders)


@dataclass(frozen=True)
class Landing:
    """What landed: the commit, whose head it merged, and into what."""

    handoff_id: int
    merge_sha: str
    head_sha: str
    base_sha: str


def land(pull: PullRequest, landing: Landing, *, by: Actor, is_deciders: bool = False) -> bool:
    """The row is merged, and its handoff says so, in the caller's transaction, on the locked row."""
    newer = pull.handoff if landing.handoff_id != pull.handoff_id else None
    changes = {name: value for name, value in asdict(landing).items() if getattr(pull, name) != value}
    if is_deciders and not set(changes) <= {"merge_sha"}:
        return False
    old = PullStatus(pull.status)
    PullRequest.objects.move(pull.pk, old=old, new=PullStatus.MERGED, merged_at=timezone.now(), **changes)
    if newer is not None and newer.status in {Status.OPENED, Status.TRIGGERED}:
        # Its change waits on the branch: the next sweep opens a pull request for it, on GitHub with GitHub's number.
        Handoff.objects.move(newer.pk, old=Status(newer.status), new=Status.APPLIED)
    handoff = Handoff.objects.select_related("repository").get(pk=landing.handoff_id)
    detail: dict[str, JsonValue] = {
        "pull_request": pull.number,
        "commit": landing.merge_sha,
        "base": landing.base_sha,
        "head": landing.head_sha,
    }
    record_event(handoff, events.PULL_MERGED, by, {**detail, "was": pull.status})
    return True


def _asked_trailers(pull: PullRequest, tools: Tools) -> str:
    """The SOP's trailers for GitHub to write: people by number, texts by digest, since nothing can be erased there."""
    verdict, approval = evidence.live_verdict(pull), evidence.live_approval(pull)
    lines = _trailers_of_handoff(pull, tools)
    if verdict is not None and verdict.binds(pull):
        lines += [f"PLAN-SUPERVISOR: {verdict.verdict}", f"Verdict-By: {numbered(verdict.supervisor_id)}"]
    if approval is not None:
        lines += [f"LEAD-APPROVED: {approval.justification.digest}", f"Decision-By: {numbered(approval.lead_id)}"]
        lines.append(f"Release-Class: {approval.release_class}")
    return "\n".join(lines)


def _trailers_of_handoff(pull: PullRequest, tools: Tools) -> list[str]:
    digest = pull.handoff.digest
    return [
        f"Handoff: {tools.portal_url}/handoffs/{pull.handoff_id}/",
        f"Codex: {write_marker(MarkerKind.CODEX_READY, digest)}",
        f"Claude: {write_marker(MarkerKind.CLAUDE_APPLIED, digest)}",
    ]


def _write_merge_commit(pull: PullRequest, tools: Tools) -> str:
    verdict, approval = evidence.live_verdict(pull), evidence.live_approval(pull)
    is_passed = verdict is not None and verdict.binds(pull) and verdict.verdict == VerdictKind.PASS.value
    if not is_passed and approval is None:
        raise VerdictError("merge.no_pass", f"PR-{pull.number} has neither a PASS nor a LEAD approval for this head")
    trailers = _trailers_of_handoff(pull, tools)
    if verdict is not None and verdict.binds(pull):
        trailers.append(f"PLAN-SUPERVISOR: {verdict.verdict}")
        trailers.append(f"Verdict-By: {verdict.supervisor.name}")
    if approval is not None:
        prefix = f"{BREAK_GLASS}: " if approval.reason_class == BREAK_GLASS else ""
        said = f"{prefix}{approval.justification}"
        trailers.append(f"LEAD-APPROVED: {' '.join(said.split())[:200]}")
        trailers.append(f"Decision-By: {approval.lead.name}")
        trailers.append(f"Release-Class: {approval.release_class}")
    moments = [row.created_at for row in (verdict, approval) if row is not None]
    return tools.forge.write_commit(
        NewCommit(
            tree=pull.merge_tree,
            parents=(pull.base_sha, pull.head_sha),
            message=f"Merge PR-{pull.number}: {pull.title}\n\n" + "\n".join(trailers) + "\n",
            name=tools.enforcer.name,
            email=tools.email,
            when=max(moments),
        )
    )
