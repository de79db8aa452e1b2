import os, re
import pytest
from playwright.sync_api import sync_playwright
from django.contrib.auth.models import User
from verdicts.results import Severity, AgentKind
from tests.web.scene import make_scene, finding, HOSTILE


@pytest.mark.django_db(transaction=True)
def test_shots(live_server, tmp_path):
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    scene = make_scene(tmp_path)
    for n in ("plan", "lead", "auditor"):
        u = User.objects.get(username=n)
        u.set_password("correct horse battery")
        u.save()
    p = scene.passing()
    q = scene.pull(title="Ledger export " + HOSTILE)
    scene.report_agents(
        q,
        score=60,
        findings={
            AgentKind.SECURITY: (finding(Severity.HIGH, message="bad " + HOSTILE), finding(Severity.LOW, is_new=False)),
            AgentKind.DATABASE: (finding(Severity.LOW),),
        },
    )
    e = scene.escalated(severity=Severity.HIGH)
    r = scene.handoff(outcome="FAILED", title="Bump TLS floor")
    base = f"/prs/acme/payments/{p.number}/"
    out = "/tmp/lp/shots"
    os.makedirs(out, exist_ok=True)
    with sync_playwright() as pw:
        b = pw.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        log = []
        for name, opts in (
            ("light", dict(color_scheme="light", viewport=dict(width=1360, height=900))),
            ("dark", dict(color_scheme="dark", viewport=dict(width=1360, height=900))),
            ("phone", dict(color_scheme="light", viewport=dict(width=390, height=844))),
        ):
            for who, urls in (
                (
                    "plan",
                    [
                        "/turn/",
                        "/prs/",
                        base,
                        f"/prs/acme/payments/{q.number}/",
                        f"/handoffs/{p.handoff_id}/",
                        f"/handoffs/{r.pk}/",
                        "/handoffs/",
                    ],
                ),
                ("lead", ["/escalations/", f"/escalations/{e.pk}/"]),
                ("auditor", ["/audit/", "/audit/" + base[1:], "/audit/exports/", "/audit/events/5/"]),
            ):
                ctx = b.new_context(**opts)
                page = ctx.new_page()
                page.on("console", lambda m: log.append((name, m.type, m.text)))
                page.on("pageerror", lambda m: log.append((name, "error", str(m))))
                page.goto(live_server.url + "/")
                if name != "dark" and who == "plan":
                    page.screenshot(path=f"{out}/signin-{name}.png")
                page.fill("#id_login", who)
                page.fill("#id_password", "correct horse battery")
                page.click("main button[type=submit]")
                for u in urls:
                    page.goto(live_server.url + u)
                    page.wait_for_timeout(700)
                    if u in (base,):
                        d = page.locator("details.file").first
                        if d.count():
                            d.locator("summary").click()
                            page.wait_for_timeout(400)
                    w = page.evaluate("document.documentElement.scrollWidth")
                    if w > opts["viewport"]["width"]:
                        log.append((name, "overflow", u, w))
                    slug = re.sub(r"\W+", "-", u).strip("-")
                    page.screenshot(path=f"{out}/{slug}-{name}.png", full_page=True)
                ctx.close()
        b.close()
    for l in log:
        print(l)
