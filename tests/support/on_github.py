"""A portal whose repository is on the stand-in for GitHub: two Apps with their keys, a rule set, a builder who pushes.

Every lane's tasks run with the key of that lane only, as its own process would: an enforcer that used the gate's key,
or a verifier that talked to GitHub, would not find one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.db import transaction

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from handoffs.actions import Enrolment, govern_on_github
from handoffs.bundles.bundle import digest_of
from handoffs.bundles.markers import MarkerKind, write_marker
from handoffs.github.connection import Connection, Token
from handoffs.github.live import Bypass
from handoffs.github.manifests import PERMISSIONS
from handoffs.hosting import Side
from handoffs.models import GitHubRepository, Handoff, WorkflowEvidence
from handoffs.tasks import advance, sweep_staging
from handoffs.tasks_github import reconcile, take_deliveries
from leoportal import governing, setup
from leoportal.lanes.switching import acting_in
from leoportal.trying_out import try_out
from tests.support.github import GitHub
from tests.support.github.accounts import Account, App
from tests.support.github.checks import CheckRun, suite_for
from tests.support.github.pulls import Pull
from tests.support.github.repositories import Repository as Remote
from tests.support.github.rules import Ruleset
from tests.support.github.runs import WorkflowRun as RemoteRun
from tests.support.portal import GOOD_CHANGE, START, Portal, git, make_people, make_source
from verdicts import evidence
from verdicts.models import VerificationWork
from verdicts.policy import parse_policy
from verdicts.tasks import run_work, sweep_statements, sweep_verification
from verdicts.tasks_landing import sweep_landed, sweep_workflows
from verdicts.tasks_protection import watch_protection
from verdicts.tasks_publishing import publish

SECRET: Final = "a secret that both sides know"
EVENTS: Final = ("push", "pull_request", "workflow_run", "check_run")
WORKFLOWS: Final = ("leo-slsa", "leo-policy", "leo-story", "leo-agents")
WORKFLOW: Final = """\
name: {name}
run-name: {name} ${{{{ inputs.intent }}}}
on:
  workflow_dispatch:
    inputs:
      intent:
        description: What the portal asked for
        required: true
        type: string
permissions: {{}}
jobs:
  gate:
    name: {name}
    runs-on: ubuntu-24.04
    permissions:
      contents: read
      id-token: write
    steps:
      - run: leo report
"""


@dataclass
class OnGitHub(Portal):
    """The cast of `Portal`, and on GitHub: `codex-bot`, who may push `staging/codex-*`, and `mallory`, who may push."""

    github: GitHub
    remote: Remote
    hosted: GitHubRepository
    enforcer_app: App
    gate_app: App
    settings: Any

    @classmethod
    def on(
        cls, github: GitHub, folder: Path, settings: Any, *, portal_url: str = "", is_proved: bool = False,
        is_trial: bool = False, **wish: Any
    ) -> OnGitHub:  # fmt: skip
        """`acme/payments` on the stand-in, governed; nothing of it is mirrored yet. With `portal_url`: webhooks go there,
        and then nobody looks without one; else everybody looks all the time. `is_proved`: as `leo repo govern` does it,
        rules, check and canary, with `wish`; otherwise the rules are just there, and leo-gate publishes no success.
        `is_trial`: as `leo repo govern --trial` does it, with a token of `tess`, who may push, in place of both Apps.
        """
        make_people()
        files = {f".github/workflows/{name}.yml": WORKFLOW.format(name=name) for name in WORKFLOWS}
        owners = {".github/CODEOWNERS": "/.github/ @acme/owners\n"}
        source = make_source(folder, START | files | owners)
        remote = github.create_repository("acme/payments", source)
        remote.add(github.create_user("codex-bot"))
        remote.add(github.create_user("mallory"))
        remote.add(github.create_user("olivia"), "admin")
        leo_enforcer = create_app(github, Side.ENFORCER, portal_url)
        gate = create_app(github, Side.GATE, portal_url)
        settings.GITHUB_ENFORCER_WEBHOOK_SECRETS = settings.GITHUB_GATE_WEBHOOK_SECRETS = [SECRET]
        settings.GITHUB_POLL_SECONDS = 1e6 if portal_url else 0.0
        if not (is_proved or is_trial):
            protect(github, remote, leo_enforcer, gate)
        settings.GITHUB_URL, settings.GITHUB_API_URL = github.url, github.api
        settings.GITHUB_ENFORCER_APP_ID, settings.GITHUB_GATE_APP_ID = leo_enforcer.id, gate.id
        settings.GITHUB_ENFORCER_KEY = settings.GITHUB_GATE_KEY = settings.GITHUB_TOKEN = ""
        installed = {app: github.install(app, remote).id for app in (leo_enforcer, gate)}
        if is_trial:
            hosted = try_out_remote(remote, settings, folder)
        elif is_proved:
            hosted = govern(remote, settings, folder, **wish)
        else:
            hosted = govern_on_github(
                Enrolment(
                    github_id=remote.id,
                    full_name=remote.full_name,
                    protected_branch="main",
                    tip=remote.sha(),
                    mirror=folder / "forge" / "github" / f"{remote.id}.git",
                    enforcer_installation=installed[leo_enforcer],
                    gate_installation=installed[gate],
                    gate_app=gate.id,
                ),
                by=setup.OPERATOR,
            )
        return cls(folder, source, hosted.repository, github, remote, hosted, leo_enforcer, gate, settings)

    # --- the builder, and whoever else may push ---

    @property
    def origin(self) -> Path:
        """What the builder's clone comes from; git's objects are the same whoever transports them."""
        return self.remote.git.path

    def push(self, commit: str, branch: str, *, old: str = "", by: str = "codex-bot") -> None:
        """A push over HTTP with somebody's own token, judged by GitHub's rules."""
        address = self.remote.url_with(self.user(by).token())
        lease = f"--force-with-lease=refs/heads/{branch}:{old}"
        git(self.source, "push", "--quiet", lease, address, f"{commit}:refs/heads/{branch}")

    def push_bundle_past_the_outage(self, files: Mapping[str, str | None]) -> None:
        """A builder's push that GitHub took although it answers nobody: the branch is just there."""
        raw, branch = self.bundle(files), "staging/codex-net"
        commit = self.remote.commit({".leo/artifact.tar.gz": raw}, branch=branch, message=ready(raw))
        assert commit

    def user(self, login: str) -> Account:
        """Somebody on GitHub."""
        return self.github.account(login)

    # --- the lanes, each with its own key ---

    @contextmanager
    def lane(self, side: Side) -> Iterator[None]:
        """What is inside has this lane's key, as its worker would, and no other."""
        name, app = f"GITHUB_{side.upper()}_KEY", self.enforcer_app if side is Side.ENFORCER else self.gate_app
        setattr(self.settings, name, app.private_key())
        try:
            yield
        finally:
            setattr(self.settings, name, "")

    def sweep(self) -> None:
        """Every lane's tasks, one lane after the other, as the beat would: what waits and can be done is done."""
        self.enforce()
        self.verify()
        self.publish()
        self.enforce()

    def publish(self) -> None:
        """The publisher's lane: leo-gate's check runs."""
        with self.lane(Side.GATE):
            watch_protection(self.repository.pk)
            publish(self.repository.pk)

    def enforce(self) -> None:
        """The enforcer's lane: what is on GitHub, the handoffs, what waits to be triggered and merged."""
        with self.lane(Side.ENFORCER):
            self.github.deliveries.settle()
            take_deliveries()
            due = GitHubRepository.objects.enforcer_due(seconds=self.settings.GITHUB_POLL_SECONDS)
            for pk in list(due.values_list("repository_id", flat=True)):
                reconcile(pk)
            sweep_staging()
            for pk in list(Handoff.objects.due().values_list("pk", flat=True)):
                advance(pk)
            sweep_verification()

    def verify(self) -> None:
        """The verifier's lane, which has no key of GitHub's: what landed, runs, gates, sub-agents, statements."""
        sweep_landed()
        sweep_workflows()
        sweep_statements()
        VerificationWork.objects.open().update(next_try_at=None)  # the seconds it waits for a run have passed
        for _ in range(2):
            for work in list(VerificationWork.objects.due()):
                run_work(work.pk)

    def receive(self) -> Handoff:
        """The enforcer lane notices and takes the newest handoff as far as it goes."""
        self.enforce()
        return Handoff.objects.latest("pk")

    def run_work(self) -> None:
        """The workflows run on GitHub and send their evidence, then the portal's own work."""
        self.run_workflows()
        self.sweep()

    # --- the workflows on GitHub ---

    def runs(self) -> dict[str, RemoteRun]:
        """The newest run of each workflow on the head, by the workflow's name."""
        head = self.pull().head_sha
        return {run.workflow.path.rpartition("/")[2][:-4]: run for run in self.remote.runs if run.head_sha == head}

    def run_workflows(self, *, evidence_of: tuple[str, ...] = WORKFLOWS, **conclusions: str) -> None:
        """They run to their end (success, unless `leo_story="failure"`), sending evidence first as their jobs do."""
        for name, run in self.runs().items():
            if run.status == "completed":
                continue
            run.start()
            if name in evidence_of:
                self.send_evidence(run)
            run.finish(conclusions.get(name.replace("-", "_"), "success"))

    def send_evidence(self, run: RemoteRun, **other: Any) -> None:
        """What a job sends under its identity token, as the portal keeps it."""
        with acting_in("reporter"), transaction.atomic():
            document = b'{"tool":"leo","result":"PASSED"}'
            row: dict[str, Any] = {
                "repository": self.repository,
                "head_sha": run.head_sha,
                "workflow": run.workflow.path,
                "ref": f"refs/heads/{run.head_branch}",
                "run_id": run.id,
                "run_attempt": run.attempt,
                "document": document,
                "digest": hashlib.sha256(document).hexdigest(),
            } | other
            body: dict[str, JsonValue] = {
                **{name: row[name] for name in ("workflow", "ref", "run_id", "run_attempt", "digest")},
                "head": row["head_sha"],
            }
            said = append_event(events.EVIDENCE_RECEIVED, self.actor(evidence.ACTIONS), "", body)
            WorkflowEvidence.objects.create(**(row | {"log_entry": said}))

    def hand_over(self, files: Mapping[str, str | None] | None = None, **names: str) -> Handoff:
        """A change from the builder to where the enforcer's duty ends."""
        only_branch = {key: value for key, value in names.items() if key == "branch"}
        self.push_bundle(self.bundle(files or GOOD_CHANGE, **names), **only_branch)
        self.sweep()
        return Handoff.objects.latest("pk")

    # --- what GitHub has ---

    def remote_pull(self) -> Pull:
        """GitHub's own pull request of the newest one here."""
        return self.remote.pulls[self.pull().number]

    def checks(self, sha: str, app: App | None = None) -> dict[str, CheckRun]:
        """The newest check run of each name on a commit, of leo-gate."""
        found = [run for run in self.remote.check_runs if run.head_sha == sha and run.app is (app or self.gate_app)]
        return {run.name: run for run in found}

    def make_green(self, sha: str) -> None:
        """The four checks of leo-gate on a commit, for tests that are not about publishing them."""
        now = self.github.clock.now()
        suite = suite_for(self.remote, self.gate_app, sha)
        for name in contexts():
            run = CheckRun(suite, self.github.new_id(), name, sha, "completed", "success", now, now)
            self.remote.check_runs.append(run)


def create_app(github: GitHub, side: Side, portal_url: str) -> App:
    """One of the two Apps, with its webhook where there is a portal to send it to."""
    hook = f"{portal_url}/github/webhook/{side.value}/" if portal_url else ""
    listens = [event for event in EVENTS if side is Side.ENFORCER or event in {"check_run", "pull_request"}]
    may = dict(PERMISSIONS[side.value])
    return github.create_app(f"leo-{side.value}", may, events=listens, webhook_url=hook, webhook_secret=SECRET)


def ready(raw: bytes) -> str:
    """The builder's marker for a bundle."""
    return write_marker(MarkerKind.CODEX_READY, digest_of(raw), "Add net")


def govern(remote: Remote, settings: Any, folder: Path, **wish: Any) -> GitHubRepository:
    """What `leo repo govern` does, with the token of an administrator."""
    settings.FORGE_ROOT = folder / "forge"
    (folder / "github").mkdir(exist_ok=True)
    for side in Side:
        (folder / "github" / f"leo-{side.value}.webhook-secret").write_text(SECRET)
    olivia = remote.github.account("olivia")
    remote.owner.members[olivia.id] = "admin"
    builders = Bypass("User", remote.github.account("codex-bot").id)
    said: list[str] = []
    connection = Connection(remote.github.api, Token(olivia.token()))
    with acting_in("operator"):
        asked = governing.Wish(remote.full_name, builders=builders, **wish)
        done = governing.govern(asked, connection, say=said.append, pause=lambda: None)
    assert done.ending is governing.Ending.ENFORCED, said
    return GitHubRepository.objects.get()


def try_out_remote(remote: Remote, settings: Any, folder: Path) -> GitHubRepository:
    """What `leo repo govern --trial` does; then the workers have that token."""
    settings.FORGE_ROOT = folder / "forge"
    remote.add(remote.github.create_user("tess"))
    settings.GITHUB_TOKEN = remote.github.account("tess").token()
    with acting_in("operator"):
        try_out(remote.full_name, "main", Connection(remote.github.api, Token(settings.GITHUB_TOKEN)), say=print)
    return GitHubRepository.objects.get()


def contexts() -> tuple[str, ...]:
    """The four checks that the rule set requires."""
    policy = parse_policy(evidence.policy_in_force().document.encode())
    return tuple(gate.check_name for gate in policy.gates)


def protect(github: GitHub, remote: Remote, enforcer: App, gate: App) -> None:
    """The protected branch takes pull requests with leo-gate's four checks; each lane's branches are its own."""
    required = [{"context": name, "integration_id": gate.id} for name in contexts()]
    checks = {"required_status_checks": required, "strict_required_status_checks_policy": True}
    reviews = {"required_approving_review_count": 0, "allowed_merge_methods": ["merge"]}
    main: list[dict[str, Any]] = [
        {"type": "required_status_checks", "parameters": checks},
        {"type": "pull_request", "parameters": reviews},
        {"type": "non_fast_forward"},
        {"type": "deletion"},
    ]
    closed: list[dict[str, Any]] = [{"type": "creation"}, {"type": "update"}]
    own = [{"actor_id": enforcer.id, "actor_type": "Integration", "bypass_mode": "always"}]
    for name, include, rules, bypass in (
        ("leo: main", ["~DEFAULT_BRANCH"], main, []),
        ("leo: feature", ["refs/heads/feature/**"], closed, own),
    ):
        conditions = {"ref_name": {"include": include, "exclude": []}}
        now = github.clock.now()
        remote.rulesets.append(
            Ruleset(remote, github.new_id(), name, "branch", "active", bypass, conditions, rules, now, now)
        )
