"""`manage.py demo`: people, a governed repository, and one real commit through the lanes, shown line by line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from audit.actions import issue_token
from audit.administration import is_administered
from audit.events import Role
from audit.models import Kind, Principal
from handoffs.git.process import GitError
from handoffs.models import Handoff, Lane, PullRequest, Repository, SigningKey, Status
from leoportal import setup, tour
from leoportal.setup import OPERATOR
from leoportal.tour import Chosen, Follower, TourError

BUILDER_ID = "https://codex.invalid/builder/v1"
BRANCH = "staging/codex-demo"
PEOPLE = {"plan": Role.PLAN, "lead": Role.LEAD, "auditor": Role.AUDITOR, "exec": Role.ENFORCER}
ADMINISTRATORS = ("admin", "admin2")


class Command(BaseCommand):
    """People, a governed repository, one real handoff."""

    help = "Create one person per role and a governed repository, and hand one real commit over. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which repository, and which commit of it."""
        parser.add_argument("--repo", type=Path, default=settings.BASE_DIR, help="a git repository of yours")
        parser.add_argument("--commit", help="the commit to hand over; the newest ordinary one if not given")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Run the tour; a second run continues where the first stood."""
        self._began = time.monotonic()
        source = options["repo"].expanduser().resolve()
        try:
            signins = self._people()
            repository, chosen = self._repository(source, options["commit"])
            handoff = self._handoff(repository, source, chosen, options["commit"])
            self._follow(repository, handoff)
        except (TourError, GitError) as error:
            raise CommandError(str(error)) from None
        self._where_to_go(repository, handoff, signins)

    def _say(self, text: str) -> None:
        clean = "".join(c if c.isprintable() else "?" for c in text)
        self.stdout.write(f"[{time.monotonic() - self._began:6.2f}s] {clean}")
        self.stdout.flush()

    def _people(self) -> dict[str, str]:
        """One person per role; their passwords are kept in a file only this account can read."""
        setup.ensure_lanes("opal", "rhea")
        setup.ensure_builder("codex", sponsor="ada", builder_id=BUILDER_ID, email="codex@builder.invalid")
        setup.ensure_policy((BUILDER_ID,))
        if not SigningKey.objects.exists():
            self._say("portal | making the signing keys (the enforcer's is RSA-4096, 30 days): 5 to 30 s, once")
        key = setup.ensure_keys()[Lane.ENFORCER]
        self._say(f"portal | signing key {key.fingerprint[:16]}… until {key.expires_at:%Y-%m-%d}")
        path = settings.VAR / "demo-signin.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        for name, role in PEOPLE.items():
            password = setup.ensure_person(name, role)
            if password is not None:
                known[name] = password
        if not is_administered():
            person = setup.ensure_principal("stella", kind=Kind.HUMAN, role=Role.REPORTER)
            setup.ensure_principal("story-gate", kind=Kind.MACHINE, role=Role.REPORTER, sponsor=person)
            known.update({name: password or "" for name, password in setup.appoint(ADMINISTRATORS).items()})
        path.touch(mode=0o600)
        path.write_text(json.dumps(known))
        return known

    def _repository(self, source: Path, wanted: str | None) -> tuple[Repository, Chosen]:
        name = tour.repository_name(source)
        bare = settings.FORGE_ROOT / f"{name.replace('/', '--')}.git"
        bare.parent.mkdir(parents=True, exist_ok=True)
        is_known = Repository.objects.filter(path=str(bare)).exists()
        chosen = tour.choose_change(source, wanted)
        branch = tour.make_governed(source, bare, chosen)
        repository = setup.govern(name, bare, branch)
        state = "governed already" if is_known else f"governed; {branch} stands at {chosen.base[:12]}"
        self._say(f"portal | {name} (from {source}): {state}")
        return repository, chosen

    def _handoff(self, repository: Repository, source: Path, chosen: Chosen, wanted: str | None) -> Handoff:
        """The builder's part, or the handoff of an earlier run."""
        found = Handoff.objects.filter(repository=repository, staging_branch=BRANCH).order_by("-pk").first()
        if found is not None:
            self._say(f"portal | continuing with {found} ({found.status}): {found.title}")
            if wanted:
                self._say("portal | COMMIT= is not used: a handoff is there already. Next: make reset, then make demo")
            return found
        sandbox = settings.VAR / "builder" / repository.full_name.replace("/", "--")
        artifact = sandbox / "artifact.tar.gz"
        what = ["--commit", chosen.commit] if chosen.commit else ["--worktree"]
        self._say(f"codex | the change: {chosen.title} ({(chosen.commit or 'work tree')[:12]})")
        tour.run_builder(
            [
                *("bundle", "create", "--repo", str(source), "--base", chosen.base, *what, "--prd", "PRD-1"),
                *("--task", chosen.title or "A change", "--builder", BUILDER_ID, "--sponsor", "ada"),
                *("--repository", repository.full_name, "--branch", BRANCH, "--output", str(artifact)),
            ],
            sandbox,
            self._say,
        )
        tour.run_builder(
            [
                *("bundle", "handoff", str(artifact), "--repo", str(source), "--remote", repository.path),
                *("--target", chosen.base, "--name", "codex", "--email", "codex@builder.invalid"),
            ],
            sandbox,
            self._say,
        )
        self._say("portal | waiting for the enforcer lane to notice the commit")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            found = Handoff.objects.filter(repository=repository).first()
            if found is not None:
                return found
            time.sleep(0.1)
        raise TourError("no worker noticed the staging commit in 60 s. Next: read var/log/worker.log and beat.log")

    def _follow(self, repository: Repository, handoff: Handoff) -> None:
        follower = Follower(self._say)
        if not follower.wait_for(lambda: tour.is_settled(handoff), handoff, seconds=120):
            handoff.refresh_from_db()
            raise TourError(f"{handoff} stands at {handoff.status}: {handoff.error}. Next: read var/log/worker.log")
        pull = PullRequest.objects.filter(handoff=handoff).first()
        if pull is None:
            return
        if pull.status == "gates-passing" and not pull.gate_executions.filter(gate="story-release").exists():
            self._report_story(repository, pull)
        if not follower.wait_for(lambda: tour.is_verified(pull), handoff, seconds=300):
            raise TourError("the sub-agents did not finish in 300 s. Next: read var/log/worker.log")
        follower.show(handoff)
        if pull.status == "gates-passing":
            self._say("anyone $ git push … main   (before any verdict)")
            self._say(f"git | {tour.try_to_merge_early(Path(repository.path), pull)}")

    def _report_story(self, repository: Repository, pull: PullRequest) -> None:
        """The Story gate is reported from outside; no story tracker is connected here, and the evidence says so."""
        token = issue_token(Principal.objects.get(name="story-gate"), "make demo", days=1, by=OPERATOR)
        evidence = {"source": "make demo, on behalf of the person who started it; no story tracker is connected"}
        command = [str(Path(sys.executable).with_name("leo")), "gate", "report", f"PR-{pull.number}"]
        command += ["--repository", repository.full_name, "--gate", "story-release", "--conclusion", "success"]
        command += ["--run-id", f"demo-{pull.pk}", "--head", pull.head_sha, "--evidence", json.dumps(evidence)]
        self._say("story | $ leo gate report … story-release success   (you, in place of a story tracker)")
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LEO_URL": settings.PORTAL_URL, "LEO_TOKEN": token}
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        for line in (done.stdout + done.stderr).splitlines():
            self._say(f"story | {line}")

    def _where_to_go(self, repository: Repository, handoff: Handoff, signins: dict[str, str]) -> None:
        handoff.refresh_from_db()
        pull = PullRequest.objects.filter(handoff=handoff).first()
        url = settings.PORTAL_URL
        self.stdout.write("")
        if handoff.status == Status.REFUSED:
            self.stdout.write(f"The bundle was refused [{handoff.refusal_code}]: {url}/handoffs/{handoff.pk}/")
        elif pull is not None:
            self.stdout.write(f"PR-{pull.number} is {pull.label}: {url}/prs/{repository.full_name}/{pull.number}/")
            if pull.status in {"merged", "needs-revision", "closed"}:
                self.stdout.write(
                    "Nothing waits for a verdict any more. Next: make reset, then make demo, for a fresh one"
                )
        self.stdout.write("Sign in at " + url + "/  as")
        for name, role in (*PEOPLE.items(), *((name, Role.ADMIN) for name in ADMINISTRATORS)):
            self.stdout.write(f"  {role.value.lower():<9} user {name:<8} password {signins.get(name, 'as you set it')}")
        self.stdout.write("(The builder has no account: it only pushes to staging/codex-*.)")
        self.stdout.flush()
