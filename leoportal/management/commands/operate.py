"""`manage.py operate`: what an operator does on the machine. Each act is recorded in the trail."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.actions import actor_of, add_identity, issue_token
from audit.administration import Change, approve_change, decline_change, propose_change
from audit.events import Actor, AuditError, Role
from audit.models import Identity, Kind, Principal, ProposalKind
from audit.names import named
from audit.proofs import challenge_for, link_by_proof
from handoffs.actions import retry_handoff
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.keys import create_signing_key
from handoffs.models import HandoffError, KeyRotation, Lane, RotationStep
from handoffs.rotating import request_rotation
from handoffs.signatures.openpgp import SignatureError, verify_detached
from handoffs.signatures.openpgp_verifying import PinnedKey, fingerprint_of, refuse_unfit
from handoffs.signatures.refusals import RefusedError
from handoffs.tasks import ENFORCER, key_vault, rotate_key, trusted_root, tuf_mirror
from handoffs.trusted_roots import refresh_root, use_root, waiting_root
from leoportal import setup
from leoportal.setup import OPERATOR
from verdicts.actions import enact_policy
from verdicts.evidence import VERIFIER, policy_in_force
from verdicts.models import VerdictError
from verdicts.policy_document import PolicyError
from verdicts.revoking import Revocation, revoke_key
from verdicts.statements import trusted_statement
from verdicts.tasks import sweep_statements

PEOPLE = [role.value.lower() for role in (Role.PLAN, Role.LEAD, Role.AUDITOR, Role.ENFORCER, Role.REPORTER)]


class Command(BaseCommand):
    """Set up, people, builders, tokens, repositories, policies."""

    help = "What an operator does at the machine: set up, people, tokens, repositories, policies, keys. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """One sub-command for each act."""
        acts = parser.add_subparsers(dest="act", required=True)
        setup_ = acts.add_parser("setup", help="the portal's own identities, signing keys and a policy")
        setup_.add_argument("--enforcer-operator", required=True, help="the person who answers for the enforcer lane")
        setup_.add_argument("--verifier-operator", required=True, help="the person who answers for the built-in checks")
        person = acts.add_parser("person", help="somebody who signs in, in one role; prints the password once")
        person.add_argument("name")
        person.add_argument("role", choices=PEOPLE)
        first = acts.add_parser("administrators", help="appoint the first administrators, two at least; once, for ever")
        first.add_argument("names", nargs="+")
        self._add_registry_acts(acts)
        identity = acts.add_parser("identity", help="link a commit address to somebody: their commits are theirs")
        identity.add_argument("principal")
        identity.add_argument("--email", required=True)
        builder = acts.add_parser("builder", help="a builder agent; it gets no account and no token")
        builder.add_argument("name")
        for option in ("--sponsor", "--builder-id", "--email"):
            builder.add_argument(option, required=True)
        reporter = acts.add_parser("reporter", help="a machine that reports gates or reviews")
        reporter.add_argument("name")
        reporter.add_argument("--sponsor", required=True, help="a person with the role REPORTER; made if new")
        token = acts.add_parser("token", help="a bearer token for the API, shown once")
        token.add_argument("principal")
        token.add_argument("--days", type=int, default=30)
        token.add_argument("--name", default="leo")
        proof = acts.add_parser("prove", help="link an OpenPGP key to its owner, who signs a challenge with it")
        proof.add_argument("principal")
        proof.add_argument("certificate", type=Path, help="the public half, ASCII-armoured")
        proof.add_argument(
            "--challenge", type=Path, help="the challenge that was signed; made and printed if not given"
        )
        proof.add_argument("--signature", type=Path, help="gpg --detach-sign --armor of the challenge")
        proof.add_argument("--password-file", type=Path, help="the owner's password; asked for if not given")
        govern = acts.add_parser("govern", help="protect a bare repository on this machine by the portal's hooks")
        govern.add_argument("full_name", metavar="OWNER/NAME")
        govern.add_argument("path", type=Path)
        govern.add_argument("--branch", default="main", help="the protected branch")
        retry = acts.add_parser("retry", help="give a handoff that failed five times its attempts back")
        retry.add_argument("handoff", type=int, metavar="NUMBER", help="7 for H-7")
        policy = acts.add_parser("policy", help="put a policy document in force")
        policy.add_argument("file", type=Path)
        export = acts.add_parser("policy-export", help="the policy in force with signature and attestation, as files")
        export.add_argument("folder", type=Path)

        root = acts.add_parser(
            "trusted-root", help="the Sigstore trusted root: show, refresh over TUF, use what was fetched"
        )
        steps = root.add_subparsers(dest="verb", required=True)
        steps.add_parser("show", help="which root is in use, how old it is, and what waits to be used")
        steps.add_parser("refresh", help="fetch it from SIGSTORE_TUF_MIRROR and show what changed; nothing is used yet")
        use = steps.add_parser("use", help="use a root that was fetched")
        use.add_argument("digest", help="its whole SHA-256, as `refresh` showed it")

        self._add_key_acts(acts.add_parser("key", help="signing keys: make, rotate, revoke"))

    def _add_registry_acts(self, acts: Any) -> None:
        """Two administrators, each with their own password, as on the page Registry."""
        propose = acts.add_parser("propose", help="one administrator's half of a change of the registry")
        propose.add_argument("change", choices=ProposalKind.values)
        propose.add_argument("--about", default="", help="the principal; nobody for principal.add")
        propose.add_argument("--detail", action="append", default=[], metavar="NAME=VALUE")
        propose.add_argument("--reason", required=True)
        approve = acts.add_parser("approve", help="the other administrator's half")
        decline = acts.add_parser("decline", help="say no to a proposal, or withdraw one's own")
        for verb in (approve, decline):
            verb.add_argument("proposal", type=int)
        for verb in (propose, approve, decline):
            verb.add_argument("--by", required=True, help="the administrator who acts")
            verb.add_argument("--password-file", type=Path, help="asked for if not given")

    def _add_key_acts(self, key: ArgumentParser) -> None:
        verbs = key.add_subparsers(dest="verb", required=True)
        make = verbs.add_parser("make", help="a key for a lane that has none that is valid; nothing vouches for it")
        rotate = verbs.add_parser("rotate", help="replace a valid key now; the old key signs the transition")
        for verb in (make, rotate):
            verb.add_argument("lane", choices=[lane.value for lane in Lane])
        rotate.add_argument("--reason", default="by an operator at the machine")
        revoke = verbs.add_parser("revoke", help="distrust what a key signed since a moment; at once, for ever")
        revoke.add_argument("fingerprint")
        revoke.add_argument("--since", required=True, help="UTC, as 2026-01-31T12:00")
        revoke.add_argument("--reason", required=True)

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do one act; what it refuses is said with its code."""
        try:
            getattr(self, f"_{options['act'].replace('-', '_')}")(options)
        except (AuditError, PolicyError, VerdictError, GitError, HandoffError, SignatureError, RefusedError) as error:
            raise CommandError(f"[{error.code}] {named(error.detail)}") from None
        except Principal.DoesNotExist:
            known = ", ".join(Principal.objects.order_by("name").values_list("name", flat=True)[:30])
            raise CommandError(f"[principal.unknown] nobody has that name; known are: {known}") from None
        except (ValueError, OSError, ObjectDoesNotExist) as error:
            raise CommandError(str(error)) from None

    def _setup(self, options: dict[str, Any]) -> None:
        setup.ensure_lanes(options["enforcer_operator"], options["verifier_operator"])
        for lane, key in setup.ensure_keys().items():
            self.stdout.write(f"{lane} key {key.fingerprint} until {key.expires_at:%Y-%m-%d}")
        policy = setup.ensure_policy(())
        sweep_statements()
        self.stdout.write(f"policy v{policy.number} is in force and signed")

    def _person(self, options: dict[str, Any]) -> None:
        password = setup.ensure_person(options["name"], Role(options["role"].upper()))
        self.stdout.write(f"{options['name']}: " + (f"password {password}" if password else "is there already"))

    def _identity(self, options: dict[str, Any]) -> None:
        principal = Principal.objects.get(name=options["principal"])
        linked = add_identity(principal, Identity.Kind.EMAIL, options["email"], by=OPERATOR)
        self.stdout.write(f"commits by {linked.value} are {options['principal']}'s")

    def _administrators(self, options: dict[str, Any]) -> None:
        for name, password in setup.appoint(tuple(options["names"])).items():
            self.stdout.write(f"{name}: " + (f"password {password}" if password else "is there already"))

    def _propose(self, options: dict[str, Any]) -> None:
        by = self._administrator(options)
        detail = dict(item.split("=", 1) for item in options["detail"] if "=" in item)
        about = Principal.objects.get(name=options["about"]) if options["about"] else None
        change = Change(ProposalKind(options["change"]), about, detail, options["reason"])
        proposal = propose_change(change, by=by)
        self.stdout.write(
            f"proposal {proposal.pk} waits for another administrator until {proposal.expires_at:%Y-%m-%d}"
        )

    def _approve(self, options: dict[str, Any]) -> None:
        proposal = approve_change(options["proposal"], by=self._administrator(options))
        self.stdout.write(f"proposal {proposal.pk} is {proposal.status}")

    def _decline(self, options: dict[str, Any]) -> None:
        proposal = decline_change(options["proposal"], by=self._administrator(options))
        self.stdout.write(f"proposal {proposal.pk} is {proposal.status}")

    def _prove(self, options: dict[str, Any]) -> None:
        """First without, then with `--challenge` and `--signature`. Owner and key both have to say so."""
        certificate: str = options["certificate"].read_text()
        fingerprint = fingerprint_of(certificate)
        if options["challenge"] is None or options["signature"] is None:
            self.stdout.write(challenge_for(Principal.objects.get(name=options["principal"]), fingerprint), ending="")
            return
        owner = self._signed_in(options["principal"], options["password_file"])
        signature: str = options["signature"].read_text()

        def verify(data: bytes, wanted: str) -> None:
            now = timezone.now()
            refuse_unfit(PinnedKey(certificate, wanted, now))
            verify_detached(data, signature, public_key=certificate, fingerprint=wanted, received_at=now)

        linked = link_by_proof(owner, options["challenge"].read_text(), verify=verify, by=OPERATOR)
        self.stdout.write(f"{linked.value} is {owner.name}'s, by its own signature")

    def _administrator(self, options: dict[str, Any]) -> Actor:
        """The administrator who typed the password: being at the machine makes nobody one."""
        return actor_of(self._signed_in(options["by"], options["password_file"]))

    def _signed_in(self, name: str, file: Path | None) -> Principal:
        principal = Principal.objects.select_related("user").get(name=name)
        password = file.read_text().strip() if file else getpass.getpass(f"Password of {principal.name}: ")
        user = principal.user
        if user is None or not user.is_active or not user.check_password(password):
            raise CommandError(f"[password.wrong] that is not the password of {principal.name}; nothing was changed")
        return principal

    def _builder(self, options: dict[str, Any]) -> None:
        setup.ensure_builder(
            options["name"], sponsor=options["sponsor"], builder_id=options["builder_id"], email=options["email"]
        )
        policy = setup.ensure_policy((options["builder_id"],))
        self.stdout.write(f"{options['name']} builds as {options['builder_id']}; policy v{policy.number} allows it")

    def _reporter(self, options: dict[str, Any]) -> None:
        sponsor = setup.ensure_principal(options["sponsor"], kind=Kind.HUMAN, role=Role.REPORTER)
        setup.ensure_principal(options["name"], kind=Kind.MACHINE, role=Role.REPORTER, sponsor=sponsor)
        self.stdout.write(f"{options['name']} reports; next: manage.py operate token {options['name']}")

    def _token(self, options: dict[str, Any]) -> None:
        principal = Principal.objects.get(name=options["principal"])
        if principal.name in {ENFORCER, VERIFIER}:
            raise CommandError(f"[token.own_lane] {principal.name} is the portal itself; nobody else speaks for it")
        self.stdout.write(issue_token(principal, options["name"], days=options["days"], by=OPERATOR))

    def _govern(self, options: dict[str, Any]) -> None:
        path: Path = options["path"].resolve()
        tip = Git(path).resolve(f"refs/heads/{options['branch']}")
        setup.govern(options["full_name"], path, options["branch"])
        self.stdout.write(f"{options['full_name']} is governed; {options['branch']} stands at {tip}")

    def _retry(self, options: dict[str, Any]) -> None:
        is_open = retry_handoff(options["handoff"], by=OPERATOR)
        self.stdout.write("the next sweep takes it up" if is_open else "it has no step to do; nothing was changed")

    def _policy(self, options: dict[str, Any]) -> None:
        version = enact_policy(options["file"].read_bytes(), by=OPERATOR)
        self.stdout.write(f"policy v{version.number} is in force, sha256 {version.digest}")
        sweep_statements()

    def _policy_export(self, options: dict[str, Any]) -> None:
        folder: Path = options["folder"]
        version = policy_in_force()
        found = trusted_statement(version)
        if found is None:
            raise CommandError(f"[policy.unsigned] policy v{version.number} is not signed yet; the sweep does it")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "policy.yaml").write_bytes(version.document.encode())
        (folder / "policy.yaml.asc").write_text(found.signature)
        (folder / "policy.dsse.json").write_bytes(bytes(found.envelope))
        (folder / "key.asc").write_text(found.key.public_key)
        self.stdout.write(
            f"policy v{version.number} by {found.key.fingerprint}, received {found.signed_at.isoformat()}; next: "
            "leo verify policy policy.yaml --signature policy.yaml.asc --attestation policy.dsse.json --key key.asc "
            f"--fingerprint {found.key.fingerprint} --received-at {found.signed_at.isoformat()}"
        )

    def _trusted_root(self, options: dict[str, Any]) -> None:
        getattr(self, f"_trusted_root_{options['verb']}")(options)

    def _trusted_root_show(self, _options: dict[str, Any]) -> None:
        root = trusted_root()
        self.stdout.write(
            f"in use {root.digest}, from {root.source}, refreshed {root.refreshed_at or 'nobody knows when'}"
        )
        is_online = bool(settings.SIGSTORE_TUF_MIRROR)
        if warning := root.age_warning(timezone.now(), is_online=is_online):
            self.stdout.write(f"warning: {warning}")
        if waiting := waiting_root(root):
            self.stdout.write(f"fetched {waiting.created_at} and not used: {waiting.digest}")

    def _trusted_root_refresh(self, _options: dict[str, Any]) -> None:
        mirror, current = tuf_mirror(), trusted_root()
        found = refresh_root(mirror, current, by=OPERATOR)
        self.stdout.write(f"old {current.digest}\nnew {found.root.digest}")
        for change in found.changes:
            self.stdout.write(f"  {change}")
        if found.root.digest == current.digest:
            self.stdout.write("unchanged; the root in use is fresh again")
        else:
            self.stdout.write(f"stored, not used; next: manage.py operate trusted-root use {found.root.digest}")

    def _trusted_root_use(self, options: dict[str, Any]) -> None:
        root = use_root(options["digest"], by=OPERATOR)
        pinned = settings.SIGSTORE_TRUSTED_ROOT_SHA256
        self.stdout.write(f"{root.digest} is in use")
        if pinned and root.digest not in pinned:
            self.stdout.write(
                "warning: SIGSTORE_TRUSTED_ROOT_SHA256 does not name it, so nothing is judged until it does"
            )

    def _key(self, options: dict[str, Any]) -> None:
        getattr(self, f"_key_{options['verb']}")(options)

    def _key_make(self, options: dict[str, Any]) -> None:
        key = create_signing_key(Lane(options["lane"]), key_vault(), by=OPERATOR)
        self.stdout.write(
            f"{key.lane} key {key.fingerprint} until {key.expires_at:%Y-%m-%d}; no transition: nobody vouches"
        )

    def _key_rotate(self, options: dict[str, Any]) -> None:
        rotation = request_rotation(Lane(options["lane"]), by=OPERATOR, reason=options["reason"])
        KeyRotation.objects.filter(pk=rotation.pk).update(attempts=0, next_try_at=None)
        step = rotate_key(rotation.pk)
        rotation.refresh_from_db()
        if step != RotationStep.DONE:
            raise CommandError(f"the rotation stands at {rotation.step} ({step}): {rotation.error}; the sweep goes on")
        self.stdout.write(f"{rotation.lane} key {rotation.new_key} signs now; {rotation.old_key} only verifies")

    def _key_revoke(self, options: dict[str, Any]) -> None:
        since = datetime.fromisoformat(options["since"])
        since = since if since.tzinfo else since.replace(tzinfo=UTC)
        revocation = Revocation(options["fingerprint"].upper(), since, options["reason"])
        key, pulls = revoke_key(revocation, password=settings.SIGNING_KEY_PASSWORD, by=OPERATOR)
        flagged = ", ".join(f"PR-{pull.number}" for pull in pulls) or "no open pull request"
        self.stdout.write(f"{key.fingerprint} is revoked; not trusted since {key.distrusted_since}: {flagged}")
