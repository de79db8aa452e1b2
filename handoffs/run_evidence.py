"""What a workflow's job sends about its own run: kept as it was sent, once for each attempt, with an entry of the log.

That it says "passed" proves nothing: whoever judges the gate reads it together with the run's state from the API.
"""

from __future__ import annotations

import hashlib
from typing import Final

from django.db import IntegrityError, transaction

from audit import events
from audit.actions import append_event
from audit.canonical import parse_json
from audit.events import Actor
from handoffs.github.oidc import Run
from handoffs.models import GitHubRepository, HandoffError, PullRequest, Repository, WorkflowEvidence

MAX_EVIDENCE_BYTES: Final = 64 << 10
EVENT: Final = "workflow_dispatch"


def receive_evidence(run: Run, raw: bytes, *, by: Actor) -> WorkflowEvidence:
    """Keep one attempt's evidence; the same bytes again are no error.

    Raises: JsonError; HandoffError with evidence.form, evidence.head, evidence.repository, evidence.event,
    evidence.already_sent; workflow_ref.mismatch where the repository has another name now.
    """
    _refuse_other_form(run, raw)
    repository = _repository(run)
    if run.event_name != EVENT:
        raise HandoffError(
            "evidence.event", f"got a run by {run.event_name}, expected {EVENT}: the portal starts its gates"
        )
    if not PullRequest.objects.filter(repository=repository, head_sha=run.head_sha).exists():
        detail = f"no pull request of {repository.full_name} has the head {run.head_sha}"
        raise HandoffError("evidence.head", detail)
    digest = hashlib.sha256(raw).hexdigest()
    try:
        return _keep(repository, run, raw, digest, by)
    except IntegrityError:
        found = WorkflowEvidence.objects.filter(
            repository=repository, run_id=run.run_id, run_attempt=run.run_attempt
        ).first()
        if found is None:
            raise
    if found.digest != digest:
        detail = f"attempt {run.run_attempt} of run {run.run_id} sent other evidence before; run the workflow again"
        raise HandoffError("evidence.already_sent", detail)
    return found


def _refuse_other_form(run: Run, raw: bytes) -> None:
    """It is an object that names the head it is about: one made for another commit is noticed."""
    document = parse_json(raw, max_bytes=MAX_EVIDENCE_BYTES)
    if not isinstance(document, dict):
        raise HandoffError("evidence.form", f"got {type(document).__name__}, expected an object with head_sha")
    if document.get("head_sha") != run.head_sha:
        said = str(document.get("head_sha"))[:80]
        raise HandoffError("evidence.head", f"got evidence about {said!r} from a run on {run.head_sha}")


def _repository(run: Run) -> Repository:
    hosted = GitHubRepository.objects.select_related("repository").filter(github_id=run.repository_id).first()
    if hosted is None:
        raise HandoffError("evidence.repository", f"GitHub's repository {run.repository_id} is not governed here")
    if hosted.full_name.lower() != run.full_name.lower():
        detail = (
            f"got a run of {run.full_name[:200]!r}, expected {hosted.full_name!r}; a new name is seen within a minute"
        )
        raise HandoffError("workflow_ref.mismatch", detail)
    return hosted.repository


@transaction.atomic(durable=True)
def _keep(repository: Repository, run: Run, raw: bytes, digest: str, by: Actor) -> WorkflowEvidence:
    entry = append_event(
        events.EVIDENCE_RECEIVED,
        by,
        f"{repository.full_name}@{run.head_sha}"[:200],
        {
            "repository": repository.full_name,
            "head": run.head_sha,
            "workflow": run.workflow,
            "ref": run.ref,
            "run_id": run.run_id,
            "run_attempt": run.run_attempt,
            "digest": digest,
        },
    )
    return WorkflowEvidence.objects.create(
        repository=repository,
        head_sha=run.head_sha,
        workflow=run.workflow,
        ref=run.ref,
        run_id=run.run_id,
        run_attempt=run.run_attempt,
        document=raw,
        digest=digest,
        log_entry=entry,
    )
