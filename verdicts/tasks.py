"""Celery tasks of the verification: trigger, run built-in gates and sub-agents, rounds, deadlines, moved bases.

The rows say what there is to do; each task is safe to run twice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Final

from celery import shared_task
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from audit.actions import actor_of
from audit.covering import raise_alarm
from audit.events import Actor, AuditError
from audit.models import LogUpkeep, Principal, Upkeep
from audit.sequencing import newest_head
from handoffs.bundles.patches_binary import PatchError
from handoffs.bundles.store import StoreError
from handoffs.clocks import CLOCK_RETRY, ClockSkewError, current_skew
from handoffs.forges.protocol import ForgeError
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.hosting import Side, connect
from handoffs.models import GitHubRepository, HandoffError, PullRequest, PullStatus, Repository, StaleStatusError
from handoffs.resigning import fallen_signatures
from handoffs.signatures.openpgp import SignatureError
from handoffs.tasks import enforcer, forge_for, nudge, nudge_publisher, tools_for
from verdicts import actions, evidence, reopening
from verdicts.actions import GateReport
from verdicts.comparing import check_everything
from verdicts.export_rows import Export
from verdicts.exporting import PACK, fail_export, write_export
from verdicts.gates import run_policy_gate, run_slsa_gate
from verdicts.landing_rows import LandedCommit
from verdicts.lineage import holds_in_queue
from verdicts.merging import record_merge
from verdicts.merging_github import merge_intended, record_landed, waiting_intents
from verdicts.models import Decision, PolicyVersion, VerdictError, VerificationWork, WorkStatus
from verdicts.reading import read_change
from verdicts.results import AgentKind, AgentOutcome, GateOutcome, from_json, missing_result
from verdicts.revoking import resign_bundle
from verdicts.statements import (
    Attestor,
    attest_decision,
    attest_policy,
    attest_verdict,
    unattested_decisions,
    unattested_verdicts,
)
from verdicts.subagents import AGENTS
from verdicts.workflow_gates import RUNNING

log = logging.getLogger(__name__)
NIGHTLY: Final = timedelta(days=1)
SEAL: Final = timedelta(seconds=1)  # until the log's signer has covered a pack's seal
WAITS: Final = {ClockSkewError.CODE: CLOCK_RETRY, RUNNING: timedelta(seconds=5)}  # for somebody else, not failed
GATES: Final = {"slsa": run_slsa_gate, "policy-bundle": run_policy_gate}


def verifier() -> Actor:
    """The identity under which the portal's own gates and sub-agents report."""
    return actor_of(Principal.objects.get(name=evidence.VERIFIER))


def attestor() -> Attestor:
    """Who signs statements of the gate lane, from settings."""
    return Attestor(verifier(), settings.SIGNING_KEY_PASSWORD, settings.PORTAL_URL)


@shared_task(ignore_result=True)
def sweep_statements() -> int:
    """Sign what was judged and has no statement: the policy in force, verdicts, decisions. Returns how many."""
    who = attestor()
    version = PolicyVersion.objects.order_by("-number").first()
    try:
        if version is not None:
            attest_policy(version, who)
        made = [attest_verdict(pk, who) for pk in unattested_verdicts()]
        return len(made) + len([attest_decision(pk, who) for pk in unattested_decisions()])
    except (HandoffError, SignatureError) as error:
        log.warning("nothing can be attested: %s", error)
        return 0


@shared_task(ignore_result=True)
def sweep_verification() -> int:
    """The enforcer's part: trigger what waits to be triggered, see moved bases and landed merges.

    Returns how many pull requests were triggered.
    """
    count = 0
    for repository in Repository.objects.select_related("github"):
        with alone(f"the base of {repository.full_name}"):
            _follow_base(repository)
    _sign_fallen_again()
    waiting = PullRequest.objects.filter(status=PullStatus.GATES_PASSING, triggered_at=None)
    for pk in list(waiting.values_list("pk", flat=True)[:200]):
        with alone(f"the workflows of pull request {pk}"):
            count += actions.trigger_gates(pk, by=enforcer())
    if count:
        nudge("verdicts.tasks.sweep_work")
    return count


@shared_task(ignore_result=True)
def sweep_work() -> int:
    """The verifier's part: give up what failed too often, and wake workers for open work. Returns how much is open."""
    for pk in list(VerificationWork.objects.abandoned().values_list("pk", flat=True)[:200]):
        with alone(f"work {pk}"):
            _give_up(pk)
    due = list(VerificationWork.objects.due().values_list("pk", flat=True)[:200])
    for pk in due:
        nudge("verdicts.tasks.run_work", pk)
    return len(due)


def _sign_fallen_again() -> None:
    """Open handoffs whose key was revoked, as soon as the lane has another one."""
    for signature in fallen_signatures()[:20]:
        try:
            resign_bundle(signature, tools_for(signature.handoff.repository))
        except (HandoffError, SignatureError, StoreError) as error:
            log.warning("%s is not signed again: %s", signature.handoff, error)
            if isinstance(error, HandoffError):  # no key, or a clock: the same for all of them
                return


@contextmanager
def alone(what: str) -> Iterator[None]:
    """One item of a sweep: what is wrong with it is logged and stops nobody else's."""
    try:
        yield
    except (OperationalError, InterfaceError):
        raise  # the database is away: the next sweep does it all
    except Exception:
        log.exception("%s cannot be swept", what)


@shared_task(ignore_result=True)
def sweep_deadlines() -> int:
    """Hand pull requests whose deadline passed with a gate missing to LEAD; take back what was released for a time."""
    if skew := current_skew():
        log.warning("no deadline is looked at: %s", skew)
        return 0
    late = PullRequest.objects.filter(status=PullStatus.GATES_PASSING, deadline_at__lte=timezone.now())
    count = 0
    for pk in list(late.values_list("pk", flat=True)[:200]):
        with alone(f"the deadline of pull request {pk}"):
            count += actions.time_out(pk, by=verifier())
    expired = Decision.objects.filter(
        pull_request__status=PullStatus.READY_TO_MERGE, decision="approve", expires_at__lte=timezone.now()
    )
    for pk in set(expired.values_list("pull_request", flat=True)[:200]):
        with alone(f"the approval of pull request {pk}"):
            count += reopening.expire_approval(pk, by=verifier())
    return count


def _follow_base(repository: Repository) -> None:
    """Compare open pull requests with the protected branch as it is now."""
    forge = forge_for(repository)
    tip = forge.branch(repository.protected_branch)
    if repository.forge == Repository.Forge.GITHUB:
        _merge_on_github(repository.github)
        tip = repository.github.tip_sha
        if not LandedCommit.objects.filter(repository=repository, commit=tip).exists():
            return  # what landed is judged on the base that it was released for
        record_landed(repository.github, by=enforcer())
    git = Git(forge.git_path)
    pulls = PullRequest.objects.is_open().filter(repository=repository)
    for pull in pulls.prefetch_related("merge_intents"):
        with alone(f"{repository.full_name} {pull}"):
            _follow(pull, git, tip)


def _merge_on_github(hosted: GitHubRepository) -> None:
    """What a decider asked to merge. GitHub being away costs nothing: the next sweep asks again."""
    for intent in waiting_intents(hosted):
        try:
            merge_intended(intent, hosted, connect(hosted, Side.ENFORCER))
        except ForgeError as error:
            log.warning("%s cannot be merged: %s", intent, error)
            if error.retry_in is not None:
                return


def _follow(pull: PullRequest, git: Git, tip: str) -> None:
    """Record a merge that landed, whatever its base is now; else judge the pull request on the branch as it is."""
    commits = [intent.merge_sha for intent in pull.merge_intents.all() if intent.merge_sha]
    landed = [commit for commit in commits if _holds(git, tip, commit)]
    if landed:
        record_merge(pull.pk, landed[-1])
        return
    if pull.status == PullStatus.NEEDS_REVISION or pull.base_sha == tip:
        return
    try:
        tree = git.merge_tree(tip, pull.head_sha)
    except GitError as error:
        if error.code != "git.conflict":
            raise
        tree = ""
    if tree and holds_in_queue(pull, git, tip):
        return
    reopening.move_base(pull.pk, base_sha=tip, merge_tree=tree, by=enforcer())


def _holds(git: Git, tip: str, commit: str) -> bool:
    try:
        return git.is_ancestor(commit, tip)
    except GitError:
        return False


@shared_task(ignore_result=True)
def run_work(work_id: int) -> str:
    """Run one built-in gate or sub-agent and record what it found."""
    attempt = VerificationWork.objects.claim(work_id, lease=timedelta(seconds=settings.LEASE_SECONDS))
    if attempt is None:
        return "not mine"
    work = VerificationWork.objects.select_related("pull_request__repository", "pull_request__handoff").get(pk=work_id)
    pull = work.pull_request
    if pull.head_sha != work.head_sha or pull.triggered_at is None:
        VerificationWork.objects.filter(pk=work_id).update(status=WorkStatus.DONE, error="the head moved on")
        return "obsolete"
    if pull.status == PullStatus.MERGED and work.error.startswith(RUNNING):
        VerificationWork.objects.filter(pk=work_id).update(status=WorkStatus.DONE, error="it was merged before")
        return "obsolete"
    try:
        if work.kind == VerificationWork.Kind.GATE:
            _run_gate(work, pull)
        else:
            _run_agent(work, pull)
    except (GitError, PatchError, VerdictError, OSError) as error:
        if isinstance(error, VerdictError) and error.code in WAITS:
            wait = WAITS[error.code]
            VerificationWork.objects.release(work_id, attempt, error=str(error), retry_in=wait, is_waiting=True)
            log.warning("%s of PR-%s waits: %s", work.name, pull.number, error)
            return "waiting"
        wait = timedelta(seconds=min(2**attempt, 300))
        VerificationWork.objects.release(work_id, attempt, error=str(error), retry_in=wait)
        log.warning("%s of PR-%s attempt %s failed: %s", work.name, pull.number, attempt, error)
        return "failed"
    except AuditError as error:
        VerificationWork.objects.filter(pk=work_id).update(status=WorkStatus.DONE, error=str(error))
        log.warning("%s of PR-%s may not be reported: %s", work.name, pull.number, error)
        return "refused"
    except (StaleStatusError, OperationalError) as error:
        log.warning("%s of PR-%s lost its place: %s", work.name, pull.number, error)
        return "stale"
    except Exception as error:
        VerificationWork.objects.release(work_id, attempt, error=repr(error), retry_in=timedelta(seconds=2**attempt))
        raise
    if PullRequest.objects.filter(pk=pull.pk, round__gt=pull.round).exists():
        nudge("verdicts.tasks.sweep_work")
    nudge_publisher(pull.repository)
    return "done"


def _give_up(work_id: int) -> None:
    """Work that failed too often ends as what it is: an error of the sub-agent, a failure of the gate."""
    work = VerificationWork.objects.select_related("pull_request").get(pk=work_id)
    pull, why = (
        work.pull_request,
        f"gave up after {work.attempts} attempts: {work.error or 'its worker died each time'}",
    )
    if pull.head_sha != work.head_sha or pull.triggered_at is None:
        VerificationWork.objects.filter(pk=work_id).update(status=WorkStatus.DONE, error="the head moved on")
    elif work.kind == VerificationWork.Kind.GATE:
        report = GateReport(work.name, GateOutcome.FAILURE, f"leoportal-{work.pk}", work.head_sha, {"error": why})
        actions.finish_gate_work(work, report, by=verifier())
    else:
        lost = missing_result(AgentKind(work.name), work.head_sha, why)
        actions.report_agent(pull.pk, replace(lost, outcome=AgentOutcome.ERROR), by=verifier(), work=work)


def _run_gate(work: VerificationWork, pull: PullRequest) -> None:
    result = GATES[work.name](pull, tools_for(pull.repository))
    report = GateReport(
        gate=work.name,
        conclusion=result.conclusion,
        run_id=f"leoportal-{work.pk}",
        head_sha=work.head_sha,
        evidence=result.evidence,
    )
    actions.finish_gate_work(work, report, by=verifier())


def _run_agent(work: VerificationWork, pull: PullRequest) -> None:
    kind = AgentKind(work.name)
    others = [
        finding
        for report in evidence.agent_reports(pull)
        if report.agent != kind.value and work.round > 1
        for finding in from_json(report.result).open_findings
    ]
    change = read_change(
        pull, Git(forge_for(pull.repository).git_path), other_findings=tuple(others), round_number=work.round
    )
    actions.report_agent(pull.pk, AGENTS[kind].analyse(change, settings.SCANNERS), by=verifier(), work=work)


@shared_task(ignore_result=True)
def sweep_exports() -> int:
    """Take exports further that nobody works on."""
    waiting = Export.objects.due().order_by("pk").values_list("pk", flat=True)[:20]
    return len([run_export(pk) for pk in waiting])


@shared_task(ignore_result=True)
def run_export(export_id: int) -> str:
    """Write an export's file, or some more of it."""
    attempt = Export.objects.claim(export_id, lease=timedelta(seconds=settings.CELERY_TASK_TIME_LIMIT))
    if attempt is None:
        return "not mine"
    export = Export.objects.get(pk=export_id)
    try:
        is_done = write_export(export, settings.EXPORTS, attempt, by=verifier(), portal_url=settings.PORTAL_URL)
    except AuditError as error:
        if error.code == "pack.unsigned":
            Export.objects.release(export_id, attempt, error=str(error), retry_in=SEAL, is_waiting=True)
            return "waiting"
        fail_export(export, error)
        return "failed"
    except StaleStatusError as error:
        log.warning("%s", error)
        return "stale"
    except OSError as error:
        Export.objects.release(export_id, attempt, error=str(error), retry_in=timedelta(seconds=2**attempt))
        log.warning("%s attempt %s failed: %s", export, attempt, error)
        return "again"
    is_sealing = not is_done and export.file_format == PACK
    Export.objects.release(export_id, attempt, is_waiting=is_sealing, retry_in=SEAL if is_sealing else None)
    if not is_done and not is_sealing:
        nudge("verdicts.tasks.run_export", export_id)
    return "done" if is_done else "more"


@shared_task(ignore_result=True, soft_time_limit=4 * 3600, time_limit=4 * 3600 + 60)
def check_log() -> int:
    """Compute the whole log again each night and compare the portal's rows with it. Returns how much is wrong.

    The first finding is an alarm, so that nothing is recorded until two operators looked at it. A wrong bit in the
    second copy is none: the log itself is whole, and the trail's page says so.
    """
    head = newest_head()
    found = check_everything()
    for finding in found:
        log.error("%s: %s", finding.code, finding.detail)
    if alarms := [finding for finding in found if not finding.code.startswith("copy.")]:
        raise_alarm(alarms[0].code, alarms[0].detail)
    if found:
        LogUpkeep.objects.record_failed(Upkeep.CHECK, found[0].code, found[0].detail, again=NIGHTLY)
    else:
        LogUpkeep.objects.record_done(Upkeep.CHECK, head.size if head else 0, again=NIGHTLY)
    return len(found)
