"""Personal data: what is erased is gone, what the log says of it still stands, and a legal hold stops all of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DatabaseError, transaction
from django.utils import timezone

from audit.actions import actor_of
from audit.administration import Change, appoint_administrators, approve_change, propose_change, read_reason
from audit.commitments import commitment, is_committed
from audit.erasure import apply_retention
from audit.events import AuditError, Role
from audit.models import ErasableText, Identity, LogEntry, Principal, Proposal, ProposalKind
from audit.texts import ERASED, store_text
from leoportal import setup
from tests.support.log import settle_log
from tests.support.people import person

ADDRESS = "nora.private@acme.invalid"


@pytest.fixture
def nora(cast) -> Principal:
    """Somebody who was PLAN, with an address and an account, and who left."""
    appoint_administrators(["xena", "yuri"], by=setup.OPERATOR)
    both(ProposalKind.ADD, name="nora", kind="human", role="LEAD")
    setup.ensure_person("nora", Role.LEAD)
    both(ProposalKind.LINK, "nora", kind="email", value=ADDRESS)
    store_text(ErasableText.Kind.DECISION, "Nora was here.", author=person("nora").pk, at=timezone.now())
    both(ProposalKind.END_ROLE, "nora")
    return person("nora")


def both(what: ProposalKind, about: str | None = None, /, **detail: str) -> Proposal:
    change = Change(what, person(about) if about else None, detail, "Agreed in the staff meeting.")
    return approve_change(propose_change(change, by=actor_of(person("xena"))).pk, by=actor_of(person("yuri")))


def leaves() -> bytes:
    return b"".join(bytes(leaf) for leaf in LogEntry.objects.order_by("pk").values_list("leaf", flat=True))


def test_an_erased_person_is_nowhere_and_the_log_is_as_it_was(nora: Principal):
    before, salt = leaves(), bytes(nora.salt or b"")
    both(ProposalKind.ERASE, "nora")
    gone = Principal.objects.select_related("user").get(pk=nora.pk)
    assert (gone.name, gone.salt, gone.user.username) == (f"erased-{nora.pk}", None, f"erased-{nora.pk}")
    assert not gone.user.is_active
    assert not gone.user.has_usable_password()
    assert not Identity.objects.filter(value=ADDRESS).exists()
    assert not Identity.objects.current().filter(principal=nora).exists()
    assert not ErasableText.objects.filter(text__contains="nora").exists()
    assert not ErasableText.objects.filter(text__contains="Nora").exists()
    assert leaves().startswith(before)
    linked = [entry.open() for entry in LogEntry.objects.filter(kind="identity.linked")]
    assert commitment(salt, ADDRESS) in str(linked)
    event = LogEntry.objects.get(kind="person.erased").open()
    assert event == {"principal": nora.pk, "names": 1, "texts": 5}
    assert read_reason(Proposal.objects.filter(principal=nora).earliest("pk")) == ERASED
    with pytest.raises(ValueError, match="expected 32"):
        gone.commit(ADDRESS)
    with pytest.raises(AuditError, match=r"erasure\.done"):
        both(ProposalKind.ERASE, f"erased-{nora.pk}")


def test_a_commitment_checks_while_the_text_is_there_and_says_nothing_afterwards(nora: Principal):
    row = ErasableText.objects.get(kind="decision")
    assert row.is_intact
    digest, salt = row.digest, bytes(row.salt or b"")
    both(ProposalKind.ERASE, "nora")
    row = ErasableText.objects.get(pk=row.pk)
    assert (row.is_intact, str(row), row.digest) == (None, ERASED, digest)
    assert is_committed(digest, salt, "Nora was here.")
    assert not is_committed(digest, salt, "Nora was there.")
    assert not is_committed(digest, bytes(32), "Nora was here.")


def test_a_legal_hold_stops_erasure_and_retention(nora: Principal):
    both(ProposalKind.HOLD, "nora")
    with pytest.raises(AuditError, match=r"erasure\.held"):
        both(ProposalKind.ERASE, "nora")
    with pytest.raises(DatabaseError, match="legal hold"), transaction.atomic():
        Principal.objects.filter(pk=nora.pk).update(salt=None, name=f"erased-{nora.pk}")
    with pytest.raises(DatabaseError, match="legal hold"), transaction.atomic():
        ErasableText.objects.filter(author=nora).update(text=None, salt=None, erased_at=timezone.now())
    assert apply_retention({"decision": 1}, now=timezone.now() + timedelta(days=9)) == 0
    settle_log()
    both(ProposalKind.END_HOLD, "nora")
    assert apply_retention({"decision": 1}, now=timezone.now() + timedelta(days=9)) == 1


def test_retention_erases_by_kind_what_is_older_and_says_so(nora: Principal):
    now = timezone.now()
    old = store_text(ErasableText.Kind.DECISION, "Old.", author=person("plan").pk, at=now - timedelta(days=2558))
    assert apply_retention({"decision": 2557, "proposal": 2557}, now=now) == 1
    assert ErasableText.objects.get(pk=old.pk).erased_at == now
    event = LogEntry.objects.get(kind="texts.erased").open()
    assert (event["kind"], event["texts"], event["days"]) == ("decision", 1, 2557)
    assert apply_retention({"decision": 2557, "proposal": 2557}, now=now) == 0
    assert LogEntry.objects.filter(kind="texts.erased").count() == 1


def test_whoever_holds_a_role_is_not_erased(nora: Principal):
    with pytest.raises(AuditError, match=r"erasure\.role"):
        both(ProposalKind.ERASE, "plan")


REWRITES = {
    "a name is changed": lambda nora: Principal.objects.filter(pk=nora.pk).update(name="somebody"),
    "a salt is changed": lambda nora: Principal.objects.filter(pk=nora.pk).update(salt=bytes(32)),
    "an address is changed": lambda nora: Identity.objects.filter(principal=nora).update(value="x@acme.invalid"),
    "an address is erased alone": lambda nora: [
        Identity.objects.filter(pk=name.pk).update(
            value=f"erased-{name.pk}", ends_at=timezone.now(), end_entry=name.log_entry
        )
        for name in nora.identities.all()
    ],
    "a text is changed": lambda nora: ErasableText.objects.filter(author=nora).update(text="Nora was not here."),
    "a text is deleted": lambda nora: ErasableText.objects.filter(author=nora).delete(),
}


@pytest.mark.parametrize("how", REWRITES)
def test_erasing_is_no_way_to_rewrite(nora: Principal, how: str):
    with pytest.raises(DatabaseError, match="history:"), transaction.atomic():
        REWRITES[how](nora)
