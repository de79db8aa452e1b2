"""The enforcer's last steps: the feature commit from the verified result tree, and the pull request."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.events import Actor
from handoffs.actions import Tools, intend_update, record_event, refuse_handoff
from handoffs.bundles.bundle import read_change
from handoffs.bundles.markers import MarkerKind, write_marker
from handoffs.forges.protocol import NewCommit, NewPull
from handoffs.git.process import GitError
from handoffs.models import (
    Handoff,
    PullRequest,
    PullStatus,
    RefIntent,
    Repository,
    Status,
)


def apply_handoff(handoff: Handoff, tools: Tools) -> None:
    """Build the feature commit from the verified result tree and push it through the forge's protection."""
    git, store = tools.git, tools.store
    tree = git.result_tree(handoff.merge_base, read_change(store.get(handoff.digest)).patch)
    if tree != handoff.result_tree:
        refuse_handoff(
            handoff, Status.SIGNED, tools.enforcer, "apply.tree_mismatch", f"got {tree}, expected {handoff.result_tree}"
        )
        return
    branch = handoff.staging_branch.replace("staging/codex-", "feature/", 1)
    marker = write_marker(MarkerKind.CLAUDE_APPLIED, handoff.digest)
    commit = tools.forge.write_commit(
        NewCommit(
            tree=tree,
            parents=(handoff.merge_base,),
            message=_applied_message(handoff, marker, tools.portal_url),
            name=tools.enforcer.name,
            email=tools.email,
            when=handoff.signature.signed_at,
        )
    )
    old = tools.forge.branch(branch)
    ref = f"refs/heads/{branch}"
    blocking = tools.forge.branch_in_the_way(branch)
    if blocking:
        detail = f"{blocking} is in the way of {branch}: git keeps no branch inside another; use another staging branch"
        refuse_handoff(handoff, Status.SIGNED, tools.enforcer, "apply.branch_taken", detail)
        return
    if old and not RefIntent.objects.filter(repository=handoff.repository, ref=ref, new=old).exists():
        detail = f"{branch} is at {old}, which the portal did not put there; use another staging branch"
        refuse_handoff(handoff, Status.SIGNED, tools.enforcer, "apply.branch_taken", detail)
        return
    if old != commit:
        with transaction.atomic(durable=True):
            entry = record_event(
                handoff, events.HANDOFF_APPLYING, tools.enforcer, {"branch": branch, "commit": commit, "old": old}
            ).log_entry
            intend_update(handoff.repository, ref, old=old, new=commit, entry=entry)
        tools.forge.update_branch(branch, old=old, new=commit)
    with transaction.atomic(durable=True):
        Handoff.objects.move(
            handoff.pk, old=Status.SIGNED, new=Status.APPLIED, applied_commit=commit, feature_branch=branch
        )
        record_event(
            handoff, events.HANDOFF_APPLIED, tools.enforcer, {"branch": branch, "commit": commit}, marker=marker
        )


def _applied_message(handoff: Handoff, marker: str, portal_url: str) -> str:
    return (
        f"{marker} {handoff.title}\n\n"
        f"Handoff: {portal_url}/handoffs/{handoff.pk}/\n"
        f"Staging-Commit: {handoff.staging_commit}\n"
        f"Bundle-SHA256: {handoff.digest}\n"
        f"Signed-By: {handoff.signature.signer}\n"
    )


def open_pull_request(handoff: Handoff, tools: Tools) -> None:
    """Open the pull request, or give the branch's open one its new head. The workflows are triggered next."""
    require(tools.enforcer, Act.CREATE_PULL_REQUEST)
    base_sha = tools.forge.branch(handoff.repository.protected_branch)
    try:
        merge_tree = tools.git.merge_tree(base_sha, handoff.applied_commit)
    except GitError as error:
        if error.code != "git.conflict":
            raise
        _refuse_applied(handoff, tools.enforcer, error.detail)
        return
    body = _body(handoff, tools.portal_url)
    wanted = NewPull(handoff.feature_branch, handoff.repository.protected_branch, handoff.title, body)
    number = tools.forge.open_pull(wanted)
    with transaction.atomic(durable=True):
        Handoff.objects.move(handoff.pk, old=Status.APPLIED, new=Status.OPENED)
        pull = _new_head(handoff, number, base_sha, merge_tree, body) or open_row(
            handoff, number=number, base_sha=base_sha, merge_tree=merge_tree, body=body
        )
        record_event(
            handoff,
            events.HANDOFF_OPENED,
            tools.enforcer,
            {"pull_request": pull.number, "head": pull.head_sha, "base": base_sha, "merge_tree": merge_tree},
            marker=write_marker(MarkerKind.CLAUDE_APPLIED, handoff.digest),
        )


def open_row(handoff: Handoff, *, number: int = 0, base_sha: str, merge_tree: str, body: str) -> PullRequest:
    """A pull request with the forge's number, or (0) the repository's next one, in the caller's transaction."""
    now = timezone.now()
    repository = Repository.objects.select_for_update().get(pk=handoff.repository_id)
    pull = PullRequest.objects.create(
        repository=repository,
        number=number or repository.next_number,
        handoff=handoff,
        title=handoff.title,
        body=body,
        base_ref=repository.protected_branch,
        base_sha=base_sha,
        head_ref=handoff.feature_branch,
        head_sha=handoff.applied_commit,
        merge_tree=merge_tree,
        opened_at=now,
        moved_at=now,
    )
    if not number:
        repository.next_number += 1
        repository.save(update_fields=["next_number"])
    return pull


def _new_head(handoff: Handoff, number: int, base_sha: str, merge_tree: str, body: str) -> PullRequest | None:
    """Move the branch's open pull request to this handoff's commit: every verdict on the old head is stale.

    A pull request that the forge calls by another number is another one, and keeps what it has.
    """
    pull = PullRequest.objects.is_open().filter(repository=handoff.repository, head_ref=handoff.feature_branch).first()
    if pull is None or (number and pull.number != number):
        return None
    PullRequest.objects.move(
        pull.pk,
        old=PullStatus(pull.status),
        new=PullStatus.GATES_PASSING,
        handoff=handoff,
        title=handoff.title,
        body=body,
        head_sha=handoff.applied_commit,
        base_sha=base_sha,
        merge_tree=merge_tree,
        triggered_at=None,
        deadline_at=None,
        timed_out_at=None,
        round=1,
    )
    pull.refresh_from_db()
    return pull


def _refuse_applied(handoff: Handoff, by: Actor, detail: str) -> None:
    """A verified change that no longer merges: the pull request cannot be opened, the builder rebases."""
    with transaction.atomic(durable=True):
        Handoff.objects.move(handoff.pk, old=Status.APPLIED, new=Status.REFUSED, refusal_code="merge.conflict")
        record_event(handoff, events.HANDOFF_REFUSED, by, {"failed": ["merge.conflict"], "detail": detail[:2000]})


def _body(handoff: Handoff, portal_url: str) -> str:
    return (
        f"{handoff.title}\n\n"
        f"Handoff: {handoff} {portal_url}/handoffs/{handoff.pk}/\n"
        f"Bundle: sha256 {handoff.digest}\n"
        f"Signed by: {handoff.signature.signer}\n"
        f"PRD: {handoff.prd_id}\n"
        f"How to undo: rollback.md in the bundle\n"
    )
