"""The registry's page: two administrators, each in a browser of their own."""

from __future__ import annotations

import pytest

from audit.models import Proposal
from tests.support.people import person
from tests.web.scene import Scene

PAGE = "/audit/registry/"
GRANT = {"change": "role.grant", "about": "outsider", "role": "PLAN", "reason": "Agreed in the staff meeting."}


def propose(scene: Scene, **changed: str):
    return scene.client("xena").post(f"{PAGE}propose/", {**GRANT, **changed}, follow=True)


def decide(scene: Scene, name: str, step: str):
    return scene.client(name).post(
        f"{PAGE}proposals/{Proposal.objects.latest('pk').pk}/decide/", {"step": step}, follow=True
    )


def test_a_role_changes_by_two_administrators_on_the_page(scene: Scene):
    for values in ({"change": "role.end"}, {}):
        assert "another administrator approves it" in propose(scene, **values).content.decode()
        assert "Approve" in scene.client("yuri").get(PAGE).content.decode()
        assert decide(scene, "yuri", "approve").status_code == 200
    assert [grant.role for grant in person("outsider").grants.order_by("pk")] == ["REPORTER", "PLAN"]
    assert scene.client("outsider").get("/turn/").status_code == 200


@pytest.mark.threat("SOD-13")
def test_ones_own_proposal_offers_no_approval_and_takes_none(scene: Scene):
    text = propose(scene, change="role.end").content.decode()
    assert "Withdraw" in text
    assert 'value="approve"' not in text
    refused = decide(scene, "xena", "approve")
    assert refused.status_code == 409
    assert "another person has to approve" in refused.content.decode()
    assert decide(scene, "xena", "decline").status_code == 200
    assert Proposal.objects.get().status == "withdrawn"


def test_a_refusal_keeps_what_was_typed_and_says_what_is_expected(scene: Scene):
    link = {"change": "identity.link", "about": "plan", "kind": "github", "value": "octocat"}
    answer = propose(scene, **link)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "numeric user id" in text
    assert 'value="octocat"' in text
    empty = propose(scene, **link, reason="")
    assert empty.status_code == 422
    assert "the other administrator reads it" in empty.content.decode()
    assert scene.client("xena").post(f"{PAGE}propose/", {"change": "everything"}).status_code == 404


def test_the_auditor_reads_and_is_offered_nothing(scene: Scene):
    propose(scene)
    text = scene.client("auditor").get(PAGE).content.decode()
    assert "Agreed in the staff meeting." in text
    assert "Propose a change" not in text
    assert 'value="approve"' not in text
