"""Every page of every role, in both themes and three widths: it loads, fits, and can be used by everybody."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from django.utils import timezone
from playwright.sync_api import expect

from audit.events import AuditError
from audit.models import LogEntry
from handoffs.keys import active_key
from handoffs.models import KeyRotation, Lane, PullRequest, SigningKey, Status
from handoffs.rotating import advance_rotation
from handoffs.tasks import advance, key_vault, rotate_key
from leoportal.setup import ensure_keys
from tests.support.browser import Site, address, change
from tests.support.log import settle_log
from tests.support.loopback_sigstore import LoopbackSigstore
from tests.support.portal import START
from tests.support.signing import enact_signing, fail_probes, use_sigstore
from verdicts.decision import Verdict as VerdictKind
from verdicts.export_rows import Export
from verdicts.exporting import fail_export, request_export
from verdicts.merging import merge_pull_request
from verdicts.tasks import run_export

UNTESTED = START["payments/fees.py"] + "\n\ndef double_{number}(cents):\n    return 2 * cents\n"
QUESTION = "May this merge before the yearly audit, although nothing tests it?"


def escalated(site: Site) -> PullRequest:
    """A pull request that PLAN handed to LEAD with a question."""
    files = {"payments/fees.py": UNTESTED.format(number=PullRequest.objects.count())}
    pull = site.portal.verified(files, branch="staging/codex-double", task="Add double")
    site.portal.verdict(VerdictKind.ESCALATE, question=QUESTION)
    return pull


def test_pages_with_nothing_in_them(site: Site, gallery):
    nobody = gallery("")
    nobody.visit("/", "signin")
    nobody.visitor.page.get_by_label("Name").fill("plan")
    nobody.visitor.page.get_by_label("Password").fill("not it")
    nobody.visitor.page.get_by_role("button", name="Sign in").click()
    nobody.look("signin-wrong")
    plan = gallery("plan")
    plan.visit("/turn/", "turn-empty")
    plan.visit("/prs/?state=lead-review", "prs-empty")
    plan.visit("/escalations/", "escalations-empty")
    plan.visit("/handoffs/?state=opened", "handoffs-empty")
    plan.visit("/audit/?actor=nobody-of-that-name", "audit-empty", status=422)
    plan.visit("/audit/?first=2026-02-01&last=2026-01-01", "audit-bad-filter", status=422)
    plan.visit("/audit/?before=x", "error-400", status=400)
    plan.visit("/prs/acme/payments/999/", "error-404", status=404)
    plan.visit("/signout/", "signout")
    gallery("lead").visit("/turn/", "error-403", status=403)
    gallery("rita").visit("/", "no-pages")


def test_the_pages_of_a_change_of_packages(site: Site, gallery):
    more = {
        "requirements.txt": "flask==3.0.3\nrequests[socks]>=2.31,<3\n-i https://mirror.example/packages\n",
        "package-lock.json": '{"lockfileVersion":3,"packages":{"node_modules/left-pad":{"version":"1.3.0","license":"WTFPL",'
        f'"resolved":"https://registry.example/left-pad/-/left-pad-1.3.0.tgz","integrity":"sha512-{"a" * 86}=="}}}}}}\n',
        "bun.lock": "{}\n",
    }
    pull = site.portal.verified(change("packaged", **more), branch="staging/codex-packaged", task="Bring packages")
    plan = gallery("plan")
    plan.visit(f"/handoffs/{pull.handoff_id}/", "handoff-packages")
    plan.visit(address(pull), "pr-packages")


def test_the_pages_of_plan(site: Site, gallery):
    pull = site.portal.verified(
        change("rounded"), branch="staging/codex-rounded", task="Round the fee once, at the end"
    )
    site.portal.push_bundle(b"not a bundle", branch="staging/codex-broken")
    refused = site.portal.receive()
    plan = gallery("plan")
    plan.visit("/turn/", "turn")
    plan.visit("/prs/", "prs")
    plan.visit(address(pull), "pr")
    page = plan.visitor.page
    page.locator("#keys-button").click()
    plan.look("keys")
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="Escalate").check()
    page.get_by_label("Reason").fill("The rounding rule is not written down anywhere.")
    page.get_by_role("button", name="Review verdict…").click()
    plan.look("pr-form-error")
    page.get_by_label("Question for LEAD").fill("Which rounding rule holds for fees?")
    page.get_by_role("button", name="Review verdict…").click()
    plan.look("pr-confirm")
    plan.visit(f"{address(pull)}diff/", "diff")
    plan.visit(f"{address(pull)}diff/?path=payments/rounded.py", "diff-file")
    plan.visit(f"{address(pull)}history/", "history")
    plan.visit("/handoffs/", "handoffs")
    plan.visit(f"/handoffs/{pull.handoff_id}/", "handoff")
    plan.visit(f"/handoffs/{refused.pk}/", "handoff-refused")
    site.portal.verdict(VerdictKind.PASS)
    plan.visit(address(pull), "pr-passed")
    merge_pull_request(pull.pk, site.portal.tools(), by=site.portal.actor("plan"))
    plan.visit(address(pull), "pr-merged")


def test_the_pages_of_lead(site: Site, gallery):
    pull = escalated(site)
    lead = gallery("lead")
    lead.visit("/", "escalations")
    lead.visit(f"/escalations/{pull.pk}/", "escalation")
    lead.visit(address(pull), "pr-for-lead")
    lead.visit(f"/escalations/{pull.pk}/", "escalation")
    page = lead.visitor.page
    page.get_by_role("radio", name="Send back").check()
    page.get_by_label("Justification").fill("Nothing tests the new function, and it is one line to write the test.")
    page.get_by_role("button", name="Review decision…").click()
    lead.look("escalation-confirm")
    page.get_by_role("button", name="Record decision").click()
    lead.visitor.settle()
    lead.look("escalation-decided")
    lead.visit("/escalations/", "escalations-decided")


def test_the_pages_of_the_auditor_and_the_enforcer(site: Site, gallery):
    pull = escalated(site)
    settle_log()
    auditor = gallery("auditor")
    auditor.visit("/", "audit")
    auditor.visit(f"/audit/events/{LogEntry.objects.filter(kind='verdict.recorded').latest('pk').pk}/", "audit-event")
    auditor.visit(f"/audit{address(pull)}", "separation")
    auditor.visit("/audit/exports/", "exports")
    auditor.visit(address(pull), "pr-for-auditor")
    auditor.visit(f"/escalations/{pull.pk}/", "escalation-for-auditor")
    enforcer = gallery("exec")
    enforcer.visit("/", "handoffs-for-enforcer")
    enforcer.visit(f"/handoffs/{pull.handoff_id}/", "handoff-for-enforcer")


def test_a_handoff_that_waits_for_its_signer_and_one_signed_with_sigstore(
    site: Site, gallery, settings, tmp_path: Path
):
    with LoopbackSigstore(rekor=1) as sigstore:
        use_sigstore(settings, tmp_path, sigstore, fallback="acknowledged")
        signed = site.portal.hand_over(change("keyless"), branch="staging/codex-keyless", task="Add keyless")
        sigstore.faults = {"fulcio-down"}
        raw = site.portal.bundle(change("waiting"), branch="staging/codex-waiting", task="Add waiting")
        site.portal.push_bundle(raw, branch="staging/codex-waiting")
        waiting = site.portal.receive()
        gallery("plan").visit(f"/handoffs/{signed.pk}/", "handoff-sigstore")
        lead = gallery("lead")
        lead.visit(f"/handoffs/{waiting.pk}/", "handoff-waits-too-early")
        fail_probes(waiting, timezone.now(), 11, 6)
        lead.visit(f"/handoffs/{waiting.pk}/", "handoff-waits")
        page = lead.visitor.page
        page.get_by_label("Justification").fill("The release cannot wait for the signing service.")
        page.get_by_role("button", name="Acknowledge OpenPGP").click()
        page.get_by_text("lead (LEAD) acknowledged OpenPGP; it signs next.").wait_for()
        assert advance(waiting.pk) == Status.OPENED
        lead.visit(f"/handoffs/{waiting.pk}/", "handoff-downgraded")
        enact_signing({"method": "openpgp"})


def test_the_keys(site: Site, gallery):
    """Active, being rotated, late, and revoked; the page of a revocation before and after."""
    site.portal.hand_over(change("rotated"), branch="staging/codex-rotated", task="Add rotated")
    enforcer = active_key(Lane.ENFORCER)
    lead, exec_ = gallery("lead"), gallery("exec")
    exec_.visit("/keys/", "keys-page")
    page = exec_.visitor.page
    page.get_by_role("button", name="Rotate the enforcer key now").click()
    exec_.visitor.settle()
    rotation = KeyRotation.objects.get(lane=Lane.ENFORCER)
    for _ in range(2):
        rotation = advance_rotation(rotation, key_vault(), by=site.portal.actor("exec"))
    exec_.visit("/keys/", "keys-rotating")
    KeyRotation.objects.filter(pk=rotation.pk).update(attempts=5, error="key.password: it does not open")
    exec_.visit("/keys/", "keys-stuck")
    page.get_by_role("button", name="Try again").click()
    assert rotate_key(rotation.pk) == "done"
    lead.visit("/keys/", "keys-rotated")
    lead.visit(f"/keys/{enforcer.fingerprint}/revocation/", "revoke-ask")
    form = lead.visitor.page
    form.get_by_label("Not trusted since").fill("tomorrow")
    form.get_by_role("button", name="See what it concerns").click()
    lead.look("revoke-error")
    form.get_by_label("Not trusted since").fill("2026-01-01 12:00")
    form.get_by_label("Reason").fill("The laptop that held it was lost on the train.")
    form.get_by_role("button", name="See what it concerns").click()
    lead.look("revoke-review")
    form.get_by_role("button", name=f"Revoke {enforcer.fingerprint[:12]}").click()
    lead.look("keys-revoked")
    lead.visit(f"/keys/{enforcer.fingerprint}/revocation/", "revoke-done")
    gate = SigningKey.objects.filter(lane=Lane.GATE, retired_at=None)
    before = gate.get()
    gate.update(created_at=before.created_at - timedelta(days=28), expires_at=before.expires_at - timedelta(days=28))
    exec_.visit("/keys/", "keys-late")
    gate.update(expires_at=before.created_at)
    exec_.visit("/keys/", "keys-off")
    ensure_keys()


def test_the_pages_of_exports(site: Site, gallery):
    """Before an export, one of each state, and forms that are refused; and the separation with its proof."""
    pull = escalated(site)
    auditor = gallery("auditor")
    auditor.visit("/audit/exports/", "exports-before")
    rows, before = auditor.visitor.page.locator("#exports-live tbody tr"), Export.objects.count()
    page = auditor.visitor.page
    page.get_by_label("Subject").fill(str(pull.handoff))
    page.get_by_role("button", name="Make export").click()
    expect(rows).to_have_count(before + 1)
    made = Export.objects.latest("pk")
    assert made.filters == {"subject": str(pull.handoff)}
    assert run_export(made.pk) == "done"
    parquet = request_export("leo_gate_executions", "parquet", {}, by=site.portal.actor("auditor"))
    fail_export(parquet, AuditError("export.no_parquet", "Parquet needs pyarrow: pip install 'leoportal[parquet]'"))
    page.get_by_role("button", name="Make evidence pack").click()
    expect(rows).to_have_count(before + 3)
    auditor.look("exports")
    page.locator("#id_pack_pull").fill("not a pull request")
    page.get_by_role("button", name="Make evidence pack").click()
    expect(page.locator("main")).to_contain_text("Write the pull request as owner/name#3.")
    auditor.look("exports-refused")
    auditor.visit(f"/audit/prs/acme/payments/{pull.number}/", "separation-proof")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download proof (PDF)").click()
    assert started.value.suggested_filename == f"PR-{pull.number}-role-separation.pdf"
    if auditor.folder is not None:
        started.value.save_as(auditor.folder / "separation-proof.pdf")


def test_the_pages_of_the_registry_and_of_break_glass(site: Site, gallery):
    """A change of two administrators and a glass that is broken: before, while they wait, refused, and afterwards."""
    pull = escalated(site)
    admin, other, lead = gallery("xena"), gallery("yuri"), gallery("lead")
    admin.visit("/", "registry")
    page = admin.visitor.page
    for kind, name in (("identity.link", "registry-refused"), ("role.end", "registry-own")):
        form = page.locator(f'form:has(input[value="{kind}"])')
        form.get_by_label("Whom it is about").select_option("rita")
        form.get_by_label("Why").fill("Agreed in the staff meeting.")
        if kind == "identity.link":
            form.get_by_label("Kind").select_option("github")
            form.get_by_label("Name there").fill("octocat")
        form.get_by_role("button").click()
        admin.look(name)
    other.visit("/audit/registry/", "registry-waiting")
    other.visitor.page.get_by_role("button", name="Decline").click()
    other.look("registry-decided")

    lead.visit("/break-glass/", "break-glass-empty")
    lead.visit(f"{address(pull)}break-glass/", "break-glass-ask")
    asking = lead.visitor.page
    asking.get_by_label("Why this cannot wait").fill("It is down.")
    asking.get_by_role("button", name="Ask for a second person").click()
    lead.look("break-glass-refused")
    asking.get_by_label("Why this cannot wait").fill(
        "Payments are down; this is the fix, and the gates' runner is down, too."
    )
    asking.get_by_label("Incident or ticket").fill("INC-7")
    asking.get_by_role("button", name="Ask for a second person").click()
    lead.look("break-glass-asked")
    other.visit("/break-glass/", "break-glass-open")
    other.visitor.page.get_by_role("button", name="Break the glass").click()
    other.look("break-glass-opened")
    lead.visit(address(pull), "pr-break-glass")
    admin.visit("/break-glass/", "break-glass-review")
    page.get_by_label("What you found").fill("Looked at the change after the incident: it does what the request says.")
    page.get_by_role("button", name="Record the review").click()
    admin.look("break-glass-reviewed")
