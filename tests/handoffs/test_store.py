"""The bundle store gives back what was put in, or refuses."""

from __future__ import annotations

import hashlib

import pytest

from handoffs.bundles.store import BundleStore, StoreError
from handoffs.models import Handoff, Status
from handoffs.tasks import STEPS, sweep_staging, tools_for
from tests.support.portal import GOOD_CHANGE, Portal


def test_bytes_are_stored_once_under_their_digest(tmp_path):
    store = BundleStore(tmp_path)
    digest = store.put(b"one")
    assert digest == hashlib.sha256(b"one").hexdigest() == store.put(b"one")
    assert store.get(digest) == b"one"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize("digest", ["", "..", "../../etc/passwd", "ab" * 31, "AB" * 32, "zz" * 32])
def test_what_is_no_digest_names_no_file(tmp_path, digest: str):
    with pytest.raises(StoreError, match=r"bundle\.digest_malformed"):
        BundleStore(tmp_path).get(digest)


def test_a_missing_bundle_is_said_to_be_missing(tmp_path):
    with pytest.raises(StoreError, match=r"bundle\.missing"):
        BundleStore(tmp_path).get("ab" * 32)


@pytest.mark.threat("BUN-03")
@pytest.mark.parametrize("step", [Status.VERIFIED, Status.SIGNED])
def test_a_bundle_swapped_after_it_was_verified_is_neither_signed_nor_applied(portal: Portal, step: Status):
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    tools = tools_for(portal.repository)
    handoff = received(portal)
    while handoff.status != step:
        STEPS[handoff.status](handoff, tools)
        handoff.refresh_from_db()
    path = next(portal.folder.joinpath("bundles").rglob(handoff.digest))
    path.write_bytes(path.read_bytes() + b"swapped")
    with pytest.raises(StoreError, match=r"bundle\.digest_changed"):
        STEPS[handoff.status](handoff, tools)
    handoff.refresh_from_db()
    assert handoff.status == step


def received(portal: Portal):
    """The handoff as the sweep made it, with no step done."""
    sweep_staging()
    return Handoff.objects.select_related("repository").get()
