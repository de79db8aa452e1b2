"""What leo-gate shows on GitHub, over HTTP, from the first look to the release and back."""

from __future__ import annotations

import pytest

from handoffs.models import PullRequest
from tests.github.publishing import GATE_3, Published, contexts
from tests.support.github import GitHub
from tests.support.portal import Portal
from verdicts.decision import Verdict as VerdictKind
from verdicts.publication_rows import CheckPublication


@pytest.fixture
def there(portal: Portal, github: GitHub, settings) -> Published:
    return Published.make(portal, github, settings)


def test_four_checks_from_the_first_look_to_the_release(there: Published):
    pull = there.hand_over()
    assert there.publish() == "done"
    states = there.states(pull.head_sha)
    assert set(states) == set(contexts())
    assert states[GATE_3] == "in_progress"
    assert pull.mergeable_state == "blocked"
    there.portal.verdict(VerdictKind.PASS)
    assert there.publish() == "done"
    assert set(there.states(pull.head_sha).values()) == {"success"}
    assert pull.mergeable_state == "clean"
    row = CheckPublication.objects.filter(is_own=True).latest("pk")
    assert row.is_certain
    assert row.causes == [PullRequest.objects.get().verdicts.get().log_entry_id]
    before = len(there.github.requests)
    assert there.publish() == "done"
    asked = [(one.method, one.path) for one in there.github.requests[before:]]
    assert [method for method, _ in asked if method != "GET"] == []
