"""Statements, envelopes and URIs."""

from __future__ import annotations

import pytest

from handoffs.attestations.attestations import (
    digest_problem,
    is_absolute_uri,
    names_repository,
    parse_attestation,
    parse_envelope,
)
from handoffs.attestations.dsse import PAYLOAD_TYPE, pae
from handoffs.bundles.bundle import BundleError
from tests.support.bundles import BUILDER, honest_handover


def test_the_encoding_that_is_signed_is_the_specifications():
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_the_honest_statement_is_read():
    found = parse_attestation(honest_handover().members["attestation.intoto.json"])
    assert found.builder_id == BUILDER
    assert [subject.name for subject in found.subjects] == [
        "changes.patch",
        "manifest.json",
        "rollback.md",
        "sbom.cdx.json",
    ]


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'{"payload":""}', b"null", b'{"_type":1}'])
def test_other_documents_are_refused(raw):
    with pytest.raises(BundleError, match=r"attestation\."):
        parse_attestation(raw)


@pytest.mark.parametrize(
    "uri", ["https://a.example/b", "urn:leo:codex", "git+https://github.com/o/n@refs/heads/x", "pkg:pypi/x@1"]
)
def test_absolute_uris(uri):
    assert is_absolute_uri(uri)


@pytest.mark.parametrize("uri", ["", "codex-lane", "/home/x", "https://", "https:///x", "://x", "a b:c", "c:\\x", "urn:", "https://a\n", "x:y z", "hé:x", "https://[::1"])  # fmt: skip
def test_other_text_is_not_an_absolute_uri(uri):
    assert not is_absolute_uri(uri)


@pytest.mark.parametrize(
    ("uri", "is_it"),
    [
        ("git+https://github.com/o/n", True),
        ("https://github.com/o/n.git", True),
        ("git+ssh://git@host.example/o/n@refs/heads/main", True),
        ("https://github.com/o/n2", False),
        ("https://github.com/x/o/n", False),
        ("https://github.com/", False),
        ("file:///o/n", False),
        ("o/n", False),
    ],
)
def test_a_source_uri_names_one_repository(uri, is_it):
    assert names_repository(uri, "o/n") is is_it


@pytest.mark.parametrize(
    "digest", [{"sha256": ""}, {"sha256": "A" * 64}, {"sha1": "1" * 39}, {"gitCommit": "1" * 41}, {"sha256": "g" * 64}]
)
def test_a_malformed_digest_is_named(digest):
    assert digest_problem(digest)
    assert not digest_problem({"sha256": "1" * 64, "gitCommit": "2" * 40})


@pytest.mark.parametrize("payload", ["eyI_PiI6Ij8-In0=", "eyI/PiI6Ij8+In0="])
def test_both_alphabets_of_base64_are_read(payload):
    read = parse_envelope({"payloadType": PAYLOAD_TYPE, "signatures": [{"sig": payload}], "payload": payload})
    assert read[1] == b'{"?>":"?>"}'


@pytest.mark.threat("ATT-01")
@pytest.mark.parametrize("payload", ["e31=", "e30", "e30=\n", "e3 0=", "eyI_PiI6Ij8+In0=", "eyI_PiI6Ij8-In0"])
def test_a_payload_that_is_written_in_another_way_is_refused(payload):
    assert parse_envelope({"payloadType": PAYLOAD_TYPE, "signatures": [{"sig": "e30="}], "payload": "e30="})[1] == b"{}"
    with pytest.raises(BundleError, match=r"attestation\.envelope"):
        parse_envelope({"payloadType": PAYLOAD_TYPE, "signatures": [{"sig": "e30="}], "payload": payload})
