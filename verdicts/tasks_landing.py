"""Tasks of the verifier's lane about GitHub: it has no key there, and judges what the enforcer read."""

from __future__ import annotations

import logging
from pathlib import Path

from celery import shared_task

from audit.actions import actor_of
from audit.events import Actor, AuditError
from audit.models import Principal
from handoffs.git.repository import Git
from handoffs.github.workflow_names import WORKFLOWS
from handoffs.models import GitHubRepository, WorkflowRun
from verdicts import evidence
from verdicts.actions import GateReport, report_gate
from verdicts.landing import judge_landed
from verdicts.models import VerdictError
from verdicts.tasks import alone
from verdicts.workflow_gates import STORY, judge_run

log = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def sweep_landed() -> int:
    """Class what came to the protected branches. Returns how many steps were judged."""
    by = actor_of(Principal.objects.get(name=evidence.VERIFIER))
    count = 0
    for hosted in GitHubRepository.objects.select_related("repository"):
        with alone(f"what landed in {hosted}"):
            count += judge_landed(hosted, by=by)
    return count


@shared_task(ignore_result=True)
def sweep_workflows() -> int:
    """Report the story gate from its workflow's run, once for each run. Returns how many were reported."""
    story = next(path for path, gate in WORKFLOWS.items() if gate == STORY)
    done = WorkflowRun.objects.current().filter(workflow=story, status="completed")
    count = 0
    for row in done.select_related("pull_request__repository"):
        result = judge_run(row, Git(Path(row.pull_request.repository.path)))
        pull = row.pull_request
        if pull.gate_executions.filter(run_id=result.run_id, head_sha=row.head_sha, gate=STORY).exists():
            continue
        report = GateReport(STORY, result.outcome, result.run_id, row.head_sha, result.evidence)
        try:
            report_gate(pull.pk, report, by=_actions())
            count += 1
        except (VerdictError, AuditError) as error:
            log.warning("%s is not reported: %s", row, error)
    return count


def _actions() -> Actor:
    """GitHub Actions as who reports: a machine with a person who answers for it."""
    return actor_of(Principal.objects.get(name=evidence.ACTIONS))
