"""What the rules have against a ref's update, by push or through the API, and the rule suite that is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.support.github.plumbing import NOBODY, Git
from tests.support.github.rules import Rule, is_allowed, missing_checks, rules_on

if TYPE_CHECKING:
    from tests.support.github.accounts import Account, Actor
    from tests.support.github.repositories import Repository


@dataclass(eq=False)
class RuleSuite:
    """One evaluation of the rules. Shape: `result` and `evaluation_result` pass, fail or bypass."""

    repository: Repository
    id: int
    actor: Account
    before: str
    after: str
    ref: str
    pushed_at: datetime
    result: str
    evaluation_result: str | None = None
    evaluations: list[dict[str, Any]] = field(default_factory=list)


def against_update(repository: Repository, git: Git, ref: str, old: str, new: str, actor: Actor) -> list[str]:
    """Why this update is refused; empty: it may happen. `git` sees the new objects, also in quarantine."""
    if not ref.startswith("refs/heads/"):
        return []
    found, passed = list[tuple[Rule, str]](), list[tuple[Rule, str]]()
    branch = ref.removeprefix("refs/heads/")
    rules = rules_on(repository, branch)
    for rule in rules:
        broken = [(rule, text) for text in violations(rule, repository, git, old, new, actor)]
        (passed if rule.lets_pass(repository, actor, by_pull=False) else found).extend(broken)
    if any(rule.ruleset for rule in rules):
        keep_suite(repository, ref, old, new, actor, found, passed)
    return list(dict.fromkeys(text for _, text in found))


def violations(rule: Rule, repository: Repository, git: Git, old: str, new: str, actor: Actor) -> list[str]:
    creates, deletes = old == NOBODY, new == NOBODY
    updates = not creates and not deletes
    match rule.type:
        case "creation" if creates:
            return ["Cannot create ref due to creations being restricted."]
        case "update" if updates:
            return ["Cannot update this protected ref."]
        case "deletion" if deletes:
            return ["Cannot delete this branch"]
        case "non_fast_forward" if updates and not git.is_ancestor(old, new):
            return ["Cannot force-push to this branch"]
        case "required_linear_history" if not deletes:
            reach = new if creates else f"{old}..{new}"
            merges = git.run("rev-list", "--min-parents=2", "--max-count=1", reach)
            return ["This branch must not contain merge commits."] if merges else []
        case "pull_request" if updates:
            return ["Changes must be made through a pull request."]
        case "merge_queue" if updates:
            return ["Changes must be made through the merge queue"]
        case "required_status_checks" if updates or (creates and not rule.parameters.get("do_not_enforce_on_create")):
            return missing_checks(repository, rule.parameters, new)
        case "restrictions" if not is_allowed(rule.parameters, actor):
            return ["You're not authorized to push to this branch."]
    return []


def keep_suite(
    repository: Repository,
    ref: str,
    before: str,
    after: str,
    actor: Actor,
    found: list[tuple[Rule, str]],
    passed: list[tuple[Rule, str]],
) -> None:
    """Remember an evaluation: who updated a ruled branch, and whether by a bypass."""
    github = repository.github
    result = "fail" if found else "bypass" if passed else "pass"
    evaluations = [
        {
            "rule_source": {"type": "ruleset", "id": rule.ruleset.id, "name": rule.ruleset.name},
            "enforcement": rule.ruleset.enforcement,
            "result": "fail",
            "rule_type": rule.type,
            "details": text,
        }
        for rule, text in [*found, *passed]
        if rule.ruleset
    ]
    account = actor.account or github.ghost
    repository.rule_suites.append(
        RuleSuite(
            repository, github.new_id(), account, before, after, ref, github.clock.now(), result, result, evaluations
        )
    )


def against_workflows(git: Git, old: str, new: str, actor: Actor) -> str:
    """An App without ``workflows`` may not push changed workflow files. Empty: it may."""
    token = actor.token
    if token is None or new == NOBODY or (token.permissions is None and "workflow" in token.scopes):
        return ""
    if (token.permissions or {}).get("workflows") == "write":
        return ""
    seen = ["--not", "--all"] if old == NOBODY else ["--not", old]
    names = git.run("log", "--format=", "--name-only", new, *seen, "--", ".github/workflows").splitlines()
    if not names:
        return ""
    kind = "a GitHub App" if actor.installation else "a Personal Access Token"
    scope = "permission" if actor.installation else "scope"
    word = "workflows" if actor.installation else "workflow"
    return f"refusing to allow {kind} to create or update workflow `{names[0]}` without `{word}` {scope}"
