"""Nothing lands before its cause is in a checkpoint with its quorum: the portal asks, and the repository's hook asks again."""

from __future__ import annotations

import pytest

from audit.epochs import set_quorum
from audit.models import LogEntry
from handoffs.git.repository import Git
from handoffs.models import PullStatus
from leoportal.setup import OPERATOR
from tests.support.portal import Portal
from verdicts import merging
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import VerdictError


@pytest.fixture
def passed(portal: Portal, settings) -> Portal:
    """PASS is recorded, and nobody but our own signer signed it where one witness has to."""
    portal.verified()
    portal.verdict(VerdictKind.PASS)
    set_quorum(1, by=OPERATOR)
    settings.LOG_WAIT_SECONDS = 0.1
    return portal


def merge(portal: Portal):
    return merge_pull_request(portal.pull().pk, portal.tools(), by=portal.actor("plan"))


@pytest.mark.threat("AUD-05")
def test_a_merge_waits_for_its_quorum_and_lands_with_it(passed: Portal, settings):
    tip = Git(passed.bare).resolve("refs/heads/main")
    with pytest.raises(VerdictError, match=r"merge\.not_covered"):
        merge(passed)
    assert Git(passed.bare).resolve("refs/heads/main") == tip
    assert LogEntry.objects.latest("pk").kind == "merge.refused"
    set_quorum(0, by=OPERATOR)
    settings.LOG_WAIT_SECONDS = 60.0
    assert merge(passed).status == PullStatus.MERGED


@pytest.mark.threat("AUD-05")
def test_the_hook_takes_no_merge_that_is_not_covered_whatever_the_portal_thinks(passed: Portal, monkeypatch):
    tip = Git(passed.bare).resolve("refs/heads/main")
    monkeypatch.setattr(merging, "wait_covered", lambda *_, **__: True)
    with pytest.raises(VerdictError) as refused:
        merge(passed)
    assert "merge.no_pass" in str(refused.value)
    assert Git(passed.bare).resolve("refs/heads/main") == tip
