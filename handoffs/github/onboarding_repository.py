"""The half of the onboarding check that is about what surrounds the rules: tokens, secrets, owners, Apps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from handoffs.github.codeowners import owners_of
from handoffs.github.findings import Case, Finding, judged, unseen
from handoffs.github.live import Unseen

SECRET_LASTS: Final = timedelta(days=90)
OWNED: Final = (".github/workflows/leo-policy.yml", ".github/CODEOWNERS", ".github/actions/leo/action.yml")
_WRITERS: Final = ("checks", "statuses")
_ENFORCER_WRITES: Final = frozenset({"contents", "pull_requests", "actions"})
_GATE_WRITES: Final = frozenset({"checks"})
_GATE_MAY_WRITE: Final = frozenset(_WRITERS)  # a commit status under the same pin stands in for a check run


def check_actions(case: Case) -> Iterator[Finding]:
    """Workflows' own tokens only read, and approve nothing."""
    actions = case.live.actions
    if isinstance(actions, Unseen):
        for code, what in (
            ("config.actions_token", "Workflows' tokens only read by default"),
            ("config.actions_approve", "Workflows may not approve pull requests"),
        ):
            yield unseen(code, what, actions, "read; no")
        return
    yield judged(
        "config.actions_token",
        "Workflows' tokens only read by default",
        good=actions.default_token == "read",  # noqa: S105 - a permission
        got=actions.default_token,
        expected="read",
        step="Settings, Actions, General, Workflow permissions: read repository contents",
    )
    yield judged(
        "config.actions_approve",
        "Workflows may not approve pull requests",
        good=not actions.may_approve,
        got="they may" if actions.may_approve else "they may not",
        expected="they may not",
        step="Settings, Actions, General: do not allow GitHub Actions to create and approve pull requests",
    )


def check_secrets(case: Case) -> Iterator[Finding]:
    """No secret can be read by any pushed workflow; deployments wait for a person."""
    secrets, environments = case.live.secrets, case.live.environments
    if isinstance(secrets, Unseen):
        yield unseen("config.secrets", "The repository has no secrets of its own", secrets, "none")
    else:
        yield judged(
            "config.secrets",
            "The repository has no secrets of its own",
            good=not secrets,
            got=", ".join(secrets[:20]) or "none",
            expected="none: every workflow on every branch reads them before any verdict",
            step="move them into an environment with reviewers, then delete them from the repository",
        )
    if isinstance(environments, Unseen):
        yield unseen("config.environments", "Environments have reviewers", environments, "reviewers on each")
        return
    bare = [environment.name for environment in environments if not environment.has_reviewers]
    yield judged(
        "config.environments",
        "Environments have reviewers",
        good=not bare,
        got=f"without: {', '.join(bare)}" if bare else f"{len(environments)} environments",
        expected="required reviewers on each",
        step="Settings, Environments: add required reviewers, or delete the environment",
    )


def check_codeowners(case: Case) -> Iterator[Finding]:
    """Somebody owns the workflows."""
    text, sentence = case.live.codeowners, "CODEOWNERS names owners of .github/**"
    if isinstance(text, Unseen):
        yield unseen("config.codeowners", sentence, text, "a line /.github/ @owner")
        return
    bare = [path for path in OWNED if not owners_of(path, text or "")]
    yield judged(
        "config.codeowners",
        sentence,
        good=not bare,
        got="no CODEOWNERS on the protected branch"
        if text is None
        else f"nobody owns {', '.join(bare)}"
        if bare
        else "yes",
        expected="an owner for everything below .github/",
        step="add the line `/.github/ @your-org/owners` to .github/CODEOWNERS, last",
    )


def check_webhook_secrets(case: Case) -> Iterator[Finding]:
    """The webhooks' secrets are young."""
    made, sentence = case.live.secrets_set, f"Webhook secrets are younger than {SECRET_LASTS.days} days"
    if isinstance(made, Unseen):
        yield unseen("config.webhook_secret", sentence, made, f"made within {SECRET_LASTS.days} days")
        return
    old = [f"{app}: {when:%Y-%m-%d}" for app, when in made.items() if case.now - when > SECRET_LASTS]
    yield judged(
        "config.webhook_secret",
        sentence,
        good=bool(made) and not old,
        got="; ".join(old) or ", ".join(f"{app}: {when:%Y-%m-%d}" for app, when in made.items()) or "none is set",
        expected=f"each made within {SECRET_LASTS.days} days",
        step="put a new secret first in the file, then in the App's settings, then take the old one out",
    )


def check_apps(case: Case) -> Iterator[Finding]:
    """No other App can write checks; each of ours can do what its lane does, and no more."""
    installed = case.live.installed
    if isinstance(installed, Unseen):
        yield unseen("config.other_app", "No other App writes checks or statuses", installed, "leo-gate only")
        return
    known = {case.expected.gate_app, *case.expected.listed}
    others = [
        f"{app.slug} ({app.app_id})"
        for app in installed
        if app.app_id not in known and any(app.permissions.get(name) == "write" for name in _WRITERS)
    ]
    yield judged(
        "config.other_app",
        "No other App writes checks or statuses",
        good=not others,
        got=", ".join(others) or "none",
        expected="leo-gate and listed Apps only",
        step="uninstall it, or list it: `leo repo govern --listed-app ID`",
    )
    by_id = {app.app_id: app for app in installed}
    for code, name, number, has_to, may_write in (
        ("config.gate_app", "leo-gate", case.expected.gate_app, _GATE_WRITES, _GATE_MAY_WRITE),
        ("config.enforcer_app", "leo-enforcer", case.expected.enforcer_app, _ENFORCER_WRITES, _ENFORCER_WRITES),
    ):
        app = by_id.get(number)
        writes = {what for what, level in app.permissions.items() if level in {"write", "admin"}} if app else set()
        yield judged(
            code,
            f"{name} may write {', '.join(sorted(may_write))} and nothing else",
            good=app is not None and has_to <= writes <= may_write,
            got=f"writes {', '.join(sorted(writes)) or 'nothing'}" if app else f"App {number} is not installed",
            expected=f"writes {', '.join(sorted(may_write))}",
            step="correct the App's permissions in its settings and accept them" if app else "install the App",
        )
