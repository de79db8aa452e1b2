#!/usr/bin/env python3
"""Check an evidence pack of leoportal with Python alone: no other package, no network, nothing of the portal.

    python3 standalone_verifier.py PACK --key VKEY [--witness VKEY] [--checkpoint EARLIER] [--json]

PACK is a folder or a .tar. VKEY is the log's public key, one line, as you got it on another way than with the pack.
A witness's key says whether that witness signed the pack's checkpoint.
EARLIER is a checkpoint you kept: then nothing before it can have changed.
Exit codes: 0 everything checked holds; 1 the pack is genuine but something in it breaks a rule, or no key was given;
2 usage; 5 the pack is not what was signed.

This file repeats on purpose what the portal has in modules of its own: two programs that agree are worth more than one.
Not checked here: OpenPGP and Sigstore signatures, and that the rules a policy was enacted with are what its text says
(`leo audit verify` does both).
Source: RFC 8032 (Ed25519), RFC 9162 (tree and proofs), C2SP signed-note and tlog-checkpoint, POSIX ustar.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = "leoportal/evidence-pack/v1"
OK, FAILED, BROKEN, GAP = "ok", "FAILED", "BROKEN", "gap"
NEEDED: Final = (
    "VERIFY.md", "bodies.jsonl", "checkpoint", "commits.jsonl", "keys.json", "leaves.txt", "policies.jsonl",
    "principals.jsonl", "proofs.jsonl", "records.jsonl", "separation.jsonl", "signatures.jsonl",
)  # fmt: skip
OPTIONAL: Final = ("earlier.json", "trusted_root.json")
ARTIFACT: Final = re.compile(r"artifact-[0-9a-f]{64}\.tar\.gz")
EXCLUSIVE: Final = ("BUILDER", "ENFORCER", "PLAN", "LEAD")
KEPT: Final = (
    "verdict.recorded", "decision.recorded", "pull.merged", "commit.landed", "policy.enacted", "repository.governed",
    "break_glass.opened", "break_glass.reviewed",
)  # fmt: skip
DECIDED: Final = ("verdict.recorded", "decision.recorded")
RELEASED: Final = ("PASS", "OVERRIDE", "BREAK-GLASS")
SIGNED: Final = ("handoff.signed", "handoff.resigned")
SIGNING: Final = (*SIGNED, "key.created", "key.rotated", "key.revoked", "merge.intended")
REVIEW_WITHIN: Final = 24 * 3600 * 1_000_000  # microseconds


class PackError(Exception):
    """What is wrong, and with which part of the pack."""

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"{where}: {detail}")
        self.where = where
        self.detail = detail


# --- Ed25519, RFC 8032 section 5.1, checking only -------------------------------------------------------------------

P: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, P - 2, P) % P
SQRT_MINUS_1: Final = pow(2, (P - 1) // 4, P)
type Point = tuple[int, int, int, int]


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(factor: int, point: Point) -> Point:
    found: Point = (0, 1, 1, 0)
    while factor:
        if factor & 1:
            found = _add(found, point)
        point = _add(point, point)
        factor >>= 1
    return found


def _recover(raw: bytes) -> Point | None:
    """The point that 32 bytes stand for, or None: not on the curve, or not in the one way it is written."""
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * SQRT_MINUS_1 % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


_Y: Final = 4 * pow(5, P - 2, P) % P
BASE: Final = _recover(_Y.to_bytes(32, "little"))


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` over `message` is by `public_key`."""
    if len(public_key) != 32 or len(signature) != 64 or BASE is None:
        return False
    key, commitment = _recover(public_key), _recover(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or s >= ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % ORDER
    left, right = _times(s, BASE), _add(commitment, _times(challenge, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


def verify_by_openssl(public_key: bytes, message: bytes, signature: bytes) -> bool | None:
    """The same by `openssl pkeyutl`, or None where there is no openssl that can (3.0 or newer)."""
    program = shutil.which("openssl")
    if program is None:
        return None
    der = bytes.fromhex("302a300506032b6570032100") + public_key
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in (("key", der), ("message", message), ("signature", signature)):
            (folder / file).write_bytes(content)
        command = [program, "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", "key"]
        done = subprocess.run(
            [*command, "-in", "message", "-sigfile", "signature"],
            cwd=folder, check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    if done.returncode == 0 and "Verified Successfully" in done.stdout:
        return True
    return False if "Verification Failure" in done.stdout + done.stderr else None


# --- signed notes and checkpoints -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """A verifier key: name, four-byte id, the 32 bytes of an Ed25519 public key, and whether it is a witness's."""

    name: str
    key_id: bytes
    public: bytes
    is_witness: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """A tree head that a trusted key signed."""

    origin: str
    size: int
    root: bytes


def decode(text: str, where: str) -> bytes:
    """Base64 in the one way it is written."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PackError(where, f"{text[:60]!r} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise PackError(where, f"{text[:60]!r} is base64 written in another way")
    return raw


def parse_key(vkey: str, *, is_witness: bool = False) -> Key:
    """`name+hash+base64(type || key)`: type 1 (Ed25519) of a log, 4 (cosignature/v1) of a witness."""
    name, _, rest = vkey.strip().partition("+")
    hexadecimal, _, encoded = rest.partition("+")
    raw = decode(encoded, "key")
    if len(raw) != 33 or raw[0] != (4 if is_witness else 1):
        raise PackError("key", f"{name[:80]} is no Ed25519 key of a {'witness' if is_witness else 'log'}")
    key_id = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    if key_id.hex() != hexadecimal:
        raise PackError("key", f"the key {name[:80]} has the id {key_id.hex()}, its line says {hexadecimal[:20]}")
    return Key(name, key_id, raw[1:], is_witness)


def cosigned_at(raw: bytes, key: Key, where: str) -> int | None:
    """When a witness says that it signed this checkpoint; None if it did not."""
    text, _, signatures = raw.decode("utf-8", "replace").partition("\n\n")
    for line in signatures.splitlines():
        _, name, encoded = (*line.split(" "), "", "", "")[:3]
        found = decode(encoded, where)
        if (name, found[:4]) != (key.name, key.key_id):
            continue
        moment = int.from_bytes(found[4:12], "big")
        if not verify_ed25519(key.public, f"cosignature/v1\ntime {moment}\n{text}\n".encode(), found[12:]):
            raise PackError(where, f"the signature by the witness {name} does not hold")
        return moment
    return None


def open_checkpoint(raw: bytes, keys: Sequence[Key], where: str) -> Checkpoint:
    """The tree head of a signed note, if one of `keys` signed it. Cosignatures of others are left aside."""
    text, blank, signatures = raw.decode("utf-8", "replace").partition("\n\n")
    lines = text.split("\n")
    if not blank or len(lines) < 3 or not lines[1].isascii() or not lines[1].isdigit() or len(lines[1]) > 19:
        raise PackError(where, "this is no checkpoint: expected a name, a size, a root, an empty line and signatures")
    message = (text + "\n").encode()
    is_signed = False
    for line in signatures.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        found = decode(encoded, where)
        for key in keys:
            if dash != "—" or (name, found[:4]) != (key.name, key.key_id):
                continue
            if not verify_ed25519(key.public, message, found[4:]):
                raise PackError(where, f"the signature by {name} does not hold")
            if verify_by_openssl(key.public, message, found[4:]) is False:
                raise PackError(where, f"openssl does not accept the signature by {name}")
            is_signed = True
    root = decode(lines[2], where)
    if not is_signed:
        raise PackError(where, f"no key that you trust signed it; trusted: {', '.join(key.name for key in keys)}")
    if len(root) != 32 or lines[1] != str(int(lines[1])):
        raise PackError(where, "the size or the root is malformed")
    return Checkpoint(lines[0], int(lines[1]), root)


# --- the tree, RFC 9162 section 2.1 ---------------------------------------------------------------------------------


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0 || leaf)."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(1 || left || right)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf hash and its proof lead to (section 2.1.3.2); None if the proof has the wrong length."""
    if not 0 <= index < size:
        return None
    at, last, found = index, size - 1, leaf
    for step in path:
        if last == 0:
            return None
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    return found if last == 0 else None


def is_consistent(old: Checkpoint, new: Checkpoint, path: Sequence[bytes]) -> bool:
    """Whether the tree of `new` begins with the tree of `old` (section 2.1.4.2)."""
    if old.size > new.size:
        return False
    if old.size == new.size:
        return old.root == new.root and not path
    if old.size == 0:
        return not path and old.root == hashlib.sha256(b"").digest()
    steps = [old.root, *path] if old.size & (old.size - 1) == 0 else list(path)
    if not steps:
        return False
    at, last = old.size - 1, new.size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, step)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old.root and second == new.root


class Frontier:
    """The perfect subtrees of the leaves so far, largest first: enough to go on and to say the root."""

    def __init__(self, size: int, hashes: Sequence[bytes]) -> None:
        if len(hashes) != size.bit_count():
            raise PackError("proofs.jsonl", f"got {len(hashes)} hashes for {size} leaves")
        self.size, self.hashes = size, list(hashes)

    def add(self, found: bytes) -> None:
        """One more leaf hash."""
        rest = self.size
        while rest & 1:
            found, rest = node_hash(self.hashes.pop(), found), rest >> 1
        self.hashes.append(found)
        self.size += 1

    def root(self) -> bytes:
        """The tree hash of the leaves so far."""
        if not self.hashes:
            return hashlib.sha256(b"").digest()
        found = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            found = node_hash(left, found)
        return found


# --- the pack as files ----------------------------------------------------------------------------------------------


class Pack:
    """The files of a folder, or of a POSIX tar of regular files. Nothing is unpacked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[str, tuple[Path, int, int]] = {}
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.is_symlink() or not (file.is_file() or file.is_dir()):
                    raise PackError(file.name, "neither a file nor a folder")
                if file.is_file():
                    self._add(file.relative_to(path).as_posix(), file, 0, file.stat().st_size)
        else:
            self._read_tar()

    def _add(self, name: str, file: Path, offset: int, size: int) -> None:
        if name in self.places:
            raise PackError(name, "it is in the pack twice")
        self.places[name] = (file, offset, size)

    def _read_tar(self) -> None:
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            at = 0
            while True:
                header = file.read(512)
                if len(header) < 512:
                    raise PackError(self.path.name, f"the tar ends early, at byte {at}")
                if not any(header):
                    break
                total = sum(header[:148]) + 8 * 32 + sum(header[156:])
                try:
                    length, told = int(header[124:135], 8), int(header[148:154], 8)
                except ValueError:
                    raise PackError(self.path.name, f"the tar header at byte {at} is malformed") from None
                if total != told or header[156:157] != b"0" or header[345:500].strip(b"\0"):
                    raise PackError(self.path.name, f"the tar header at byte {at} is malformed")
                self._add(header[:100].rstrip(b"\0").decode("ascii", "replace"), self.path, at + 512, length)
                at += 512 + (length + 511) // 512 * 512
                file.seek(at)
            rest = file.read()
            if any(rest) or at + 1024 != size:
                raise PackError(self.path.name, "there is something behind the end of the tar")

    def read(self, name: str) -> bytes:
        """All of one file."""
        file, offset, size = self._place(name)
        with file.open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)

    def lines(self, name: str) -> Iterator[bytes]:
        """One file line by line, each with its newline."""
        file, offset, size = self._place(name)
        with file.open("rb") as stream:
            stream.seek(offset)
            while size > 0:
                line = stream.readline(size)
                if not line.endswith(b"\n"):
                    raise PackError(name, "the last line has no end")
                size -= len(line)
                yield line

    def rows(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """A file of JSON objects, one a line, with the number of each line."""
        for number, line in enumerate(self.lines(name), 1):
            yield number, read_object(line, f"{name} line {number}")

    def digest(self, name: str) -> tuple[int, str]:
        """Length and SHA-256 of one file."""
        file, offset, size = self._place(name)
        found, rest = hashlib.sha256(), size
        with file.open("rb") as stream:
            stream.seek(offset)
            while rest and (block := stream.read(min(rest, 1 << 20))):
                found.update(block)
                rest -= len(block)
        return size - rest, found.hexdigest()

    def _place(self, name: str) -> tuple[Path, int, int]:
        if name not in self.places:
            raise PackError(name, "it is missing")
        return self.places[name]


def read_object(raw: bytes, where: str) -> dict[str, Any]:
    """A JSON object, without keys that stand twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise PackError(where, "a key stands twice")
        return found

    try:
        value = json.loads(raw, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise PackError(where, f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise PackError(where, "no JSON object")
    return value


def want(value: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """A member of an object, of the type it has to have."""
    found = value.get(name)
    if not isinstance(found, kind) or isinstance(found, bool) is not (kind is bool):
        raise PackError(where, f"{name} is {str(found)[:40]!r}, expected {kind.__name__}")
    return found


# --- decisions, run again: SOP sections 2.1, 3 and 6 ----------------------------------------------------------------


class CannotRunError(Exception):
    """What is stored with a decision cannot be judged: a word, a member or a version that this file does not know."""


INPUTS: Final = "leoportal/verdict-inputs/v1"
POLICY: Final = "leoportal/policy/v1"
RESULT: Final = "leoportal/agent-result/v1"
AUTHORITY: Final = ("SECURITY", "DATABASE", "TESTING", "PERFORMANCE", "DESIGN")
# How results of one sub-agent are read together: the last one present here speaks for it.
OUTCOMES: Final = ("NOT_APPLICABLE", "PASSED", "WARNED", "FAILED", "BLOCKED", "STALE", "ERROR", "MISSING")
SILENT: Final = frozenset({"STALE", "ERROR", "MISSING"})
CONCLUSIONS: Final = frozenset({
    "success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required", "stale",
    "startup_failure", "missing",
})  # fmt: skip
# Strictest last; None: not ready, since a gate has not ended.
STRICTER: Final = ("PASS", "CONDITIONAL_PASS", None, "ESCALATE", "FAIL")
SOP_GATES: Final = frozenset({
    ("LEO Gate Validation / Run Gate 3 for PRD-*", True),
    ("Story Release Gate Check / Check Story Release Gate", False),
    ("SLSA Verification / Verify SLSA Provenance", False),
    ("Policy Verification / Validate Policy Bundle", False),
})  # fmt: skip
NEEDS_LEAD: Final = {
    "control_plane": "it changes what steers the gates",
    "unreviewable": "it holds what nobody can review",
    "informational_gate": "it keeps a gate from failing",
}
# The members of each object, and what they are: a type, or the words that are known. Those behind `|` may be absent.
INPUT_MEMBERS: Final[Mapping[str, Any]] = {
    "schema": {INPUTS}, "policy": dict, "repository": str, "pull_request": int, "base_sha": str, "head_sha": str,
    "bundle_digest": str, "expected_tree": str, "observed_tree": str, "is_bundle_verified": bool,
    "is_bundle_signed": bool, "results": list, "gates": list, "rounds_used": int, "is_deadline_passed": bool,
    "sod_violations": list, "unknown_contributors": list, "other_findings": list,
}  # fmt: skip
RESULT_MEMBERS: Final[Mapping[str, Any]] = {
    "schema": {RESULT}, "kind": set(AUTHORITY), "outcome": set(OUTCOMES), "confidence": str, "findings": list,
    "head_sha": str, "tools": list, "input_digest": str, "subjects": list, "grade": {"VERIFIED", "CLAIMED", "MISSING"},
    "reason": str,
}  # fmt: skip
FINDING_MEMBERS: Final[Mapping[str, Any]] = {
    "rule": str, "severity": {"CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"}, "file": str, "line": int, "message": str,
    "evidence": str, "is_new": bool, "disposition": {"open", "pre-existing"},
}  # fmt: skip
POLICY_MEMBERS: Final[Mapping[str, Any]] = {
    "schema": {POLICY}, "threshold": str, "weights": dict, "gates": list, "gate_deadline_seconds": int,
    "disagreement_confidence": str, "max_rounds": int, "allowed_builders": list, "limits": dict,
    "lead_approval": {"escalated", "always"},
}  # fmt: skip
# What a policy may leave out, and what then holds. None of it moves a verdict; an unknown member of it may.
POLICY_DEFAULTS: Final[Mapping[str, Any]] = {
    "signing": {"method": "openpgp", "identity": "", "issuer": "", "fallback": "never", "probes": 3,
                "probe_seconds": 600},
    "approvals": {"control_plane": "lead", "unreviewable": "lead", "informational_gate": "lead"},
    "hourly_quota": {"handoffs": 60, "bytes": 1 << 30},
    "staging": {"push": "open", "keys": []},
    "builder_identities": [],
    "trusted_root": {"max_age_days": None},
}  # fmt: skip
POLICY_PARTS: Final[Mapping[str, set[str]]] = {
    **{name: set(default) for name, default in POLICY_DEFAULTS.items() if default},
    "builder_identities": {"builder_id", "identity", "issuer", "source_repository_id"},
    "staging.keys": {"builder_id", "fingerprint", "public_key"},
}
LIMITS: Final = dict.fromkeys(
    ("bundle_bytes", "patch_bytes", "sbom_bytes", "changed_files", "merge_base_age_days"), int
)


def members(value: Any, wanted: Mapping[str, Any], what: str, optional: Mapping[str, Any] | None = None) -> Any:
    """An object that has these members, each as it has to be, and no other."""
    if not isinstance(value, dict):
        raise CannotRunError(f"{what} is no object")
    allowed = {**wanted, **(optional or {})}
    if strange := sorted(set(value) - set(allowed)) + sorted(set(wanted) - set(value)):
        raise CannotRunError(f"{what} has or lacks the member {strange[0][:60]!r}")
    for name, item in value.items():
        kind = allowed[name]
        if isinstance(kind, set | frozenset):
            is_known = isinstance(item, str) and item in kind
        else:
            is_known = isinstance(item, kind) and isinstance(item, bool) is (kind is bool)
        if not is_known:
            raise CannotRunError(f"{what}: {name} is {str(item)[:60]!r}")
    return value


def all_texts(items: Sequence[Any], what: str) -> list[str]:
    """A list of texts."""
    if wrong := [item for item in items if not isinstance(item, str)]:
        raise CannotRunError(f"{what} holds {str(wrong[0])[:60]!r}, which is no text")
    return list(items)


def exact(text: str, decimals: int, most: int, what: str) -> Decimal:
    """A decimal number, digit by digit."""
    if not re.fullmatch(rf"(0|[1-9][0-9]{{0,2}})(\.[0-9]{{1,{decimals}}})?", text) or Decimal(text) > most:
        raise CannotRunError(f"{what} is {text[:40]!r}, no number from 0 to {most} with at most {decimals} decimals")
    return Decimal(text)


@dataclass(frozen=True)
class Rules:
    """What a verdict takes from a policy."""

    threshold: Decimal
    weights: dict[str, Decimal]
    gates: list[str]
    sure: Decimal
    rounds: int


def read_policy(value: Any) -> Rules:
    """A policy that is known in every member and not laxer than the SOP."""
    shapes = {name: type(default) for name, default in POLICY_DEFAULTS.items()}
    told = members(value, POLICY_MEMBERS, "the policy", shapes)
    members(told["limits"], LIMITS, "the policy's limits")
    for name, known in POLICY_PARTS.items():
        section, _, inner = name.partition(".")
        parts = told.get(section, {})
        parts = parts.get(inner, []) if inner else parts
        for part in parts if isinstance(parts, list) else [parts]:
            if not isinstance(part, dict) or not set(part) <= known:
                raise CannotRunError(f"the policy's {name} is {str(part)[:60]!r}")
    threshold = exact(told["threshold"], 2, 100, "threshold")
    shares = members(told["weights"], dict.fromkeys(AUTHORITY, str), "the policy's weights")
    weights = {kind: exact(shares[kind], 4, 1, f"the weight of {kind}") for kind in AUTHORITY}
    falling = [weights[kind] for kind in AUTHORITY] + [Decimal(0)]
    if threshold < 85 or sum(falling) != 1 or any(a <= b for a, b in pairwise(falling)):
        raise CannotRunError("the policy's threshold or weights are not what the SOP allows")
    shape = {"key": str, "name": str, "check_name": str, "is_own": bool}
    gates = [members(gate, shape, "a gate of the policy") for gate in told["gates"]]
    own = [gate["key"] for gate in gates if gate["is_own"]]
    keys = [gate["key"] for gate in gates]
    if not {(gate["name"], gate["is_own"]) for gate in gates} >= SOP_GATES or len(own) != 1 or len({*keys}) < len(keys):
        raise CannotRunError("the policy's gates are not those of the SOP")
    if not (1 <= told["max_rounds"] <= 3 and 1 <= told["gate_deadline_seconds"] <= 4 * 3600):
        raise CannotRunError("the policy's rounds or deadline are not what the SOP allows")
    sure = exact(told["disagreement_confidence"], 4, 100, "disagreement_confidence")
    return Rules(threshold, weights, [key for key in keys if key not in own], sure, told["max_rounds"])


def completed(policy: Any) -> Any:
    """A policy with what it left out, so that two that mean the same are the same."""
    if not isinstance(policy, dict):
        return policy
    filled = {
        name: {**default, **policy[name]} if isinstance(default, dict) and isinstance(policy.get(name), dict)
        else policy.get(name, default)
        for name, default in POLICY_DEFAULTS.items()
    }  # fmt: skip
    return {**policy, **filled}


@dataclass(frozen=True)
class Voice:
    """What one sub-agent says, as far as it may be heard."""

    kind: str
    outcome: str
    confidence: Decimal = Decimal(0)
    grade: str = "MISSING"
    reason: str = ""
    subjects: frozenset[str] = frozenset()
    findings: tuple[Mapping[str, Any], ...] = ()

    @property
    def points(self) -> Decimal:
        """Its confidence, and nothing of one that cannot be heard."""
        return Decimal(0) if self.outcome in SILENT else self.confidence


def open_findings(items: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The findings that count: what was there before the change is shown, and never counted."""
    found = [members(item, FINDING_MEMBERS, "a finding") for item in items]
    for item in found:
        if item["is_new"] is not (item["disposition"] == "open") or item["line"] < 0:
            raise CannotRunError("a finding is open and was there before, or neither, or has no line")
        if not item["rule"] or not item["message"]:
            raise CannotRunError("a finding has no rule or says nothing")
    return [item for item in found if item["is_new"]]


def read_voice(value: Any, head: str) -> Voice:
    """A stored result as it may be heard on this head: about another one it is stale."""
    told = members(value, RESULT_MEMBERS, "a result")
    if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", told["head_sha"]):
        raise CannotRunError(f"a result is about {told['head_sha'][:60]!r}, which is no commit")
    if not re.fullmatch("[0-9a-f]{64}", told["input_digest"]):
        raise CannotRunError(f"a result judged {told['input_digest'][:60]!r}, which is no digest")
    outcome, reason = told["outcome"], told["reason"]
    if outcome == "NOT_APPLICABLE" and told["grade"] != "VERIFIED":
        outcome, reason = "MISSING", "not applicable is claimed, not computed"
    elif outcome not in SILENT and told["head_sha"] != head:
        outcome, reason = "STALE", f"judged {told['head_sha'][:12]}, not this head"
    return Voice(
        told["kind"], outcome, exact(told["confidence"], 2, 100, "a confidence"), told["grade"], reason,
        frozenset(all_texts(told["subjects"], "a result's subjects")), tuple(open_findings(told["findings"])),
    )  # fmt: skip


def hear(voices: Sequence[Voice], rules: Rules) -> tuple[list[Voice], list[dict[str, str]]]:
    """Everybody who is to be heard, and each sub-agent's part in the confidence."""
    everybody: list[Voice] = []
    terms = []
    for kind in AUTHORITY:
        own = [voice for voice in voices if voice.kind == kind]
        heard = [voice for voice in own if voice.outcome != "NOT_APPLICABLE"]
        is_left_out = len(heard) < len(own)
        if not is_left_out and not any(voice.grade == "VERIFIED" or voice.outcome == "MISSING" for voice in heard):
            note = "only claims, no verified result" if heard else "no result"
            heard.append(Voice(kind, "MISSING", reason=note))
        everybody += heard
        worst, weight, points = Voice(kind, "NOT_APPLICABLE", grade="VERIFIED"), Decimal(0), Decimal(0)
        note = "not applicable, weight left out"
        if not is_left_out:
            worst = max(heard, key=lambda voice: OUTCOMES.index(voice.outcome))
            weight, points, note = rules.weights[kind], min(voice.points for voice in heard), worst.reason
        product = weight * points if weight else weight
        terms.append({"kind": kind, "outcome": worst.outcome, "confidence": str(points), "weight": str(weight),
                      "product": str(product), "grade": worst.grade, "note": note})  # fmt: skip
    return everybody, terms


type Reasons = list[tuple[str, str, str]]


def decide_again(value: Any) -> dict[str, Any]:
    """What stored inputs lead to, in the form in which a verdict stores it.

    The strictest call of any reason is the verdict; without a reason it is PASS, with `None` it is not ready.
    Raises: CannotRunError.
    """
    told = members(value, INPUT_MEMBERS, "the inputs", {"builder_problems": list, "raised": list})
    rules, case = read_policy(told["policy"]), Case(told)
    voices, terms = hear([read_voice(result, told["head_sha"]) for result in told["results"]], rules)
    gates = case.gates()
    gates += [(key, "missing") for key in rules.gates if key not in dict(gates)]
    found = [finding for result in told["results"] for finding in open_findings(result["findings"])]
    found += open_findings(told["other_findings"])
    used = sum((Decimal(term["weight"]) for term in terms), Decimal(0))
    total = sum((Decimal(term["product"]) for term in terms), Decimal(0))
    hundredths = int(total * 100 // used) if used else 0
    confidence = f"{hundredths // 100}.{hundredths % 100:02}"
    is_low = not used or total < rules.threshold * used
    low = [("confidence.low", f"confidence {confidence} is below {rules.threshold}", "CODEX")] if is_low else []
    late = [key for key, outcome in gates if outcome == "missing"]
    reasons: dict[str | None, Reasons] = {
        "FAIL": case.failures(found, gates, voices) + low,
        "ESCALATE": case.escalations(found, voices, rules),
        None: [],
        "CONDITIONAL_PASS": [about(one, "minor") for one in found if one["severity"] in {"MEDIUM", "LOW"}]
        + [("agent.warned", f"The sub-agent {voice.kind.capitalize()} warned.", "LEAD")
           for voice in voices if voice.outcome == "WARNED"],
    }  # fmt: skip
    if told["is_deadline_passed"]:
        said = "has no result and the deadline has passed"
        reasons["ESCALATE"] += [("deadline.passed", f"gate {key} {said}", "LEAD") for key in late]
    else:
        reasons[None] += [("gate.missing", f"gate {key} has no result yet", "time") for key in late]
    listed = [
        {"code": code, "sentence": sentence, "who": who, "calls_for": call}
        for call, items in reasons.items()
        for code, sentence, who in items
    ]
    return {
        "verdict": listed[0]["calls_for"] if listed else "PASS", "confidence": confidence, "weight_used": str(used),
        "reasons": listed, "terms": terms,
    }  # fmt: skip


def about(finding: Mapping[str, Any], weight: str) -> tuple[str, str, str]:
    """The reason that an open finding is."""
    place = f"{finding['file']}:{finding['line']}" if finding["line"] else finding["file"] or "the whole change"
    sentence = f"{finding['severity']} {finding['rule']} at {place}: {finding['message']}"
    return f"finding.{weight}", sentence, "CODEX" if weight == "critical" else "LEAD"


@dataclass(frozen=True)
class Case:
    """The inputs of one decision, and what they say against it."""

    told: Mapping[str, Any]

    def gates(self) -> list[tuple[str, str]]:
        """How each gate that was listed ended."""
        shape = {"key": str, "outcome": CONCLUSIONS}
        found = [members(gate, shape, "a gate") for gate in self.told["gates"]]
        return [(gate["key"], gate["outcome"]) for gate in found]

    def failures(
        self, found: Sequence[Mapping[str, Any]], gates: Sequence[tuple[str, str]], voices: Sequence[Voice]
    ) -> Reasons:
        """What calls for FAIL, but for the confidence."""
        told = self.told
        reasons = [about(one, "critical") for one in found if one["severity"] == "CRITICAL"]
        for key, outcome in gates:
            if outcome not in {"success", "missing"}:
                reasons.append(("gate.not_success", f"gate {key} ended in {outcome}, expected success", "EXEC"))
        reasons += [("sod.violation", text, "LEAD") for text in all_texts(told["sod_violations"], "sod_violations")]
        if not told["is_bundle_verified"]:
            reasons.append(("bundle.unverified", "the bundle is not verified", "CODEX"))
        if not told["is_bundle_signed"]:
            reasons.append(("bundle.unsigned", "the bundle is not signed by the enforcer", "EXEC"))
        problems = all_texts(told.get("builder_problems", []), "builder_problems")
        reasons += [("builder.not_allowed", text, "operator") for text in problems]
        made, held = told["expected_tree"], told["observed_tree"]
        if made == "" or made != held:
            made, held = made[:12] or "unknown", held[:12] or "unknown"
            reasons.append(("tree.differs", f"the head holds tree {held}, the bundle makes {made}", "EXEC"))
        outcomes = {voice.outcome for voice in voices} - SILENT
        if outcomes == {"FAILED"}:
            reasons.append(("agents.all_failed", "no sub-agent found the change acceptable", "CODEX"))
        return reasons

    def escalations(self, found: Sequence[Mapping[str, Any]], voices: Sequence[Voice], rules: Rules) -> Reasons:
        """What calls for LEAD, but for the deadline."""
        told = self.told
        reasons: Reasons = [
            (f"agent.{voice.outcome.lower()}", f"{voice.kind} is {voice.outcome}: {voice.reason or 'no reason given'}",
             "LEAD" if voice.outcome == "BLOCKED" else "reviewer")
            for voice in voices if voice.outcome in {"BLOCKED", *SILENT}
        ]  # fmt: skip
        for name in all_texts(told["unknown_contributors"], "unknown_contributors"):
            reasons.append(("contributor.unknown", f"nobody knows who {name} is", "operator"))
        reasons += [about(one, "high") for one in found if one["severity"] == "HIGH"]
        reasons += self.raised()
        used = told["rounds_used"]
        for said in disagreements(voices, rules.sure):
            if used < rules.rounds:
                reasons.append(("agents.disagree", f"{said}; round {used} of {rules.rounds}", "PLAN"))
            else:
                reasons.append(("agents.rounds_exhausted", f"{said} after {used} rounds", "LEAD"))
        for voice in voices:
            if voice.outcome == "FAILED":
                reasons.append(("agent.failed", f"{voice.kind} FAILED with confidence {voice.confidence}", "LEAD"))
        return reasons

    def raised(self) -> Reasons:
        """What PLAN alone may not release, kind by kind; three places of each are named."""
        kinds: dict[str, list[str]] = {}
        for item in self.told.get("raised", []):
            one = members(item, {"kind": str, "path": str, "why": str}, "what is raised")
            if not one["kind"]:
                raise CannotRunError("what is raised has no kind")
            kinds.setdefault(one["kind"], []).append(f"{one['path'] or 'the change'} ({one['why'][:200]})")
        reasons = []
        for kind, places in kinds.items():
            more = f" and {len(places) - 3} more" if len(places) > 3 else ""
            why = f"needs LEAD because {NEEDS_LEAD.get(kind, f'of {kind}')}: {'; '.join(places[:3])}{more}"
            reasons.append((f"approval.{kind}", why, "LEAD"))
        return reasons


def disagreements(voices: Sequence[Voice], sure: Decimal) -> Iterator[str]:
    """Each pair of which one PASSED and one FAILED the same file, both sure of it."""
    for failed in voices:
        if failed.outcome != "FAILED" or failed.confidence < sure:
            continue
        files = {one["file"] for one in failed.findings if one["severity"] in {"CRITICAL", "HIGH"}}
        if not files or "" in files:
            files |= failed.subjects
        for passed in voices:
            shared = files & passed.subjects if passed.outcome == "PASSED" and passed.confidence >= sure else set()
            if shared:
                yield f"{passed.kind} PASSED and {failed.kind} FAILED {min(shared)}"


def run_again(kind: str, body: Mapping[str, Any], enacted: Any) -> str:
    """Why a recorded verdict or decision does not follow from what is stored with it; empty if it does.

    A verdict may be stricter than what comes out, never laxer. `enacted` are the rules in the leaf of its policy.
    """
    is_verdict = kind == "verdict.recorded"
    said_by = {"repository": "repository", "pr": "pull_request", "head": "head_sha", "base": "base_sha"}
    said_by |= {"bundle": "bundle_digest"} if is_verdict else {}
    inputs = body.get("inputs")
    try:
        found = decide_again(inputs)
        read_policy(enacted)
    except CannotRunError as error:
        return f"it cannot be run again: {error}"
    for name, source in said_by.items():
        if inputs is None or body.get(name) != inputs[source]:
            return f"its inputs are of another decision: {name} is {str(body.get(name))[:60]!r}"
    if completed(enacted) != completed(inputs["policy"]) if inputs else True:
        return f"its inputs hold other rules than the policy {str(body.get('policy'))[:16]} that was enacted"
    computed, said = found["verdict"] or "", body.get("computed" if is_verdict else "computed_now")
    if computed != said:
        return f"its inputs give {computed or 'nothing yet'}, it says {str(said)[:20]}"
    if not is_verdict:
        return ""
    if found != body.get("reasons") or found["confidence"] != body.get("confidence"):
        return "its inputs give other reasons or another confidence"
    verdict = body.get("verdict")
    if verdict is None or verdict not in STRICTER or STRICTER.index(verdict) < STRICTER.index(found["verdict"]):
        return f"it is {str(verdict)[:20]}, laxer than what its inputs give, {computed or 'nothing yet'}"
    return ""


# --- what is checked ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Leaf:
    """One act: what the database wrote of it, and its body, unless that was erased."""

    index: int
    entry: int
    digest: str
    kind: str
    principal: int
    role: str
    subject: str
    at: int
    body: dict[str, Any] | None


@dataclass
class Report:
    """What was found, in order."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, state: str, check: str, detail: str) -> None:
        """One finding."""
        self.rows.append((state, check, detail))

    def attempt(self, check: str, work: Any) -> Any:
        """Run one check; what it says, or where it fails, is a finding."""
        try:
            found, detail = work()
        except PackError as error:
            self.add(FAILED, check, str(error))
            return None
        self.add(OK, check, detail)
        return found

    @property
    def status(self) -> int:
        """The exit code."""
        states = {state for state, _, _ in self.rows}
        return 5 if FAILED in states else 1 if BROKEN in states else 0


class Verifier:
    """One pack, checked from the outside in."""

    def __init__(self, pack: Pack, keys: Sequence[Key], earlier: bytes | None, witnesses: Sequence[Key] = ()) -> None:
        self.pack, self.earlier, self.report, self.witnesses = pack, earlier, Report(), witnesses
        self.is_pinned = bool(keys)
        self.keys = list(keys)
        self.leaves: list[Leaf] = []
        self.parts: dict[str, dict[tuple[int, str], int]] = {}
        self.manifest: dict[str, Any] = {}
        self.rules: dict[str, Any] = {}
        self.signing: list[Leaf] = []
        self.singles: dict[int, int] = {}
        self.counts: dict[str, int] = {}
        self.decided, self.wrong, self.is_read = 0, list[str](), False
        self.commits: dict[str, dict[str, Any]] = {}

    def run(self) -> Report:
        """Everything. A later check is left out only where an earlier one left it nothing to stand on."""
        report = self.report
        self.manifest = report.attempt("manifest", self.check_manifest) or {}
        if not self.is_pinned:
            self.keys = report.attempt("log key", self.keys_of_pack) or []
            report.add(BROKEN, "trust", "no key was given: whoever made the pack chose its key. Next: --key VKEY")
        head = report.attempt("checkpoint", self.check_checkpoint)
        if head is None:
            return report
        report.attempt("witnesses", self.check_witnesses)
        report.attempt("seal of the manifest", lambda: self.check_seal(head))
        self.check_earlier(head)
        report.attempt("anchors", lambda: self.check_anchors(head))
        report.attempt("leaves", lambda: self.check_leaves(head))
        report.attempt("decisions", self.check_decisions)
        report.attempt("policies", self.check_policies)
        report.attempt("keys", self.check_signing_keys)
        report.attempt("signers", self.check_signers)
        report.attempt("standing", self.check_standing)
        report.attempt("commits", self.check_commits)
        report.attempt("separation", lambda: self.check_separation(head))
        report.attempt("break-glass", self.check_glasses)
        report.attempt("completeness", lambda: self.check_scope(head))
        self.tell_scope()
        report.attempt("artifacts", self.check_artifacts)
        unchecked = "no OpenPGP and no Sigstore signature is checked here, over statements or over artifacts"
        report.add(GAP, "signatures.jsonl", f"{unchecked}; `leo audit verify` does")
        return report

    def check_manifest(self) -> tuple[dict[str, Any], str]:
        """Every file is the one the manifest names, and there is no other."""
        manifest = read_object(self.pack.read("manifest.json"), "manifest.json")
        if manifest.get("schema") != SCHEMA:
            raise PackError("manifest.json", f"schema {str(manifest.get('schema'))[:60]!r}, expected {SCHEMA}")
        files = want(manifest, "files", dict, "manifest.json")
        wrong = []
        for name in sorted({*files, *self.pack.places, *NEEDED} - {"manifest.json", "seal.json", "anchors.json"}):
            told = files.get(name)
            if name not in self.pack.places:
                wrong.append(f"{name} is missing")
            elif not isinstance(told, dict) or not (name in (*NEEDED, *OPTIONAL) or ARTIFACT.fullmatch(name)):
                wrong.append(f"{name} is not in the manifest")
            elif (told.get("bytes"), told.get("sha256")) != (found := self.pack.digest(name)):
                wrong.append(f"{name} has {found[0]} bytes and SHA-256 {found[1]}, the manifest says {told}")
        if wrong:
            self.report.add(FAILED, "files", "; ".join(wrong))
        return manifest, f"{len(files)} files"

    def keys_of_pack(self) -> tuple[list[Key], str]:
        """The keys that the pack itself names."""
        lines = want(read_object(self.pack.read("keys.json"), "keys.json"), "log", list, "keys.json")
        return [parse_key(str(line)) for line in lines], "taken from the pack"

    def check_checkpoint(self) -> tuple[Checkpoint, str]:
        """A trusted key signed the tree head, and it is the one the manifest names."""
        head = open_checkpoint(self.pack.read("checkpoint"), self.keys, "checkpoint")
        told = self.manifest.get("log")
        if told != {"origin": head.origin, "size": head.size, "root": head.root.hex()}:
            raise PackError("manifest.json", f"it names the tree head {told}, not the one that is signed")
        return head, f"{head.origin}: {head.size} leaves, root {head.root.hex()}"

    def check_witnesses(self) -> tuple[None, str]:
        """Each witness that the reader trusts signed the checkpoint; how many others there are is said."""
        raw, signed = self.pack.read("checkpoint"), 0
        for key in self.witnesses:
            moment = cosigned_at(raw, key, "checkpoint")
            signed += moment is not None
            if moment is None:
                self.report.add(BROKEN, "witnesses", f"{key.name} did not sign this checkpoint")
        others = raw.decode("utf-8", "replace").partition("\n\n")[2].count("\n") - signed - 1
        if others > 0:
            self.report.add(
                GAP, "witnesses", f"{others} more signed it; not checked: their keys were not given. --witness"
            )
        return None, f"{signed} signed it"

    def check_seal(self, head: Checkpoint) -> tuple[None, str]:
        """The manifest's digest stands in a leaf of a later tree of the same log."""
        raw = self.pack.read("seal.json")
        seal = read_object(raw, "seal.json")
        if json.dumps(seal, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() != raw:
            raise PackError("seal.json", "it is not written canonically")
        texts = {name: want(seal, name, str, "seal.json") for name in ("leaf", "body", "salt", "checkpoint")}
        if set(seal) != {*texts, "index", "path", "consistency"}:
            raise PackError("seal.json", f"it has the members {sorted(seal)}")
        later = open_checkpoint(texts["checkpoint"].encode(), self.keys, "seal.json")
        if texts["checkpoint"].count("\n— ") != 1:
            raise PackError("seal.json", "its checkpoint has more than one signature")
        leaf = texts["leaf"].encode()
        path = [decode(str(step), "seal.json") for step in want(seal, "path", list, "seal.json")]
        index = want(seal, "index", int, "seal.json")
        if root_from_inclusion(leaf_hash(leaf), index, later.size, path) != later.root:
            raise PackError("seal.json", f"the leaf is not number {index} of the tree")
        steps = [decode(str(step), "seal.json") for step in want(seal, "consistency", list, "seal.json")]
        if later.origin != head.origin or not is_consistent(head, later, steps):
            raise PackError("seal.json", "its tree does not begin with the pack's tree")
        found = parse_leaf(index, leaf, {"salt": texts["salt"], "body": texts["body"]}, "seal.json")
        told = (found.body or {}).get("manifestSha256")
        _, digest = self.pack.digest("manifest.json")
        if found.kind != "export.sealed" or told != digest:
            raise PackError("manifest.json", f"it has the SHA-256 {digest}, the log says {told}")
        return None, f"leaf {index} of {later.size}"

    def check_earlier(self, head: Checkpoint) -> None:
        """The tree begins with the one that the auditor saw before."""
        report = self.report
        path: list[bytes] = []
        if "earlier.json" in self.pack.places:
            value = read_object(self.pack.read("earlier.json"), "earlier.json")

            def in_pack() -> tuple[None, str]:
                old = open_checkpoint(
                    want(value, "checkpoint", str, "earlier.json").encode(), self.keys, "earlier.json"
                )
                path.extend(decode(str(step), "earlier.json") for step in want(value, "path", list, "earlier.json"))
                if old.origin != head.origin or not is_consistent(old, head, path):
                    raise PackError(
                        "earlier.json", f"the tree of {head.size} leaves does not begin with its {old.size}"
                    )
                return None, f"extends {old.size} leaves"

            report.attempt("earlier checkpoint", in_pack)
        if self.earlier is None:
            report.add(
                GAP, "consistency", "no checkpoint of yours was given: a forked log would not show. --checkpoint"
            )
            return
        mine = self.earlier

        def own() -> tuple[None, str]:
            old = open_checkpoint(mine, self.keys, "your checkpoint")
            if old.origin != head.origin or old.size > head.size:
                raise PackError(
                    "your checkpoint", f"it is {old.origin} at {old.size}, the pack {head.origin} at {head.size}"
                )
            if not is_consistent(old, head, path):
                raise PackError(
                    "your checkpoint", "the pack does not extend it, or has no proof from it: ask for one with it"
                )
            return None, f"the log still begins with your {old.size} leaves"

        report.attempt("consistency", own)

    def check_anchors(self, head: Checkpoint) -> tuple[None, str]:
        """What left the portal as a git commit or an entry in Rekor is a tree head of this log."""
        if "anchors.json" not in self.pack.places:
            self.report.add(
                GAP, "anchors", "there is none in the pack: it says nothing against a log that was replaced"
            )
            return None, "none"
        value, said, most = read_object(self.pack.read("anchors.json"), "anchors.json"), list[str](), 0
        if set(value) != {"git", "rekor"}:
            raise PackError("anchors.json", f"it has the members {sorted(value)}")
        for kind, told in value.items():
            if told is None:
                continue
            where = f"anchors.json: {kind}"
            if not isinstance(told, dict):
                raise PackError(where, "no object")
            text = want(told, "checkpoint", str, where).encode()
            found = open_checkpoint(text, self.keys, where)
            path = [decode(str(step), where) for step in want(told, "consistency", list, where)]
            old, new = (found, head) if found.size <= head.size else (head, found)
            if found.origin != head.origin or not is_consistent(old, new, path):
                raise PackError(where, f"its tree of {found.size} leaves is none of this log")
            most = max(most, found.size)
            if kind == "git":
                said.append(
                    f"git commit {commit_with(told, text, where)} has {found.size} leaves: look in your clone for it"
                )
                continue
            bundle = read_object(want(told, "bundle", str, where).encode(), where)
            about = bundle.get("messageSignature", {}) if isinstance(bundle.get("messageSignature"), dict) else {}
            signed = {"algorithm": "SHA2_256", "digest": base64.b64encode(hashlib.sha256(text).digest()).decode()}
            if about.get("messageDigest") != signed:
                raise PackError(where, "its bundle is about another checkpoint")
            who = f"{want(told, 'identity', str, where)} by {want(told, 'issuer', str, where)}"
            self.report.add(GAP, "anchors", f"Rekor's entry, said to be of {who}, is not checked here")
            said.append(f"Rekor's entry is about {found.size} leaves")
        if most < head.size:
            self.report.add(
                GAP, "anchors", f"the last {head.size - most} leaves of the pack's tree are in no anchor of it"
            )
        return None, "; ".join(said) or "none"

    def check_leaves(self, head: Checkpoint) -> tuple[None, str]:
        """Every leaf stands in the signed tree where its proof says, every body and row says what its leaf says."""
        lines, bodies = self.pack.lines("leaves.txt"), self.pack.rows("bodies.jsonl")
        rows = self.pack.rows("records.jsonl")
        pending = next(rows, None)
        last, count, erased, records = -1, 0, 0, 0
        for number, proof in self.pack.rows("proofs.jsonl"):
            where = f"proofs.jsonl line {number}"
            if "index" in proof:
                first = want(proof, "index", int, where)
                end, frontier = first + 1, None
                path = [decode(str(step), where) for step in want(proof, "path", list, where)]
            else:
                first, end = want(proof, "first", int, where), want(proof, "end", int, where)
                frontier = Frontier(first, [decode(str(step), where) for step in want(proof, "left", list, where)])
                path = [decode(str(step), where) for step in want(proof, "right", list, where)]
            if not last < first < end <= head.size:
                raise PackError(where, f"leaves {first} to {end} after leaf {last}, in a tree of {head.size}")
            last = end - 1
            for index in range(first, end):
                raw = next(lines, b"") + next(lines, b"")[:-1]
                _, body = next(bodies, (0, {}))
                found = leaf_hash(raw)
                if frontier is not None:
                    frontier.add(found)
                elif root_from_inclusion(found, index, head.size, path) != head.root:
                    raise PackError(f"leaf {index}", "it is not in the signed tree")
                leaf = parse_leaf(index, raw, body, f"leaf {index}")
                while pending is not None and pending[1].get("leafIndex") == index:
                    check_record(pending, leaf)
                    pending, records = next(rows, None), records + 1
                self.keep(leaf, is_single=frontier is None)
                count, erased = count + 1, erased + (leaf.body is None)
            if frontier is not None and not is_consistent(Checkpoint("", end, frontier.root()), head, path):
                raise PackError(f"leaves {first} to {end - 1}", "one of them is not in the signed tree")
        if next(lines, None) is not None or next(bodies, None) is not None:
            raise PackError("leaves.txt", "there are more leaves or bodies than proofs")
        if pending is not None:
            where = f"records.jsonl line {pending[0]}"
            raise PackError(where, f"its leaf {pending[1].get('leafIndex')} is not in the pack, or not in this order")
        if erased:
            self.report.add(GAP, "bodies", f"{erased} were erased: their acts are proved, their words are gone")
        self.report.add(OK, "records", f"{records} rows say what their leaves say")
        self.is_read = True
        return None, f"{count} leaves are in the tree"

    def keep(self, leaf: Leaf, *, is_single: bool) -> None:
        """What later checks need of it: who did what on a handoff, and the short parts of the acts that release."""
        body = leaf.body or {}
        self.counts[leaf.subject] = self.counts.get(leaf.subject, 0) + 1
        if is_single:
            self.singles[leaf.index] = leaf.at
        if leaf.kind == "policy.enacted":
            self.rules[str(body.get("digest"))] = body.get("rules")
        if leaf.kind in DECIDED and leaf.body is not None:
            self.decided += 1
            if problem := run_again(leaf.kind, body, self.rules.get(str(body.get("policy")))):
                self.wrong.append(f"leaf {leaf.index}: {problem}")
        if leaf.subject and leaf.role in EXCLUSIVE and not leaf.kind.endswith(".refused"):
            self.parts.setdefault(leaf.subject, {}).setdefault((leaf.principal, leaf.role), leaf.index)
        if leaf.kind in SIGNING:
            self.signing.append(leaf)
        elif leaf.kind in DECIDED:
            told = body.get("inputs")
            said = told if isinstance(told, dict) else {}
            about = {"digest": said.get("bundle_digest"), "is_signed": said.get("is_bundle_signed") is not False}
            self.signing.append(replace(leaf, body=about if leaf.body is not None else None))
        if leaf.kind in KEPT:
            short = leaf.body and {name: value for name, value in leaf.body.items() if isinstance(value, str | int)}
            self.leaves.append(replace(leaf, body=short))

    def check_decisions(self) -> tuple[None, str]:
        """Every recorded verdict and decision comes out again from what is stored with it."""
        if not self.is_read:
            raise PackError("leaves.txt", "what was decided could not be read to its end")
        for detail in self.wrong[1:]:
            self.report.add(FAILED, "decisions", detail)
        if self.wrong:
            where, _, detail = self.wrong[0].partition(": ")
            raise PackError(where, detail)
        if erased := sum(leaf.kind in DECIDED and leaf.body is None for leaf in self.leaves):
            self.report.add(GAP, "decisions", f"{erased} cannot be run again: their bodies were erased")
        return None, f"{self.decided} were run again, with the same result"

    def check_policies(self) -> tuple[None, str]:
        """Every policy that a verdict was judged by is there, and is the text that was enacted."""
        texts = {}
        for number, row in self.pack.rows("policies.jsonl"):
            text = want(row, "document", str, f"policies.jsonl line {number}")
            texts[hashlib.sha256(text.encode()).hexdigest()] = number
        enacted = {str(leaf.body.get("digest")) for leaf in self.of("policy.enacted") if leaf.body}
        for leaf in self.of("verdict.recorded"):
            digest = (leaf.body or {}).get("policy")
            if leaf.body is not None and (digest not in texts or digest not in enacted):
                raise PackError("policies.jsonl", f"the policy {digest} of leaf {leaf.index} is missing")
        if unknown := set(texts) - enacted:
            raise PackError("policies.jsonl", f"nobody enacted {min(unknown)}")
        return None, f"{len(texts)} policies"

    def check_signing_keys(self) -> tuple[None, str]:
        """keys.json says what the leaves say of each key: which it is, when it was used, since when distrusted."""
        rows, is_cut = self.signing_keys()
        ended = [leaf for leaf in self.signing if leaf.kind in {"key.rotated", "key.revoked"}]
        made = [leaf for leaf in self.signing if leaf.kind == "key.created" and leaf.body]
        for leaf in made:
            told = leaf.body or {}
            name = str(told.get("fingerprint"))
            row = rows.get(name)
            if row is None:
                if is_cut:
                    continue
                raise PackError("keys.json", f"the key {name} of leaf {leaf.index} is missing")
            if hashlib.sha256(str(row.get("publicKey")).encode()).hexdigest() != told.get("public_key_sha256"):
                raise PackError("keys.json", f"{name} is not the key that leaf {leaf.index} says")
            for name_here, name_there in (("createdAt", "created_at"), ("expiresAt", "expires_at")):
                if moment(row, name_here, "keys.json") != microseconds(str(told.get(name_there))):
                    raise PackError("keys.json", f"{name}: {name_here} is not what leaf {leaf.index} says")
            for later in ended:
                said = later.body or {}
                if later.kind == "key.rotated" and said.get("old") == name:
                    limit, column = later.at, "retiredAt"
                elif later.kind == "key.revoked" and said.get("fingerprint") == name:
                    limit, column = moment(said, "distrusted_since", f"leaf {later.index}"), "distrustedSince"
                else:
                    continue
                found = microseconds(str(row.get(column)))
                if found is None or found > limit:
                    raise PackError("keys.json", f"{name}: its {column} hides what leaf {later.index} says")
        return None, f"{len(made)} are what the leaves say"

    def signing_keys(self) -> tuple[dict[str, dict[str, Any]], bool]:
        """The rows of keys.json by fingerprint, and whether it leaves old ones out."""
        document = read_object(self.pack.read("keys.json"), "keys.json").get("signing")
        signing = document if isinstance(document, dict) else {}
        rows = [row for row in signing.get("keys", ()) if isinstance(row, dict)]
        return {str(row.get("fingerprint")): row for row in rows}, bool(signing.get("omitted"))

    def check_signers(self) -> tuple[None, str]:
        """Each signature over a bundle that a leaf tells of has its one row, inside the window of its key."""
        missing = {leaf.index: leaf for leaf in self.signing if leaf.kind in SIGNED}
        keys, _ = self.signing_keys()
        made = {str((leaf.body or {}).get("fingerprint")) for leaf in self.signing if leaf.kind == "key.created"}
        count = len(missing)
        for number, row in self.pack.rows("signatures.jsonl"):
            where = f"signatures.jsonl line {number}"
            if row.get("kind") != "bundle":
                continue
            index = want(row, "leafIndex", int, where)
            leaf = missing.pop(index, None)
            if leaf is None:
                raise PackError(where, f"leaf {index} tells of no signature, or there is a row before this one")
            if leaf.body is None:
                continue
            is_keyless, told = row.get("method") == "sigstore", leaf.body
            text = want(row, "artifactBundle" if is_keyless else "signature", str, where)
            envelope = decode(want(row, "envelope", str, where), where)
            at, signer = moment(row, "receivedAt", where), "identity" if is_keyless else "fingerprint"
            same = (
                leaf.subject == f"H-{row.get('handoff')}",
                told.get("digest") == row.get("digest"), told.get("method") == row.get("method"),
                told.get(signer) is not None and told.get(signer) == row.get(signer),
                microseconds(str(told.get("received_at"))) == at,
                told.get("signature_sha256") == hashlib.sha256(text.encode()).hexdigest(),
                told.get("statement_sha256") == hashlib.sha256(envelope).hexdigest(),
            )  # fmt: skip
            if not all(same):
                raise PackError(where, f"leaf {leaf.index} tells of another signature")
            if is_keyless:
                continue
            key = keys.get(str(row.get("fingerprint")))
            if key is None or row.get("fingerprint") not in made:
                raise PackError(where, f"its key {row.get('fingerprint')} is in no leaf, or not in keys.json")
            ends = [moment(key, name, "keys.json") for name in ("expiresAt", "retiredAt") if key.get(name)]
            if not moment(key, "createdAt", "keys.json") <= at < min(ends, default=at):
                raise PackError(where, f"it was received when the key {row.get('fingerprint')} was not in use")
        if missing:
            raise PackError("signatures.jsonl", f"no row is about the signature of leaf {min(missing)}")
        return None, f"{count} signatures over bundles are what the leaves say"

    def check_standing(self) -> tuple[None, str]:
        """Told again as it was recorded: what rested on a signature, and was its key trusted by then?"""
        revoked: dict[str, int] = {}
        signatures: dict[str, list[tuple[str, str, int, int]]] = {}
        newest: dict[str, tuple[Any, bool]] = {}
        rested: list[tuple[int, list[tuple[str, str, int, int]]]] = []
        is_whole = True
        for leaf in sorted(self.signing, key=lambda one: one.entry):
            body = leaf.body
            if body is None:
                is_whole = False
            elif leaf.kind == "key.revoked":
                name, since = str(body.get("fingerprint")), moment(body, "distrusted_since", f"leaf {leaf.index}")
                revoked[name] = min(since, revoked.get(name, since))
            elif leaf.kind in SIGNED:
                name = "" if body.get("method") == "sigstore" else str(body.get("fingerprint"))
                one = (str(body.get("digest")), name, moment(body, "received_at", f"leaf {leaf.index}"), leaf.index)
                signatures.setdefault(leaf.subject, []).append(one)
            elif leaf.kind in DECIDED or leaf.kind == "merge.intended":
                if leaf.kind in DECIDED:
                    newest[leaf.subject] = body["digest"], body["is_signed"]
                digest, is_signed = newest.get(leaf.subject, ("", False))
                own = [one for one in signatures.get(leaf.subject, ()) if one[0] == digest]
                trusted = [one for one in own if not fell(one, revoked)]
                if is_signed and trusted:
                    rested.append((leaf.index, trusted))
                elif is_signed and (own or is_whole):
                    why = f"its key {own[-1][1]} was revoked before" if own else "nothing before it says who signed it"
                    self.report.add(BROKEN, "standing", f"leaf {leaf.index} rests on a signed bundle, and {why}")
                elif is_signed:
                    self.report.add(GAP, "standing", f"leaf {leaf.index} rests on a signature whose leaf may be erased")
        later = [index for index, trusted in rested if fell(trusted[-1], revoked)]
        if later:
            said = f"{len(later)} acts rested on a signature whose key was revoked afterwards, first leaf {later[0]}"
            self.report.add(GAP, "standing", said)
        return None, f"{len(rested)} acts rested on a signature whose key was trusted by then"

    def of(self, kind: str) -> list[Leaf]:
        """The kept leaves of one kind."""
        return [leaf for leaf in self.leaves if leaf.kind == kind]

    def check_commits(self) -> tuple[None, str]:
        """The commits of each branch are all there, from its tip to where the portal began, each in its class."""
        counts: dict[str, int] = {}
        branches: list[dict[str, Any]] = []
        repositories: dict[str, dict[str, dict[str, Any]]] = {}
        bypassed: list[str] = []
        for number, row in self.pack.rows("commits.jsonl"):
            where = f"commits.jsonl line {number}"
            commits = repositories.setdefault(want(row, "repository", str, where), {})
            if "tip" in row:
                branches.append(row)
                continue
            commit, raw = want(row, "commit", str, where), decode(want(row, "object", str, where), where)
            algorithm = hashlib.sha1 if len(commit) == 40 else hashlib.sha256
            if algorithm(b"commit %d\0" % len(raw) + raw).hexdigest() != commit:  # git's own digest
                raise PackError(where, f"the object is not the commit {commit[:12]}")
            if commit in commits:
                raise PackError(where, f"the commit {commit[:12]} is listed twice")
            lines = raw.split(b"\n\n")[0].split(b"\n")
            row["parents"] = [line[7:].decode() for line in lines if line[:7] == b"parent "]
            row["tree"] = lines[0].removeprefix(b"tree ").decode()
            commits[commit] = row
            kind = str(row.get("class"))
            counts[kind] = counts.get(kind, 0) + 1
            bypassed += [commit] if kind == "BYPASS" else []
        for repository, self.commits in repositories.items():
            self.check_repository(repository, [row for row in branches if row["repository"] == repository])
        if bypassed:
            self.report.add(
                BROKEN, "bypass", f"{len(bypassed)} commits landed without the portal: {bypassed[0][:12]} …"
            )
        return None, ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"

    def check_repository(self, repository: str, branches: Sequence[dict[str, Any]]) -> None:
        """All of one repository; another one may have commits of the same names."""
        older: set[str] = set()
        owner: dict[str, str] = {}
        for branch in branches:
            older |= self.older(branch)
        for branch in branches:
            self.follow(branch, owner, older)
        for commit, row in self.commits.items():
            if commit not in owner and commit not in older:
                raise PackError("commits.jsonl", f"the commit {commit[:12]} is on no branch of the pack")
            self.check_class(commit, row, repository, is_older=commit in older)

    def older(self, branch: dict[str, Any]) -> set[str]:
        """Where the portal began and everything behind it: PRE-ENROLMENT, and none of it may be missing."""
        found: set[str] = set()
        stack = [want(branch, "begun", str, "commits.jsonl")] if branch.get("isWhole") and branch.get("begun") else []
        while stack:
            commit = stack.pop()
            if commit not in self.commits:
                raise PackError("commits.jsonl", f"the commit {commit[:12]}, older than the portal, is missing")
            if commit not in found:
                found.add(commit)
                stack += self.commits[commit]["parents"]
        return found

    def follow(self, branch: dict[str, Any], owner: dict[str, str], older: set[str]) -> None:
        """From the tip over first parents to where the portal began: none of these may be missing."""
        begun, name = want(branch, "begun", str, "commits.jsonl"), str(branch.get("branch"))
        stack = [(want(branch, "tip", str, "commits.jsonl"), True)]
        while stack:
            commit, is_landed = stack.pop()
            if commit in owner or commit in older or commit in {begun, ""}:
                continue
            if commit not in self.commits:
                if is_landed and branch.get("isWhole"):
                    raise PackError("commits.jsonl", f"the commit {commit[:12]} of {name} is missing")
                continue
            owner[commit] = name
            parents = self.commits[commit]["parents"] or [""]
            stack += [(parents[0], is_landed), *((parent, False) for parent in parents[1:])]
        tips = {
            str(leaf.body.get("tip"))
            for leaf in self.of("repository.governed")
            if leaf.body and leaf.body.get("repository") == branch.get("repository")
        }
        if branch.get("isWhole") and tips != {begun}:
            self.report.add(GAP, "commits", f"no leaf says that {name} was at {begun[:12]} when the portal began")

    def check_class(self, commit: str, row: dict[str, Any], repository: str, *, is_older: bool) -> None:
        """Each commit is called what the leaves say: by what let it through last, or that nothing did."""
        merges = [
            leaf
            for leaf in self.of("pull.merged")
            if leaf.body and leaf.body.get("repository") == repository and commit in landed(leaf.body, self.commits)
        ]
        found = "PRE-ENROLMENT" if is_older else "BYPASS"
        if merges and not is_older:
            found = self.released(merges[0], commit)
        if row.get("class") != found:
            raise PackError(
                f"commit {commit[:12]}", f"it is called {str(row.get('class'))[:20]}, the leaves say {found}"
            )

    def released(self, merge: Leaf, commit: str) -> str:
        """By the newest PASS or approval of the head that was merged, if what landed is what that one was about."""
        merged = merge.body or {}
        head, landed_as, kind, by = merged.get("head"), str(merged.get("commit")), "", None
        for leaf in self.leaves[: self.leaves.index(merge)]:
            body = leaf.body or {}
            if leaf.subject != merge.subject or not head or body.get("head") != head:
                continue
            if leaf.kind == "verdict.recorded" and body.get("verdict") == "PASS":
                kind, by = "PASS", leaf
            if leaf.kind == "decision.recorded" and body.get("decision") == "approve":
                kind, by = "BREAK-GLASS" if body.get("reason_class") == "break-glass" else "OVERRIDE", leaf
        if by is None or commit not in {landed_as, head}:
            return "merged without a release"
        row, base, told = self.commits[landed_as], merged.get("base"), by.body or {}
        if not base or row["parents"] not in ([base], [base, head]):
            return "landed on another base"
        if base == told.get("base"):
            return kind if row["tree"] == told.get("merge_tree") else "landed with another tree"
        return self.queued(merge, by, kind, commit)

    def queued(self, merge: Leaf, by: Leaf, kind: str, commit: str) -> str:
        """On a later base than was judged: everything between was released, and the verifier lane found its tree."""
        merged = merge.body or {}
        name, row = str(merged["commit"]), self.commits[str(merged["commit"])]
        wanted = {"repository": merged["repository"], "commit": name, "tree": row["tree"], "base": merged["base"]}
        wanted |= {"head": merged["head"], "class": kind, "code": ""}
        found = [leaf for leaf in self.of("commit.landed") if by.index < leaf.index < merge.index]
        if not any((leaf.body or {}).items() >= wanted.items() for leaf in found):
            return "landed on another base"
        at, judged = str(merged["base"]), (by.body or {}).get("base")
        while at != judged and at in self.commits:
            if self.commits[at].get("class") not in RELEASED:
                return "landed on another base"
            at = (self.commits[at]["parents"] or [""])[0]
        if at == "":
            return "landed on another base"
        if commit == name:
            between = "" if at == judged else ", and what landed between is not in this pack"
            look = f"git merge-tree --write-tree {merged['base']} {merged['head']}"
            said = f"{name[:12]} landed on a later base than was judged{between}; its tree {row['tree'][:12]} is the"
            self.report.add(GAP, "commits", f"{said} portal's finding. In your clone: {look}")
        return kind

    def check_separation(self, head: Checkpoint) -> tuple[None, str]:
        """Nobody, and nobody who answers for somebody, holds two duties on one pull request."""
        rows = [row for _, row in self.pack.rows("principals.jsonl")]
        people = persons(rows)
        count = 0
        for number, row in self.pack.rows("separation.jsonl"):
            where = f"separation.jsonl line {number}"
            name = f"{row.get('repository')}#{row.get('pull')}"
            handoffs = {f"H-{pk}" for pk in want(row, "handoffs", list, where)}
            self.refuse_newer(row, sorted(handoffs), head, where)
            parts = {(part.get("principal"), part.get("duty")) for part in want(row, "parts", list, where)}
            for subject in handoffs:
                for (principal, role), index in self.parts.get(subject, {}).items():
                    if (principal, role) not in parts:
                        raise PackError(
                            where, f"leaf {index} is an act of principal {principal} as {role}, who is not listed"
                        )
            held: dict[Any, str] = {}
            clashes = []
            for principal, duty in sorted(parts, key=str):
                if principal not in people:
                    raise PackError(where, f"nobody known answers for principal {principal}")
                person = people[principal]
                if held.setdefault(person, str(duty)) != duty:
                    clashes.append(f"{name}: person {person} stands behind {held[person]} and {duty}")
            if clashes:
                self.report.add(BROKEN, "separation", clashes[0])
            if bool(clashes) and row.get("state") == "ok":
                raise PackError(where, f"{name} is called separated, and is not")
            if row.get("state") == "broken" and not clashes:
                self.report.add(BROKEN, "separation", f"{name}: the portal itself says that a rule is broken")
            count += 1
        return None, f"{count} pull requests looked at"

    def refuse_newer(self, row: Mapping[str, Any], handoffs: Sequence[str], head: Checkpoint, where: str) -> None:
        """What was judged is what this tree has about a pull request, no more and no less."""
        if row.get("log") != {"size": head.size, "root": head.root.hex()}:
            raise PackError(where, f"it was judged at another tree head, {str(row.get('log'))[:90]}")
        if newer := [subject for subject in handoffs if subject not in self.counts]:
            raise PackError(where, f"it names {newer[0]}, about which the pack has no leaf")
        held, events = sum(self.counts[subject] for subject in handoffs), want(row, "events", int, where)
        if events != held:
            raise PackError(where, f"it was judged by {events} acts, the pack has {held}")
        if pending := want(row, "pending", int, where):
            self.report.add(GAP, "separation", f"{where}: {pending} acts are newer than the pack's checkpoint")
            if row.get("state") != "not_computed":
                raise PackError(where, f"it is called {str(row.get('state'))[:20]}, and {pending} acts are missing")

    def check_glasses(self) -> tuple[None, str]:
        """Two people broke each glass and a third looked at it within a day; every such release names its glass."""
        people = persons([row for _, row in self.pack.rows("principals.jsonl")])
        reviews = {(leaf.body or {}).get("break_glass"): leaf for leaf in self.of("break_glass.reviewed")}
        opened = [leaf for leaf in self.of("break_glass.opened") if leaf.body]
        released = set()
        for leaf in opened:
            where, body = f"leaf {leaf.index}", leaf.body or {}
            names = {name: want(body, name, int, where) for name in ("break_glass", "requested_by", "second")}
            if names["second"] != leaf.principal:
                raise PackError(where, f"it names {names['second']} as the second, and is by {leaf.principal}")
            review = reviews.get(names["break_glass"])
            acted = [names["requested_by"], leaf.principal, *([review.principal] if review else [])]
            if unknown := [one for one in acted if one not in people]:
                raise PackError(where, f"nobody known answers for principal {unknown[0]}")
            if len({people[one] for one in acted}) < len(acted):
                self.report.add(BROKEN, "break-glass", f"{where}: one person acted twice among principals {acted}")
            due = leaf.at + REVIEW_WITHIN
            if review is not None and review.at > due:
                self.report.add(BROKEN, "break-glass", f"{where}: it was reviewed late, by leaf {review.index}")
            elif review is None and (microseconds(str(self.manifest.get("madeAt"))) or leaf.at) > due:
                self.report.add(BROKEN, "break-glass", f"{where}: it was not reviewed within 24 hours")
            elif review is None:
                self.report.add(GAP, "break-glass", f"{where}: nobody reviewed it yet; due within 24 hours")
            released.add((leaf.subject, names["requested_by"], names["second"], body.get("head")))
        for leaf in self.of("decision.recorded"):
            body = leaf.body or {}
            told = (leaf.subject, leaf.principal, body.get("countersigned_by"), body.get("head"))
            if body.get("reason_class") == "break-glass" and told not in released:
                raise PackError(f"leaf {leaf.index}", "released by break-glass, and no leaf says that it was broken")
        return None, f"{len(opened)} broken, {len(reviews)} reviewed"

    def check_scope(self, head: Checkpoint) -> tuple[None, str]:
        """The proofs hold what the pack says that it is: all leaves in one run, a run of a period, single leaves."""
        kind = want(want(self.manifest, "scope", dict, "manifest.json"), "kind", str, "manifest.json")
        proofs = [proof for _, proof in self.pack.rows("proofs.jsonl")]
        runs = [
            tuple(want(proof, name, int, "proofs.jsonl") for name in ("first", "end"))
            for proof in proofs
            if "index" not in proof
        ]
        if kind not in {"log", "period", "pull"}:
            raise PackError("manifest.json", f"its scope is {kind[:20]}, expected log, period or pull")
        if kind == "log" and (runs != [(0, head.size)] or len(proofs) > 1):
            raise PackError("proofs.jsonl", f"it is called the whole log of {head.size} leaves, and proves {runs[:2]}")
        if kind == "period" and len(runs) != 1:
            raise PackError("proofs.jsonl", f"it is called a period, and has {len(runs)} runs of leaves")
        if kind == "pull":
            return None, f"{len(proofs)} single leaves"
        if kind == "period":
            self.check_edges(runs[0][0], runs[0][1], head.size)
        return None, f"every leaf from {runs[0][0]} to {runs[0][1] - 1} is there, none is between them"

    def check_edges(self, first: int, end: int, size: int) -> None:
        """The leaves on both sides of a period's run lie outside of the period, so none of it was left out there."""
        scope = self.manifest["scope"]
        days = [want(scope, name, str, "manifest.json") if name in scope else "" for name in ("first", "last")]
        start, until = (microseconds(f"{day}T00:00:00+00:00") if day else None for day in days)
        if (start, until) == (None, None) or (days[0] and start is None) or (days[1] and until is None):
            raise PackError("manifest.json", f"its period is from {days[0][:20]!r} to {days[1][:20]!r}")
        until = until and until + 24 * 3600 * 1_000_000
        if first > 0:
            at = self.singles.get(first - 1)
            if start is None or at is None:
                raise PackError("proofs.jsonl", f"leaf {first - 1}, the last one before the period, is missing")
            if at >= start:
                raise PackError(f"leaf {first - 1}", "it is called the last one before the period, and is of it")
        if end < size:
            at = self.singles.get(end)
            if until is None or at is None:
                raise PackError("proofs.jsonl", f"leaf {end}, the first one after the period, is missing")
            if at < until:
                raise PackError(f"leaf {end}", "it is called the first one after the period, and is of it")
        elif until is not None:
            held = f"the checkpoint ends with leaf {size - 1}: what was recorded after it in the period is not in here"
            self.report.add(GAP, "completeness", held)

    def check_artifacts(self) -> tuple[None, str]:
        """Each artifact.tar.gz is the one that its name and a row of signatures.jsonl say, whoever signed it."""
        signed = {
            str(row.get("digest")) for _, row in self.pack.rows("signatures.jsonl") if row.get("kind") == "bundle"
        }
        names = [name for name in sorted(self.pack.places) if ARTIFACT.fullmatch(name)]
        for name in names:
            digest = self.pack.digest(name)[1]
            if name != f"artifact-{digest}.tar.gz" or digest not in signed:
                raise PackError(name, f"it has the SHA-256 {digest}, and no such bundle was signed under that name")
        return None, f"{len(names)} are what was signed; their signatures are not checked here"

    def tell_scope(self) -> None:
        """What the pack does not hold, and so does not prove."""
        scope = self.manifest.get("scope")
        if isinstance(scope, dict) and scope.get("kind") == "pull":
            self.report.add(
                GAP,
                "completeness",
                "a pack of one pull request proves what it holds, not that nothing else "
                "was recorded about it; a pack of a period does",
            )
        if self.manifest.get("assurance") == "single_operator":
            self.report.add(GAP, "assurance", "one person operates every agent: separation of persons is not claimed")


def check_record(numbered: tuple[int, Mapping[str, Any]], leaf: Leaf) -> None:
    """A row says what its leaf says."""
    number, row = numbered
    where = f"records.jsonl line {number}"
    if row.get("leafHash") != leaf.digest:
        raise PackError(where, f"its leaf {leaf.index} is another one")
    cells = want(row, "row", dict, where)
    for name in sorted(TEXTS & cells.keys()):
        if not holds_text(*(cells.get(f"{name}{part}") for part in ("", "_text", "_salt", "_erased_at"))):
            raise PackError(where, f"its {name} is not what leaf {leaf.index} holds the digest of")
    for name, value in cells.items():
        if name not in TEXT_PARTS and not agrees(name, value, leaf):
            raise PackError(where, f"{name} is {str(value)[:60]!r}, its leaf {leaf.index} says otherwise")


def parse_leaf(index: int, raw: bytes, told: Mapping[str, Any], where: str) -> Leaf:
    """A leaf and its body, whose digest with its salt stands in the leaf."""
    head, _, rest = raw.partition(b"\n")
    fields = head.decode("utf-8", "replace").split(" ")
    if len(fields) != 4 or fields[0] != "leo-audit/v1" or not (fields[1] + fields[2]).isdigit():
        raise PackError(where, "its first line is not one that the database writes")
    value = read_object(rest, where)
    body = None
    if told.get("body") is not None:
        text, salt = want(told, "body", str, where), want(told, "salt", str, where)
        try:
            digest = hashlib.sha256(bytes.fromhex(salt) + text.encode()).hexdigest()
        except ValueError:
            raise PackError(where, "its salt is not hexadecimal") from None
        if digest != value.get("bodySha256") or salt != salt.lower():
            raise PackError(where, "its body is not the one that was recorded")
        body = read_object(text.encode(), where)
    texts = {name: want(value, name, str, where) for name in ("kind", "role", "subject")}
    principal = want(value, "principal", int, where)
    digest = leaf_hash(raw).hex()
    return Leaf(
        index, int(fields[1]), digest, texts["kind"], principal, texts["role"], texts["subject"], int(fields[2]), body
    )


RENAMED: Final = {
    "head_sha": "head", "base_sha": "base", "bundle_digest": "bundle", "policy_digest": "policy", "pull_request": "pr",
    "is_override": "override", "verdict_id": "verdict", "supersedes_id": "supersedes",
}  # fmt: skip


TEXTS: Final = frozenset({"justification", "question"})
TEXT_PARTS: Final = frozenset(f"{name}_{part}" for name in TEXTS for part in ("text", "salt", "erased_at"))


def holds_text(digest: Any, text: Any, salt: Any, erased_at: Any) -> bool:
    """Whether a text is the one that was committed to; or was erased, and says when; or there never was one."""
    if text is None and salt is None:
        return (digest is None) == (erased_at is None)
    if erased_at is not None or not isinstance(text, str) or not re.fullmatch("[0-9a-f]{64}", str(salt)):
        return False
    return bool(hmac.new(bytes.fromhex(salt), text.encode(), hashlib.sha256).hexdigest() == digest)


def agrees(name: str, value: Any, leaf: Leaf) -> bool:
    """Whether a column of a row is what the leaf says. Columns that stand in no leaf are refused."""
    body = leaf.body
    match name:
        case "id" | "policy_version":
            return True
        case "event":
            return bool(value == leaf.kind)
        case "role":
            return bool(value == leaf.role)
        case "principal":
            return type(value) is int and value == leaf.principal
        case "handoff":
            return f"H-{value}" == leaf.subject
        case "created_at":
            return microseconds(str(value)) == leaf.at
        case _ if body is None:
            return True
        case "detail":
            return isinstance(value, dict) and all(body.get(key) == item for key, item in value.items())
        case _:
            told = body.get(RENAMED.get(name, name), None)
            return bool(told == value or (name == "expires_at" and microseconds(str(told)) == microseconds(str(value))))


def commit_with(told: Mapping[str, Any], text: bytes, where: str) -> str:
    """The name of a commit that holds this one file, `checkpoint`, by git's own bytes."""
    name: str = want(told, "commit", str, where)
    algorithm = hashlib.sha256 if len(name) == 64 else hashlib.sha1  # git's own digest
    raw, tree = (decode(want(told, part, str, where), where) for part in ("object", "tree"))
    names = [algorithm(b"%s %d\0" % (kind, len(part)) + part) for kind, part in ((b"commit", raw), (b"tree", tree))]
    blob = algorithm(b"blob %d\0" % len(text) + text).digest()
    if names[0].hexdigest() != name or raw.split(b"\n")[0] != b"tree " + names[1].hexdigest().encode():
        raise PackError(where, f"the objects are not the commit {name[:12]} and its tree")
    if tree != b"100644 checkpoint\0" + blob:
        raise PackError(where, f"the commit {name[:12]} holds another checkpoint")
    return name


def fell(signature: tuple[str, str, int, int], revoked: Mapping[str, int]) -> bool:
    """Whether a signature was received at or after the moment since which its key is distrusted."""
    _, fingerprint, at, _ = signature
    return fingerprint in revoked and revoked[fingerprint] <= at


def moment(value: Mapping[str, Any], name: str, where: str) -> int:
    """A member that has to be a time, as microseconds since 1970."""
    found = microseconds(str(value.get(name)))
    if found is None:
        raise PackError(where, f"{name} is {str(value.get(name))[:40]!r}, expected a time with its zone")
    return found


def microseconds(text: str) -> int | None:
    """A UTC time in ISO 8601 as microseconds since 1970."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) if moment.tzinfo else None


def landed(body: Mapping[str, Any], commits: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """What one merge brought to the branch: its commit, and the commits of the head that it merged."""
    merge = str(body.get("commit"))
    found, stack = {merge}, list(commits.get(merge, {}).get("parents", ()))[1:]
    base = str(body.get("base"))
    while stack:
        commit = stack.pop()
        if commit not in found and commit != base and commit in commits:
            found.add(commit)
            stack += [parent for parent in commits[commit]["parents"] if parent != base]
    return found


def persons(rows: Sequence[Mapping[str, Any]]) -> dict[Any, Any]:
    """The person behind each principal: whoever answers for it, and all who were linked as one. Nobody: not in here."""
    groups = {row["id"]: {row["id"]} for row in rows if "id" in row}
    pairs = [(row["id"], row.get("sponsor")) for row in rows if "id" in row]
    pairs += [(row.get("one"), row.get("other")) for row in rows if "id" not in row]
    for one, other in pairs:
        if one in groups and other in groups and groups[one] is not groups[other]:
            merged = groups[one] | groups[other]
            groups.update(dict.fromkeys(merged, merged))
    human = {row["id"] for row in rows if "id" in row and row.get("sponsor") is None}
    return {member: min(group & human) for member, group in groups.items() if group & human}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pack", type=Path)
    parser.add_argument("--key", action="append", default=[], help="the log's public key, one line; may be repeated")
    parser.add_argument(
        "--witness", action="append", default=[], help="a witness's public key, one line; may be repeated"
    )
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint of this log that you kept")
    parser.add_argument("--json", action="store_true", dest="as_json")
    told = parser.parse_args(arguments)
    try:
        keys = [parse_key(line) for line in told.key]
        earlier = told.checkpoint.read_bytes() if told.checkpoint else None
        witnesses = [parse_key(line, is_witness=True) for line in told.witness]
        report = Verifier(Pack(told.pack), keys, earlier, witnesses).run()
    except OSError as error:
        print(f"cannot read: {error}", file=sys.stderr)
        return 2
    except PackError as error:
        report = Report([(FAILED, "pack", str(error))])
    if told.as_json:
        rows = [{"state": state, "check": check, "detail": detail} for state, check, detail in report.rows]
        print(json.dumps({"status": report.status, "checks": rows}, indent=1, ensure_ascii=True))
    else:
        for state, check, detail in report.rows:
            print(f"{state:<7} {check:<22} {ascii(detail)[1:-1]}")
        said = {0: "holds", 1: "genuine, but see BROKEN", 5: "NOT what was signed"}[report.status]
        print(f"result: {said}. What it proves and what it does not: VERIFY.md")
    return report.status


if __name__ == "__main__":
    sys.exit(main())
