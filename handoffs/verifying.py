"""The enforcer's first step: fetch a handed-over bundle, run every check in a child, record what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from django.db import transaction

from audit import events
from audit.canonical import JsonValue
from audit.events import Actor, Role
from audit.models import Identity, RoleGrant
from handoffs.actions import Tools, record_event, refuse_handoff
from handoffs.attestations.slsa import slsa_to_json
from handoffs.bundles.limits import Limits
from handoffs.bundles.markers import MarkerKind, foreign_markers, write_marker
from handoffs.checks.catalogue import NOT_TWICE, SECRETS, holds_secret
from handoffs.checks.evidence import BuilderTrust, Context, Outcome
from handoffs.checks.isolation import IsolationError, run_isolated
from handoffs.checks.verification import Glance, Report, glance_at, verify_bundle, warm_up
from handoffs.contributors import authors_elsewhere
from handoffs.forges.protocol import ARTIFACT_PATH
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.lane import rules_in_force
from handoffs.models import (
    BundleCheck,
    Handoff,
    HandoffError,
    HandoffEvent,
    Status,
)
from handoffs.packages.components import MAX_TOLD
from handoffs.people import People, find_people, people_checks, signer_checks, take_parts
from handoffs.scope.control_plane import bounded
from handoffs.scope.secrets import redact
from handoffs.signatures.refusals import RefusedError
from handoffs.trusting import trust_builders

WITHHELD_TITLE = "Withheld: a credential was found"
MAX_COMMITS_BEHIND = 1000
MAX_ARTIFACT_BYTES = Limits().max_archive_bytes
_EVENTS = {Status.REFUSED: events.HANDOFF_REFUSED, Status.QUARANTINED: events.HANDOFF_QUARANTINED}


def verify_handoff(handoff: Handoff, tools: Tools) -> None:
    """Fetch the bundle from the staging commit, run every check in a child with limits, and record what was found.

    VERIFIED, REFUSED or QUARANTINED. A bundle that holds a credential is not stored: nobody is given its bytes.
    """
    git = tools.git
    try:
        raw = git.read_file(handoff.staging_commit, ARTIFACT_PATH, max_bytes=MAX_ARTIFACT_BYTES)
    except GitError as error:
        refuse_handoff(handoff, Status.RECEIVED, tools.enforcer, error.code, error.detail)
        return
    message = git.message_of(handoff.staging_commit)
    subject = message.partition("\n")[0]
    trust = _trust(tools)
    warm_up(trust.root if trust is not None else None)
    try:
        glance = run_isolated(Glance, lambda: glance_at(raw), tools.ceiling)
        context = replace(_context(handoff, git, subject, glance), trust=trust)
        report = run_isolated(Report, lambda: verify_bundle(raw, git=tools.git, context=context), tools.ceiling)
    except IsolationError as error:
        refuse_handoff(handoff, Status.RECEIVED, tools.enforcer, error.code, error.detail)
        return
    if not holds_secret(report.results):
        tools.store.put(raw)
        commit = tools.forge.commit_object(handoff.staging_commit)
        signed = signer_checks(report.manifest, commit, rules_in_force().staging)
        report = replace(report, results=(*report.results, *signed))
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
    held = RoleGrant.objects.current().filter(role=Role.BUILDER.value).values("principal")
    builders = Identity.objects.current().filter(kind=Identity.Kind.BUILDER_ID, principal__in=held)
    return Context(
        repository=handoff.repository.full_name,
        marker_subject=subject,
        branch=handoff.staging_branch,
        max_commits_behind=MAX_COMMITS_BEHIND,
        max_components_told=MAX_TOLD,
        target_branch=handoff.repository.protected_branch,
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
    return trust_builders(rules, root, pinned=root.digest in tools.pinned_roots, by=tools.enforcer, now=tools.clock())


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
    people = find_people(manifest, contributors) if manifest else People(None, None, ())
    results = report.results if is_secret else (*report.results, *people_checks(manifest, people))
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    with transaction.atomic(durable=True):
        if not is_secret:
            handoff.change_digest, handoff.result_tree = report.change_digest, report.result_tree or ""
        authors, unknown = authors_elsewhere(handoff)
        clash = take_parts(handoff, people, authors, by)
        if clash is not None:
            failed.append(clash)
            results = (*results, clash)
        if not failed and _is_taken(handoff, digest):
            clash = NOT_TWICE.found(Outcome.FAILED, got=digest, expected="a bundle that no other handoff carries")
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
            component_delta={} if is_secret else report.components.as_json(at_most=MAX_TOLD),
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
