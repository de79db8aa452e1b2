"""JSON and everything written in it, markers, and the policy in YAML."""

from __future__ import annotations

import base64
import json

from audit.canonical import JsonError, parse_json, write_json
from handoffs.attestations.attestations import parse_attestation
from handoffs.bundles.bundle import BundleError, parse_manifest
from handoffs.bundles.markers import MarkerError, MarkerKind, parse_marker, write_marker
from handoffs.packages.sbom import parse_sbom
from handoffs.scope.workflow_lint import lint_workflow
from tests.fuzz.engine import Target, mutate_bytes, mutate_lines
from tests.fuzz.oracle import OracleError, read_json, same
from tests.support.bundles import honest_handover
from verdicts.policy_document import PolicyError, default_policy_yaml, parse_policy, policy_from_json, policy_to_json

_URL_SAFE = str.maketrans("+/", "-_")
MEMBERS = honest_handover().members
JSON_SEEDS = (
    b'{"a":[1,2.5,-3e-7,true,false,null,"x"],"b":{"c":"\\u00e9\\ud83d\\ude00","d":""},"e":9007199254740991}',
    b'[[[[["deep"]]]],{"key":{"key":{}}},-0.0,0,-0,1E5,"\\"\\\\\\/\\b\\f\\n\\r\\t"]',
    '{"\u00e9":"\u20ac","e\u0301":[],"":0, "nested" : [ ] }'.encode(),
    MEMBERS["manifest.json"],
)
ENVELOPE = json.dumps(
    {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(MEMBERS["attestation.intoto.json"]).decode(),
        "signatures": [{"keyid": "k", "sig": base64.b64encode(b"signature").decode()}],
    }
).encode()


def judge_json(raw: bytes) -> bool:
    """Accepted exactly when the specification's reader accepts it, and then as the same value."""
    try:
        expected = read_json(raw)
    except OracleError as refused:
        try:
            found = parse_json(raw)
        except JsonError as error:
            assert error.code.startswith("json.")
            return False
        raise AssertionError(f"read as {found!r:.200}, the oracle says {refused}") from None
    try:
        found = parse_json(raw)
    except JsonError as error:
        assert error.code == "json.number_too_large", f"refused {error}, the oracle reads it"
        return False
    assert same(found, expected), f"read as {found!r:.200}, the oracle as {expected!r:.200}"
    assert parse_json(write_json(found)) == found
    return True


def judge_manifest(raw: bytes) -> bool:
    """What is accepted is what a second reader finds in the same bytes, field by field."""
    try:
        found = parse_manifest(raw)
    except BundleError as error:
        assert error.code in {"manifest.json", "manifest.schema"}
        return False
    assert found.model_dump(by_alias=True) == read_json(raw)
    return True


def judge_sbom(raw: bytes) -> bool:
    """Refused with its code, or read as a document the oracle reads, too."""
    try:
        found = parse_sbom(raw)
    except BundleError as error:
        assert error.code in {"sbom.readable", "sbom.schema"}
        return False
    document = read_json(raw)
    assert isinstance(document, dict)
    if not found.schema_errors:
        assert document["bomFormat"] == "CycloneDX"
        assert found.spec_version == document["specVersion"]
    return not found.schema_errors


def judge_attestation(raw: bytes) -> bool:
    """Refused with a code, or the oracle reads envelope and payload to the very same statement."""
    try:
        found = parse_attestation(raw)
    except BundleError as error:
        assert error.code.startswith("attestation.")
        return False
    document = read_json(raw)
    assert isinstance(document, dict)
    if "payload" in document:
        told = document["payload"]
        payload = base64.urlsafe_b64decode(told.translate(_URL_SAFE))  # both alphabets of DSSE, never mixed
        spellings = (base64.b64encode(payload).decode(), base64.urlsafe_b64encode(payload).decode())
        assert told in spellings, "two spellings of one payload"
        bare = parse_attestation(payload)
        assert bare.subjects == found.subjects
    return True


def judge_marker(raw: bytes) -> bool:
    """What is read is what is written back, byte for byte."""
    try:
        found = parse_marker(raw)
    except MarkerError as error:
        assert error.code.startswith("marker.")
        return False
    assert raw[: len(found.kind) + 67] == f"[{found.kind}:{found.digest}]".encode()
    assert parse_marker(write_marker(found.kind, found.digest, "text").encode()) == found
    return True


def judge_policy(raw: bytes) -> bool:
    """What is accepted survives the way into the database and back."""
    try:
        found = parse_policy(raw)
    except PolicyError as error:
        assert error.code.startswith(("policy.", "yaml."))
        return False
    assert policy_from_json(policy_to_json(found)) == found
    return True


def judge_workflow(raw: bytes) -> bool:
    """The linter finds something or nothing and breaks at nothing. Shape: whether it could be read."""
    found = lint_workflow(raw, target_branch="main")
    lines = raw.count(b"\n") + raw.count(b"\r") + 2  # what is missing at the end is missed after it
    assert all(1 <= problem.line <= lines and problem.message for problem in found)
    return not any(problem.rule == "gate.unreadable" for problem in found)


WORKFLOW = b"""on: {pull_request: {branches: [main]}}
defaults: {run: {shell: "bash -eo pipefail {0}"}}
jobs:
  gate:
    if: ${{ github.actor != 'x' && !(failure() || false) }}
    steps:
      - name: "tests"
        run: |
          set -o pipefail
          make test | tee "log" # | x
          case $x in a|b) echo "$(ls | wc -l)";; esac
          cat <<EOF || exit 1
          a | b
          EOF
      - run: make lint
        continue-on-error: false
"""
MARKERS = tuple(f"[{kind}:{'0123456789abcdef' * 4}] Round the amount".encode() for kind in MarkerKind)
TARGETS = (
    Target("json", JSON_SEEDS, judge_json, mutate_bytes),
    Target("manifest", (MEMBERS["manifest.json"],), judge_manifest, mutate_bytes),
    Target("sbom", (MEMBERS["sbom.cdx.json"],), judge_sbom, mutate_bytes),
    Target("attestation", (MEMBERS["attestation.intoto.json"], ENVELOPE), judge_attestation, mutate_bytes),
    Target("marker", MARKERS, judge_marker, mutate_bytes),
    Target("policy", (default_policy_yaml(),), judge_policy, mutate_lines),
    Target("workflow", (WORKFLOW,), judge_workflow, mutate_lines),
)
