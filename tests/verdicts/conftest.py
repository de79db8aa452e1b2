"""A portal that has released something."""

from __future__ import annotations

import pytest

from tests.support.portal import Portal
from tests.support.portal_packs import sign_log
from verdicts.decision import Verdict as VerdictKind
from verdicts.merging import merge_pull_request
from verdicts.models import DecisionKind
from verdicts.tasks import sweep_statements


@pytest.fixture
def full(portal: Portal, settings) -> Portal:
    """One pull request that PLAN escalated and LEAD approved, merged; and one that passed, merged."""
    pull = portal.verified()
    portal.verdict(VerdictKind.ESCALATE, question="May this merge before the audit?")
    portal.decide(DecisionKind.APPROVE)
    sweep_statements()
    sign_log()
    merge_pull_request(pull.pk, portal.tools(), by=portal.actor("lead"))
    return portal
