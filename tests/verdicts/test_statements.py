"""Signed statements of verdicts, decisions, policies and bundles: made once, checked by other people's tools."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from typer.testing import CliRunner

from audit.actions import append_event
from audit.events import AuditError
from audit.models import LogEntry
from handoffs import keys, rotating
from handoffs.attestations.vsa import digest_of_json, parse_summary, read_envelope
from handoffs.bundles.archive import read_archive
from handoffs.bundles.limits import Limits
from handoffs.models import HandoffError, Lane, PullStatus, Signature, SigningKey
from handoffs.published_keys import published_keys
from handoffs.tasks import key_vault, rotate_key
from leoportal import setup
from leoportal.cli import app
from tests.handoffs.test_keys import visit
from tests.handoffs.test_vsa import conformity
from tests.support.portal import Portal
from verdicts import evidence
from verdicts.actions import enact_policy
from verdicts.decision import Verdict as VerdictKind
from verdicts.gates import run_policy_gate, run_slsa_gate
from verdicts.models import DecisionKind, PolicyVersion, Verdict, VerdictError, VerificationWork
from verdicts.results import GateOutcome
from verdicts.revoking import Revocation, revoke_key
from verdicts.statement_rows import DecisionStatement, PolicyStatement, VerdictStatement
from verdicts.statements import Attestor, attest_policy, attest_verdict, verify_policy_statement
from verdicts.tasks import attestor, sweep_statements

TEXT = {"docs/fees.md": "# Fees\n\nHow they are rounded.\n"}  # a change that costs no scanner


def passed(portal: Portal) -> Verdict:
    """A pull request with a PASS, and its statement."""
    portal.verified(TEXT)
    verdict = portal.verdict(VerdictKind.PASS)
    assert sweep_statements() == 1
    return verdict


def statement_of(envelope: bytes) -> Any:
    return json.loads(read_envelope(envelope).payload)


def revoke(key: SigningKey, since=None):
    request = Revocation(key.fingerprint, since or key.created_at, "the laptop was lost on the train")
    return revoke_key(request, password=configured.SIGNING_KEY_PASSWORD, by=setup.OPERATOR)


def another_policy() -> PolicyVersion:
    """A policy in force that nobody signed yet."""
    text = PolicyVersion.objects.latest("number").document
    return enact_policy(text.replace("max_rounds: 3", "max_rounds: 2").encode(), by=setup.OPERATOR)


def pre_authentication_encoding(envelope: bytes) -> bytes:
    """DSSE's PAE, written from the protocol's text and not with our code."""
    document = json.loads(envelope)
    payload = base64.b64decode(document["payload"])
    kind = document["payloadType"].encode()
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])


def check_with(tool: str, folder: Path, envelope: bytes, public_key: str) -> subprocess.CompletedProcess[str]:
    """Ask gpg or sqv about the envelope's detached signature over its PAE."""
    folder.mkdir(parents=True)
    (folder / "pae").write_bytes(pre_authentication_encoding(envelope))
    (folder / "pae.asc").write_bytes(base64.b64decode(json.loads(envelope)["signatures"][0]["sig"]))
    (folder / "key.asc").write_text(public_key)
    if tool == "sqv":
        command = ["sqv", "--keyring", "key.asc", "pae.asc", "pae"]
    else:
        with tempfile.TemporaryDirectory(prefix="gpg-") as home:  # short: gpg's sockets have 107 bytes for their path
            gpg = ["gpg", "--homedir", home, "--batch", "--status-fd", "1", "--trust-model", "always"]
            subprocess.run([*gpg, "--import", "key.asc"], cwd=folder, check=True, capture_output=True)
            command = [*gpg, "--verify", "pae.asc", "pae"]
            return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, errors="replace")
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, errors="replace")


@pytest.mark.parametrize("tool", ["gpg", "sqv"])
def test_statements_of_a_verdict_and_its_bundle_verify_with_other_peoples_tools(
    portal: Portal, tmp_path: Path, tool: str
):
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here: its check of our statements is skipped")
    verdict = passed(portal)
    document = json.loads(Client().get("/.well-known/leoportal-keys.json").content)
    published = {key["lane"]: key for key in document["keys"]}
    bundle = Signature.objects.get(handoff=portal.pull().handoff)
    policy = PolicyStatement.objects.get()
    for name, lane, envelope in (
        ("verdict", "gate", bytes(verdict.statement.envelope)),
        ("bundle", "enforcer", bytes(bundle.envelope)),
        ("policy", "gate", bytes(policy.envelope)),
    ):
        key = published[lane]["publicKey"]
        good = check_with(tool, tmp_path / f"{name}-good", envelope, key)
        assert good.returncode == 0, good.stderr
        assert published[lane]["fingerprint"] in good.stdout or "GOODSIG" in good.stdout
        changed = json.loads(envelope)
        changed["payload"] = base64.b64encode(base64.b64decode(changed["payload"]) + b" ").decode()
        bad = check_with(tool, tmp_path / f"{name}-bad", json.dumps(changed).encode(), key)
        assert bad.returncode != 0
    for envelope in (bytes(verdict.statement.envelope), bytes(bundle.envelope)):
        assert conformity(statement_of(envelope)) == []


def test_a_bundles_summary_names_artifact_policy_checks_and_the_builders_attestation(portal: Portal):
    handoff = portal.hand_over(TEXT)
    summary = parse_summary(read_envelope(bytes(handoff.signature.envelope)).payload)
    assert summary.subjects == (("artifact.tar.gz", {"sha256": handoff.digest}),)
    assert summary.policy.digest == {"sha256": evidence.policy_in_force().digest}

    raw = read_archive(portal.tools().store.get(handoff.digest), Limits()).members["attestation.intoto.json"]
    assert [item.digest for item in summary.inputs] == [{"sha256": hashlib.sha256(raw).hexdigest()}]
    assert summary.facts["checks"] == list(handoff.checks.values_list("code", flat=True))
    assert summary.facts["signingKeyFingerprint"] == handoff.signature.key.fingerprint
    assert summary.resource_uri == f"pkg:generic/artifact.tar.gz?checksum=sha256:{handoff.digest}"
    assert (
        b"acme" not in read_envelope(bytes(handoff.signature.envelope)).payload
    )  # it may be sent to a public log (ATT-15)


def test_a_verdicts_summary_says_what_was_judged(portal: Portal):
    verdict = passed(portal)
    pull = portal.pull()
    row = VerdictStatement.objects.get()
    summary = parse_summary(read_envelope(bytes(row.envelope)).payload)
    assert dict(summary.subjects) == {
        "acme/payments#PR-1": {"gitCommit": pull.head_sha},
        "artifact.tar.gz": {"sha256": pull.handoff.digest},
    }
    assert summary.is_passed
    assert summary.policy.digest == {"sha256": verdict.policy.digest}
    assert summary.facts["verdict"] == "PASS"
    assert summary.facts["confidence"] == str(verdict.confidence)
    assert (summary.facts["head"], summary.facts["base"]) == (pull.head_sha, pull.base_sha)
    assert summary.facts["mergeTree"] == pull.merge_tree
    assert summary.facts["assurance"] == verdict.assurance == "separated"
    assert summary.facts["inputsDigest"] == {"sha256": digest_of_json(verdict.inputs)}
    assert summary.facts["logLeafHash"] == bytes(row.verdict.log_entry.leaf_hash).hex()
    assert [i.digest["sha256"] for i in summary.inputs] == [
        hashlib.sha256(bytes(pull.handoff.signature.envelope)).hexdigest()
    ]
    assert row.key.lane == Lane.GATE
    assert LogEntry.objects.filter(kind="verdict.attested").count() == 1
    assert verdict.supervisor.name.encode() not in read_envelope(bytes(row.envelope)).payload


def test_only_pass_is_passed_and_leads_decision_has_a_statement_too(portal: Portal):
    portal.verified(TEXT)
    portal.verdict(VerdictKind.ESCALATE, question="May this merge before the audit?")
    sweep_statements()
    said = statement_of(bytes(VerdictStatement.objects.get().envelope))["predicate"]
    assert (said["verificationResult"], said["verifiedLevels"]) == ("FAILED", ["FAILED"])
    portal.decide(
        DecisionKind.APPROVE,
        reason_class="risk-accepted",
        reference="OPS-12",
        expires_at=timezone.now() + timedelta(days=1),
    )
    assert sweep_statements() == 1
    envelope = bytes(DecisionStatement.objects.get().envelope)
    assert conformity(statement_of(envelope)) == []
    assert statement_of(envelope)["predicate"]["verificationResult"] == "PASSED"
    assert statement_of(envelope)["predicate"]["leoportal_decision"] == "approve"
    assert statement_of(envelope)["predicate"]["leoportal_assurance"] == "separated"


def test_a_verdict_is_attested_once_whoever_asks(portal: Portal):
    verdict = passed(portal)
    assert sweep_statements() == 0
    first = VerdictStatement.objects.get()
    assert attest_verdict(verdict.pk, attestor()) == first
    assert LogEntry.objects.filter(kind="verdict.attested").count() == 1


def test_a_verdict_waits_for_its_statement_while_the_gate_lane_has_no_key(portal: Portal):
    portal.verified(TEXT)
    verdict = portal.verdict(VerdictKind.PASS)
    gate = keys.active_key(Lane.GATE)
    revoke(gate, timezone.now())
    assert sweep_statements() == 0
    assert not VerdictStatement.objects.filter(verdict=verdict).exists()
    keys.create_signing_key(Lane.GATE, key_vault(), by=setup.OPERATOR)
    assert sweep_statements() == 1


def test_nobody_but_the_portals_verifier_attests(portal: Portal):
    portal.verified(TEXT)
    verdict = portal.verdict(VerdictKind.PASS)
    for name in ("plan", "lead", "auditor", "leoportal-enforcer"):
        who = Attestor(portal.actor(name), configured.SIGNING_KEY_PASSWORD, "https://x.example")
        with pytest.raises(AuditError, match=r"role\.not_allowed"):
            attest_verdict(verdict.pk, who)


@pytest.mark.threat("ATT-12")
def test_a_key_of_the_enforcer_lane_signs_no_statement(portal: Portal):
    portal.verified(TEXT)
    verdict = portal.verdict(VerdictKind.PASS)
    with pytest.raises(IntegrityError, match=r"key\.lane"), transaction.atomic():
        VerdictStatement.objects.create(
            verdict=verdict,
            key=keys.active_key(Lane.ENFORCER),
            envelope=b"{}",
            signed_at=timezone.now(),
            log_entry=verdict.log_entry,
        )


def test_statements_are_append_only(portal: Portal):
    passed(portal)
    for model in (VerdictStatement, PolicyStatement):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            model.objects.update(envelope=b"{}")


def test_the_policy_gate_wants_a_signed_policy(portal: Portal):
    pull = portal.verified(TEXT)
    version = PolicyVersion.objects.latest("number")
    assert verify_policy_statement(version) == keys.active_key(Lane.GATE).fingerprint
    checks = {check.name: check.is_met for check in run_policy_gate(pull, portal.tools()).checks}
    assert checks["the policy in force is signed by the gate lane, by a key that is trusted"]
    assert checks["the policy in force is attested by the gate lane, by a key that is trusted"]
    newer = another_policy()
    with pytest.raises(VerdictError, match=r"policy\.unsigned"):
        run_policy_gate(pull, portal.tools())
    attest_policy(newer, attestor())
    assert run_policy_gate(pull, portal.tools()).conclusion is GateOutcome.SUCCESS


@pytest.mark.parametrize(("foreign", "code"), [("signature", "policy.signature"), ("envelope", "policy.statement")])
def test_the_policy_gate_wants_both_and_each_about_this_policy(portal: Portal, foreign: str, code: str):
    """SOP 10.4: signed and attested. One that holds never stands in for the other."""
    pull = portal.verified(TEXT)
    newer = another_policy()
    attest_policy(newer, attestor())
    assert run_policy_gate(pull, portal.tools()).conclusion is GateOutcome.SUCCESS
    before = PolicyStatement.objects.exclude(policy=newer).get()
    with transaction.atomic(), connection.cursor() as cursor:  # as the owner of the tables could
        cursor.execute("ALTER TABLE leo_policy_statement DISABLE TRIGGER append_only_rows")
        PolicyStatement.objects.filter(policy=newer).update(**{foreign: getattr(before, foreign)})
        cursor.execute("ALTER TABLE leo_policy_statement ENABLE ALWAYS TRIGGER append_only_rows")
    result = run_policy_gate(pull, portal.tools())
    assert result.conclusion is GateOutcome.FAILURE
    assert [check.got.partition(":")[0] for check in result.checks if not check.is_met] == [code]


def test_a_statement_without_a_signature_counts_for_nothing(portal: Portal):
    """As an upgraded portal has them: the sweep makes a whole one."""
    pull = portal.verified(TEXT)
    newer, row = another_policy(), PolicyStatement.objects.get()
    with transaction.atomic():
        said = append_event("policy.attested", portal.actor("leoportal-verifier"), "", {})
        PolicyStatement.objects.create(
            policy=newer, key=row.key, envelope=row.envelope, signed_at=timezone.now(), log_entry=said
        )
    with pytest.raises(VerdictError, match=r"policy\.unsigned"):
        run_policy_gate(pull, portal.tools())
    sweep_statements()
    assert run_policy_gate(pull, portal.tools()).conclusion is GateOutcome.SUCCESS


def test_leo_verifies_what_the_portal_gives_out_of_a_policy(portal: Portal, tmp_path: Path):
    call_command("operate", "policy-export", str(tmp_path))
    key = keys.active_key(Lane.GATE)
    (tmp_path / "key.asc").write_text(key.public_key)
    by = ["--key", str(tmp_path / "key.asc"), "--fingerprint", key.fingerprint]
    given = ["--signature", str(tmp_path / "policy.yaml.asc"), "--attestation", str(tmp_path / "policy.dsse.json")]
    done = CliRunner().invoke(app, ["verify", "policy", str(tmp_path / "policy.yaml"), *by, *given])
    assert (done.exit_code, "VERIFIED" in done.output) == (0, True), done.output
    done = CliRunner().invoke(app, ["verify", "policy", str(tmp_path / "policy.yaml"), *by, *given[:2]])
    assert (done.exit_code, "no attestation" in done.output) == (1, True)


def test_a_policy_whose_key_was_revoked_is_signed_again(portal: Portal):
    pull = portal.verified(TEXT)
    revoke(keys.active_key(Lane.GATE))
    with pytest.raises(VerdictError, match=r"policy\.unsigned"):
        run_policy_gate(pull, portal.tools())
    keys.create_signing_key(Lane.GATE, key_vault(), by=setup.OPERATOR)
    sweep_statements()
    assert PolicyStatement.objects.count() == 2
    assert run_policy_gate(pull, portal.tools()).conclusion is GateOutcome.SUCCESS


@pytest.mark.threat("ATT-07")
def test_a_revoked_signature_takes_a_release_back_and_fails_the_gate(portal: Portal):
    passed(portal)
    pull = portal.pull()
    assert pull.status == PullStatus.READY_TO_MERGE
    key = pull.handoff.signature.key
    assert key is not None
    _, pulls = revoke(key)
    assert pulls == [pull]
    pull = portal.pull()
    assert pull.status == PullStatus.GATES_PASSING
    work = VerificationWork.objects.get(pull_request=pull, name="slsa", status="waiting")
    portal.run_work()
    work.refresh_from_db()
    found = evidence.gather(portal.pull(), tree=pull.handoff.result_tree)
    assert found.executions["slsa"].conclusion == "failure"
    assert found.judgement.verdict is VerdictKind.FAIL
    assert not found.inputs.is_bundle_signed
    with pytest.raises(VerdictError, match=r"verdict\.laxer"):
        portal.verdict(VerdictKind.PASS)


@pytest.mark.threat("ATT-07")
def test_a_revocation_from_after_the_signature_changes_nothing_for_it(portal: Portal):
    passed(portal)
    pull = portal.pull()
    key = keys.active_key(Lane.ENFORCER)
    _, pulls = revoke(key, timezone.now())
    assert pulls == []
    assert portal.pull().status == PullStatus.READY_TO_MERGE
    assert run_slsa_gate(pull, portal.tools()).conclusion is GateOutcome.SUCCESS
    with pytest.raises(HandoffError, match=r"key\.none"):
        keys.active_key(Lane.ENFORCER)


def test_the_public_document_is_deterministic_bounded_and_holds_no_secret(portal: Portal):
    rotation = rotating.request_rotation(Lane.ENFORCER, by=setup.OPERATOR, reason="a test")
    old = keys.active_key(Lane.ENFORCER)
    rotate_key(rotation.pk)
    revoke(keys.active_key(Lane.GATE))
    first, second = (Client().get("/.well-known/leoportal-keys.json") for _ in range(2))
    assert first.status_code == 200
    assert first.content == second.content
    assert first["Cache-Control"] == "public, max-age=60"
    assert first["Content-Type"] == "application/json"
    again = Client().get("/.well-known/leoportal-keys.json", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert Client().post("/.well-known/leoportal-keys.json").status_code == 405
    assert "Set-Cookie" not in first.headers
    document = json.loads(first.content)
    by_state = {(key["lane"], key["state"]): key for key in document["keys"]}
    assert set(by_state) == {("enforcer", "active"), ("enforcer", "verify-only"), ("gate", "revoked")}
    new = by_state["enforcer", "active"]
    assert new["replaces"] == old.fingerprint
    assert statement_of(json.dumps(new["transition"]).encode())["predicate"]["newFingerprint"] == new["fingerprint"]
    assert by_state["gate", "revoked"]["distrustedSince"].endswith("Z")
    assert "BEGIN PGP PUBLIC" in by_state["gate", "revoked"]["revokedPublicKey"]
    for word in ("laptop", "PRIVATE", "secret", "opal"):
        assert word not in first.content.decode()
    many = list(SigningKey.objects.select_related("replaces")) * 200
    bounded = json.loads(published_keys(many, now=timezone.now()))
    assert (len(bounded["keys"]), bounded["omitted"]) == (400, 200)


def test_statements_are_given_out_to_people_with_a_role_only(portal: Portal):
    verdict = passed(portal)
    address = f"/prs/acme/payments/1/verdicts/{verdict.pk}/statement.dsse.json"
    answer = visit(portal, "auditor").get(address)
    assert answer.status_code == 200
    assert answer.content == bytes(verdict.statement.envelope)
    assert address in visit(portal, "lead").get("/prs/acme/payments/1/").content.decode()
    assert visit(portal, "lead").get("/prs/acme/payments/1/decisions/1/statement.dsse.json").status_code == 404
    assert Client().get(address).status_code == 302
