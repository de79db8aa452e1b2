"""The handoffs' pages: list, one bundle with every check, its files."""

from __future__ import annotations

import json

import pytest
from django.conf import settings
from django.utils import timezone

from handoffs.bundles.store import BundleStore
from handoffs.models import MAX_ATTEMPTS, BundleCheck, Handoff, Status
from handoffs.packages.components import ComponentDelta, component_delta
from handoffs.packages.lockfiles import lock_delta
from handoffs.packages.sbom import Subject, build_sbom, parse_sbom
from tests.support.signing import IDENTITY, enact_signing, fail_probes
from tests.web.scene import Scene


def text_of(scene: Scene, url: str) -> str:
    answer = scene.client("plan").get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_empty_list_gives_the_next_command(scene: Scene):
    assert "leo bundle handoff" in text_of(scene, "/handoffs/")


def test_refused_bundles_are_listed_with_their_code(scene: Scene):
    scene.pull(title="Good change")
    scene.handoff(title="Bad change", outcome="FAILED")
    text = text_of(scene, "/handoffs/")
    assert "Good change" in text
    assert "Bad change" in text
    assert "patch.applies" in text
    only = text_of(scene, "/handoffs/?state=refused")
    assert "Bad change" in only
    assert "Good change" not in only


def test_list_pages_are_addressed_by_the_last_row(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("handoffs.views.PAGE_SIZE", 1)
    first, second = scene.handoff(title="First"), scene.handoff(title="Second")
    assert f"before={second.pk}" in text_of(scene, "/handoffs/")
    assert "First" in text_of(scene, f"/handoffs/?before={second.pk}")
    assert "No handoff" not in text_of(scene, f"/handoffs/?before={second.pk}&state=triggered")
    assert scene.client("plan").get("/handoffs/?before=-1").status_code == 400
    assert first.pk < second.pk


def test_a_handoff_shows_every_check_with_got_and_expected(scene: Scene):
    handoff = scene.handoff()
    text = text_of(scene, f"/handoffs/{handoff.pk}/")
    assert "2 passed, 0 failed, 1 only claimed by the builder." in text
    assert "The patch.applies check holds." in text
    assert "got 2" in text
    assert "expected 2" in text
    assert "gpg --verify" in text
    assert f"[CODEX-READY:{handoff.digest}]" in text


def test_a_refused_bundle_says_what_to_do(scene: Scene):
    handoff = scene.handoff(outcome="FAILED")
    text = text_of(scene, f"/handoffs/{handoff.pk}/")
    assert "Does not hold: The patch.applies check holds." in text
    assert "leo bundle verify artifact.tar.gz" in text
    assert "Not reached" in text
    assert "every 5s" not in text


def test_what_had_nothing_to_look_at_is_folded_below_what_does_not_hold(scene: Scene):
    handoff = scene.handoff(outcome="FAILED")
    BundleCheck.objects.create(
        handoff=handoff, position=99, code="sbom.schema", group="sbom", sentence="The SBOM is one.", outcome="FAILED",
        got="not checked: the SBOM: there is none", expected="an SBOM", tool="",
    )  # fmt: skip
    text = text_of(scene, f"/handoffs/{handoff.pk}/")
    assert "1 check had nothing to look at" in text
    assert text.index("Does not hold: The patch.applies") < text.index("Not checked: The SBOM is one.")
    assert "2 failed, 1 of them not checked" in text


def test_a_failing_attempt_shows_its_error_and_what_is_left(scene: Scene):
    handoff = scene.handoff()
    Handoff.objects.filter(pk=handoff.pk).update(status=Status.VERIFIED, attempts=2, error="git.failed: disk is full")
    text = text_of(scene, f"/handoffs/{handoff.pk}/")
    assert "git.failed: disk is full" in text
    assert "3 left" in text
    assert "every 5s" in text
    Handoff.objects.filter(pk=handoff.pk).update(attempts=MAX_ATTEMPTS)
    assert "Given up after 5 attempts" in text_of(scene, f"/handoffs/{handoff.pk}/")


def test_the_steps_follow_the_record(scene: Scene):
    handoff = scene.handoff()
    client = scene.client("plan")
    headers = {"HX-Request": "true", "HX-Target": "handoff-live"}
    part = client.get(f"/handoffs/{handoff.pk}/", headers=headers).content.decode()
    assert part.lstrip().startswith('<div class="stack" id="handoff-live"')
    seen = client.get(f"/handoffs/{handoff.pk}/?seen=x", headers=headers)
    assert seen.status_code == 200
    checks = client.get(f"/handoffs/{handoff.pk}/", headers={"HX-Request": "true", "HX-Target": "handoff-checks"})
    assert checks.content.decode().lstrip().startswith('<div id="handoff-checks"')


def test_files_come_as_attachments_and_the_bundle_is_hashed_again(scene: Scene):
    raw = b"\x1f\x8b bundle"
    digest = BundleStore(settings.BUNDLE_STORE).put(raw)
    handoff = scene.handoff(digest=digest)
    client = scene.client("auditor")
    answer = client.get(f"/handoffs/{handoff.pk}/artifact.tar.gz")
    assert answer.content == raw
    for name in ("artifact.tar.gz", "artifact.tar.gz.asc", "public-key.asc", "statement.dsse.json"):
        answer = client.get(f"/handoffs/{handoff.pk}/{name}")
        assert answer.status_code == 200, name
        assert answer["Content-Disposition"].startswith("attachment"), name
        assert answer["X-Content-Type-Options"] == "nosniff", name
    path = settings.BUNDLE_STORE / digest[:2] / digest
    path.write_bytes(raw + b"x")
    refused = client.get(f"/handoffs/{handoff.pk}/artifact.tar.gz")
    assert refused.status_code == 404
    assert "cannot be given out" in refused.content.decode()


def test_a_handoff_that_is_not_signed_has_no_signature(scene: Scene):
    handoff = scene.handoff(outcome="FAILED")
    assert scene.client("plan").get(f"/handoffs/{handoff.pk}/artifact.tar.gz.asc").status_code == 404
    assert scene.client("plan").get("/handoffs/999/").status_code == 404


BEFORE = {
    "requirements.txt": b"django==5.0\nrequests==2.31.0\n",
    "package.json": b'{"dependencies":{"left-pad":"^1.3"}}',
}
AFTER = {
    "requirements.txt": b"django==5.1\nflask==3.0\n-i https://mirror.example/packages\n",
    "package.json": b'{"dependencies":{"left-pad":"^1.4","<b>evil":"*"}}',
    "bun.lock": b"",
}


def with_packages(handoff: Handoff, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Store what the change does to packages, with one licence, as verification does."""
    delta = lock_delta(before, after)
    document = json.loads(build_sbom(Subject("acme/payments", "0" * 64, "2026-03-01T12:00:00Z"), files={}, delta=delta))
    for component in document["components"]:
        if component["name"] == "flask":
            component["licenses"] = [{"license": {"id": "BSD-3-Clause"}}]
    found = component_delta(delta, parse_sbom(json.dumps(document).encode()))
    Handoff.objects.filter(pk=handoff.pk).update(component_delta=found.as_json(at_most=200))


@pytest.mark.parametrize("place", ["/handoffs/{handoff}/", "/prs/acme/payments/{pull}/"])
def test_added_removed_and_changed_packages_are_shown_with_licence(scene: Scene, place: str):
    pull = scene.pull()
    with_packages(pull.handoff, BEFORE, AFTER)
    text = " ".join(text_of(scene, place.format(handoff=pull.handoff_id, pull=pull.number)).split())
    assert "2 added, 1 removed, 2 changed; 3 without a known licence." in text
    for part in (
        "flask",
        "BSD-3-Clause",
        "5.0</td>",
        "5.1</td>",
        "package.json dependencies ^1.4",
        "Unknown",
        "no exact version",
    ):
        assert part in text, part
    assert "<code>bun.lock</code>: not compared." in text
    assert "requirements.txt -i https://mirror.example/packages" in text
    assert "<b>evil" not in text


def test_no_package_changes_are_said_and_missing_knowledge_is_not_taken_for_it(scene: Scene):
    handoff = scene.handoff()
    address = f"/handoffs/{handoff.pk}/"
    assert "No package changes" not in text_of(scene, address)
    with_packages(handoff, {}, {})
    assert "No package changes." in text_of(scene, address)
    with_packages(handoff, {"go.sum": b""}, {"go.sum": b"\n"})
    assert "1 lock file or manifest changed, and says the same of every package." in text_of(scene, address)
    Handoff.objects.filter(pk=handoff.pk).update(component_delta=ComponentDelta().as_json())
    text = text_of(scene, address)
    assert "nothing is known of its packages" in text
    assert "No package changes" not in text
    with_packages(handoff, {}, {"package.json": b"{"})
    text = text_of(scene, address)
    assert "Malformed" in text
    assert "No package changes" not in text


def test_an_opened_check_names_what_judged_it(scene: Scene):
    handoff = scene.handoff()
    assert "judged by leoportal 0.1.0, git 2.39.5" in text_of(scene, f"/handoffs/{handoff.pk}/")


def test_slsa_tells_claims_apart_from_what_was_seen(scene: Scene):
    handoff = scene.handoff()
    told = [
        ("Isolated build", "builder-claimed", "claimed", "run <b>1</b>"),
        ("Hermetic and reproducible", "builder-claimed", "not met", "nobody built it again"),
        ("The patch gives the same tree again", "portal-observed", "met", "tree 1"),
    ]
    Handoff.objects.filter(pk=handoff.pk).update(
        slsa=[{"name": n, "source": s, "standing": t, "why": w, "requirement": "SOP 10.5"} for n, s, t, w in told]
    )
    page = scene.client("plan").get(f"/handoffs/{handoff.pk}/").content.decode()
    claimed, seen = page.index("What the builder says of itself"), page.index("What the portal saw itself")
    assert claimed < page.index("Isolated build") < page.index("Hermetic") < seen < page.index("The patch gives")
    assert "Only claimed" in page
    assert "run &lt;b&gt;1&lt;/b&gt;" in page
    assert "SLSA L3" not in page


def waiting(scene: Scene, *minutes_ago: float, fallback: str = "acknowledged") -> Handoff:
    """A handoff whose signer is down, with failed probes so many minutes ago."""
    enact_signing(
        {"method": "sigstore", "identity": IDENTITY, "issuer": "https://issuer.example", "fallback": fallback}
    )
    handoff = scene.handoff(outcome="FAILED")
    Handoff.objects.filter(pk=handoff.pk).update(status=Status.WAITING_SIGNER, error="signing.network: ConnectionError")
    fail_probes(handoff, timezone.now(), *minutes_ago)
    return handoff


def test_a_handoff_that_waits_for_its_signer_says_since_when_and_what_comes_next(scene: Scene):
    handoff = waiting(scene, 3)
    text = text_of(scene, f"/handoffs/{handoff.pk}/")
    assert "1 failed probe over 0 s" in text
    assert "signing.network" in text
    assert "Waiting uses up no attempt." in text
    assert "After 3 failed probes over 10 min the policy lets LEAD acknowledge" in text
    assert "Waits for the signing service" in text


def test_only_lead_gets_the_form_and_only_when_the_probes_are_enough(scene: Scene):
    handoff = waiting(scene, 11, 6)
    address = f"/handoffs/{handoff.pk}/"
    for name in ("plan", "auditor", "exec"):
        assert "Acknowledge OpenPGP" not in scene.client(name).get(address).content.decode()
        assert scene.client(name).post(f"{address}acknowledge/").status_code == 403
    page = scene.client("lead").get(address).content.decode()
    assert "Not yet: 2 of 3 probes, 5 min of 10 min." in page
    assert "<fieldset disabled>" in page
    early = scene.client("lead").post(f"{address}acknowledge/", {"justification": "w" * 40})
    assert early.status_code == 409
    assert "downgrade.too_early" in early.content.decode()
    fail_probes(handoff, timezone.now(), 0.5)
    assert "<fieldset>" in scene.client("lead").get(address).content.decode()


def test_lead_acknowledges_and_what_was_typed_survives_a_refusal(scene: Scene, transactional_db):
    handoff = waiting(scene, 11, 6, 0.5)
    address = f"/handoffs/{handoff.pk}/acknowledge/"
    short = scene.client("lead").post(address, {"justification": "too short, but kept"})
    assert short.status_code == 422
    assert "too short, but kept" in short.content.decode()
    assert "at least 30 visible characters; it has 16" in short.content.decode()
    why = "The release cannot wait for the signing service any longer."
    assert scene.client("lead").post(address, {"justification": why}).status_code == 302
    page = scene.client("plan").get(f"/handoffs/{handoff.pk}/").content.decode()
    assert "lead (LEAD) acknowledged OpenPGP; it signs next." in page
    assert "Acknowledge OpenPGP" not in scene.client("lead").get(f"/handoffs/{handoff.pk}/").content.decode()


def test_a_policy_without_fallback_shows_no_form(scene: Scene):
    handoff = waiting(scene, 60, 30, 1, fallback="never")
    page = scene.client("lead").get(f"/handoffs/{handoff.pk}/").content.decode()
    assert "The policy allows no other signature." in page
    assert "Acknowledge OpenPGP" not in page
