"""What the check runs of a commit have to say, with their words: plans of the publisher. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from audit.canonical import JsonValue, digest_json
from audit.covering import wait_covered
from audit.events import Actor
from handoffs.github.check_runs import CheckRun, RemotePull, Target
from handoffs.github.contexts import context_of, context_problems
from handoffs.models import GitHubRepository
from verdicts import evidence
from verdicts.check_text import BUTTONS, link, remarks
from verdicts.models import VerdictError
from verdicts.policy import parse_policy
from verdicts.policy_document import Policy
from verdicts.publishing import TITLE, OpenPull, Stage, Wanted, desire
from verdicts.publishing_facts import Reading, gate_3_summary, input_summary, labels_of, page_of, read_pulls


@dataclass(frozen=True)
class Desk:
    """Where is published, and as whom. `log_seconds`: how long a verdict's checkpoint is waited for.

    `checks` are leo-gate's check runs, or the statuses of a token, for trying out.
    """

    hosted: GitHubRepository
    checks: Target
    by: Actor
    portal_url: str
    log_seconds: float


@dataclass(frozen=True)
class Intended:
    """What one check run is to say, as state and as GitHub gets it."""

    wanted: Wanted
    run: CheckRun
    pull_number: int = 0
    is_group: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 over everything it says, and what a success rests on."""
        run = self.run
        remarked: list[JsonValue] = [f"{one.path}:{one.line}: {one.level}: {one.message}" for one in run.annotations]
        said: list[JsonValue] = [run.context, run.head_sha, run.status, run.conclusion, run.title, run.summary]
        return digest_json([*said, remarked, list(self.wanted.causes)])


type Plan = Callable[[], Sequence[Intended]]


def policy_of_checks() -> Policy:
    """The policy in force, whose gates are the check runs: each by its literal name.

    Raises: VerdictError("policy.none"), ("policy.contexts").
    """
    policy = parse_policy(evidence.policy_in_force().document.encode())
    if problems := context_problems([gate.check_name for gate in policy.gates]):
        raise VerdictError("policy.contexts", "; ".join(problems[:3]))
    return policy


def plan_head(desk: Desk, sha: str, pulls: Sequence[RemotePull]) -> tuple[Intended, ...]:
    """What the check runs of one head have to say, by our rows as they are now and these open pull requests."""
    policy = policy_of_checks()
    opened = [OpenPull(pull.number, pull.head_sha, pull.base_ref) for pull in pulls if pull.head_sha == sha]
    readings = read_pulls(desk.hosted.repository_id, {pull.number for pull in opened})
    one = readings.get(opened[0].number) if len(opened) == 1 else None
    if one is not None and one.known.stage is Stage.RELEASED and one.known.cause and not one.known.cause.is_covered:
        wait_covered(one.entries, seconds=desk.log_seconds)
        readings = read_pulls(desk.hosted.repository_id, {one.known.number})
        one = readings.get(one.known.number)
    known = {number: reading.known for number, reading in readings.items()}
    about = one if one is not None and one.known.head_sha == sha else None
    wanted = desire(sha, opened, known, policy.gates)
    number = opened[0].number if len(opened) == 1 else 0
    return tuple(_intend(desk, sha, state, about, number) for state in wanted)


def intend_plainly(desk: Desk, sha: str, wanted: Wanted, *, number: int = 0, is_group: bool = False) -> Intended:
    """What is said of a commit that no pull request of ours explains: its title, and the way to the portal."""
    labels = labels_of(desk.hosted, policy_of_checks()) if wanted.is_own else ()
    context = context_of(wanted.context, is_separated=desk.hosted.is_separated)
    wanted = replace(wanted, context=context, title=" · ".join((*labels, wanted.title))[:TITLE])
    run = CheckRun(
        context=wanted.context,
        head_sha=sha,
        external_id=external_id(desk.hosted, sha, wanted.context),
        details_url=desk.portal_url,
        status=wanted.status,
        conclusion=wanted.conclusion,
        title=wanted.title,
        summary=f"{wanted.title}\n\n{link(desk.portal_url)}",
    )
    return Intended(wanted, run, number, is_group)


def _intend(desk: Desk, sha: str, wanted: Wanted, reading: Reading | None, number: int) -> Intended:
    plain = intend_plainly(desk, sha, wanted, number=number)
    if reading is None:
        return plain
    run = replace(plain.run, details_url=page_of(reading.pull, desk.portal_url))
    if not wanted.is_own:
        text = input_summary(reading, reading.found.executions.get(wanted.key), desk.portal_url)
        return replace(plain, run=replace(run, summary=text))
    text, story = gate_3_summary(reading, labels_of(desk.hosted, reading.found.inputs.policy), desk.portal_url)
    notes = remarks(story.findings) if wanted.status == "completed" else ()
    return replace(plain, run=replace(run, summary=text, annotations=notes, buttons=BUTTONS))


def external_id(hosted: GitHubRepository, sha: str, context: str) -> str:
    """By what a check run is found again: the same for the same commit and name, for ever."""
    return f"leo-{hashlib.sha256(f'{hosted.github_id}\n{sha}\n{context}'.encode()).hexdigest()[:32]}"
