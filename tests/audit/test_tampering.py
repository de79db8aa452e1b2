"""The tampering campaign: each kind at many places, with a checkpoint over them and without. PLACES=100 does all of it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from audit.fsck import check_log
from audit.models import LogCheckpoint
from audit.notes import SignerKey
from audit.signer import LogSigner
from tests.audit.forging import leaves_now, who_finds_it
from tests.audit.growing import ORIGIN
from tests.audit.tampering import KINDS, append, places, rewrite, trial
from tests.support.log import settle_log

PLACES = int(os.environ.get("PLACES", "3"))
SIZE = max(40, 3 * PLACES)


@pytest.mark.threat("AUD-01")
@pytest.mark.threat("AUD-02")
@pytest.mark.parametrize("is_covered", [True, False], ids=["covered", "not-covered"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_a_checkpoint_covers_cannot_be_rewritten_unseen(transactional_db, tmp_path: Path, kind, is_covered: bool):
    signer = LogSigner(SignerKey.generate(ORIGIN), tmp_path / "signed.json")
    keys = (signer.key.verifier(),)
    append(SIZE // 2)
    settle_log()
    signer.sign()
    mine = bytes(LogCheckpoint.objects.latest("size").note)
    append(SIZE - SIZE // 2)
    settle_log()
    if is_covered:
        signer.sign()
    assert who_finds_it(tmp_path / "pack", signer.key, leaves_now(), mine) == set()
    first, end = (0, SIZE) if is_covered else (SIZE // 2, SIZE)
    tried, seen = 0, Counter[str]()
    for place in places(end - first, PLACES):
        found = trial(kind, first + place, signer, mine)
        tried += 1
        seen.update({who.split()[0] for who in found})
        seen["anybody"] += bool(found)
    assert check_log(keys) == []
    print(f"{kind.__name__:9} {'below' if is_covered else 'above'} the checkpoint: {dict(seen)} of {tried}")
    if is_covered:
        assert seen["fsck"] == seen["signer"] == seen["portal"] == seen["file"] == tried
    elif kind is rewrite:
        assert seen["anybody"] == 0, "the window: nothing in the database contradicts it and nobody signed it"
