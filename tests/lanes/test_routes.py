"""Every address, every method, every identity, against one table written by hand. What is not in it fails."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from audit.actions import enter_principal, issue_token
from audit.events import Role
from audit.models import Kind, LogEntry, Principal
from leoportal.setup import OPERATOR
from tests.web.scene import Scene

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PEOPLE = ("nobody", "roleless", "builder", "outsider", "exec", "plan", "lead", "auditor", "admin")
WITH_A_ROLE = {"builder", "outsider", "exec", "plan", "lead", "auditor", "admin"}
WATCH, SEE, TRAIL = {"exec", "plan", "lead", "auditor"}, {"plan", "lead", "auditor"}, {"plan", "lead", "auditor"}

# Address: who may GET it, who may POST to it. HEAD goes with GET; nobody does anything else.
PAGES: dict[str, tuple[set[str], set[str]]] = {
    "land": (WITH_A_ROLE, set()),
    "handoffs:list": (WATCH, set()),
    "handoffs:handoff": (WATCH, set()),
    "handoffs:artifact": (WATCH, set()),
    "handoffs:signature": (WATCH, set()),
    "handoffs:key": (WATCH, set()),
    "handoffs:artifact-bundle": (WATCH, set()),
    "handoffs:statement-bundle": (WATCH, set()),
    "handoffs:statement": (WATCH, set()),
    "handoffs:acknowledge": (set(), {"lead"}),
    "verdicts:turn": ({"plan"}, set()),
    "verdicts:pulls": (SEE, set()),
    "verdicts:pull": (SEE, set()),
    "verdicts:diff": (SEE, set()),
    "verdicts:history": (SEE, set()),
    "verdicts:verdict_statement": (SEE, set()),
    "verdicts:decision_statement": (SEE, set()),
    "verdicts:verdict": (set(), {"plan"}),
    "verdicts:verify": (set(), {"plan"}),
    "verdicts:merge": (set(), {"plan", "lead"}),
    "verdicts:ask_break_glass": ({"lead"}, {"lead"}),
    "verdicts:break_glass": ({*WATCH, "admin"}, set()),
    "verdicts:open_break_glass": (set(), {"lead", "admin"}),
    "verdicts:review_break_glass": (set(), {"lead", "admin"}),
    "verdicts:repositories": ({*WATCH, "admin"}, set()),
    "verdicts:repository": ({*WATCH, "admin"}, set()),
    "verdicts:apps": ({"admin"}, set()),
    "verdicts:keys": (WATCH, set()),
    "verdicts:public_key": (WATCH, set()),
    "verdicts:revoke_key": (WATCH, set()),
    "verdicts:rotate_key": (set(), {"exec"}),
    "verdicts:cancel_rotation": (set(), {"exec"}),
    "verdicts:retry_rotation": (set(), {"exec"}),
    "verdicts:revoke": (set(), {"exec", "lead"}),
    "verdicts:escalations": (TRAIL, set()),
    "verdicts:escalation": (TRAIL, set()),
    "verdicts:decide": (set(), {"lead"}),
    "verdicts:separation": (TRAIL, set()),
    "verdicts:proof": (set(), {"auditor"}),
    "verdicts:exports": (TRAIL, set()),
    "verdicts:pack": (set(), {"auditor"}),
    "verdicts:export": (set(), {"auditor"}),
    "verdicts:export_file": ({"auditor"}, set()),
    "audit:explorer": (TRAIL, set()),
    "audit:entry": (TRAIL, set()),
    "audit:registry": ({"admin", "auditor"}, set()),
    "audit:propose_change": (set(), {"admin"}),
    "audit:decide_change": (set(), {"admin"}),
}
OPEN = {"live", "ready", "leoportal-keys"}  # anybody GETs them
# Where GitHub sends a browser back there is no session; without what the portal signed nothing is shown.
FROM_GITHUB = {"verdicts:app_code"}
SIGN_IN = {"account_login", "account_logout"}  # allauth's own
# With a bearer token: its role.
API: dict[str, tuple[str, set[str]]] = {
    "api-1:show_pull": ("GET", {"plan", "lead", "auditor"}),
    "api-1:report_gate": ("POST", {"outsider"}),
    "api-1:report_agent": ("POST", {"outsider"}),
    "api-1:verify_again": ("POST", {"plan"}),
    "api-1:send_evidence": ("POST", set()),  # GitHub's token for one run, and none of ours
}
LOG_OPEN = {
    "log-checkpoint",
    "log-tile",
    "log-anchored",
    "log-anchor-bundle",
}  # anybody GETs them; nothing is signed in this scene
API_OPEN = {"api-1:openapi-json", "api-1:api-root"}  # the description; the root answers 404


def routes(resolver: URLResolver, *spaces: str) -> Iterator[tuple[str, URLPattern]]:
    for item in resolver.url_patterns:
        if isinstance(item, URLResolver):
            yield from routes(item, *spaces, *filter(None, [item.namespace]))
        else:
            yield ":".join((*spaces, item.name or str(item.pattern))), item


def address(name: str, scene: Scene, pull) -> str:
    values = {
        "owner": "acme",
        "repo": "payments",
        "name": "payments",
        "number": pull.number,
        "fingerprint": "AB" * 20,
        "side": "gate",
        "pk": pull.handoff_id if name.startswith("handoffs") else pull.pk,
    }
    values["path"] = "0/000"
    if name == "audit:entry":
        values["pk"] = LogEntry.objects.earliest("pk").pk
    return reverse(
        name,
        kwargs={key: values[key] for key in ROUTES[name].pattern.converters} if ":" in name or name in LOG_OPEN else {},
    )


ROUTES = dict(routes(get_resolver()))


def add_the_rest() -> None:
    for name, role in (("builder", Role.BUILDER), ("admin", Role.ADMIN)):
        person = enter_principal(name, kind=Kind.HUMAN, role=role, by=OPERATOR)
        Principal.objects.filter(pk=person.pk).update(user=User.objects.create(username=name))


@pytest.fixture
def people(scene: Scene) -> dict[str, Client]:
    add_the_rest()
    User.objects.create(username="roleless")
    return {"nobody": Client()} | {name: scene.client(name) for name in PEOPLE if name != "nobody"}


def test_every_address_is_in_the_table():
    assert set(ROUTES) == {*PAGES, *OPEN, *FROM_GITHUB, *SIGN_IN, *API, *API_OPEN, *LOG_OPEN, "log-entries"}


def expected(name: str, method: str, person: str) -> str:
    readers, writers = PAGES[name]
    allowed = writers if method == "POST" else readers if method in {"GET", "HEAD"} else set()
    if person == "nobody":
        return "sign in"
    return "405" if not allowed else "answered" if person in allowed else "403"


def said(answer) -> str:
    status = answer.status_code
    if status == 302 and answer["Location"].startswith("/signin/"):
        return "sign in"
    return str(status) if status in {401, 403, 405} or status >= 500 else "answered"


@pytest.mark.threat("SOD-10")
def test_every_page_answers_its_roles_and_methods_only(scene: Scene, people: dict[str, Client]):
    pull = scene.escalated()
    found, wanted = {}, {}
    cells = itertools.product(PAGES, METHODS, PEOPLE)
    for name, method, person in sorted(cells, key=lambda cell: cell[1] == "POST" and cell[2] in PAGES[cell[0]][1]):
        found[name, method, person] = said(people[person].generic(method, address(name, scene, pull)))
        wanted[name, method, person] = expected(name, method, person)
    assert {cell: (found[cell], wanted[cell]) for cell in found if found[cell] != wanted[cell]} == {}


def test_what_is_open_is_open_for_reading(scene: Scene, people: dict[str, Client]):
    pull = scene.pull()
    for name, method, person in itertools.product(sorted(OPEN), METHODS, PEOPLE):
        status = people[person].generic(method, address(name, scene, pull)).status_code
        assert status == (200 if method in {"GET", "HEAD"} else 405), (name, method, person)
    for name, method in itertools.product(sorted(FROM_GITHUB), METHODS):
        status = people["nobody"].generic(method, address(name, scene, pull)).status_code
        assert status == (400 if method in {"GET", "HEAD"} else 405), (name, method)
    for name, method, person in itertools.product(sorted(LOG_OPEN), METHODS, PEOPLE):
        status = people[person].generic(method, address(name, scene, pull)).status_code
        assert status == (404 if method in {"GET", "HEAD"} else 405), (name, method, person)


def test_webhooks_take_nothing_from_anybody_without_a_signature(db, settings):
    settings.GITHUB_ENFORCER_WEBHOOK_SECRETS = settings.GITHUB_GATE_WEBHOOK_SECRETS = ["a secret"]
    given = {"X-GitHub-Delivery": "1", "X-GitHub-Event": "push"}
    for app, method in itertools.product(("enforcer", "gate"), METHODS):
        at = f"/github/webhook/{app}/"
        answer = Client().generic(method, at, b"{}", content_type="application/json", headers=given)
        assert answer.status_code == (401 if method == "POST" else 405), (app, method)


def test_every_operation_answers_its_roles_and_method_only(scene: Scene):
    pull = scene.escalated()
    add_the_rest()
    tokens = {
        person: issue_token(Principal.objects.get(name=person), "t", days=1, by=OPERATOR)
        for person in sorted(WITH_A_ROLE)
    }
    callers = {"nobody": "", "stranger": "leo_made-up", **tokens}
    for name, method, person in itertools.product(API, METHODS, callers):
        own, allowed = API[name]
        headers = {"Authorization": f"Bearer {callers[person]}"} if callers[person] else {}
        body = b'{"gate": "x", "conclusion": "success", "run_id": "1", "head_sha": "a"}'
        at = address(name, scene, pull)
        answer = Client().generic(method, at, body, content_type="application/json", headers=headers)
        if method != own:
            assert answer.status_code == 405, (name, method, person)
        elif person in {"nobody", "stranger"} or not allowed:
            assert answer.status_code == 401, (name, method, person)
        elif person in allowed:
            assert answer.status_code in {200, 201, 202, 409, 422}, (name, method, person)
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "role.not_allowed"), (name, method, person)
