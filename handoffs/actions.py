"""Every write of the enforcer lane. One verb each: gather first, outside any transaction, then record.

Each step moves the handoff's status by compare-and-set in the transaction that appends its event, so that a step
that runs twice, or dies halfway, is done exactly once.
Source: SOP sections 1.2, 4.1 and 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.accountability import Act, require
from audit.actions import append_event, take_part
from audit.canonical import JsonValue
from audit.events import Actor, AuditError, Role
from audit.models import Identity, LogEntry, Principal
from handoffs.archive import Limits
from handoffs.bundle import Manifest, read_patch
from handoffs.checks import SECRETS, holds_secret
from handoffs.contributors import authors_elsewhere
from handoffs.evidence import BuilderTrust, CheckResult, Context, Outcome
from handoffs.forge import ARTIFACT_PATH, ZERO, Forge, NewCommit
from handoffs.git import Git
from handoffs.git_process import GitError
from handoffs.isolation import Ceiling, IsolationError, run_isolated
from handoffs.lane import rules_in_force
from handoffs.markers import MarkerKind, foreign_markers, write_marker
from handoffs.models import (
    BundleCheck,
    Handoff,
    HandoffError,
    HandoffEvent,
    PullRequest,
    PullStatus,
    PushRefusal,
    RefIntent,
    Repository,
    Status,
)
from handoffs.refusals import RefusedError
from handoffs.scope import bounded
from handoffs.secrets import redact, redact_json
from handoffs.sigstore_signing import Sigstore
from handoffs.slsa import slsa_to_json
from handoffs.store import BundleStore
from handoffs.trust_roots import TrustedRoot
from handoffs.trusting import trust_builders
from handoffs.verification import Glance, Report, glance_at, verify_bundle, warm_up

WITHHELD_TITLE = "Withheld: a credential was found"
MAX_COMMITS_BEHIND = 1000
MAX_STORED_COMPONENTS = 200
MAX_ARTIFACT_BYTES = Limits().max_archive_bytes

_EVENTS = {Status.REFUSED: events.HANDOFF_REFUSED, Status.QUARANTINED: events.HANDOFF_QUARANTINED}


@dataclass(frozen=True)
class Tools:
    """The outside systems and secrets of the enforcer lane, built from settings by the task that runs a step."""

    forge: Forge
    store: BundleStore
    enforcer: Actor
    email: str
    portal_url: str
    key_password: str
    ceiling: Ceiling = field(default_factory=Ceiling)
    read_root: Callable[[], TrustedRoot] | None = None
    pinned_roots: tuple[str, ...] = ()
    sigstore: Sigstore | None = None
    clock: Callable[[], datetime] = timezone.now

    @property
    def git(self) -> Git:
        """The repository's objects."""
        return Git(self.forge.git_path)


def record_event(
    handoff: Handoff, event: str, actor: Actor, detail: dict[str, JsonValue], *, marker: str = ""
) -> HandoffEvent:
    """One row of leo_handoff_tracking and its leaf, in the caller's transaction. No credential gets into either."""
    detail = {key: redact_json(value) for key, value in detail.items()}
    body = {**detail, "repository": handoff.repository.full_name, "marker": marker}
    entry = append_event(event, actor, str(handoff), body)
    return HandoffEvent.objects.create(
        handoff=handoff,
        event=event,
        actor=actor.name,
        role=actor.role.value,
        marker=redact(marker),
        detail=detail,
        created_at=entry.created_at,
        log_entry=entry,
    )


def intend_update(repository: Repository, ref: str, *, old: str, new: str, entry: LogEntry) -> None:
    """Let the forge's hook pass exactly this ref update."""
    RefIntent.objects.get_or_create(
        repository=repository, ref=ref, old=old or ZERO, new=new, defaults={"log_entry": entry}
    )


def govern_repository(full_name: str, path: Path, protected_branch: str, *, by: Actor) -> Repository:
    """Put a bare repository on disk under the portal's protection; safe to repeat."""
    with transaction.atomic():
        repository, is_new = Repository.objects.get_or_create(
            path=str(path), defaults={"full_name": full_name, "protected_branch": protected_branch}
        )
        if is_new:
            append_event(
                events.REPOSITORY_GOVERNED, by, "", {"repository": full_name, "protected_branch": protected_branch}
            )
    return repository


def verify_handoff(handoff: Handoff, tools: Tools) -> None:
    """Fetch the bundle from the staging commit, run every check in a child with limits, and record what was found.

    VERIFIED, REFUSED or QUARANTINED. A bundle that holds a credential is not stored: nobody is given its bytes.
    """
    git = tools.git
    try:
        raw = git.read_file(handoff.staging_commit, ARTIFACT_PATH, max_bytes=MAX_ARTIFACT_BYTES)
    except GitError as error:
        _refuse(handoff, Status.RECEIVED, tools.enforcer, error.code, error.detail)
        return
    message = git.message_of(handoff.staging_commit)
    subject = message.partition("\n")[0]
    trust = _trust(tools)
    warm_up()
    try:
        glance = run_isolated(Glance, lambda: glance_at(raw), tools.ceiling)
        context = replace(_context(handoff, git, subject, glance), trust=trust)
        report = run_isolated(Report, lambda: verify_bundle(raw, git=tools.git, context=context), tools.ceiling)
    except IsolationError as error:
        _refuse(handoff, Status.RECEIVED, tools.enforcer, error.code, error.detail)
        return
    if not holds_secret(report.results):
        tools.store.put(raw)
    contributors = tools.forge.contributors(handoff.repository.protected_branch, handoff.staging_commit)
    _record_verification(
        handoff,
        tools.enforcer,
        report,
        [redact(address) for address in contributors],
        size_bytes=len(raw),
        forged=foreign_markers(message),
    )


def _context(handoff: Handoff, git: Git, subject: str, glance: Glance) -> Context:
    builders = Identity.objects.filter(kind=Identity.Kind.BUILDER_ID, principal__grant__role=Role.BUILDER.value)
    return Context(
        repository=handoff.repository.full_name,
        marker_subject=subject,
        branch=handoff.staging_branch,
        max_commits_behind=MAX_COMMITS_BEHIND,
        target_branch_sha=git.resolve(f"refs/heads/{handoff.repository.protected_branch}"),
        allowed_builders=tuple(builders.values_list("value", flat=True)),
        other_patches=_patches_of_other_tasks(handoff, glance),
        approvals=rules_in_force().approvals,
    )


def _trust(tools: Tools) -> BuilderTrust | None:
    """Whose signatures on attestations count. None while the policy pins nobody: then all of them are claims."""
    rules = rules_in_force()
    if not rules.builder_identities or tools.read_root is None:
        return None
    try:
        root = tools.read_root()
    except RefusedError as error:
        raise HandoffError(error.code, error.detail) from None
    return trust_builders(rules, root, pinned=root.digest in tools.pinned_roots, by=tools.enforcer)


def _patches_of_other_tasks(handoff: Handoff, glance: Glance) -> frozenset[str]:
    """This bundle's patch digest, if a handoff for another task carried the same patch; else nothing."""
    if not glance.patch_digest:
        return frozenset()
    verified = HandoffEvent.objects.filter(event=events.HANDOFF_VERIFIED).values("handoff_id")
    same = Handoff.objects.filter(repository=handoff.repository, patch_digest=glance.patch_digest, pk__in=verified)
    other_task = same.exclude(pk=handoff.pk).exclude(prd_id=glance.prd_id, title=_title(glance.task))
    return frozenset({glance.patch_digest}) if other_task.exists() else frozenset()


def _title(task: str) -> str:
    """The first line of a task's text, credentials redacted before it is cut."""
    return redact(task.strip().partition("\n")[0])[:200]


def _record_verification(
    handoff: Handoff,
    by: Actor,
    report: Report,
    contributors: Sequence[str],
    *,
    size_bytes: int,
    forged: Sequence[str],
) -> None:
    """Store every check's result and move the handoff; the people behind the bundle take part as builders.

    Of a quarantined bundle nothing is stored that it says itself.
    """
    digest = report.digest
    is_secret = holds_secret(report.results)
    manifest = None if is_secret else report.manifest
    people = _people(manifest, contributors) if manifest else _People(None, None, ())
    results = report.results if is_secret else (*report.results, *_people_checks(manifest, people))
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    with transaction.atomic(durable=True):
        if not is_secret:
            handoff.change_digest, handoff.result_tree = report.change_digest, report.result_tree or ""
        authors, unknown = authors_elsewhere(handoff)
        clash = _take_parts(handoff, people, authors, by)
        if clash is not None:
            failed.append(clash)
            results = (*results, clash)
        if not failed and _is_taken(handoff, digest):
            clash = CheckResult(
                code="handoff.duplicate",
                group="marker",
                sentence="The bundle was not handed over before.",
                outcome=Outcome.FAILED,
                got=digest,
                expected="a bundle that no other handoff carries",
            )
            failed.append(clash)
            results = (*results, clash)
        failed.sort(key=lambda result: result.is_unchecked)
        code = SECRETS if is_secret else failed[0].code if failed else ""
        ended = Status.QUARANTINED if is_secret else Status.REFUSED
        raised = () if is_secret else bounded(report.raised)
        Handoff.objects.move(
            handoff.pk,
            old=Status.RECEIVED,
            new=ended if failed else Status.VERIFIED,
            digest=digest,
            size_bytes=size_bytes,
            refusal_code=code[:60],
            title=WITHHELD_TITLE if is_secret else _title(manifest.task if manifest else handoff.title),
            prd_id=manifest.prd_id if manifest else "",
            merge_base=manifest.merge_base if manifest else "",
            patch_digest=report.patch_digest if manifest else "",
            change_digest="" if is_secret else report.change_digest,
            result_tree="" if is_secret else report.result_tree or "",
            raised=[{"kind": one.kind, "path": one.path, "why": one.why} for one in raised],
            component_delta={} if is_secret else report.components.as_json(at_most=MAX_STORED_COMPONENTS),
            slsa=[] if is_secret else slsa_to_json(report.slsa),
            builder=people.builder,
            sponsor=people.sponsor,
            unknown_contributors=sorted({*people.unknown, *unknown}),
        )
        BundleCheck.objects.bulk_create(
            BundleCheck(
                handoff=handoff,
                position=position,
                code=result.code,
                group=result.group,
                sentence=result.sentence[:300],
                outcome=result.outcome.value,
                got=result.got[:4000],
                expected=result.expected[:4000],
                tool=result.tool[:200],
            )
            for position, result in enumerate(results)
        )
        detail: dict[str, JsonValue] = {
            "digest": digest,
            "checks": len(results),
            "failed": [result.code for result in failed],
            "result_tree": "" if is_secret else report.result_tree or "",
            "raised": [{"kind": one.kind, "path": one.path, "why": one.why} for one in raised],
            "trusted_root": report.trusted_root_digest,
        }
        if is_secret:
            detail["found"] = next(result.got for result in results if result.code == SECRETS)
        event = _EVENTS[ended] if failed else events.HANDOFF_VERIFIED
        marker = "" if failed else write_marker(MarkerKind.CODEX_READY, digest)
        record_event(handoff, event, by, detail, marker=marker)
        if forged:
            record_event(handoff, events.MARKER_FORGED, by, {"markers": list(forged)})


def _is_taken(handoff: Handoff, digest: str) -> bool:
    """Whether this very bundle was verified before. Only one that was refused may be handed over again (ATT-03)."""
    others = Handoff.objects.filter(repository=handoff.repository, digest=digest).exclude(pk=handoff.pk)
    return others.exclude(status__in=(Status.REFUSED, Status.QUARANTINED)).exists()


@dataclass(frozen=True)
class _People:
    builder: Principal | None
    sponsor: Principal | None
    unknown: tuple[str, ...]
    others: tuple[Principal, ...] = ()


def _people(manifest: Manifest, contributors: Sequence[str]) -> _People:
    """Who stands behind a bundle: the builder by its id, its sponsor, and every e-mail address in the commits."""
    owner = Identity.objects.filter(kind=Identity.Kind.BUILDER_ID, value=manifest.builder_id)
    row = owner.select_related("principal", "principal__sponsor").first()
    known = {
        identity.value: identity.principal
        for identity in Identity.objects.filter(kind=Identity.Kind.EMAIL, value__in=contributors).select_related(
            "principal"
        )
    }
    return _People(
        builder=row.principal if row else None,
        sponsor=row.principal.sponsor if row else None,
        unknown=tuple(address for address in contributors if address not in known),
        others=tuple({principal.pk: principal for principal in known.values()}.values()),
    )


def _people_checks(manifest: Manifest | None, people: _People) -> tuple[CheckResult, ...]:
    """Unknown identity is refused, never exempt: the builder's sponsor must be the registered one."""
    claimed = manifest.sponsor if manifest else ""
    registered = people.sponsor.name if people.sponsor else ""
    return (
        CheckResult(
            code="manifest.sponsor",
            group="manifest",
            sentence="The sponsor named in the manifest is the person registered for this builder.",
            outcome=Outcome.PASSED if claimed and claimed == registered else Outcome.FAILED,
            got=redact(claimed) or "no sponsor",
            expected=registered or "a registered builder with a sponsor",
        ),
    )


def _take_parts(handoff: Handoff, people: _People, elsewhere: Sequence[Actor], by: Actor) -> CheckResult | None:
    """Builder, sponsor and authors take part as BUILDER, the enforcer as ENFORCER. Returns a conflict as a check."""
    parts = [*elsewhere] + [
        Actor(p.pk, p.name, Role.BUILDER) for p in (people.builder, *people.others) if p is not None
    ]
    try:
        with transaction.atomic():
            for part in (*parts, by):
                take_part(handoff.chain, part)
    except AuditError as error:
        return CheckResult(
            code=error.code,
            group="manifest",
            sentence="Nobody behind this bundle has another duty on this handoff.",
            outcome=Outcome.FAILED,
            got=error.detail,
            expected="one duty for each principal",
        )
    return None


def quarantine_handoff(handoff: Handoff, by: Actor, code: str, detail: str) -> None:
    """Take a handoff out of the lane for good: its bytes are not, or no longer, fit to be given to anybody."""
    with transaction.atomic(durable=True):
        Handoff.objects.move(handoff.pk, old=Status(handoff.status), new=Status.QUARANTINED, refusal_code=code[:60])
        record_event(handoff, events.HANDOFF_QUARANTINED, by, {"failed": [code], "detail": detail[:2000]})


def _refuse(handoff: Handoff, old: Status, by: Actor, code: str, detail: str) -> None:
    with transaction.atomic(durable=True):
        Handoff.objects.move(handoff.pk, old=old, new=Status.REFUSED, refusal_code=code[:60])
        record_event(handoff, events.HANDOFF_REFUSED, by, {"failed": [code], "detail": detail[:2000]})


def apply_handoff(handoff: Handoff, tools: Tools) -> None:
    """Build the feature commit from the verified result tree and push it through the forge's protection."""
    git, store = tools.git, tools.store
    tree = git.result_tree(handoff.merge_base, read_patch(store.get(handoff.digest)))
    if tree != handoff.result_tree:
        _refuse(
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
        _refuse(handoff, Status.SIGNED, tools.enforcer, "apply.branch_taken", detail)
        return
    if old and not RefIntent.objects.filter(repository=handoff.repository, ref=ref, new=old).exists():
        detail = f"{branch} is at {old}, which the portal did not put there; use another staging branch"
        _refuse(handoff, Status.SIGNED, tools.enforcer, "apply.branch_taken", detail)
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
    with transaction.atomic(durable=True):
        Handoff.objects.move(handoff.pk, old=Status.APPLIED, new=Status.OPENED)
        body = _body(handoff, tools.portal_url)
        pull = _new_head(handoff, base_sha, merge_tree, body) or open_row(
            handoff, base_sha=base_sha, merge_tree=merge_tree, body=body
        )
        record_event(
            handoff,
            events.HANDOFF_OPENED,
            tools.enforcer,
            {"pull_request": pull.number, "head": pull.head_sha, "base": base_sha, "merge_tree": merge_tree},
            marker=write_marker(MarkerKind.CLAUDE_APPLIED, handoff.digest),
        )


def open_row(handoff: Handoff, *, base_sha: str, merge_tree: str, body: str) -> PullRequest:
    """A pull request with the repository's next number, in the caller's transaction."""
    now = timezone.now()
    repository = Repository.objects.select_for_update().get(pk=handoff.repository_id)
    pull = PullRequest.objects.create(
        repository=repository,
        number=repository.next_number,
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
    repository.next_number += 1
    repository.save(update_fields=["next_number"])
    return pull


def _new_head(handoff: Handoff, base_sha: str, merge_tree: str, body: str) -> PullRequest | None:
    """Move the branch's open pull request to this handoff's commit: every verdict on the old head is stale."""
    pull = PullRequest.objects.is_open().filter(repository=handoff.repository, head_ref=handoff.feature_branch).first()
    if pull is None:
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


@transaction.atomic(durable=True)
def retry_handoff(handoff_id: int, *, by: Actor) -> bool:
    """Give a handoff that failed too often its attempts back. False when it has no step to do."""
    handoff = Handoff.objects.select_related("repository").get(pk=handoff_id)
    if not Handoff.objects.open().filter(pk=handoff_id).update(attempts=0, lease_until=None, next_try_at=None):
        return False
    record_event(handoff, events.HANDOFF_RETRIED, by, {"status": handoff.status, "error": handoff.error[:500]})
    return True


def log_push_refusals(*, by: Actor) -> int:
    """Put refusals that the forge's hooks reported into the trail. Returns how many."""
    count = 0
    for refusal in PushRefusal.objects.filter(log_entry=None).order_by("pk")[:200]:
        with transaction.atomic(durable=True):
            locked = PushRefusal.objects.select_for_update().get(pk=refusal.pk)
            if locked.log_entry_id is None:
                locked.log_entry = append_event(
                    events.PUSH_REFUSED,
                    by,
                    "",
                    {
                        "path": Path(locked.repository_path).name,
                        "ref": redact(locked.ref),
                        "new": locked.new,
                        "code": locked.code,
                    },
                )
                locked.save(update_fields=["log_entry"])
                count += 1
    return count
