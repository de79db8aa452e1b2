"""A scene for the pages: a real bare repository, people of every role, and pull requests in any state."""

from __future__ import annotations

import itertools
import os
import subprocess
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.utils import timezone

from audit import events
from audit.actions import actor_of, append_event, take_part
from audit.events import Actor, Role
from audit.models import Principal
from handoffs.actions import govern_repository, record_event
from handoffs.models import (
    BundleCheck,
    Handoff,
    PullRequest,
    PullStatus,
    Repository,
    Signature,
    SigningKey,
    Status,
)
from leoportal.setup import OPERATOR, appoint, ensure_builder, ensure_lanes, ensure_person, ensure_policy
from verdicts import actions
from verdicts.actions import GateReport
from verdicts.models import VerificationWork
from verdicts.results import AgentKind, AgentOutcome, AgentResult, Finding, GateOutcome, Grade, Severity, Tool
from verdicts.rounds import BUILT_IN_GATES

BUILDER_ID = "https://builders.example/codex-a"
CAST = {
    "plan": Role.PLAN,
    "lead": Role.LEAD,
    "lead2": Role.LEAD,
    "auditor": Role.AUDITOR,
    "exec": Role.ENFORCER,
    "outsider": Role.REPORTER,
}
HOSTILE = "<script>alert(1)</script>{{ 7|add:7 }}\u202e"
_counter = itertools.count(1)


def git(path: Path, *args: str, text: str | None = None) -> str:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@example.org",
    }
    done = subprocess.run(("git", *args), cwd=path, env=env, input=text, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(path: Path, parent: str, files: dict[str, str], message: str) -> str:
    """A commit of `files` on top of `parent`, straight into a bare repository."""
    lines = git(path, "ls-tree", "-r", parent).splitlines() if parent else []
    entries = {line.split("\t", 1)[1]: line for line in lines}
    for name, content in files.items():
        blob = git(path, "hash-object", "-w", "--stdin", text=content)
        entries[name] = f"100644 blob {blob}\t{name}"
    index = path / f"index-{next(_counter)}"
    os.environ["GIT_INDEX_FILE"] = str(index)
    try:
        env_text = "".join(line.replace(" blob ", " ", 1) + "\n" for line in entries.values())
        subprocess.run(
            ("git", "update-index", "--add", "--index-info"), cwd=path, input=env_text, text=True, check=True
        )
        tree = subprocess.run(
            ("git", "write-tree"), cwd=path, capture_output=True, text=True, check=True
        ).stdout.strip()
    finally:
        del os.environ["GIT_INDEX_FILE"]
    return git(path, "commit-tree", tree, *(("-p", parent) if parent else ()), "-m", message)


def agent_result(kind: AgentKind, head: str, *, score: int = 95, findings: tuple[Finding, ...] = ()) -> AgentResult:
    severities = {finding.severity for finding in findings}
    outcome = AgentOutcome.PASSED
    if severities & {Severity.CRITICAL, Severity.HIGH}:
        outcome = AgentOutcome.FAILED
    elif severities:
        outcome = AgentOutcome.WARNED
    return AgentResult(
        kind=kind,
        outcome=outcome,
        confidence=Decimal(score),
        findings=findings,
        head_sha=head,
        tools=(Tool("ruff", "0.17.6", ("check",), 0, 120, ""),),
        input_digest="0" * 64,
        subjects=("app.py",),
        grade=Grade.VERIFIED,
    )


@dataclass
class Scene:
    """What the tests stand on."""

    root: Path
    repository: Repository
    base: str
    enforcer: Actor
    verifier: Actor
    builder: Principal
    key: SigningKey
    clients: dict[str, Client] = field(default_factory=dict)

    def client(self, name: str) -> Client:
        """A signed-in browser of one of the cast."""
        if name not in self.clients:
            client = Client()
            client.force_login(User.objects.get(username=name), backend="leoportal.roles.SignInBackend")
            self.clients[name] = client
        return self.clients[name]

    def actor(self, name: str) -> Actor:
        return actor_of(Principal.objects.get(name=name))

    @transaction.atomic
    def handoff(
        self, *, title: str = "Retry queue for webhook deliveries", outcome: str = "PASSED", digest: str = ""
    ) -> Handoff:
        """A handoff with its checks, verified and signed, or refused."""
        number = next(_counter)
        path = Path(self.repository.path)
        digest = digest or f"{number:064x}"
        text = f"def deliver(attempt):\n    return min(300, 2 ** attempt)  # {number}\n"
        files = {"app.py": text, "tests/test_app.py": "def test():\n    assert True\n"}
        staging = commit(path, self.base, {}, f"[CODEX-READY:{digest}] {number}")
        head = commit(path, self.base, files, f"[CLAUDE-APPLIED:{digest}] {number}")
        is_refused = outcome == "FAILED"
        handoff = Handoff.objects.create(
            repository=self.repository,
            status=Status.RECEIVED,
            staging_branch=f"staging/codex-{number}",
            staging_commit=staging,
            title=title,
            prd_id="PRD-142",
            chain=f"{self.repository.full_name}:staging/codex-{number}",
            merge_base=self.base,
            digest=digest,
            size_bytes=4096,
            builder=self.builder,
            sponsor=self.builder.sponsor,
        )
        Handoff.objects.filter(pk=handoff.pk).update(
            status=Status.REFUSED if is_refused else Status.TRIGGERED,
            applied_commit="" if is_refused else head,
            feature_branch=f"feature/{number}",
            result_tree=git(path, "rev-parse", f"{head}^{{tree}}"),
            refusal_code="patch.applies" if is_refused else "",
        )
        handoff.refresh_from_db()
        BundleCheck.objects.bulk_create(
            BundleCheck(
                handoff=handoff,
                position=position,
                code=code,
                group=code.partition(".")[0],
                sentence=f"The {code} check holds.",
                outcome=found,
                got=f"got {position}",
                expected=f"expected {position}",
                tool="leoportal 0.1.0, git 2.39.5",
            )
            for position, (code, found) in enumerate(
                (("archive.readable", "PASSED"), ("attestation.builder", "CLAIMED"), ("patch.applies", outcome))
            )
        )
        take_part(handoff.chain, Actor(self.builder.pk, self.builder.name, Role.BUILDER))
        take_part(handoff.chain, self.enforcer)
        record_event(handoff, events.HANDOFF_RECEIVED, self.enforcer, {"branch": handoff.staging_branch})
        if is_refused:
            record_event(handoff, events.HANDOFF_REFUSED, self.enforcer, {"failed": ["patch.applies"]})
            return handoff
        record_event(
            handoff, events.HANDOFF_VERIFIED, self.enforcer, {"digest": digest}, marker=f"[CODEX-READY:{digest}]"
        )
        now = timezone.now()
        Signature.objects.create(
            handoff=handoff, key=self.key, digest=digest, signature="-----BEGIN", envelope=b"{}", signed_at=now
        )
        for event in (events.HANDOFF_SIGNED, events.HANDOFF_APPLIED, events.HANDOFF_OPENED, events.HANDOFF_TRIGGERED):
            record_event(handoff, event, self.enforcer, {}, marker=f"[CLAUDE-APPLIED:{digest}]")
        return handoff

    def pull(self, *, title: str = "Retry queue for webhook deliveries", is_triggered: bool = True) -> PullRequest:
        """A pull request whose workflows are triggered."""
        handoff = self.handoff(title=title)
        now = timezone.now()
        repository = Repository.objects.get(pk=self.repository.pk)
        pull = PullRequest.objects.create(
            repository=repository,
            number=repository.next_number,
            handoff=handoff,
            title=title,
            body=f"Handoff: http://127.0.0.1/handoffs/{handoff.pk}/",
            base_ref="main",
            base_sha=self.base,
            head_ref=handoff.feature_branch,
            head_sha=handoff.applied_commit,
            merge_tree=handoff.result_tree,
            opened_at=now,
            moved_at=now - timedelta(hours=2, minutes=14),
            triggered_at=now - timedelta(seconds=1) if is_triggered else None,
            deadline_at=now + timedelta(hours=1, minutes=46),
        )
        Repository.objects.filter(pk=repository.pk).update(next_number=pull.number + 1)
        return pull

    def report_gates(self, pull: PullRequest, conclusion: GateOutcome = GateOutcome.SUCCESS) -> None:
        for gate in ("story-release", "slsa", "policy-bundle"):
            evidence: dict[str, Any] = {"checks": [{"name": "the bytes", "met": True, "got": "71be"}]}
            report = GateReport(gate, conclusion, f"run-{gate}-{pull.pk}", pull.head_sha, evidence)
            if gate in BUILT_IN_GATES:
                work = VerificationWork.objects.create(
                    pull_request=pull, head_sha=pull.head_sha, round=1, kind=VerificationWork.Kind.GATE, name=gate
                )
                actions.finish_gate_work(work, report, by=self.verifier)
            else:
                actions.report_gate(pull.pk, report, by=self.verifier)

    def report_agents(
        self, pull: PullRequest, *, score: int = 95, findings: dict[AgentKind, tuple[Finding, ...]] | None = None
    ) -> None:
        for kind in AgentKind:
            result = agent_result(kind, pull.head_sha, score=score, findings=(findings or {}).get(kind, ()))
            work = VerificationWork.objects.create(
                pull_request=pull,
                head_sha=pull.head_sha,
                round=1,
                kind=VerificationWork.Kind.AGENT,
                name=kind.value,
                run=1 + pull.work.count(),
            )
            actions.report_agent(pull.pk, result, by=self.verifier, work=work)

    def passing(self, **values: Any) -> PullRequest:
        """A pull request that PASS can be recorded on."""
        pull = self.pull(**values)
        self.report_gates(pull)
        self.report_agents(pull)
        return pull

    def escalated(self, *, severity: Severity = Severity.LOW) -> PullRequest:
        """A pull request whose findings PLAN escalated to LEAD."""
        from verdicts.deciding import VerdictRequest, record_verdict  # noqa: PLC0415
        from verdicts.decision import Verdict as VerdictKind  # noqa: PLC0415

        pull = self.pull()
        self.report_gates(pull)
        self.report_agents(pull, findings={AgentKind.DATABASE: (finding(severity),)})
        kind = VerdictKind.CONDITIONAL_PASS if severity is Severity.LOW else VerdictKind.ESCALATE
        request = VerdictRequest(
            verdict=kind,
            justification="The index is built while traffic is low.",
            head_sha=pull.head_sha,
            tree=pull.handoff.result_tree,
            question="May this merge with a blocking index build?",
        )
        record_verdict(pull.pk, request, by=self.actor("plan"))
        return PullRequest.objects.get(pk=pull.pk, status=PullStatus.LEAD_REVIEW)


def finding(
    severity: Severity, *, message: str = "The index is not built concurrently", is_new: bool = True
) -> Finding:
    return Finding("require-concurrent-index", severity, "app.py", 2, message, "CREATE INDEX", is_new=is_new)


def make_scene(root: Path) -> Scene:
    path = root / "payments.git"
    path.mkdir(parents=True)
    git(path, "init", "--bare", "--initial-branch=main", "-q", ".")
    base = commit(path, "", {"app.py": "def deliver(attempt):\n    return 5\n", "README": "hello\n"}, "base")
    git(path, "update-ref", "refs/heads/main", base)
    ensure_lanes("exec-operator", "verifier-operator")
    for name, role in CAST.items():
        ensure_person(name, role)
    builder = ensure_builder("codex-a", sponsor="b.builder", builder_id=BUILDER_ID, email="a@example.org")
    ensure_policy((BUILDER_ID,))
    appoint(("xena", "yuri"))
    now = timezone.now()
    with transaction.atomic():
        made = append_event(events.KEY_CREATED, OPERATOR, "", {"fingerprint": "AB" * 20, "lane": "enforcer"})
        key = SigningKey.objects.create(
            fingerprint="AB" * 20,
            user_id="signer",
            public_key="-----BEGIN PGP PUBLIC KEY BLOCK-----",
            secret_key=b"",
            created_at=now - timedelta(days=1),
            expires_at=now + timedelta(days=20),
            log_entry=made,
        )
    repository = govern_repository("acme/payments", path, "main", by=OPERATOR)
    return Scene(
        root=root,
        repository=repository,
        base=base,
        enforcer=actor_of(Principal.objects.get(name="leoportal-enforcer")),
        verifier=actor_of(Principal.objects.get(name="leoportal-verifier")),
        builder=Principal.objects.select_related("sponsor").get(pk=builder.pk),
        key=key,
    )
