"""GitHub's merge queue: a group is judged on its own tree, because GitHub asked, and never by a branch's name."""

from __future__ import annotations

import pytest

from handoffs.git.repository import Git
from handoffs.github.live import Expected
from handoffs.models import GitHubRequest, PullStatus
from handoffs.protecting import expect_protection
from leoportal.setup import OPERATOR
from tests.github.publishing import Published, contexts
from tests.support.github import GitHub
from tests.support.github.pulls import Pull
from tests.support.github.queues import build
from tests.support.portal import Portal, git
from verdicts.decision import Verdict as VerdictKind
from verdicts.landing import judge_landed
from verdicts.lineage import QUEUE_HOLDS, holds_in_queue
from verdicts.publication_rows import CheckPublication
from verdicts.results import GateOutcome
from verdicts.tasks import verifier

DOCS: dict[str, str | None] = {"docs/fees.md": "# Fees\n\nOne percent, rounded down.\n"}
QUEUE = {
    "check_response_timeout_minutes": 60,
    "grouping_strategy": "ALLGREEN",
    "max_entries_to_build": 5,
    "max_entries_to_merge": 5,
    "merge_method": "MERGE",
    "min_entries_to_merge": 1,
    "min_entries_to_merge_wait_minutes": 5,
}


@pytest.fixture
def there(portal: Portal, github: GitHub, settings) -> Published:
    made = Published.make(portal, github, settings)
    made.remote.rule({"type": "merge_queue", "parameters": QUEUE}, name="queue")
    return made


def fetch(there: Published) -> None:
    """What the enforcer does: every branch into the copy."""
    heads = "+refs/heads/*:refs/heads/*"
    git(there.portal.bare, "fetch", "-q", "--update-head-ok", str(there.remote.git.path), heads)


def ask(there: Published, sha: str, base: str = "refs/heads/main") -> GitHubRequest:
    """What a signed merge_group event leaves behind."""
    return GitHubRequest.objects.create(
        repository=there.portal.repository,
        kind=GitHubRequest.Kind.MERGE_GROUP,
        key=f"group {sha}",
        pull_number=0,
        remote_id=0,
        head_sha=sha,
        actor_id=1,
        text=base,
        is_edited=False,
    )


def two(there: Published) -> tuple[Pull, Pull]:
    """Two released pull requests."""
    first = there.hand_over()
    there.portal.verdict(VerdictKind.PASS)
    second = there.hand_over(DOCS, branch="staging/codex-docs", task="Document the fees")
    there.portal.verdict(VerdictKind.PASS)
    assert there.publish() == "done"
    return first, second


def group_of(there: Published, *pulls: Pull) -> str:
    """A group as the queue makes it, past what it asks of its members; what is said of it has no effect."""
    group = build(list(pulls), there.dev)
    there.remote.groups.remove(group)
    return group.head_sha


def said(there: Published, sha: str) -> set[str]:
    """Asked for and fetched, what the four checks say of a commit."""
    ask(there, sha)
    fetch(there)
    there.publish()
    return set(there.states(sha).values())


@pytest.mark.threat("GATE-06")
def test_a_group_of_two_that_passed_lands_as_what_was_judged(there: Published):
    first, second = two(there)
    (group,) = there.remote.enqueue(first, second, by=there.dev, together=True)
    request = ask(there, group.head_sha)
    there.publish()  # its commit is not in the copy yet
    assert set(there.states(group.head_sha).values()) == {"queued"}
    fetch(there)
    assert there.publish() == "done"
    assert set(there.states(group.head_sha)) == set(contexts())
    assert set(there.states(group.head_sha).values()) == {"success"}
    request.refresh_from_db()
    assert request.status == "done"
    assert there.remote.sha("main") == group.head_sha
    assert first.merged
    assert second.merged
    fetch(there)
    there.publish()
    assert set(there.states(group.head_sha).values()) == {"success"}  # it landed: it stays
    assert not CheckPublication.objects.filter(is_group=True, settled_at=None, is_own=True).exists()


@pytest.mark.threat("GATE-06")
def test_a_group_with_anything_else_in_it_fails(there: Published):
    first, second = two(there)
    stranger = there.remote.commit({"evil.py": "import os\n"}, branch="topic", by=there.dev)
    third = there.remote.open_pull("topic", by=there.dev)
    assert said(there, group_of(there, first, third)) == {"failure"}
    assert stranger not in set(there.passed())
    whole = group_of(there, first, second)
    repository, who = there.remote.git, there.remote.person(there.dev)
    tree = repository.write_tree(whole, {"evil.py": b"import os\n"})
    parents = [repository.resolve(f"{whole}^{n}") for n in (1, 2)]
    extra = repository.write_commit(tree, [whole], "One more", who, who)
    other = repository.write_commit(tree, parents, "Another tree", who, who)
    twice = repository.write_commit(tree, [*parents, stranger], "An octopus", who, who)
    root = repository.write_commit(tree, [], "From nowhere", who, who)
    for number, sha in enumerate((extra, other, twice, root)):
        there.remote.move(f"refs/heads/gh-readonly-queue/main/pr-{number}", sha, by=there.dev)
        assert said(there, sha) == {"failure"}, number
    there.portal.report("story-release", GateOutcome.FAILURE, run_id="late")  # the second's PASS is taken back
    assert said(there, whole) == {"failure"}


@pytest.mark.threat("GATE-06")
def test_a_success_is_taken_back_while_its_group_waits(there: Published):
    first, second = two(there)
    group = group_of(there, first, second)
    assert said(there, group) == {"success"}
    there.portal.report("story-release", GateOutcome.FAILURE, run_id="late")
    there.publish()
    assert there.gate_3(group) == "failure"


@pytest.mark.threat("GATE-06")
def test_nobody_else_gets_an_answer_for_a_branch_that_looks_like_the_queues(there: Published):
    first, second = two(there)
    group = group_of(there, first, second)
    fetch(there)
    assert there.publish() == "done"
    assert there.states(group) == {}
    foreign = ask(there, group, "refs/heads/release")
    there.publish()
    foreign.refresh_from_db()
    assert (foreign.status, foreign.code) == ("refused", "group.other_base")
    assert there.states(group) == {}


@pytest.mark.threat("GATE-06")
@pytest.mark.threat("GATE-08")
def test_a_group_on_top_of_what_nobody_released_waits_until_it_is_classed_and_then_fails(there: Published):
    first, _second = two(there)
    past = there.remote.commit({"past.txt": "x"}, by=there.dev, force=True)
    group = group_of(there, first)
    assert said(there, group) == {"queued"}
    there.hosted.tip_sha = past
    assert judge_landed(there.hosted, by=verifier()) == 1
    assert there.publish() == "done"
    assert set(there.states(group).values()) == {"failure"}


def test_a_release_waits_in_a_queue_while_only_what_was_released_lands(there: Published):
    two(there)
    pull, git = there.portal.pull(), Git(there.portal.bare)
    tip = pull.base_sha
    assert not holds_in_queue(pull, git, tip)  # no queue was asked for
    expected = Expected("main", contexts(), there.gate.id, enforcer_app=1, has_queue=True)
    expect_protection(there.portal.repository, expected, is_observed=False, by=OPERATOR)
    assert holds_in_queue(pull, git, tip)
    pull.moved_at -= QUEUE_HOLDS
    assert not holds_in_queue(pull, git, tip)  # for a day
    pull.moved_at += QUEUE_HOLDS
    pull.status = PullStatus.GATES_PASSING
    assert not holds_in_queue(pull, git, tip)
    pull.status = PullStatus.READY_TO_MERGE
    past = there.remote.commit({"past.txt": "x"}, by=there.dev, force=True)
    fetch(there)
    assert not holds_in_queue(pull, git, past)
