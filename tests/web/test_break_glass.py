"""Break-glass in three browsers: asked for, opened, reviewed; and everybody sees it."""

from __future__ import annotations

import pytest

from handoffs.models import PullRequest, PullStatus
from tests.support.people import one_person, person
from tests.web.scene import Scene
from verdicts.break_glass_rows import BreakGlass

WHY = "Payments are down; this is the fix, and the gates' runner is down with them."
SEEN = "Looked at the change after the incident: it does what the request says."


def ask(scene: Scene, pull: PullRequest, **changed: str):
    values = {"justification": WHY, "reference": "INC-7", "head_sha": pull.head_sha, **changed}
    return scene.client("lead").post(f"/prs/acme/payments/{pull.number}/break-glass/", values, follow=True)


def act(scene: Scene, name: str, verb: str, **values: str):
    return scene.client(name).post(f"/break-glass/{BreakGlass.objects.latest('pk').pk}/{verb}/", values, follow=True)


@pytest.mark.threat("SOD-12")
def test_asked_for_opened_seen_everywhere_and_reviewed(scene: Scene):
    pull = scene.pull()
    assert "Break the glass" in scene.client("lead").get(f"/prs/acme/payments/{pull.number}/").content.decode()
    assert "Break the glass" not in scene.client("plan").get(f"/prs/acme/payments/{pull.number}/").content.decode()
    assert "opens it, within 60 minutes" in ask(scene, pull).content.decode()
    assert "another person has to open it" in scene.client("lead").get("/break-glass/").content.decode()
    refused = act(scene, "lead", "open")
    assert refused.status_code == 409
    assert "lead asked for it; another person has to open it" in refused.content.decode()
    assert act(scene, "xena", "open").status_code == 200
    assert PullRequest.objects.get(pk=pull.pk).status == PullStatus.READY_TO_MERGE
    for name, page in (
        ("plan", "/turn/"),
        ("auditor", "/audit/"),
        ("exec", "/handoffs/"),
        ("yuri", "/audit/registry/"),
    ):
        assert "Break-glass on PR-" in scene.client(name).get(page).content.decode()
    for name in ("lead", "xena"):
        assert act(scene, name, "review", review=SEEN).status_code == 409
    assert act(scene, "yuri", "review", review="fine").status_code == 422
    assert "The glass can be broken again" in act(scene, "yuri", "review", review=SEEN).content.decode()
    assert "Break-glass on PR-" not in scene.client("plan").get("/turn/").content.decode()
    assert SEEN in scene.client("auditor").get("/break-glass/").content.decode()


def test_what_is_missing_is_said_and_what_was_typed_is_kept(scene: Scene):
    pull = scene.pull()
    short = ask(scene, pull, justification="It is down, I promise.")
    assert short.status_code == 422
    assert "at least 40 characters" in short.content.decode()
    moved = ask(scene, pull, head_sha="0" * 40)
    assert moved.status_code == 409
    assert "look again" in moved.content.decode()
    assert WHY.replace("'", "&#x27;") in moved.content.decode()


def test_one_person_behind_makers_and_deciders_is_printed(scene: Scene):
    pull = scene.passing()
    address = f"/prs/acme/payments/{pull.number}/"
    assert "Single operator" not in scene.client("plan").get(address).content.decode()
    one_person(person("exec-operator"), person("lead2"))
    assert "Single operator" in scene.client("plan").get(address).content.decode()
    assert "Single operator" in scene.client("auditor").get(f"/audit{address}").content.decode()
    values = {"verdict": "PASS", "justification": "Read it.", "head_sha": pull.head_sha, "step": "record"}
    receipt = scene.client("plan").post(f"{address}verdict/", values, follow=True).content.decode()
    assert "single operator" in receipt
    assert pull.verdicts.get().assurance == "single_operator"
