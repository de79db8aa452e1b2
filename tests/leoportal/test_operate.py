"""The operator's command on a real portal."""

from __future__ import annotations

import pysequoia
import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from audit.actions import actor_of_token
from audit.events import Role
from audit.models import Identity, LogEntry, Principal
from handoffs.keys import active_key
from handoffs.models import MAX_ATTEMPTS, Handoff, Lane, Status
from handoffs.tasks import advance, sweep_handoffs, sweep_staging
from tests.support.portal import GOOD_CHANGE, Portal
from verdicts.evidence import policy_in_force
from verdicts.policy import default_policy_yaml


def operate(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run it; what it printed."""
    call_command("operate", *words)
    return capsys.readouterr().out.strip()


def test_a_person_gets_a_password_once_and_signs_in_with_it(portal: Portal, capsys, rf):
    said = operate(capsys, "person", "paula", "plan")
    password = said.removeprefix("paula: password ")
    assert authenticate(rf.post("/signin/"), username="paula", password=password) is not None
    assert operate(capsys, "person", "paula", "plan") == "paula: is there already"
    entry = LogEntry.objects.filter(kind="role.granted").latest("pk")
    leaf = bytes(entry.leaf) + bytes(entry.body or b"")
    paula = Principal.objects.get(name="paula")
    assert paula.commit("paula").encode() in leaf
    assert f'"principal":{paula.pk},'.encode() in leaf
    assert password.encode() not in leaf


def test_nobody_gets_a_second_role(portal: Portal, capsys):
    operate(capsys, "person", "paula", "plan")
    with pytest.raises(CommandError, match="paula is PLAN, expected LEAD"):
        operate(capsys, "person", "paula", "lead")


def test_a_reporter_gets_a_token_that_works(portal: Portal, capsys):
    operate(capsys, "reporter", "tracker", "--sponsor", "tess")
    secret = operate(capsys, "token", "tracker")
    assert (actor_of_token(secret).name, actor_of_token(secret).role) == ("tracker", Role.REPORTER)
    with pytest.raises(CommandError, match=r"token\.lifetime"):
        operate(capsys, "token", "tracker", "--days", "91")
    with pytest.raises(CommandError):
        operate(capsys, "token", "nobody")


def test_a_builder_is_allowed_by_a_new_policy_version(portal: Portal, capsys):
    number = policy_in_force().number
    options = ("--sponsor", "ada", "--builder-id", "https://two.invalid/b", "--email", "two@builder.invalid")
    operate(capsys, "builder", "codex-two", *options)
    assert policy_in_force().number == number + 1
    assert "https://two.invalid/b" in policy_in_force().document
    operate(capsys, "builder", "codex-two", *options)
    assert policy_in_force().number == number + 1
    assert not Principal.objects.get(name="codex-two").tokens.exists()


def test_a_policy_laxer_than_the_sop_or_an_old_one_is_refused(portal: Portal, capsys, tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_bytes(default_policy_yaml().replace(b'"85.00"', b'"80.00"'))
    with pytest.raises(CommandError, match=r"policy\."):
        operate(capsys, "policy", str(file))
    old = policy_in_force().document
    file.write_bytes(default_policy_yaml().replace(b'"85.00"', b'"90.00"'))
    assert "is in force" in operate(capsys, "policy", str(file))
    file.write_text(old)
    with pytest.raises(CommandError, match=r"policy\.rollback"):
        operate(capsys, "policy", str(file))


def test_a_handoff_that_failed_five_times_waits_and_is_taken_up_after_a_retry(portal: Portal, capsys, settings):
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    sweep_staging()
    handoff = Handoff.objects.get()
    password, settings.SIGNING_KEY_PASSWORD = settings.SIGNING_KEY_PASSWORD, "another-password-than-it-was"
    for _ in range(MAX_ATTEMPTS):
        assert advance(handoff.pk) == "failed"
        Handoff.objects.update(next_try_at=None)
    handoff.refresh_from_db()
    assert (handoff.status, handoff.error[:12]) == (Status.VERIFIED, "key.password")
    assert list(Handoff.objects.stuck()) == [handoff]
    assert sweep_handoffs() == 0
    settings.SIGNING_KEY_PASSWORD = password
    assert operate(capsys, "retry", str(handoff.pk)) == "the next sweep takes it up"
    assert advance(handoff.pk) == Status.OPENED
    assert "nothing was changed" in operate(capsys, "retry", str(handoff.pk))


def test_keys_are_rotated_revoked_and_made_at_the_machine(portal: Portal, capsys):
    first = active_key(Lane.GATE)
    assert "only verifies" in operate(capsys, "key", "rotate", "gate")
    second = active_key(Lane.GATE)
    assert second.replaces == first
    with pytest.raises(CommandError, match=r"key\.active_exists"):
        operate(capsys, "key", "make", "gate")
    reason = ("--since", "2026-01-01T00:00", "--reason", "the machine was broken into")
    assert "no open pull request" in operate(capsys, "key", "revoke", second.fingerprint.lower(), *reason)
    with pytest.raises(CommandError, match=r"key\.none"):
        operate(capsys, "key", "rotate", "gate")
    assert "no transition" in operate(capsys, "key", "make", "gate")
    assert (active_key(Lane.GATE).replaces, active_key(Lane.GATE).transition) == (second, None)
    said = operate(capsys, "setup", "--enforcer-operator", "opal", "--verifier-operator", "rhea")
    assert active_key(Lane.GATE).fingerprint in said
    assert "is in force and signed" in said


def test_administrators_are_appointed_at_set_up_and_act_in_twos_with_their_own_passwords(
    portal: Portal, capsys, tmp_path
):
    files = {}
    for line in operate(capsys, "administrators", "xena", "yuri").splitlines():
        name, _, password = line.partition(": password ")
        files[name] = tmp_path / name
        files[name].write_text(password)
    with pytest.raises(CommandError, match=r"registry\.two_administrators"):
        operate(capsys, "person", "eve", "lead")
    words = ("principal.add", "--detail", "name=eve", "--detail", "kind=human", "--detail", "role=LEAD")
    half = ("propose", *words, "--reason", "Agreed in the staff meeting.", "--by", "xena")
    with pytest.raises(CommandError, match=r"password\.wrong"):
        operate(capsys, *half, "--password-file", str(files["yuri"]))
    number = operate(capsys, *half, "--password-file", str(files["xena"])).split()[1]
    with pytest.raises(CommandError, match=r"proposal\.second_person"):
        operate(capsys, "approve", number, "--by", "xena", "--password-file", str(files["xena"]))
    said = operate(capsys, "approve", number, "--by", "yuri", "--password-file", str(files["yuri"]))
    assert said == f"proposal {number} is approved"
    assert operate(capsys, "person", "eve", "lead").startswith("eve: password ")
    with pytest.raises(CommandError, match=r"administrators\.appointed"):
        operate(capsys, "administrators", "zoe", "walt")


def test_a_key_is_linked_to_the_one_who_signs_the_challenge_and_knows_the_password(portal: Portal, capsys, tmp_path):
    secret = pysequoia.Tsk.generate("Paula <paula@acme.invalid>")
    files = {name: tmp_path / name for name in ("certificate", "challenge", "signature", "password")}
    files["certificate"].write_text(str(secret.extract_certificate()))
    files["password"].write_text(operate(capsys, "person", "paula", "plan").removeprefix("paula: password "))
    call_command("operate", "prove", "paula", str(files["certificate"]))
    files["challenge"].write_text(capsys.readouterr().out)
    signed = pysequoia.sign(secret.signer(), files["challenge"].read_bytes(), mode=pysequoia.SignatureMode.DETACHED)
    files["signature"].write_bytes(bytes(signed))
    given = [word for name in ("challenge", "signature") for word in (f"--{name}", str(files[name]))]
    half = ("prove", "paula", str(files["certificate"]), *given, "--password-file")
    with pytest.raises(CommandError, match=r"password\.wrong"):
        operate(capsys, *half, str(files["challenge"]))
    assert "by its own signature" in operate(capsys, *half, str(files["password"]))
    fingerprint = secret.extract_certificate().fingerprint.upper()
    assert Identity.objects.get(kind="openpgp", value=fingerprint).principal.name == "paula"
