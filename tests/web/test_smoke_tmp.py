import pytest
from handoffs.models import *
from verdicts.results import Severity, AgentKind
from tests.web.scene import finding


def test_all(scene, django_assert_num_queries):
    p = scene.passing()
    e = scene.escalated(severity=Severity.HIGH)
    r = scene.handoff(outcome="FAILED")
    base = f"/prs/acme/payments/{p.number}/"
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    for who, url in [
        ("plan", "/turn/"),
        ("plan", "/prs/"),
        ("plan", base),
        ("plan", base + "diff/"),
        ("plan", base + "diff/?path=app.py"),
        ("plan", base + "history/"),
        ("lead", "/escalations/"),
        ("lead", f"/escalations/{e.pk}/"),
        ("lead", base),
        ("auditor", "/audit/"),
        ("auditor", "/audit/" + base[1:]),
        ("auditor", "/audit/exports/"),
        ("auditor", "/audit/events/3/"),
        ("plan", "/handoffs/"),
        ("plan", f"/handoffs/{p.handoff_id}/"),
        ("plan", f"/handoffs/{r.pk}/"),
        ("outsider", "/"),
        ("plan", "/nix"),
        ("auditor", "/turn/"),
    ]:
        with CaptureQueriesContext(connection) as c:
            x = scene.client(who).get(url)
        print(who, url, x.status_code, len(c), len(x.content))
        if "prs/acme" in url and who == "plan" and len(c) > 12:
            for q in c.captured_queries:
                print("   ", q["sql"][:150])
