"""Evidence of workflow runs: GitHub's token says which run speaks, and what it says is kept once and proves nothing alone."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from django.test import Client
from django.utils import timezone
from psycopg import sql

from audit.models import LogEntry, Principal
from handoffs.github.oidc import IssuerKeys, OidcError
from handoffs.models import GitHubRepository, Handoff, PullRequest, WorkflowEvidence
from leoportal import api_github
from tests.github.issuer import AUDIENCE, CLAIMS, HEAD, ISSUER, Issuer

DOCUMENT = json.dumps({"head_sha": HEAD, "gate": "slsa", "conclusion": "success"}).encode()
REF = "refs/heads/feature/net"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(autouse=True)
def trusted(issuer: Issuer, settings, monkeypatch):
    settings.PORTAL_URL, settings.GITHUB_OIDC_ISSUER = AUDIENCE, ISSUER
    keys = IssuerKeys(ISSUER, issuer.fetch)
    monkeypatch.setattr(api_github, "issuer_keys", lambda _: keys)


@pytest.fixture
def pull(hosted: GitHubRepository) -> PullRequest:
    """An open pull request with the token's head."""
    now = timezone.now()
    handoff = Handoff.objects.create(
        repository=hosted.repository, staging_branch="staging/codex-net", staging_commit="c" * 40, status="received",
        received_at=now, moved_at=now,
    )  # fmt: skip
    return PullRequest.objects.create(
        repository=hosted.repository, number=7, handoff=handoff, title="Net", base_ref="main", base_sha="b" * 40,
        head_ref="feature/net", head_sha=HEAD, merge_tree="d" * 40, opened_at=now, moved_at=now,
    )  # fmt: skip


def send(token: str, document: bytes = DOCUMENT):
    given = {"Authorization": f"Bearer {token}"} if token else {}
    return Client().generic("POST", "/api/v1/github/evidence", document, content_type="application/json", headers=given)


def refused(answer: Any) -> tuple[int, str]:
    assert WorkflowEvidence.objects.count() == 0
    assert not LogEntry.objects.filter(kind="evidence.received").exists()
    return answer.status_code, answer.json()["code"]


def test_what_a_run_sends_is_kept_as_it_was_sent_with_its_entry(pull: PullRequest, issuer: Issuer):
    answer = send(issuer.token())
    assert answer.status_code == 201
    row = WorkflowEvidence.objects.get()
    assert (bytes(row.document), row.digest) == (DOCUMENT, answer.json()["digest"])
    assert (row.workflow, row.ref, row.run_id, row.run_attempt) == (".github/workflows/leo-slsa.yml", REF, 600, 1)
    assert (row.head_sha, row.repository) == (HEAD, pull.repository)
    entry = row.log_entry
    assert (entry.kind, entry.role, entry.pk) == ("evidence.received", "REPORTER", answer.json()["log_entry"])
    assert entry.open()["digest"] == row.digest
    assert Principal.objects.get(pk=entry.principal).name == "github-actions"


def test_the_same_again_is_kept_once_and_another_document_for_the_same_attempt_is_refused(pull, issuer: Issuer):
    first, again = send(issuer.token()), send(issuer.token())
    assert (again.status_code, again.json()) == (201, first.json())
    other = send(issuer.token(), DOCUMENT.replace(b"success", b"failure"))
    assert (other.status_code, other.json()["code"]) == (409, "evidence.already_sent")
    assert send(issuer.token(run_attempt="2"), DOCUMENT.replace(b"success", b"failure")).status_code == 201
    assert WorkflowEvidence.objects.count() == LogEntry.objects.filter(kind="evidence.received").count() == 2


EVIL = "acme/payments/.github/workflows/evil.yml@refs/pull/1/merge"


@pytest.mark.threat("GATE-13")
@pytest.mark.threat("GATE-14")
@pytest.mark.parametrize(
    ("claims", "status", "code"),
    [
        ({"workflow_ref": EVIL, "job_workflow_ref": EVIL}, 422, "workflow_ref.mismatch"),
        ({"job_workflow_ref": EVIL}, 422, "workflow_ref.mismatch"),
        ({"repository_id": "9"}, 422, "evidence.repository"),
        ({"event_name": "pull_request"}, 422, "evidence.event"),
        ({"event_name": "push"}, 422, "evidence.event"),
        ({"sha": "b" * 40}, 422, "evidence.head"),
        ({"aud": "https://other.example"}, 401, "oidc.audience"),
        ({"iss": "https://evil.example"}, 401, "oidc.issuer"),
        ({"exp": 1}, 401, "oidc.expired"),
        ({"run_id": None}, 401, "oidc.claims"),
    ],
)
def test_evidence_of_another_file_repository_event_or_commit_is_refused(pull, issuer: Issuer, claims, status, code):
    assert refused(send(issuer.token(**claims))) == (status, code)


@pytest.mark.threat("GATE-14")
def test_evidence_about_a_commit_that_no_pull_request_has_is_refused(pull, issuer: Issuer):
    document = DOCUMENT.replace(HEAD.encode(), b"b" * 40)
    assert refused(send(issuer.token(sha="b" * 40), document)) == (422, "evidence.head")


@pytest.mark.threat("GATE-14")
def test_a_repository_that_took_the_old_name_is_another_repository(pull, issuer: Issuer):
    GitHubRepository.objects.update(full_name="acme/ledger")
    assert refused(send(issuer.token())) == (422, "workflow_ref.mismatch")


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "json.syntax"),
        (b"[]", "evidence.form"),
        (b"{}", "evidence.head"),
        (b'{"head_sha": 7}', "evidence.head"),
        (b'{"head_sha": "x", "head_sha": "x"}', "json.duplicate_key"),
        (b'{"head_sha": "%s", "x": NaN}' % HEAD.encode(), "json.not_a_number"),
        (json.dumps({"head_sha": HEAD, "x": "y" * (64 << 10)}).encode(), "json.too_long"),
    ],
)
def test_a_document_of_another_form_is_refused(pull, issuer: Issuer, document: bytes, code: str):
    assert refused(send(issuer.token(), document)) == (422, code)


def test_without_githubs_token_nothing_is_taken(pull, issuer: Issuer):
    assert refused(send("")) == (401, "token.invalid")
    assert refused(send("leo_made-up")) == (401, "oidc.token")
    assert refused(send(Issuer().token())) == (401, "oidc.signature")


def test_while_the_issuer_is_away_the_job_is_told_to_come_again(pull, issuer: Issuer, monkeypatch):
    def away(_: str) -> bytes:
        raise OidcError("oidc.keys", "away")

    keys = IssuerKeys(ISSUER, away)
    monkeypatch.setattr(api_github, "issuer_keys", lambda _: keys)
    assert refused(send(issuer.token())) == (503, "oidc.keys")


@pytest.mark.parametrize("name", ["nobody", "opal"])
def test_without_a_reporter_nothing_is_recorded_in_anybody_elses_name(pull, issuer: Issuer, monkeypatch, name: str):
    monkeypatch.setattr(api_github, "REPORTER", name)  # there is none, or an enforcer
    assert refused(send(issuer.token())) == (422, "evidence.no_reporter")


@pytest.mark.threat("DB-01")
@pytest.mark.parametrize(
    "role", ["reporter", "enforcer", "verifier", "publisher", "plan", "lead", "operator", "ingest"]
)
def test_evidence_is_never_changed_and_only_the_reporters_lane_adds_any(as_role, role: str):
    table = sql.Identifier("leo_workflow_evidence")
    statements = ["UPDATE {} SET digest = ''", "DELETE FROM {}"]
    statements += [] if role == "reporter" else ["INSERT INTO {} DEFAULT VALUES"]
    for statement in statements:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role(role).execute(sql.SQL(statement).format(table))


def test_the_tokens_claims_are_those_of_the_published_reference():
    """Source: GitHub, "OpenID Connect reference", claims of a job's token: numbers are text."""
    assert {type(CLAIMS[name]) for name in ("repository_id", "run_id", "run_attempt")} == {str}
