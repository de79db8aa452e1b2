"""The trusted root that Sigstore signatures are judged by: which file is one, and whose word counts when."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rfc3161_client import decode_timestamp_response

from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_verifying import (
    PRODUCTION_PINNED_AT,
    PRODUCTION_SHA256,
    production_root,
    read_root_file,
    verify_artifact,
)
from handoffs.signatures.trust_roots import read_trusted_root, refuse_older
from tests.support.sigstore import (
    refused,
    root_of,
    sha256,
    signed_artifact,
    statement_about,
)

DIGEST = sha256(b"artifact")
STATEMENT = statement_about(DIGEST)


@pytest.mark.parametrize("kind", ["certificateAuthorities", "ctlogs", "tlogs"])
@pytest.mark.parametrize("rekor", [1, 2])
def test_a_key_that_was_retired_before_the_signature_does_not_count(kind, rekor):
    made = signed_artifact(rekor=rekor)
    ended = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def end(document):
        for item in document[kind]:
            item.get("publicKey", item)["validFor"] = {"start": "2020-01-01T00:00:00Z", "end": ended}

    assert refused(verify_artifact, DIGEST, made.raw, signer=made.signer, root=made.root_with(end)) == "sigstore.time"


def test_a_retired_log_does_not_count_under_another_name():
    """The library tries every key when the id is unknown; what is cut out of the root cannot be tried."""
    made = signed_artifact()
    ended = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def end_the_first(document):
        first = document["tlogs"][0]
        first["publicKey"]["validFor"] = {"start": "2020-01-01T00:00:00Z", "end": ended}
        first["logId"]["keyId"] = base64.b64encode(bytes(32)).decode()

    code = refused(verify_artifact, DIGEST, made.raw, signer=made.signer, root=made.root_with(end_the_first))
    assert code == "sigstore.log"


@pytest.mark.parametrize("retired", [False, True])
@pytest.mark.parametrize(("early", "code"), [(timedelta(), ""), (timedelta(microseconds=1), "sigstore.time")])
def test_the_last_moment_of_a_timestamp_authority_belongs_to_it(early, code, retired):
    made = signed_artifact(rekor=2)
    [stamp] = json.loads(made.bundle)["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamped = decode_timestamp_response(base64.b64decode(stamp["signedTimestamp"])).tst_info.gen_time

    def end(document):
        document["timestampAuthorities"][0]["validFor"]["end"] = (stamped - early).isoformat()
        if retired:  # a key that is cut off
            over = {"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}
            document["ctlogs"].append(
                {**document["ctlogs"][0], "publicKey": {**document["ctlogs"][0]["publicKey"], "validFor": over}}
            )

    root = made.root_with(end)
    if code:
        assert refused(verify_artifact, DIGEST, made.raw, signer=made.signer, root=root) == code
    else:
        assert verify_artifact(DIGEST, made.raw, signer=made.signer, root=root).signed_at == stamped


@pytest.mark.threat("ATT-14")
def test_the_public_root_is_the_pinned_one_and_any_other_file_is_not(tmp_path: Path):
    assert production_root().digest == PRODUCTION_SHA256
    swapped = tmp_path / "trusted_root.json"
    swapped.write_bytes(production_root().raw + b"\n")
    assert refused(read_root_file, swapped, sha256=PRODUCTION_SHA256) == "sigstore.root_pin"
    assert refused(read_root_file, tmp_path / "none.json") == "sigstore.root"


@pytest.mark.threat("ATT-14")
def test_an_older_root_than_the_last_is_refused_and_a_stale_one_flagged():
    made = signed_artifact()
    newer, older = made.root, made.root_with(_started("2020-01-01T00:00:00Z"))
    last = (newer.digest, newer.newest_at)
    assert refused(refuse_older, older, last_seen=last) == "sigstore.root_older"
    refuse_older(newer, last_seen=(older.digest, older.newest_at))
    assert refused(refuse_older, newer, last_seen=("0" * 64, newer.newest_at), replaced=[newer.digest]) == (
        "sigstore.root_older"
    )
    root = production_root()
    assert root.age_warning(PRODUCTION_PINNED_AT + timedelta(days=6)) == ""
    assert "8 days ago" in root.age_warning(PRODUCTION_PINNED_AT + timedelta(days=8))


def _started(moment):
    def edit(document):
        for kind in ("tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"):
            for item in document[kind]:
                item.get("publicKey", item)["validFor"] = {"start": moment}

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(mediaType="x"),
        lambda d: d.update(tlogs=[]),
        lambda d: d.update(ctlogs=[]),
        lambda d: d.update(certificateAuthorities=[]),
        lambda d: d.pop("tlogs"),
        lambda d: d.update(more=1),
        lambda d: d["tlogs"][0]["publicKey"].update(validFor={"start": "yesterday"}),
        lambda d: d["tlogs"][0]["publicKey"].update(validFor={}),
        lambda d: d["tlogs"][0]["publicKey"].update(validFor={"start": "0001-01-01T00:00:00+14:00"}),
        lambda d: d["tlogs"][0].pop("publicKey"),
        lambda d: d["tlogs"][0]["publicKey"].update(rawBytes=1),
        lambda d: d["ctlogs"][0].update(logId=None),
        lambda d: d["ctlogs"][0]["publicKey"].update(validFor={"end": "2999-01-01T00:00:00Z"}),
        lambda d: d["certificateAuthorities"][0].update(validFor={"end": "2999-01-01T00:00:00Z"}),
        lambda d: d["certificateAuthorities"][0]["certChain"].update(certificates=[]),
        lambda d: d["certificateAuthorities"][0]["certChain"].update(certificates=[{"rawBytes": "AAAA"}]),
    ],
)
def test_a_root_that_is_not_one_is_refused(edit):
    with pytest.raises(RefusedError, match=r"sigstore\.root"):
        signed_artifact().root_with(edit)


def test_a_leaf_cannot_be_an_authority():
    made = signed_artifact()
    leaf = json.loads(made.bundle)["verificationMaterial"]["certificate"]["rawBytes"]

    def put(document):
        document["certificateAuthorities"][0]["certChain"]["certificates"][0]["rawBytes"] = leaf

    with pytest.raises(RefusedError, match=r"sigstore\.root"):
        made.root_with(put)


def test_a_root_given_as_bytes_is_identified_by_them():
    raw = json.dumps(signed_artifact().root_document).encode()
    assert read_trusted_root(raw, source="x").digest == sha256(raw)
    assert root_of(signed_artifact().root_document).digest == sha256(raw)
