"""Workflow runs on GitHub: asked for once, recognised by what was asked for, and worth nothing without their evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from handoffs.github.runs import Asked, RunFacts, problem_of, run_of
from handoffs.models import WorkflowRun
from tests.support.github.runs import definitions, start_run, workflow_at
from tests.support.on_github import OnGitHub
from verdicts.models import GateExecution

PATH = ".github/workflows/leo-slsa.yml"
ASKED = Asked("leo-1234", PATH, "a" * 40, 7)
RUN = RunFacts(1, 1, "SLSA leo-1234", PATH, "workflow_dispatch", "a" * 40, 7, 7, "completed", "success")


@pytest.mark.threat("GATE-13")
@pytest.mark.threat("GATE-14")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"path": f"acme/payments/{PATH}"}, ""),
        ({"path": ".github/workflows/evil.yml"}, "workflow_ref.mismatch"),
        ({"path": f"{PATH}.yml"}, "workflow_ref.mismatch"),
        ({"event": "pull_request"}, "run.event"),
        ({"head_sha": "b" * 40}, "run.head"),
        ({"repository": 8}, "run.repository"),
        ({"head_repository": 8}, "run.repository"),
        ({"head_repository": 0}, "run.repository"),
    ],
)
def test_a_run_is_the_one_that_was_asked_for_in_every_respect(changes: dict[str, Any], problem: str):
    assert problem_of(ASKED, replace(RUN, **changes)) == problem


def test_the_run_of_an_intent_is_found_by_its_title_and_a_forged_one_does_not_hide_it():
    evil = replace(RUN, number=0, path=".github/workflows/evil.yml")
    assert run_of(ASKED, [evil, RUN]) == RUN
    assert run_of(ASKED, [evil]) == evil
    assert run_of(ASKED, [replace(RUN, title="SLSA leo-12345"), replace(RUN, title="leo-123")]) is None


def gates(on_github: OnGitHub) -> dict[str, tuple[str, str]]:
    """Of each gate that was reported: its conclusion, and what was wrong with its workflow's run."""
    found = {}
    for row in GateExecution.objects.order_by("pk"):
        checks = [one["got"] for one in row.evidence.get("checks", []) if "workflow" in one["name"]]
        found[row.gate] = (row.conclusion, str(row.evidence.get("problem", "")) or "".join(checks))
    return found


@pytest.mark.threat("GATE-09")
@pytest.mark.threat("GATE-10")
@pytest.mark.threat("GATE-13")
def test_a_gate_needs_the_right_workflow_and_its_evidence_not_a_green_run(on_github: OnGitHub):
    on_github.hand_over()
    on_github.enforce()
    runs, remote, head = on_github.runs(), on_github.remote, on_github.pull().head_sha
    # A workflow of somebody's own says that it is the one that was asked for; the right one never shows.
    asked = WorkflowRun.objects.get(workflow=PATH)
    remote.runs.remove(runs["leo-slsa"])
    of = next(one for one in definitions(remote, head) if one.path == PATH)
    evil = start_run(
        workflow_at(remote, ".github/workflows/evil.yml", of.name), of, "workflow_dispatch", head,
        on_github.pull().head_ref, on_github.user("mallory"), ref="refs/heads/main", inputs={"intent": asked.intent},
    )  # fmt: skip
    on_github.send_evidence(evil)
    evil.finish("success")
    runs["leo-story"].finish("success")  # an exit 0 that sent nothing
    on_github.send_evidence(runs["leo-policy"])
    runs["leo-policy"].finish("skipped")
    on_github.sweep()
    found = gates(on_github)
    assert found["story-release"] == ("failure", "evidence.missing")
    assert found["slsa"] == ("failure", f"github-{evil.id}-1 failure, workflow_ref.mismatch")
    assert found["policy-bundle"] == ("failure", f"github-{runs['leo-policy'].id}-1 skipped")

    runs["leo-story"].rerun()
    on_github.send_evidence(runs["leo-story"])
    runs["leo-story"].finish("success")
    on_github.sweep()
    assert gates(on_github)["story-release"] == ("success", "")
    rows = GateExecution.objects.filter(gate="story-release").order_by("pk")
    assert [row.run_id for row in rows] == [f"github-{runs['leo-story'].id}-{attempt}" for attempt in (1, 2)]


@pytest.mark.threat("GATE-13")
def test_a_workflow_that_the_protected_branch_does_not_have_counts_for_nothing(on_github: OnGitHub):
    on_github.hand_over()
    on_github.enforce()
    # The protected branch has other workflows now than the head brings along.
    on_github.remote.commit({".github/workflows/leo-story.yml": "name: other\non: workflow_dispatch\njobs: {}\n"})
    on_github.sweep()
    on_github.enforce()
    on_github.run_workflows()
    on_github.sweep()
    assert gates(on_github)["story-release"] == ("failure", "workflow_ref.mismatch")
