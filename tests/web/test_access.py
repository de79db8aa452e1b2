"""Who may open what: deny by default, every role tried on every page, no unsafe template."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.template import Template
from django.template.loader import render_to_string
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from audit.covering import raise_alarm
from audit.models import LogEntry, Principal
from leoportal.web import DenyByDefaultMiddleware
from tests.web.scene import Scene

TEMPLATES = sorted((Path(settings.BASE_DIR) / "templates").rglob("*.html"))
OURS = ("leoportal", "audit", "handoffs", "verdicts")


def patterns(resolver: URLResolver) -> list[URLPattern]:
    found = []
    for item in resolver.url_patterns:
        found += patterns(item) if isinstance(item, URLResolver) else [item]
    return found


def test_every_address_declares_who_may_see_it():
    all_patterns = patterns(get_resolver())
    undeclared = [
        str(item.pattern)
        for item in all_patterns
        if not getattr(item.callback, "is_declared", False)
        and not item.callback.__module__.startswith("allauth.account.")
    ]
    assert len(all_patterns) > 25
    assert undeclared == []


def test_a_view_without_a_declaration_answers_nobody(rf):
    def forgotten(request):
        return HttpResponse("secret")

    middleware = DenyByDefaultMiddleware(lambda request: HttpResponse())
    with pytest.raises(PermissionDenied):
        middleware.process_view(rf.get("/"), forgotten, [], {})


def test_sign_up_and_password_reset_have_no_address():
    names = {item.name for item in patterns(get_resolver()) if item.callback.__module__.startswith("allauth")}
    assert names == {"account_login", "account_logout"}


PAGES = {
    "/turn/": {"plan"},
    "/prs/": {"plan", "lead", "auditor"},
    "{pull}": {"plan", "lead", "auditor"},
    "{pull}diff/": {"plan", "lead", "auditor"},
    "{pull}history/": {"plan", "lead", "auditor"},
    "/escalations/": {"plan", "lead", "auditor"},
    "/escalations/{pk}/": {"plan", "lead", "auditor"},
    "/handoffs/": {"plan", "lead", "auditor", "exec"},
    "/handoffs/{handoff}/": {"plan", "lead", "auditor", "exec"},
    "/audit/": {"plan", "lead", "auditor"},
    "/audit/events/1/": {"plan", "lead", "auditor"},
    "/audit{pull}": {"plan", "lead", "auditor"},
    "/audit/exports/": {"plan", "lead", "auditor"},
    "/keys/": {"plan", "lead", "auditor", "exec"},
    "/audit/registry/": {"auditor", "xena"},
    "/break-glass/": {"plan", "lead", "auditor", "exec", "xena"},
    "{pull}break-glass/": {"lead"},
    "/keys/{key}/public.asc": {"plan", "lead", "auditor", "exec"},
    "/keys/{key}/revocation/": {"plan", "lead", "auditor", "exec"},
}
POSTS = {
    "{pull}verdict/": {"plan"},
    "{pull}verify/": {"plan"},
    "{pull}merge/": {"plan", "lead"},
    "/escalations/{pk}/decide/": {"lead"},
    "/audit/exports/make/": {"auditor"},
    "/audit{pull}proof/": {"auditor"},
    "/audit/exports/packs/": {"auditor"},
    "/handoffs/{handoff}/acknowledge/": {"lead"},
    "/keys/rotate/": {"exec"},
    "/audit/registry/propose/": {"xena"},
    "/break-glass/1/open/": {"lead", "xena"},
    "/break-glass/1/review/": {"lead", "xena"},
    "/audit/registry/proposals/1/decide/": {"xena"},
    "/keys/rotations/1/cancel/": {"exec"},
    "/keys/rotations/1/retry/": {"exec"},
    "/keys/{key}/revoke/": {"lead", "exec"},
}


EVERYBODY = {"plan", "lead", "auditor", "exec", "outsider", "xena"}


def fill(address: str, pull) -> str:
    start = f"/prs/acme/payments/{pull.number}/"
    first = LogEntry.objects.order_by("pk").values_list("pk", flat=True)[0]
    return address.format(pull=start, pk=pull.pk, handoff=pull.handoff_id, key="AB" * 20).replace(
        "events/1/", f"events/{first}/"
    )


def test_every_page_answers_exactly_the_roles_of_the_matrix(scene: Scene):
    pull = scene.passing()
    found = {}
    for address in PAGES:
        for name in EVERYBODY:
            status = scene.client(name).get(fill(address, pull)).status_code
            assert status in {200, 403}, (address, name, status)
            if status == 200:
                found.setdefault(address, set()).add(name)
    assert found == PAGES


def test_every_write_refuses_the_other_roles(scene: Scene):
    pull = scene.passing()
    for address, allowed in POSTS.items():
        for name in EVERYBODY - allowed:
            assert scene.client(name).post(fill(address, pull)).status_code == 403, (address, name)
        assert scene.client(min(allowed)).get(fill(address, pull)).status_code == 405, address


def test_nothing_but_sign_in_and_health_is_open_to_strangers(scene: Scene):
    pull = scene.passing()
    for address in (*PAGES, *POSTS):
        for method in ("get", "post"):
            answer = getattr(Client(), method)(fill(address, pull))
            assert answer.status_code == 302, address
            assert answer["Location"].startswith(reverse("account_login"))
    assert Client().get("/healthz/live").json() == {"status": "ok"}
    assert Client().get("/healthz/ready").json() == {"status": "ok", "database": "ok", "clock": "ok", "log": "ok"}
    assert Client().post("/healthz/ready").status_code == 405


def test_a_form_without_its_token_changes_nothing(scene: Scene):
    pull = scene.passing()
    scene.client("plan")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = scene.client("plan").cookies
    answer = strict.post(fill("{pull}verdict/", pull), {"step": "record", "verdict": "PASS", "justification": "x"})
    assert answer.status_code == 403
    assert "The form was too old" in answer.content.decode()
    assert not pull.verdicts.exists()


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("plan", "/turn/"),
        ("lead", "/escalations/"),
        ("auditor", "/audit/"),
        ("exec", "/handoffs/"),
        ("xena", "/audit/registry/"),
    ],
)
def test_each_role_lands_where_its_work_is(scene: Scene, name: str, start: str):
    assert scene.client(name).get("/")["Location"] == start


def test_a_reporter_is_told_that_there_are_no_pages(scene: Scene):
    assert "There are no pages for REPORTER" in scene.client("outsider").get("/").content.decode()


def test_sign_in_is_calm_and_says_what_it_records(db):
    text = Client().get("/signin/").content.decode()
    assert "Governance for AI-written pull requests" in text
    assert "sign-up is closed" in text


def test_a_wrong_password_is_refused_and_the_name_is_kept(scene: Scene):
    answer = Client().post("/signin/", {"login": "plan", "password": "wrong wrong wrong"})
    text = answer.content.decode()
    assert answer.status_code == 200
    assert "You are not signed in" in text
    assert 'value="plan"' in text


@pytest.mark.threat("AUD-04")
def test_who_signs_in_or_may_not_is_in_the_log_and_from_where_is_not(scene: Scene):
    def entries() -> list[LogEntry]:
        return list(LogEntry.objects.filter(kind__startswith="session.").order_by("pk"))

    user = User.objects.get(username="plan")
    user.set_password(password := "battery horse staple 7")
    user.save()
    client = Client(REMOTE_ADDR="203.0.113.77", headers={"user-agent": "telltale"})
    for name, typed in (("plan", "wrong wrong wrong"), ("nobody-here", "a password by mistake"), ("plan", password)):
        client.post("/signin/", {"login": name, "password": typed})
    plan = Principal.objects.get(name="plan")
    found = entries()
    assert [(e.kind, e.principal, e.role) for e in found] == [
        ("session.refused", plan.pk, "PLAN"),
        ("session.started", plan.pk, "PLAN"),
    ]
    for entry in found:
        assert not any(
            word in bytes(entry.leaf) + bytes(entry.body or b"") for word in (b"203.0.113", b"telltale", b"wrong")
        )
        assert bytes(entry.leaf).split(b"\n")[0].endswith(b"/leo_visitor")
        assert b"plan" not in bytes(entry.leaf).partition(b"\n")[2]
    raise_alarm("log.rollback", "a test")
    client.post("/signout/")
    assert client.post("/signin/", {"login": "plan", "password": password}).status_code == 302, "to read what is wrong"
    assert len(entries()) == 2


def test_pages_are_private_and_carry_a_strict_policy(scene: Scene):
    answer = scene.client("plan").get("/turn/")
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer["Cache-Control"] == "no-store"


def test_errors_say_what_happened_and_what_to_do(scene: Scene):
    client = scene.client("auditor")
    refused = client.get("/turn/")
    assert refused.status_code == 403
    assert "needs the role PLAN" in refused.content.decode()
    missing = client.get("/prs/acme/payments/999/")
    assert missing.status_code == 404
    assert "There is no PR-999" in missing.content.decode()
    unread = client.get("/audit/?before=x")
    assert unread.status_code == 400
    assert "could not be read" in unread.content.decode()


def test_a_failure_page_needs_no_database(django_db_blocker):
    with django_db_blocker.block():
        assert "The portal failed" in render_to_string("500.html")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_mark_nothing_safe_and_hold_no_inline_code(path: Path):
    text = path.read_text()
    Template(text)
    assert not re.search(r"\|\s*safe\b|autoescape\s+off|\|\s*safeseq", text)
    assert not re.search(r"\sstyle\s*=|\son[a-z]+\s*=\s*[\"']|hx-on|<style", text)
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)


def test_python_marks_nothing_safe():
    root = Path(settings.BASE_DIR)
    sources = [path for app in OURS for path in (root / app).rglob("*.py")]
    guilty = [str(path) for path in sources if re.search(r"mark_safe|SafeString|__html__", path.read_text())]
    assert len(sources) > 40
    assert guilty == []


def test_the_one_script_is_short():
    assert len((Path(settings.BASE_DIR) / "static" / "app.js").read_text().splitlines()) <= 150


def test_every_form_that_writes_carries_its_token(scene: Scene):
    pull, escalated = scene.passing(), scene.escalated()
    confirm = {"verdict": "PASS", "justification": "Read it.", "head_sha": pull.head_sha, "step": "review"}
    texts = [
        scene.client("plan").get(fill("{pull}", pull)),
        scene.client("plan").post(fill("{pull}verdict/", pull), confirm),
        scene.client("lead").get(f"/escalations/{escalated.pk}/"),
        scene.client("auditor").get("/audit/exports/"),
        Client().get("/signin/"),
    ]
    for answer in texts:
        forms = re.findall(r'<form[^>]*method="post".*?</form>', answer.content.decode(), flags=re.DOTALL)
        assert forms
        assert [form for form in forms if "csrfmiddlewaretoken" not in form] == []


def test_a_whole_verdict_passes_the_csrf_check(scene: Scene):
    pull = scene.passing()
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = scene.client("plan").cookies
    address = fill("{pull}", pull)
    form = {"verdict": "PASS", "justification": "Read it.", "head_sha": pull.head_sha}
    page = strict.get(address).content.decode()
    review = strict.post(f"{address}verdict/", {**form, "step": "review", **token_in(page, "verdict/")})
    assert review.status_code == 200
    record = {**form, "step": "record", **token_in(review.content.decode(), "verdict/")}
    assert strict.post(f"{address}verdict/", record).status_code == 302
    assert pull.verdicts.get().verdict == "PASS"


def token_in(page: str, action: str) -> dict[str, str]:
    """The token of the form that posts to `action`, as a browser would send it."""
    form = re.search(rf'<form[^>]*action="[^"]*{action}".*?</form>', page, flags=re.DOTALL)
    assert form
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form[0])
    assert found
    return {"csrfmiddlewaretoken": found[1]}
