"""First set-up of a portal: its own identities, signing keys, a policy; and adding people and repositories.

Everything here is safe to repeat and recorded in the trail as done by the operator.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from audit.actions import add_identity, create_principal
from audit.administration import appoint_administrators
from audit.events import Actor, Role
from audit.models import Identity, Kind, Principal, RoleGrant
from handoffs.actions import govern_repository
from handoffs.forges.localgit import HookConfig, LocalGit
from handoffs.keys import active_key, create_signing_key
from handoffs.models import HandoffError, Lane, Repository, SigningKey
from handoffs.signatures.key_rules import Algorithm
from handoffs.tasks import ENFORCER, key_vault
from verdicts.actions import enact_policy
from verdicts.evidence import ACTIONS, VERIFIER
from verdicts.models import PolicyVersion
from verdicts.policy import default_policy_yaml, parse_policy

OPERATOR = Actor(0, "operator", Role.OPERATOR)


def ensure_principal(name: str, *, kind: Kind, role: Role, sponsor: Principal | None = None) -> Principal:
    """The principal of that name, made with its role if it is new.

    Raises: ValueError when it exists with another role: a role is not changed by setting up again.
    """
    found = Principal.objects.filter(name=name).first()
    if found is None:
        return create_principal(name, kind=kind, role=role, sponsor=sponsor, by=OPERATOR)
    held = list(RoleGrant.objects.current().filter(principal=found).values_list("role", flat=True))
    if held != [role.value]:
        raise ValueError(f"{name} is {held[0] if held else 'without a role'}, expected {role}")
    return found


def ensure_lanes(enforcer_operator: str, verifier_operator: str) -> None:
    """The portal's own identities: the enforcer lane and the built-in verifier, each with a person who answers."""
    answers = ensure_principal(enforcer_operator, kind=Kind.HUMAN, role=Role.ENFORCER)
    enforcer = ensure_principal(ENFORCER, kind=Kind.MACHINE, role=Role.ENFORCER, sponsor=answers)
    add_identity(enforcer, Identity.Kind.EMAIL, "enforcer@leoportal.invalid", by=OPERATOR)
    judge = ensure_principal(verifier_operator, kind=Kind.HUMAN, role=Role.REPORTER)
    ensure_principal(VERIFIER, kind=Kind.MACHINE, role=Role.REPORTER, sponsor=judge)
    ensure_principal(ACTIONS, kind=Kind.MACHINE, role=Role.REPORTER, sponsor=judge)


def ensure_keys(*, enforcer: Algorithm | None = None) -> dict[Lane, SigningKey]:
    """Both lanes' signing keys, valid now. What is missing is made: RSA-4096 takes seconds, the gate's key nothing.

    `enforcer` is another algorithm for the enforcer lane than the settings say.
    """
    vault = key_vault()
    if enforcer is not None:
        vault = replace(vault, algorithms={**vault.algorithms, Lane.ENFORCER: enforcer})
    keys = {}
    for lane in Lane:
        try:
            keys[lane] = active_key(lane)
        except HandoffError:
            keys[lane] = create_signing_key(lane, vault, by=OPERATOR)
    return keys


def ensure_policy(builder_ids: tuple[str, ...]) -> PolicyVersion:
    """A policy in force that allows these builders, on top of whom it allows now."""
    newest = PolicyVersion.objects.order_by("-number").first()
    text = newest.document if newest else default_policy_yaml().decode()
    allowed = parse_policy(text.encode()).allowed_builders
    missing = [builder for builder in builder_ids if builder not in allowed]
    if newest is not None and not missing:
        return newest
    line = f"allowed_builders: {json.dumps([*allowed, *missing], ensure_ascii=False)}"
    lines = [line if row.startswith("allowed_builders:") else row for row in text.splitlines()]
    return enact_policy(("\n".join(lines) + "\n").encode(), by=OPERATOR)


def ensure_person(username: str, role: Role) -> str | None:
    """A person who signs in. Returns the new password, or None when the account exists."""
    with transaction.atomic():
        user, is_new = User.objects.get_or_create(username=username)
        principal = ensure_principal(username, kind=Kind.HUMAN, role=role)
        if principal.user_id is None:
            Principal.objects.filter(pk=principal.pk).update(user=user)
        if not is_new:
            return None
        password = secrets.token_urlsafe(12)
        user.set_password(password)
        user.save(update_fields=["password"])
        return password


def appoint(names: tuple[str, ...]) -> dict[str, str | None]:
    """The first administrators, with an account each. Returns the new passwords, shown once."""
    appoint_administrators(names, by=OPERATOR)
    return {name: ensure_person(name, Role.ADMIN) for name in names}


def ensure_builder(name: str, *, sponsor: str, builder_id: str, email: str) -> Principal:
    """A builder agent: an id in its bundles, an address in its commits, a person who answers. No account, no token."""
    person = ensure_principal(sponsor, kind=Kind.HUMAN, role=Role.BUILDER)
    builder = ensure_principal(name, kind=Kind.MACHINE, role=Role.BUILDER, sponsor=person)
    add_identity(builder, Identity.Kind.BUILDER_ID, builder_id, by=OPERATOR)
    add_identity(builder, Identity.Kind.EMAIL, email, by=OPERATOR)
    return builder


def govern(full_name: str, path: Path, branch: str) -> Repository:
    """Govern a bare repository and write its hooks (again on every start: addresses may have changed)."""
    repository = govern_repository(full_name, path, branch, by=OPERATOR)
    LocalGit(path).protect(
        HookConfig(
            database_url=settings.DATABASE_HOOK_URL, broker_url=settings.CELERY_BROKER_URL, code=settings.BASE_DIR
        )
    )
    return repository
