"""Refreshing the trusted root over TUF, against a repository on real HTTP: what holds, what is refused, what is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from securesystemslib.signer import CryptoSigner

from audit.events import AuditError
from audit.models import LogEntry
from handoffs.clocks import ClockSkewError
from handoffs.lane import rules_in_force
from handoffs.models import EnforcerRules, HandoffError, TrustedRootFetch, TrustedRootUse
from handoffs.rules import LaneRules, RootAge, rules_to_json
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_verifying import production_root
from handoffs.signatures.trust_roots import root_changes
from handoffs.signatures.tuf_refresh import Mirror, fetch_trusted_root, public_anchor
from handoffs.tasks import enforcer, trusted_root, tuf_mirror
from handoffs.trusted_roots import chosen_root, refresh_root, root_standing, use_root
from handoffs.trusting import refuse_stale, take_root
from leoportal.lanes.switching import acting_in
from leoportal.setup import OPERATOR
from tests.support.portal import Portal
from tests.support.sigstore import root_of, signed_statement
from tests.support.tuf_repository import TufRepository

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.threat("ATT-14")]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """A trusted root of some Sigstore."""
    return dict(signed_statement(b"{}").root_document)


@pytest.fixture
def repository(document: dict[str, Any]) -> Iterator[TufRepository]:
    with TufRepository() as running:
        running.publish(raw_of(document))
        yield running


@pytest.fixture
def online(portal: Portal, settings, tmp_path: Path, repository: TufRepository) -> TufRepository:
    """The portal's settings name the repository."""
    (tmp_path / "root.json").write_bytes(repository.anchor)
    settings.SIGSTORE_TUF_MIRROR, settings.SIGSTORE_TUF_ROOT = repository.address, str(tmp_path / "root.json")
    return repository


def raw_of(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def newer(document: dict[str, Any]) -> bytes:
    """The same root with one more log, that started later, and without timestamp authorities."""
    log = document["tlogs"][0]
    later = {**log, "baseUrl": "https://log.example",
             "publicKey": {**log["publicKey"], "rawBytes": "AAAA", "validFor": {"start": "2999-01-01T00:00:00Z"}}}  # fmt: skip
    return raw_of({**document, "tlogs": [*document["tlogs"], later], "timestampAuthorities": []})


def operate(*arguments: str) -> str:
    out = StringIO()
    call_command("operate", "trusted-root", *arguments, stdout=out)
    return out.getvalue()


def told(kind: str) -> list[dict[str, Any]]:
    rows = LogEntry.objects.filter(kind=kind).order_by("pk")
    return [row.open() for row in rows]


def test_a_refresh_shows_what_changed_and_is_used_only_by_name(online: TufRepository, document):
    """First fetched, then chosen, then refreshed again: three acts, three entries in the trail."""
    before = trusted_root().digest
    said = operate("refresh")
    root = root_of(document)
    assert f"old {before}" in said
    assert "tlogs: added" in said
    assert "tlogs: removed" in said
    assert trusted_root().digest == before, "fetched is not used"
    assert f"not used: {TrustedRootFetch.objects.get().digest}" in operate("show")
    digest = TrustedRootFetch.objects.get().digest
    operate("use", digest)
    assert trusted_root().digest == digest
    assert trusted_root().newest_at == root.newest_at
    online.publish(newer(document))
    said = operate("refresh")
    assert "tlogs: added https://log.example" in said
    assert "timestampAuthorities: removed" in said
    assert trusted_root().digest == digest
    fetched, taken = told("trusted_root.fetched"), told("trusted_root.taken")
    assert [body["before"] for body in fetched] == [before, digest]
    assert fetched[1]["versions"] == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}
    assert [(body["digest"], body["chosen"]) for body in taken] == [(digest, True)]
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        TrustedRootFetch.objects.update(digest="0" * 64)


def test_the_same_root_again_is_only_fresher(online: TufRepository):
    operate("refresh")
    operate("use", TrustedRootFetch.objects.get().digest)
    first = trusted_root().refreshed_at
    assert "unchanged" in operate("refresh")
    second = trusted_root().refreshed_at
    assert first is not None
    assert second is not None
    assert second > first
    assert TrustedRootUse.objects.count() == 1


@pytest.fixture
def seen(online: TufRepository, document) -> TufRepository:
    """Version 2 was fetched and is used."""
    online.publish(newer(document))
    operate("refresh")
    operate("use", TrustedRootFetch.objects.get().digest)
    return online


def expire(repository: TufRepository, raw: bytes) -> None:
    repository.publish(raw, expires=timedelta(minutes=-1))


def roll_back(repository: TufRepository, raw: bytes) -> None:
    repository.publish(raw, version=1)


def sign_wrongly(repository: TufRepository, raw: bytes) -> None:
    repository.publish(raw, signers={"targets": CryptoSigner.generate_ed25519()})


def steal_nothing_but_the_timestamp(repository: TufRepository, raw: bytes) -> None:
    stranger = CryptoSigner.generate_ed25519()
    repository.publish(raw, signers=dict.fromkeys(("timestamp", "snapshot", "targets"), stranger))


def rotate_by_a_stranger(repository: TufRepository, raw: bytes) -> None:
    stranger = CryptoSigner.generate_ed25519()
    repository.signers = dict.fromkeys(repository.signers, stranger)
    repository.write_root(signer=stranger)
    repository.publish(raw)


def mix_snapshots(repository: TufRepository, raw: bytes) -> None:
    """The newest timestamp with the snapshot of the version before."""
    repository.publish(raw)
    repository.files["3.snapshot.json"] = repository.files["2.snapshot.json"]


def mix_targets(repository: TufRepository, raw: bytes) -> None:
    repository.publish(raw)
    repository.files["3.targets.json"] = repository.files["2.targets.json"]


def swap_the_file(repository: TufRepository, raw: bytes) -> None:
    repository.publish(raw)
    for name in [name for name in repository.files if name.startswith("targets/")]:
        repository.files[name] = repository.files[name][:-1] + b" "


def never_end(repository: TufRepository, _raw: bytes) -> None:
    repository.faults.add("endless")


def be_down(repository: TufRepository, _raw: bytes) -> None:
    repository.faults.add("down")


def have_no_such_target(repository: TufRepository, raw: bytes) -> None:
    repository.publish(raw, name="other.json")


def be_too_large(repository: TufRepository, raw: bytes) -> None:
    repository.publish(raw + b" " * (1 << 20))


def be_no_root(repository: TufRepository, _raw: bytes) -> None:
    repository.publish(b"{}")


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (expire, "tuf.expired"),
        (roll_back, "tuf.rollback"),
        (sign_wrongly, "tuf.signature"),
        (steal_nothing_but_the_timestamp, "tuf.signature"),
        (rotate_by_a_stranger, "tuf.signature"),
        (mix_snapshots, "tuf.mismatch"),
        (mix_targets, "tuf.mismatch"),
        (swap_the_file, "tuf.mismatch"),
        (never_end, "tuf.too_long"),
        (be_too_large, "tuf.too_long"),
        (be_down, "tuf.network"),
        (have_no_such_target, "tuf.no_target"),
        (be_no_root, "sigstore.root"),
    ],
)
def test_what_does_not_hold_is_refused_and_the_old_root_stays(
    seen: TufRepository, document, attack: Callable[[TufRepository, bytes], None], code: str
):
    before = trusted_root()
    attack(seen, raw_of(document))
    with pytest.raises(CommandError, match=rf"\[{code}\]".replace(".", r"\.")):
        operate("refresh")
    assert trusted_root() == before
    assert TrustedRootFetch.objects.count() == 1
    (refused,) = told("trusted_root.refused")
    assert (refused["code"], refused["kept"]) == (code, before.digest)


def test_a_mirror_that_trickles_is_cut_off(repository: TufRepository):
    repository.faults.add("trickle")
    with pytest.raises(RefusedError, match=r"tuf\.timeout"):
        fetch_trusted_root(Mirror(repository.address, repository.anchor, 2.0), last_seen={})


def test_what_was_seen_last_counts_on_every_mirror_and_after_a_new_root(seen: TufRepository, document, settings):
    """A mirror that is behind serves an older root version, too: trust goes on from the newest root that was seen."""
    seen.write_root()
    seen.publish(newer(document))
    operate("refresh")
    assert TrustedRootFetch.objects.latest("pk").versions["root"] == 2
    with TufRepository() as behind:
        behind.signers, behind.files = seen.signers, {**seen.files}
        del behind.files["2.root.json"]
        behind.publish(raw_of(document), version=1)
        settings.SIGSTORE_TUF_MIRROR = behind.address
        with pytest.raises(CommandError, match=r"tuf\.rollback"):
            operate("refresh")


def test_a_new_root_signed_by_the_old_one_is_followed(seen: TufRepository, document):
    old = seen.signers["root"]
    seen.signers = {role: CryptoSigner.generate_ed25519() for role in seen.signers} | {"root": old}
    seen.write_root()
    seen.publish(newer(document))
    assert "unchanged" in operate("refresh")


def test_nothing_is_fetched_where_nobody_says_from_where(portal: Portal, settings, tmp_path: Path):
    with pytest.raises(HandoffError, match=r"trusted_root\.no_mirror"):
        tuf_mirror()
    settings.SIGSTORE_TUF_MIRROR, settings.SIGSTORE_TRUSTED_ROOT = "https://tuf.example", str(tmp_path / "x")
    with pytest.raises(HandoffError, match=r"trusted_root\.file"):
        tuf_mirror()
    settings.SIGSTORE_TRUSTED_ROOT = ""
    assert tuf_mirror().anchor == public_anchor()
    settings.SIGSTORE_TUF_ROOT = str(tmp_path / "none")
    with pytest.raises(HandoffError, match=r"tuf\.anchor"):
        tuf_mirror()
    for address in ("http://tuf.example", "file:///etc", "", "https://"):
        with pytest.raises(RefusedError, match=r"tuf\.mirror"):
            fetch_trusted_root(Mirror(address, b"{}", 5.0), last_seen={})


def test_only_an_operator_refreshes_and_chooses_and_only_what_was_fetched(online: TufRepository):
    with pytest.raises(AuditError, match=r"role\.not_allowed"):
        refresh_root(tuf_mirror(), trusted_root(), by=enforcer())
    with pytest.raises(AuditError, match=r"role\.not_allowed"):
        use_root("0" * 64, by=enforcer())
    with pytest.raises(HandoffError, match=r"sigstore\.root_unknown"):
        use_root("0" * 64, by=OPERATOR)
    with pytest.raises(ClockSkewError):
        refresh_root(tuf_mirror(), trusted_root(), by=OPERATOR, clock=lambda: timezone.now() + timedelta(hours=1))
    assert TrustedRootFetch.objects.count() == 0


def test_each_lane_does_its_part_with_its_own_rights(online: TufRepository):
    """The operator fetches and chooses, a worker takes what was chosen into use, everybody sees it on the keys page."""
    with acting_in("operator"):
        operate("refresh")
        digest = TrustedRootFetch.objects.get().digest
        operate("use", digest)
    with acting_in("enforcer"):
        take_root(trusted_root(), pinned=False, by=enforcer())
        take_root(production_root(), pinned=True, by=enforcer())
    with acting_in("plan"):
        standing = root_standing(trusted_root, is_online=True, now=timezone.now())
    assert (standing.root.digest if standing.root else "", standing.problem) == (digest, "")


def test_stored_bytes_that_changed_are_not_used(seen: TufRepository, document):
    fetch = TrustedRootFetch.objects.get()
    with transaction.atomic(), connection.cursor() as cursor:  # as the owner of the tables could
        cursor.execute("ALTER TABLE leo_trusted_root_fetch DISABLE TRIGGER append_only_rows")
        TrustedRootFetch.objects.filter(pk=fetch.pk).update(raw=raw_of(document))
        cursor.execute("ALTER TABLE leo_trusted_root_fetch ENABLE ALWAYS TRIGGER append_only_rows")
    with pytest.raises(HandoffError, match=r"sigstore\.root_pin"):
        chosen_root()


def test_age_is_said_after_a_day_online_after_a_week_offline_and_bounded_by_policy(portal: Portal):
    now = timezone.now()
    for hours, online, offline in ((23, False, False), (25, True, False), (7 * 24 + 1, True, True)):
        root = replace(production_root(), refreshed_at=now - timedelta(hours=hours))
        assert bool(root.age_warning(now, is_online=True)) is online
        assert bool(root.age_warning(now)) is offline
    root = replace(production_root(), refreshed_at=now - timedelta(days=3))
    refuse_stale(rules_in_force(), root, now)
    EnforcerRules.objects.create(
        policy_digest="1" * 64, document=rules_to_json(LaneRules(trusted_root=RootAge(max_age_days=2)))
    )
    for stale in (root, replace(root, refreshed_at=None)):
        with pytest.raises(HandoffError, match=r"sigstore\.root_stale"):
            refuse_stale(rules_in_force(), stale, now)
    refuse_stale(rules_in_force(), replace(root, refreshed_at=now - timedelta(hours=47)), now)


def test_changed_windows_and_other_bytes_are_named(document):
    old = root_of(document)
    log = document["tlogs"][0]
    closed = {**log, "publicKey": {**log["publicKey"], "validFor": {"start": "2020-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z"}}}  # fmt: skip
    (change,) = root_changes(old, root_of({**document, "tlogs": [closed, *document["tlogs"][1:]]}))
    assert "to 2020-01-01 00:00:00 to 2030-01-01 00:00:00" in change
    assert root_changes(old, old) == ()
    assert root_changes(old, replace(old, digest="0" * 64)) == ("the same keys and windows in other bytes",)
