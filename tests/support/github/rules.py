"""Rulesets and classic branch protection: which rules a branch has, who may pass them, and what stands in a merge's way."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.support.github.accounts import is_at_least
from tests.support.github.checks import is_satisfied

if TYPE_CHECKING:
    from tests.support.github.accounts import Account, Actor
    from tests.support.github.pulls import Pull
    from tests.support.github.repositories import Repository

# "RepositoryRole": the ids of the built-in roles, as the web interface of rulesets sends them.
REPOSITORY_ROLES = {2: "maintain", 4: "push", 5: "admin"}


@dataclass(frozen=True)
class Version:
    """A state a ruleset was in: what its history shows."""

    id: int
    actor: Account
    at: datetime
    state: dict[str, Any]


@dataclass(eq=False)
class Ruleset:
    repository: Repository
    id: int
    name: str
    target: str
    enforcement: str
    bypass_actors: list[dict[str, Any]]
    conditions: dict[str, Any]
    rules: list[dict[str, Any]]
    created_at: datetime
    updated_at: datetime
    history: list[Version] = field(default_factory=list)

    def matches(self, ref: str) -> bool:
        prefix = "refs/tags/" if self.target == "tag" else "refs/heads/"
        if self.target == "push" or not ref.startswith(prefix):
            return False
        names = (self.conditions or {}).get("ref_name", {"include": ["~ALL"], "exclude": []})
        default = f"refs/heads/{self.repository.default_branch}"
        return any(fits(one, ref, default) for one in names.get("include", [])) and not any(
            fits(one, ref, default) for one in names.get("exclude", [])
        )

    def lets_pass(self, actor: Actor | None, *, by_pull: bool) -> bool:
        """Whether the actor is on its bypass list, for a push or for merging a pull request."""
        modes = {"always", "exempt"} | ({"pull_request"} if by_pull else set())
        return actor is not None and any(
            names(one, actor, self.repository)
            for one in self.bypass_actors
            if one.get("bypass_mode", "always") in modes
        )


@dataclass(frozen=True)
class Rule:
    """One rule in force on a branch. `ruleset` None: it comes from classic protection."""

    type: str
    parameters: dict[str, Any]
    ruleset: Ruleset | None = None
    protection: dict[str, Any] | None = None

    def lets_pass(self, repository: Repository, actor: Actor | None, *, by_pull: bool) -> bool:
        if self.ruleset:
            return self.ruleset.lets_pass(actor, by_pull=by_pull)
        enforced = (self.protection or {}).get("enforce_admins", False)
        is_admin = actor is not None and actor.user is not None and repository.role_of(actor.user) == "admin"
        return is_admin and not enforced


def fits(pattern: str, ref: str, default: str) -> bool:
    """GitHub's fnmatch: a star stops at a slash, two do not."""
    if pattern == "~ALL":
        return True
    if pattern == "~DEFAULT_BRANCH":
        return ref == default
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.fullmatch("".join(known.get(part, re.escape(part)) for part in parts), ref) is not None


def names(entry: dict[str, Any], actor: Actor, repository: Repository) -> bool:
    """Whether an entry of a bypass list means this actor."""
    number, user = entry.get("actor_id"), actor.user
    if entry["actor_type"] == "Integration":
        return actor.acting_app is not None and actor.acting_app.id == number
    if user is None:
        return False
    if entry["actor_type"] == "RepositoryRole":
        return number in REPOSITORY_ROLES and is_at_least(repository.role_of(user), REPOSITORY_ROLES[number])
    if entry["actor_type"] == "OrganizationAdmin":
        return repository.owner.members.get(user.id) == "admin"
    if entry["actor_type"] == "Team":
        return any(team.id == number and user.id in team.members for team in repository.owner.teams)
    return entry["actor_type"] == "User" and user.id == number


def rules_on(repository: Repository, branch: str, enforcement: str = "active") -> list[Rule]:
    """Every rule on a branch: those of the rulesets, then those of classic protection."""
    ref = f"refs/heads/{branch}"
    found = [
        Rule(one["type"], one.get("parameters") or {}, ruleset)
        for ruleset in repository.rulesets
        if ruleset.enforcement == enforcement and ruleset.matches(ref)
        for one in ruleset.rules
    ]
    if enforcement == "active" and (classic := repository.protections.get(branch)):
        found += [Rule(kind, parameters, None, classic) for kind, parameters in from_protection(classic)]
    return found


def from_protection(classic: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    if checks := classic.get("required_status_checks"):
        required = [
            {"context": one["context"], "integration_id": None if one.get("app_id") in {None, -1} else one["app_id"]}
            for one in checks["checks"]
        ]
        found.append(
            (
                "required_status_checks",
                {"required_status_checks": required, "strict_required_status_checks_policy": checks["strict"]},
            )
        )
    if (reviews := classic.get("required_pull_request_reviews")) is not None:
        found.append(("pull_request", reviews))
    for switch, kind in (("allow_force_pushes", "non_fast_forward"), ("allow_deletions", "deletion")):
        if not classic.get(switch):
            found.append((kind, {}))
    if classic.get("required_linear_history"):
        found.append(("required_linear_history", {}))
    if classic.get("restrictions") is not None:
        found.append(("restrictions", classic["restrictions"]))
    if classic.get("lock_branch"):
        found.append(("update", {}))
    return found


def missing_checks(repository: Repository, parameters: dict[str, Any], sha: str) -> list[str]:
    return [
        f'Required status check "{one["context"]}" is expected.'
        for one in parameters.get("required_status_checks", [])
        if not is_satisfied(repository, sha, one["context"], one.get("integration_id"))
    ]


def obstacles(pull: Pull, actor: Actor | None = None, method: str = "", *, queued: bool = False) -> list[str]:
    """What the rules on the base have against merging a pull request, for this actor.

    `queued`: as the merge queue asks, which brings the head up to date itself and is no way round itself.
    """
    repository, found = pull.repository, list[str]()
    for rule in rules_on(repository, pull.base):
        if rule.lets_pass(repository, actor, by_pull=True):
            continue
        found += against_merge(rule, pull, actor, method, queued=queued)
    return list(dict.fromkeys(found))


def against_merge(rule: Rule, pull: Pull, actor: Actor | None, method: str, *, queued: bool) -> list[str]:
    parameters = rule.parameters
    match rule.type:
        case "required_status_checks":
            found = missing_checks(pull.repository, parameters, pull.head_sha)
            if parameters.get("strict_required_status_checks_policy") and not queued and pull.is_behind:
                found.append("Head branch is out of date with the base branch.")
            return found
        case "pull_request":
            return against_reviews(parameters, pull, method)
        case "update":
            return ["Cannot update this protected ref."]
        case "merge_queue" if not queued:
            return ["Changes must be made through the merge queue"]
        case "required_linear_history" if method == "merge":
            return ["This branch must not contain merge commits."]
        case "restrictions" if not is_allowed(parameters, actor):
            return ["You're not authorized to push to this branch."]
    return []


def against_reviews(parameters: dict[str, Any], pull: Pull, method: str) -> list[str]:
    found = []
    wanted = int(parameters.get("required_approving_review_count", 0))
    approvals = pull.approvals()
    if any(one.state == "CHANGES_REQUESTED" for one in last_reviews(pull)) and wanted:
        found.append("Changes have been requested.")
    if parameters.get("require_last_push_approval"):
        approvals = [one for one in approvals if one.commit_id == pull.head_sha]
    if parameters.get("dismiss_stale_reviews_on_push") or parameters.get("dismiss_stale_reviews"):
        approvals = [one for one in approvals if one.commit_id == pull.head_sha]
    approvals = [one for one in approvals if is_at_least(pull.repository.role_of(one.user), "push")]
    if len(approvals) < wanted:
        noun = "review" if wanted == 1 else "reviews"
        found.append(f"At least {wanted} approving {noun} is required by reviewers with write access.")
    allowed = parameters.get("allowed_merge_methods")
    if allowed and method and method not in allowed:
        found.append(f"Merge method {method} is not allowed by the rules of this branch.")
    return found


def last_reviews(pull: Pull) -> list[Any]:
    last = {}
    for one in pull.reviews:
        if one.state in {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}:
            last[one.user.id] = one
    return list(last.values())


def is_allowed(restrictions: dict[str, Any], actor: Actor | None) -> bool:
    if actor is None or actor.account is None:
        return False
    if actor.acting_app:
        return actor.acting_app.slug in restrictions.get("apps", [])
    return actor.account.login in restrictions.get("users", [])
