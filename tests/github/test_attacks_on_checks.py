"""Attacks on leo-gate's check runs by who may merge, queue or open pull requests: no success outlives what it rests on."""

from __future__ import annotations

import pytest

from handoffs.github.check_runs import Checks
from handoffs.models import GitHubRepository, GitHubRequest
from tests.github.publishing import Published
from tests.github.test_publishing_groups import ask, group_of, said, two
from tests.support.github import GitHub
from tests.support.github.merging import merge
from tests.support.portal import Portal
from verdicts.decision import Verdict as VerdictKind
from verdicts.tasks_landing import sweep_landed


@pytest.fixture
def there(portal: Portal, github: GitHub, settings) -> Published:
    return Published.make(portal, github, settings)


@pytest.mark.threat("GATE-07")
@pytest.mark.threat("GATE-12")
def test_a_merge_into_another_branch_ends_the_success_also_while_a_group_cannot_be_answered(
    there: Published, monkeypatch: pytest.MonkeyPatch
):
    pull = there.hand_over()
    there.portal.verdict(VerdictKind.PASS)
    gone = ask(there, "a" * 40)  # GitHub asked about it, and has it no more
    strange = "g"
    while strange > pull.head_sha:  # one that would be written first
        strange = there.remote.commit({"x": strange}, branch="topic", by=there.dev)
    there.remote.open_pull("topic", by=there.dev)
    with monkeypatch.context() as spent:
        spent.setattr(Checks, "has_to_spare", False)
        assert there.publish() == "done"
    assert there.states(strange) == {}
    assert there.publish() == "done"
    order = list(dict.fromkeys(run.head_sha for run in there.remote.check_runs))
    assert order == [pull.head_sha, strange]
    gone.refresh_from_db()
    assert (gone.status, gone.code) == ("refused", "group.gone")
    assert there.gate_3(pull.head_sha) == "success"
    there.remote.commit({}, branch="junk", by=there.dev)
    pull.edit(there.dev, base="junk")
    merge(pull, there.remote.actor(there.dev))
    there.github.chaos.plant(422, method="POST", path=r"/check-runs$")
    ask(there, there.remote.sha())
    there.publish()
    assert there.gate_3(pull.head_sha) == "failure"


@pytest.mark.threat("GATE-06")
@pytest.mark.threat("GATE-07")
def test_a_group_on_what_nobody_released_is_no_success(there: Published):
    first, second = two(there)
    there.remote.rulesets.clear()
    there.remote.commit({"evil.py": "import os\n"}, by=there.dev)
    group = group_of(there, first, second)
    assert said(there, group) == {"queued"}  # what landed is not judged yet
    assert GitHubRequest.objects.get(head_sha=group).status == "waiting"
    GitHubRepository.objects.update(tip_sha=there.remote.sha())
    sweep_landed()
    there.publish()
    assert set(there.states(group).values()) == {"failure"}
