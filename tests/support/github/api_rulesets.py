"""Repository rulesets, their history, the rules of a branch, and what the rules said to each push."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

from tests.support.github.accounts import is_at_least
from tests.support.github.exchange import Answer, Call, Page, invalid, not_found
from tests.support.github.guarding import RuleSuite
from tests.support.github.routing import route
from tests.support.github.rules import Ruleset, Version, rules_on
from tests.support.github.show import Json, node, stamp

KNOWN = {
    "creation", "update", "deletion", "required_linear_history", "merge_queue", "required_deployments",
    "required_signatures", "pull_request", "required_status_checks", "non_fast_forward", "commit_message_pattern",
    "commit_author_email_pattern", "committer_email_pattern", "branch_name_pattern", "tag_name_pattern",
    "file_path_restriction", "workflows", "code_scanning", "copilot_code_review", "max_file_path_length",
    "file_extension_restriction", "max_file_size",
}  # fmt: skip
PERIODS = {"hour": 1, "day": 24, "week": 168, "month": 720}


def sees_bypass(call: Call) -> bool:
    """Only who may change a ruleset is shown who may pass it."""
    actor = call.actor
    if actor.installation:
        return actor.may(call.repository, "administration:write")
    return actor.user is not None and is_at_least(call.repository.role_of(actor.user), "admin")


def ruleset(one: Ruleset, *, whole: bool, bypass: bool) -> Json:
    home = one.repository
    shown: Json = {
        "id": one.id, "name": one.name, "target": one.target, "source_type": "Repository", "source": home.full_name,
        "enforcement": one.enforcement, "node_id": node("RepositoryRuleset", one.id), "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "_links": {
            "self": {"href": f"{home.url}/rulesets/{one.id}"}, "html": {"href": f"{home.html_url}/rules/{one.id}"}
        },
    }  # fmt: skip
    if whole:
        shown |= {"conditions": one.conditions, "rules": one.rules}
        if bypass:
            shown["bypass_actors"] = one.bypass_actors
    return shown


def one_ruleset(call: Call) -> Ruleset:
    number = call.number("ruleset_id")
    for one in call.repository.rulesets:
        if one.id == number:
            return one
    raise not_found()


def checked(call: Call) -> dict[str, Any]:
    """The parts of a body that are there. Raises: Refusal 422."""
    body = {name: value for name, value in call.body.items() if value is not None}
    if body.get("enforcement") not in {None, "active", "disabled", "evaluate"}:
        raise invalid("Invalid request.\n\nenforcement is not one of disabled, active, evaluate.")
    for rule in body.get("rules", []):
        if rule.get("type") not in KNOWN:
            raise invalid(f"Invalid request.\n\nInvalid rule: {rule.get('type')}")
        if rule["type"] == "required_status_checks":
            for each in rule.get("parameters", {}).get("required_status_checks", []):
                if "context" not in each:
                    raise invalid("Invalid request.\n\nInvalid rule 'required_status_checks'")
                pin = each.get("integration_id")
                if pin is not None and pin not in {app.id for app in call.github.apps}:
                    raise invalid("Validation Failed: Invalid integration_id")
    return body


def keep(one: Ruleset, call: Call) -> None:
    by, now = call.actor.account or call.github.ghost, call.github.clock.now()
    state = copy.deepcopy(ruleset(one, whole=True, bypass=True))
    one.history.append(Version(call.github.new_id(), by, now, state))


@route("GET", "/repos/{owner}/{repo}/rulesets", "metadata:read")
def list_rulesets(call: Call) -> Any:
    if not call.repository.has_rulesets:
        raise not_found()
    return Page(call.repository.rulesets, lambda one: ruleset(one, whole=False, bypass=False))


@route("POST", "/repos/{owner}/{repo}/rulesets", "administration:write")
def create_ruleset(call: Call) -> Any:
    name, body, now = call.wanted("name"), checked(call), call.github.clock.now()
    call.wanted("enforcement")
    if any(one.name == name for one in call.repository.rulesets):
        raise invalid("Validation Failed", resource="Ruleset", code="custom", message="Name must be unique")
    one = Ruleset(
        call.repository, call.github.new_id(), name, body.get("target", "branch"), body["enforcement"],
        body.get("bypass_actors", []), body.get("conditions", {}), body.get("rules", []), now, now,
    )  # fmt: skip
    call.repository.rulesets.append(one)
    keep(one, call)
    shown = ruleset(one, whole=True, bypass=True)
    call.github.notify.ruleset(one, "created", call.actor.account or call.github.ghost, shown)
    return Answer(201, shown)


@route("GET", "/repos/{owner}/{repo}/rulesets/{ruleset_id}", "metadata:read")
def get_ruleset(call: Call) -> Any:
    shown = ruleset(one_ruleset(call), whole=True, bypass=sees_bypass(call))
    if call.actor.user and sees_bypass(call):
        shown["current_user_can_bypass"] = "never"
    return shown


@route("PUT", "/repos/{owner}/{repo}/rulesets/{ruleset_id}", "administration:write")
def update_ruleset(call: Call) -> Any:
    one, body = one_ruleset(call), checked(call)
    changes: Json = {}
    for name in ("name", "enforcement"):
        if name in body and body[name] != getattr(one, name):
            changes[name] = {"from": getattr(one, name)}
    for name in ("name", "target", "enforcement", "bypass_actors", "conditions", "rules"):
        if name in body:
            setattr(one, name, body[name])
    one.updated_at = call.github.clock.now()
    keep(one, call)
    shown = ruleset(one, whole=True, bypass=True)
    call.github.notify.ruleset(one, "edited", call.actor.account or call.github.ghost, shown, changes)
    return shown


@route("DELETE", "/repos/{owner}/{repo}/rulesets/{ruleset_id}", "administration:write")
def delete_ruleset(call: Call) -> Any:
    one = one_ruleset(call)
    call.repository.rulesets.remove(one)
    shown = ruleset(one, whole=True, bypass=True)
    call.github.notify.ruleset(one, "deleted", call.actor.account or call.github.ghost, shown)
    return Answer(204)


def version(one: Version) -> Json:
    return {"version_id": one.id, "actor": {"id": one.actor.id, "type": one.actor.type}, "updated_at": stamp(one.at)}


@route("GET", "/repos/{owner}/{repo}/rulesets/{ruleset_id}/history", "administration:write")
def list_history(call: Call) -> Any:
    return Page(one_ruleset(call).history[::-1], version)


@route("GET", "/repos/{owner}/{repo}/rulesets/{ruleset_id}/history/{version_id}", "administration:write")
def get_history(call: Call) -> Any:
    number = call.number("version_id")
    for one in one_ruleset(call).history:
        if one.id == number:
            return version(one) | {"state": one.state}
    raise not_found()


@route("GET", "/repos/{owner}/{repo}/rules/branches/{branch}", "metadata:read")
def list_rules(call: Call) -> Any:
    """Those of active rulesets only: neither "evaluate" nor classic protection is in it."""
    found = []
    for rule in rules_on(call.repository, call.params["branch"]):
        if rule.ruleset:
            source = {
                "ruleset_source_type": "Repository",
                "ruleset_source": call.repository.full_name,
                "ruleset_id": rule.ruleset.id,
            }
            found.append({"type": rule.type} | ({"parameters": rule.parameters} if rule.parameters else {}) | source)
    return Page(found, lambda one: one)


# --- rule suites ---


def suite(one: RuleSuite) -> Json:
    return {
        "id": one.id, "actor_id": one.actor.id, "actor_name": one.actor.login, "before_sha": one.before,
        "after_sha": one.after, "ref": one.ref, "repository_id": one.repository.id, "repository_name": one.repository.name,
        "pushed_at": stamp(one.pushed_at), "result": one.result, "evaluation_result": one.evaluation_result or one.result,
    }  # fmt: skip


@route("GET", "/repos/{owner}/{repo}/rulesets/rule-suites", "administration:write")
def list_suites(call: Call) -> Any:
    """Newest first, those of the last day unless `time_period` says otherwise."""
    asked = call.query
    start = call.github.clock.now() - timedelta(hours=PERIODS.get(asked.get("time_period", "day"), 24))
    found = [one for one in reversed(call.repository.rule_suites) if one.pushed_at >= start]
    if "ref" in asked:
        found = [one for one in found if asked["ref"] in {one.ref, one.ref.removeprefix("refs/heads/")}]
    if asked.get("rule_suite_result", "all") != "all":
        found = [one for one in found if one.result == asked["rule_suite_result"]]
    if "actor_name" in asked:
        found = [one for one in found if one.actor.login == asked["actor_name"]]
    return Page(found, suite)


@route("GET", "/repos/{owner}/{repo}/rulesets/rule-suites/{rule_suite_id}", "administration:write")
def get_suite(call: Call) -> Any:
    number = call.number("rule_suite_id")
    for one in call.repository.rule_suites:
        if one.id == number:
            return suite(one) | {"rule_evaluations": one.evaluations}
    raise not_found()
