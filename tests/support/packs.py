"""Evidence packs without a portal: a log of leaves made here, signed here, and one pull request that ran through it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from audit.canonical import write_json
from audit.checkpoint import Checkpoint
from audit.merkle import Node, consistency_proof, leaf_hash, nodes_of, root_of
from audit.notes import Note, Signature, SignerKey
from audit.pack_writing import MANIFEST, SEAL, PackedLeaf, PackWriter, encoded, one_leaf, run_of_leaves
from tests.support.judging import GOOD, POLICY
from verdicts.policy import Inputs, decide, default_policy_yaml, inputs_to_json, judgement_to_json, policy_to_json

ORIGIN = "leo.example/audit/1"
KEY = SignerKey.generate(ORIGIN)
START = 1_790_000_000_000_000
RULES = policy_to_json(POLICY)


@dataclass
class Log:
    """A log in memory."""

    key: SignerKey = KEY
    leaves: list[PackedLeaf] = field(default_factory=list)

    def append(self, kind: str, principal: int, role: str, subject: str, body: dict[str, Any]) -> int:
        """One act. Returns its index."""
        index = len(self.leaves)
        raw = write_json(body)
        salt = hashlib.sha256(b"salt %d" % index).digest()[:16]
        content: dict[str, Any] = {
            "bodySha256": hashlib.sha256(salt + raw).hexdigest(),
            "kind": kind,
            "principal": principal,
            "role": role,
            "subject": subject,
        }
        header = f"leo-audit/v1 {index + 1} {self.time(index)} leo_app\n"
        self.leaves.append(PackedLeaf(header.encode() + write_json(content), raw, salt))
        return index

    @staticmethod
    def time(index: int) -> int:
        return START + 1_000_000 * index

    @property
    def node(self) -> Node:
        return nodes_of([leaf_hash(found.leaf) for found in self.leaves])

    def checkpoint(
        self, size: int | None = None, *, origin: str = "", root: bytes = b"", by: Sequence[Signature] = ()
    ) -> bytes:
        size = len(self.leaves) if size is None else size
        text = Checkpoint(origin or self.key.name, size, root or root_of(size, self.node)).text
        return Note(text, (self.key.sign(text), *by)).raw

    def row(self, table: str, index: int, **row: Any) -> dict[str, Any]:
        return {"table": table, "leafIndex": index, "leafHash": leaf_hash(self.leaves[index].leaf).hex(), "row": row}


EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def git_commit(text: str, *parents: str, tree: str = EMPTY_TREE) -> tuple[str, str]:
    """A commit's digest and its object in base64."""
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    raw = ("\n".join([*lines, "author a <a@example.org> 1790000000 +0000", "", text]) + "\n").encode()
    return hashlib.sha1(b"commit %d\0" % len(raw) + raw, usedforsecurity=False).hexdigest(), base64.b64encode(
        raw
    ).decode()


def inputs_of(head: str, base: str, digest: str = GOOD.bundle_digest) -> Inputs:
    """A good case about the pack's one head."""
    results = tuple(replace(one, head_sha=head) for one in GOOD.results)
    return replace(GOOD, pull_request=1, head_sha=head, base_sha=base, results=results, bundle_digest=digest)


# A bundle's signature as a pack has it; nobody looks at its bundles unless a test brings who does.
KEYLESS: dict[str, Any] = {
    "kind": "bundle", "method": "sigstore", "handoff": 1, "digest": GOOD.bundle_digest, "fingerprint": "",
    "receivedAt": "2026-11-25T12:00:00+00:00", "envelope": "", "signature": "", "identity": "anybody",
    "issuer": "anybody", "artifactBundle": "{}", "statementBundle": "{}",
}  # fmt: skip


def signed_body(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the leaf of a signature says of it."""
    is_keyless = row["method"] == "sigstore"
    raw = row["artifactBundle" if is_keyless else "signature"]
    signer = (
        {"identity": row["identity"], "issuer": row["issuer"]} if is_keyless else {"fingerprint": row["fingerprint"]}
    )
    return {
        **signer, "method": row["method"], "digest": row["digest"], "received_at": row["receivedAt"],
        "signature_sha256": hashlib.sha256(raw.encode()).hexdigest(),
        "statement_sha256": hashlib.sha256(base64.b64decode(row["envelope"])).hexdigest(),
    }  # fmt: skip


def made_body(key: Mapping[str, Any]) -> dict[str, Any]:
    """What the leaf says that made a key, by its row in keys.json."""
    return {
        "fingerprint": key["fingerprint"], "created_at": key["createdAt"], "expires_at": key["expiresAt"],
        "public_key_sha256": hashlib.sha256(key["publicKey"].encode()).hexdigest(),
    }  # fmt: skip


def judged_body(inputs: Inputs, verdict: str, policy: str) -> dict[str, Any]:
    """What PLAN's leaf says."""
    found = decide(inputs)
    return {
        "verdict": verdict, "computed": found.verdict.value if found.verdict else "", "confidence": str(found.confidence),
        "repository": inputs.repository, "pr": inputs.pull_request, "head": inputs.head_sha, "base": inputs.base_sha,
        "merge_tree": EMPTY_TREE, "bundle": inputs.bundle_digest, "policy": policy, "inputs": inputs_to_json(inputs),
        "reasons": judgement_to_json(found),
    }  # fmt: skip


def decided_body(inputs: Inputs, reason_class: str, policy: str) -> dict[str, Any]:
    """What LEAD's leaf says."""
    computed = decide(inputs).verdict
    return {
        "decision": "approve", "reason_class": reason_class, "repository": inputs.repository, "pr": inputs.pull_request,
        "head": inputs.head_sha, "base": inputs.base_sha, "merge_tree": EMPTY_TREE, "policy": policy, "computed_now": computed.value if computed else "",
        "inputs": inputs_to_json(inputs),
    }  # fmt: skip


def whole_pack(
    folder: Path,
    *,
    kind: str = "log",
    earlier: int | None = 4,
    log: Log | None = None,
    changed: Mapping[str, Sequence[dict[str, Any]]] | None = None,
    release: str = "PASS",
    told: str = "",
    witnesses: Sequence[SignerKey] = (),
    glass: Mapping[str, Any] | None = None,
    verdict: Mapping[str, Any] | None = None,
    decision: Mapping[str, Any] | None = None,
    rules: Mapping[str, Any] | None = None,
    run: tuple[int, int] = (0, 0),
    without: Sequence[int] = (),
    days: Mapping[str, str] | None = None,
    signing: Any = None,
    files: Mapping[str, bytes] | None = None,
    reviewer: int = 9,
    made_at: str = "",
    signature: Mapping[str, Any] = KEYLESS,
    later: Sequence[tuple[str, str, Mapping[str, Any]]] = (),
    landing: Callable[[str, str], tuple[str, str]] = lambda begun, head: git_commit("merge", begun, head),
    merged_on: str = "",
) -> Log:
    """A pack of the whole log (`kind` log) or of its one pull request (pull); `changed` replaces tables' rows.

    Of a period: `run` are its leaves, all others but those `without` stand singly, and `days` are what it is called.

    `signature` is the bundle's, and `later` are more acts at the end: their kinds, subjects and bodies.
    `landing` makes what landed of where the branch began and the head, `merged_on` is the base that its leaf names.
    `release` is what let the merge through, `told` the class that the pack gives it instead; `glass` is what the leaf
    says of a broken one, `reviewer` who looked at it (0: nobody). `verdict` and `decision` replace what their leaves say.
    """
    log = log or Log()
    document = default_policy_yaml().decode()
    digest = hashlib.sha256(document.encode()).hexdigest()
    begun, begun_object = git_commit("start")
    head, head_object = git_commit("change", begun)
    merge, merge_object = landing(begun, head)
    said_of_merge = {"commit": merge, "base": merged_on or begun, "head": head, "repository": "acme/payments"}
    log.append("repository.governed", 0, "OPERATOR", "", {"repository": "acme/payments", "tip": begun})
    policy = log.append("policy.enacted", 0, "OPERATOR", "", {"number": 1, "digest": digest, "rules": rules or RULES})
    bundle = {"branch": "staging/codex-1", "marker": "", "repository": "acme/payments", **signed_body(signature)}
    signed = log.append("handoff.signed", 2, "ENFORCER", "H-1", bundle)
    log.append("other.act", 9, "REPORTER", "H-2", {})
    inputs, said = inputs_of(head, begun, signature["digest"]), "PASS" if release == "PASS" else "ESCALATE"
    judgement = {**judged_body(inputs, said, digest), **(verdict or {})}
    judged = log.append("verdict.recorded", 3, "PLAN", "H-1", judgement)
    reason_class = "break-glass" if release == "BREAK-GLASS" else "other"
    approval = {**decided_body(inputs, reason_class, digest), **(decision or {})}
    decided = []
    if release == "BREAK-GLASS":
        broken: dict[str, Any] = {"break_glass": 1, "requested_by": 7, "second": 8, "head": head, **(glass or {})}
        approval |= {"countersigned_by": 8}
        decided = [log.append("break_glass.opened", 8, "LEAD", "H-1", broken)]
        if reviewer:
            decided.append(log.append("break_glass.reviewed", reviewer, "AUDITOR", "H-1", {"break_glass": 1}))
    if release != "PASS":
        decided.append(log.append("decision.recorded", 7, "LEAD", "H-1", approval))
    merged = log.append("pull.merged", 3, "PLAN", "H-1", said_of_merge)
    keys = [log.append("key.created", 0, "OPERATOR", "", made_body(key)) for key in (signing or {}).get("keys", ())]
    keys += [log.append(kind, 2, "ENFORCER", subject, {**body}) for kind, subject, body in later]
    size = len(log.leaves)
    first, end = run
    chosen, node = [0, policy, signed, judged, *decided, merged, *keys], log.node
    proofs = [one_leaf(at, size, node) for at in chosen]
    if kind == "log":
        chosen, proofs = [*range(size)], [run_of_leaves(0, size, size, node)]
    elif kind == "period":
        singles = [at for at in range(size) if not first <= at < end and at not in without]
        proofs = [one_leaf(at, size, node) for at in singles]
        proofs.insert(sum(at < first for at in singles), run_of_leaves(first, end, size, node))
        chosen = [at for at in range(size) if at not in without]
    at = log.time(judged)
    tables: dict[str, Sequence[dict[str, Any]]] = {
        "records.jsonl": [
            log.row("leo_verification_results", judged, id=1, verdict=judgement["verdict"], head_sha=head, policy_digest=judgement["policy"],
                    principal=3, handoff=1, created_at=iso(at)),
        ],
        "commits.jsonl": [
            {"repository": "acme/payments", "branch": "main", "tip": merge, "begun": begun, "isWhole": True},
            {"repository": "acme/payments", "commit": head, "object": head_object, "class": told or release, "pull": 1},
            {"repository": "acme/payments", "commit": merge, "object": merge_object, "class": told or release, "pull": 1},
            {"repository": "acme/payments", "commit": begun, "object": begun_object, "class": "PRE-ENROLMENT", "pull": None},
        ],
        "policies.jsonl": [{"number": 1, "document": document}],
        "principals.jsonl": [{"id": 1, "kind": "machine", "sponsor": 4}, {"id": 4, "kind": "human", "sponsor": None},
                             {"id": 2, "kind": "machine", "sponsor": 5}, {"id": 5, "kind": "human", "sponsor": None},
                             {"id": 3, "kind": "human", "sponsor": None}, {"id": 7, "kind": "human", "sponsor": None},
                             {"id": 8, "kind": "human", "sponsor": None}, {"id": 9, "kind": "human", "sponsor": None}],
        "separation.jsonl": [
            {"repository": "acme/payments", "pull": 1, "handoffs": [1], "state": "ok",
             "parts": [{"principal": 1, "duty": "BUILDER"}, {"principal": 2, "duty": "ENFORCER"}, {"principal": 3, "duty": "PLAN"},
                       *([{"principal": 7, "duty": "LEAD"}] if decided else []),
                       *([{"principal": 8, "duty": "LEAD"}] if release == "BREAK-GLASS" else [])]},
        ],
        "signatures.jsonl": [{**signature, "leafIndex": signed}],
        **(changed or {}),
    }  # fmt: skip
    events = sum(b'"subject":"H-1"' in log.leaves[at].leaf for at in chosen)
    judged_at = {"log": {"size": size, "root": root_of(size, node).hex()}, "events": events, "pending": 0}
    tables["separation.jsonl"] = [{**judged_at, **row} for row in tables["separation.jsonl"]]
    writer = PackWriter(folder)
    writer.add_leaves(log.leaves[index] for index in chosen)
    writer.add_rows("proofs.jsonl", proofs)
    for name, rows in tables.items():
        writer.add_rows(name, rows)
    writer.add("VERIFY.md", b"How to verify.\n")
    text = log.checkpoint().decode().partition("\n\n")[0] + "\n"
    writer.add("checkpoint", log.checkpoint(by=[witness.cosign(text, 1_790_000_009) for witness in witnesses]))
    writer.add("keys.json", write_json({"log": [log.key.verifier().vkey], "signing": signing or []}))
    for name, raw in (files or {}).items():
        writer.add(name, raw)
    if earlier is not None:
        path = encoded(consistency_proof(earlier, size, node))
        writer.add("earlier.json", write_json({"checkpoint": log.checkpoint(earlier).decode(), "path": path}))
    digest = writer.finish(
        {
            "scope": {"kind": kind, **(days or {})},
            "log": {"origin": log.key.name, "size": size, "root": root_of(size, node).hex()},
            "assurance": "two_persons",
            **({"madeAt": made_at} if made_at else {}),
        }
    )
    seal(folder, log, size, digest)
    return log


def reseal(folder: Path, log: Log) -> None:
    """What only the log's own signer can do: a manifest of what the files are now, sealed by the log."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for file in folder.iterdir():
        if file.name not in {MANIFEST, SEAL}:
            raw = file.read_bytes()
            manifest["files"][file.name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    raw = write_json(manifest)
    (folder / MANIFEST).write_bytes(raw)
    log.leaves.pop()
    seal(folder, log, len(log.leaves), hashlib.sha256(raw).hexdigest())


def seal(folder: Path, log: Log, size: int, digest: str) -> None:
    """Put the manifest's digest into the log, and the proof of it into the pack."""
    index = log.append("export.sealed", 6, "AUDITOR", "", {"manifestSha256": digest})
    found, node = log.leaves[index], log.node
    assert found.body is not None
    assert found.salt is not None
    value: dict[str, Any] = {
        "leaf": found.leaf.decode(),
        "body": found.body.decode(),
        "salt": found.salt.hex(),
        "index": index,
        "path": one_leaf(index, index + 1, node)["path"],
        "checkpoint": log.checkpoint().decode(),
        "consistency": encoded(consistency_proof(size, index + 1, node)),
    }
    (folder / SEAL).write_bytes(write_json(value))


def iso(microseconds: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")
