"""Reads: what GitHub shows of pull requests, from the rows of the lanes that look there. Nothing is asked of GitHub.

What no row says is shown as missing, never as passed; what may be old says since when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.utils import timezone

from handoffs.github.contexts import NOT_SEPARATED, TRIAL, context_of
from handoffs.github.workflow_names import WORKFLOWS
from handoffs.models import (
    RECONCILE_LATE,
    GitHubCircuit,
    GitHubRepository,
    PullRequest,
    PullStatus,
    RemotePull,
    WorkflowEvidence,
    WorkflowRun,
)
from verdicts.evidence import policy_in_force
from verdicts.landing_rows import LandedCommit
from verdicts.policy_document import Policy, parse_policy
from verdicts.protection import Standing, protections_of
from verdicts.publication_rows import CheckPublication

ENDED: Final = (PullStatus.MERGED, PullStatus.CLOSED)
LOOK_AGAIN: Final = "see that its worker runs (`/healthz/ready`) and GitHub's status; each minute tries again by itself"


@dataclass(frozen=True)
class CheckLine:
    """One check run as leo-gate last left it. `row` is None while nothing was said about this head."""

    context: str
    row: CheckPublication | None
    home: str

    @property
    def state(self) -> str:
        """A word of `leoportal.words`."""
        if self.row is None:
            return "check-none"
        if self.row.withdrawn_at is not None:
            return "check-withdrawn"
        if self.row.published_at is None:
            return "check-unsure"
        said = self.row.conclusion or self.row.status
        return "check-neutral" if said == "neutral" else said

    @property
    def url(self) -> str:
        """Its page at GitHub, once GitHub gave it a number; a status has none but the commit's."""
        if self.row is None or not self.row.run_number:
            return ""
        if self.context.startswith(TRIAL):
            return f"{self.home}/commit/{self.row.head_sha}"
        return f"{self.home}/runs/{self.row.run_number}"


@dataclass(frozen=True)
class RunLine:
    """One workflow on this head. `row` is None while it was not asked for."""

    workflow: str
    row: WorkflowRun | None
    has_evidence: bool
    home: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.workflow.rpartition("/")[2]

    @property
    def state(self) -> str:
        """A word of `leoportal.words`: GitHub's, unless our own rows know why it counts for nothing."""
        row = self.row
        if row is None:
            return "run-none"
        if row.problem:
            return "run-other"
        if not row.status:
            return "run-asked" if row.tried_at else "run-waits"
        if row.is_done and row.conclusion == "success" and not self.has_evidence:
            return "run-unproved"
        return row.conclusion or row.status

    @property
    def url(self) -> str:
        """Its page at GitHub, once there is a run."""
        if self.row is None or self.row.remote_id is None:
            return ""
        attempt = f"/attempts/{self.row.attempt}" if self.row.attempt else ""
        return f"{self.home}/actions/runs/{self.row.remote_id}{attempt}"


@dataclass(frozen=True)
class Warned:
    """Something that makes what is shown worth less, and what is to be done."""

    title: str
    step: str


@dataclass(frozen=True)
class Hosted:
    """One pull request on GitHub. `elsewhere` are other heads of it on which a success may still stand."""

    repository: GitHubRepository
    url: str
    checks: tuple[CheckLine, ...]
    runs: tuple[RunLine, ...]
    landed: LandedCommit | None
    remote: RemotePull | None
    elsewhere: tuple[CheckLine, ...]
    warnings: tuple[Warned, ...]

    @property
    def is_asked(self) -> bool:
        """Whether any workflow was asked for on this head."""
        return any(line.row for line in self.runs)

    @property
    def landed_url(self) -> str:
        """The landed commit's page at GitHub."""
        return f"{home_of(self.repository)}/commit/{self.landed.commit}" if self.landed else ""


@dataclass(frozen=True)
class HostedGlance:
    """One pull request on GitHub, in a list."""

    gate: CheckLine
    runs_ended: int
    runs: int
    landed: LandedCommit | None
    label: str
    is_late: bool
    is_trial: bool


def home_of(hosted: GitHubRepository) -> str:
    """The repository's page at GitHub."""
    return f"{settings.GITHUB_URL}/{hosted.full_name}"


def hosted_of(pull: PullRequest) -> GitHubRepository | None:
    """Where the pull request is on GitHub; None on this machine. Loaded with `repository__github`."""
    found: GitHubRepository | None = getattr(pull.repository, "github", None)
    return found


def read_hosted(pull: PullRequest, policy: Policy, standing: Standing) -> Hosted | None:
    """What GitHub shows of one pull request; None for one on this machine. At most seven queries."""
    hosted = hosted_of(pull)
    if hosted is None:
        return None
    home = home_of(hosted)
    names = [context_of(gate.check_name, is_separated=hosted.is_separated) for gate in policy.gates]
    said = CheckPublication.objects.newest(pull.repository_id, pull.head_sha)
    shown = CheckPublication.objects.unsettled().filter(repository=pull.repository_id, pull_number=pull.number)
    others = shown.exclude(head_sha=pull.head_sha).order_by("-pk")
    landed = LandedCommit.objects.filter(pull_request=pull, is_brought=False).order_by("-pk").first()
    return Hosted(
        repository=hosted,
        url=f"{home}/pull/{pull.number}",
        checks=tuple(CheckLine(name, said.get(name), home) for name in names),
        runs=tuple(_runs(pull, home)),
        landed=landed,
        remote=RemotePull.objects.filter(repository=pull.repository_id, number=pull.number).first(),
        elsewhere=tuple(CheckLine(row.context, row, home) for row in others),
        warnings=tuple(_warnings(hosted, standing, is_ended=pull.status in ENDED)),
    )


def _runs(pull: PullRequest, home: str) -> Iterator[RunLine]:
    rows = {row.workflow: row for row in WorkflowRun.objects.current().filter(pull_request=pull)}
    sent = WorkflowEvidence.objects.filter(repository=pull.repository_id, head_sha=pull.head_sha)
    proved = set(sent.values_list("workflow", "run_id", "run_attempt"))
    for path in WORKFLOWS:
        row = rows.get(path)
        yield RunLine(path, row, row is not None and (path, row.remote_id, row.attempt) in proved, home)


def _warnings(hosted: GitHubRepository, standing: Standing, *, is_ended: bool) -> Iterator[Warned]:
    """What is wrong now. About one that has ended, its verdict says how it was protected."""
    if not hosted.is_separated:
        said = f"What GitHub shows below {TRIAL} proves nothing: whoever may push may write the same, and merge"
        yield Warned(f"TRIAL: NOTHING IS BLOCKED. {NOT_SEPARATED}. {said}.", standing.step)
    elif standing.label and not is_ended:
        yield Warned(f"{standing.label}: {standing.why}", standing.step)
    yield from lateness(hosted)
    yield from silence()


def lateness(hosted: GitHubRepository) -> Iterator[Warned]:
    """Why what the portal shows of a repository on GitHub may be old, or is not published there."""
    before = timezone.now() - RECONCILE_LATE
    sides = (
        ("leo-enforcer", "compared it with", hosted.enforcer_looked_at, hosted.enforcer_error),
        ("leo-gate", "published to", hosted.gate_looked_at, hosted.gate_error),
    )
    for name, did, looked_at, error in sides:
        if (looked_at or hosted.created_at) < before:
            since = f"since {looked_at:%Y-%m-%d %H:%M:%S} UTC" if looked_at else "ever"
            said = f": {error}" if error else ""
            yield Warned(f"{name} has not {did} GitHub {since}{said}. What stands here may be old.", LOOK_AGAIN)


def silence() -> Iterator[Warned]:
    """That GitHub does not answer: since when, and when somebody asks next. Nobody else asks until then."""
    row = GitHubCircuit.objects.filter(api_url=settings.GITHUB_API_URL).exclude(failing_since=None).first()
    if row is not None:
        yield Warned(
            f"GitHub has not answered since {row.failing_since:%Y-%m-%d %H:%M:%S} UTC. What stands here is as old as "
            "that, and until it answers nothing is published, taken back or merged there.",
            f"wait; it is asked again at {row.next_try_at:%H:%M:%S} UTC, and then what waits goes on by itself. "
            "If this lasts, see GitHub's status",
        )


def glance_hosted(pulls: Sequence[PullRequest]) -> Mapping[int, HostedGlance]:
    """What a list says of its pull requests on GitHub, by key; at most nine queries, none where none is there."""
    there = {pull.pk: hosted for pull in pulls if (hosted := hosted_of(pull)) is not None}
    if not there:
        return {}
    policy = parse_policy(policy_in_force().document.encode())
    of_them = [pull for pull in pulls if pull.pk in there]
    repositories = {pull.repository_id: pull.repository for pull in of_them}
    standings = protections_of(tuple(repositories.values()), policy)
    rows = CheckPublication.objects.filter(
        repository__in=repositories, head_sha__in=[pull.head_sha for pull in of_them], is_own=True, is_group=False
    )
    newest = rows.order_by("repository", "head_sha", "-pk").distinct("repository", "head_sha")
    said = {(row.repository_id, row.head_sha): row for row in newest}
    runs: dict[int, list[WorkflowRun]] = {}
    for run in WorkflowRun.objects.current().filter(pull_request__in=of_them):
        runs.setdefault(run.pull_request_id, []).append(run)
    landed = {
        row.pull_request_id: row
        for row in LandedCommit.objects.filter(pull_request__in=of_them, is_brought=False).order_by("pk")
    }
    late = set(
        GitHubRepository.objects.late().filter(repository__in=repositories).values_list("repository_id", flat=True)
    )
    own = next(gate.check_name for gate in policy.gates if gate.is_own)
    return {
        pull.pk: HostedGlance(
            gate=CheckLine(
                context_of(own, is_separated=there[pull.pk].is_separated),
                said.get((pull.repository_id, pull.head_sha)),
                home_of(there[pull.pk]),
            ),
            is_trial=not there[pull.pk].is_separated,
            runs_ended=sum(run.is_done for run in runs.get(pull.pk, ())),
            runs=len(WORKFLOWS),
            landed=landed.get(pull.pk),
            label="" if pull.status in ENDED else standings[pull.repository_id].label,
            is_late=pull.repository_id in late,
        )
        for pull in of_them
    }
