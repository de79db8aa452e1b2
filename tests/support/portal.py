"""A small portal for tests: people, a governed repository, and the lanes' real tasks called one after the other."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from audit.actions import actor_of, create_principal
from audit.events import Actor, Role
from audit.models import Kind, Principal
from handoffs.bundles.building import BundleRequest, create_bundle
from handoffs.bundles.bundle import digest_of
from handoffs.bundles.markers import MarkerKind, write_marker
from handoffs.git.repository import Git
from handoffs.models import Handoff, PullRequest, Repository
from handoffs.signatures.key_rules import Algorithm
from handoffs.tasks import advance, sweep_staging, tools_for
from leoportal import setup
from leoportal.lanes.switching import LANE_OF, acting_in
from verdicts import actions, evidence
from verdicts.actions import GateReport
from verdicts.deciding import DecisionRequest, VerdictRequest, record_decision, record_verdict
from verdicts.decision import Verdict as VerdictKind
from verdicts.models import Decision, DecisionKind, Verdict, VerificationWork, WorkStatus
from verdicts.results import GateOutcome
from verdicts.tasks import run_work, sweep_statements, sweep_verification

BUILDER_ID = "https://builder.invalid/codex/v1"
START = {
    "README.md": "# Payments\n",
    "payments/__init__.py": '"""Payments."""\n',
    "payments/fees.py": '"""Fees."""\n\n\ndef fee(cents: int) -> int:\n    """One percent."""\n    return cents // 100\n',
    "tests/test_fees.py": "from payments.fees import fee\n\n\ndef test_fee():\n    assert fee(1000) == 10\n",
}
GOOD_CHANGE = {
    "payments/fees.py": START["payments/fees.py"]
    + '\n\ndef net(cents: int) -> int:\n    """What is left after the fee."""\n    return cents - fee(cents)\n',
    "tests/test_fees.py": "from payments.fees import fee, net\n\n\ndef test_fee():\n    assert fee(1000) == 10\n\n\n"
    "def test_net():\n    assert net(1000) == 990\n",
}


def git(folder: Path, *arguments: str) -> str:
    """Real git, as a person would call it, with a fixed identity."""
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "GIT_AUTHOR_NAME": "Cody",
        "GIT_AUTHOR_EMAIL": "codex@builder.invalid",
        "GIT_COMMITTER_NAME": "Cody",
        "GIT_COMMITTER_EMAIL": "codex@builder.invalid",
        "GIT_AUTHOR_DATE": "@1790000000 +0000",
        "GIT_COMMITTER_DATE": "@1790000000 +0000",
    }
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, ["git", *arguments], done.stdout, done.stderr)
    return done.stdout.strip()


@dataclass
class Portal:
    """The cast: builder codex (ada answers), plan, lead, auditor, a gate reporter, a stranger without a role."""

    folder: Path
    source: Path
    repository: Repository

    @classmethod
    def make(cls, folder: Path) -> Portal:
        """People, key, policy, and `acme/payments` with one commit on main."""
        make_people()
        source = make_source(folder, START)
        bare = folder / "forge" / "payments.git"
        git(folder, "clone", "--quiet", "--bare", str(source), str(bare))
        return cls(folder, source, setup.govern("acme/payments", bare, "main"))

    def actor(self, name: str) -> Actor:
        """A person or machine as an actor, in its one role."""
        return actor_of(Principal.objects.get(name=name))

    def add_person(self, name: str, role: Role) -> Actor:
        """One more person."""
        return actor_of(create_principal(name, kind=Kind.HUMAN, role=role, by=setup.OPERATOR))

    def bundle(
        self,
        files: Mapping[str, str | None],
        *,
        branch: str = "staging/codex-net",
        task: str = "Add net",
        sponsor: str = "ada",
        builder_id: str = BUILDER_ID,
    ) -> bytes:
        """A builder's real bundle of these files on top of the protected branch."""
        base = Git(self.origin).resolve("refs/heads/main")
        git(self.source, "fetch", "--quiet", str(self.origin), "main")
        git(self.source, "checkout", "--quiet", "--detach", base)
        write_files(self.source, files)
        git(self.source, "add", "--all")
        git(self.source, "commit", "--quiet", "-m", task)
        request = BundleRequest(
            prd_id="PRD-1",
            task=task,
            builder_id=builder_id,
            sponsor=sponsor,
            repository="acme/payments",
            branch=branch,
        )
        return create_bundle(Git(self.source), base=base, commit="HEAD", request=request)

    def push_bundle(
        self, raw: bytes, *, branch: str = "staging/codex-net", subject: str | None = None, email: str | None = None
    ) -> str:
        """Commit bytes as the artifact on a staging branch and push it through the repository's hooks."""
        store = Git(self.source)
        base = Git(self.origin).resolve("refs/heads/main")
        old = Git(self.origin).refs(f"refs/heads/{branch}").get(f"refs/heads/{branch}", "")
        commit = store.write_commit(
            store.with_file(base, ".leo/artifact.tar.gz", store.write_blob(raw)),
            [base, old] if old else [base],
            subject or write_marker(MarkerKind.CODEX_READY, digest_of(raw), "Add net"),
            name="Cody",
            email=email or "codex@builder.invalid",
            when=datetime(2026, 11, 1, 12, tzinfo=UTC),
        )
        if old:
            git(self.source, "fetch", "--quiet", str(self.origin), branch)
        self.push(commit, branch, old=old)
        return commit

    def push(self, commit: str, branch: str, *, old: str = "") -> None:
        """The builder's push, through the repository's hooks."""
        Git(self.source).push(self.bare, commit, f"refs/heads/{branch}", old=old)

    @property
    def bare(self) -> Path:
        """The governed repository on disk, or the portal's copy of it."""
        return Path(self.repository.path)

    @property
    def origin(self) -> Path:
        """Where the builder's clone comes from."""
        return self.bare

    def receive(self) -> Handoff:
        """The enforcer lane notices and takes the newest handoff as far as it goes."""
        sweep_staging()
        handoff = Handoff.objects.latest("pk")
        advance(handoff.pk)
        return Handoff.objects.get(pk=handoff.pk)

    def hand_over(self, files: Mapping[str, str | None] | None = None, **names: str) -> Handoff:
        """A change from the builder to where the enforcer's duty ends."""
        self.push_bundle(
            self.bundle(files or GOOD_CHANGE, **names), **{k: v for k, v in names.items() if k == "branch"}
        )
        self.receive()
        sweep_verification()
        return Handoff.objects.latest("pk")

    def pull(self) -> PullRequest:
        """The newest pull request, as it is now."""
        return PullRequest.objects.select_related("repository", "handoff").latest("pk")

    def run_work(self) -> None:
        """Run the built-in gates and sub-agents that wait, further rounds included."""
        sweep_statements()
        while True:
            waiting = list(VerificationWork.objects.filter(status=WorkStatus.WAITING).values_list("pk", flat=True))
            if not waiting:
                return
            for pk in waiting:
                if run_work(pk) == "failed":
                    raise AssertionError(VerificationWork.objects.get(pk=pk).error)

    def report(self, gate: str, conclusion: GateOutcome, *, run_id: str = "run-1", by: str = "story-gate"):
        """An outside gate's report on the current head."""
        pull, actor = self.pull(), self.actor(by)
        with acting_in(LANE_OF[actor.role]):
            return actions.report_gate(pull.pk, GateReport(gate, conclusion, run_id, pull.head_sha, {}), by=actor)

    def verified(self, files: Mapping[str, str | None] | None = None, **names: str) -> PullRequest:
        """A pull request with all three input gates and five sub-agents done."""
        self.hand_over(files, **names)
        self.run_work()
        self.report("story-release", GateOutcome.SUCCESS, run_id=f"story-{self.pull().pk}")
        return self.pull()

    def verdict(
        self, kind: VerdictKind, *, by: str = "plan", why: str = "Looked at all of it.", **parts: str
    ) -> Verdict:
        """PLAN records a verdict on what the pull request is now."""
        pull = self.pull()
        tree = evidence.observed_tree(pull, Git(self.bare))
        request = VerdictRequest(kind, why, pull.head_sha, tree, **parts)
        actor = self.actor(by)
        with acting_in(LANE_OF[actor.role]):
            return record_verdict(pull.pk, request, by=actor)

    def decide(self, kind: DecisionKind, *, by: str = "lead", **parts) -> Decision:
        """LEAD decides on what the pull request is now."""
        pull = self.pull()
        why = parts.pop("why", "The index is built while traffic is low and can be dropped again.")
        seen = parts.pop("seen", None) or evidence.gather(pull, tree=pull.handoff.result_tree).digest
        request, actor = DecisionRequest(kind, why, pull.head_sha, seen, **parts), self.actor(by)
        with acting_in(LANE_OF[actor.role]):
            return record_decision(pull.pk, request, by=actor)

    def tools(self):
        """The enforcer's adapters for this repository."""
        return tools_for(self.repository)


def make_people() -> None:
    """The cast, the signing keys, and a policy that allows the builder."""
    setup.ensure_lanes("opal", "rhea")
    setup.ensure_builder("codex", sponsor="ada", builder_id=BUILDER_ID, email="codex@builder.invalid")
    setup.ensure_policy((BUILDER_ID,))
    setup.ensure_keys(enforcer=Algorithm.ED25519)
    sweep_statements()
    for name, role in (("plan", Role.PLAN), ("plan2", Role.PLAN), ("lead", Role.LEAD), ("auditor", Role.AUDITOR)):
        setup.ensure_person(name, role)
    stella = setup.ensure_principal("stella", kind=Kind.HUMAN, role=Role.REPORTER)
    setup.ensure_principal("story-gate", kind=Kind.MACHINE, role=Role.REPORTER, sponsor=stella)


def make_source(folder: Path, files: Mapping[str, str | None]) -> Path:
    """The builder's clone, with these files in its first commit."""
    source = folder / "source"
    source.mkdir()
    git(source, "init", "--quiet", "--initial-branch=main")
    write_files(source, files)
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "-m", "Start")
    return source


def write_files(folder: Path, files: Mapping[str, str | None]) -> None:
    """Write text files; None deletes one."""
    for name, text in files.items():
        path = folder / name
        if text is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
