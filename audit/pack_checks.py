"""What an evidence pack proves, from the outside in: signed tree, manifest, leaves, rows, commits, separation.

Each check says what it found or raises PackError, which names the record. All of them run as far as they have something
to stand on. Pure but for reading the pack; the decision function and the signatures' libraries come from the caller,
since they are not the trail's.
Not checked: that what was recorded is true (N1 of VERIFY.md).
Source: RFC 9162, C2SP tlog-checkpoint; product.md section 9.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from audit import events
from audit.canonical import JsonValue
from audit.checkpoint import Checkpoint
from audit.events import Role
from audit.leaves import LeafError, parse_leaf
from audit.merkle import leaf_hash
from audit.notes import VerifierKey, parse_vkey
from audit.pack_anchors import Anchors
from audit.pack_commits import check_commits
from audit.pack_duties import Duties
from audit.pack_findings import Act, Finding, Judges, Report, State
from audit.pack_heads import Heads
from audit.pack_leaves import check_tree, indexed
from audit.pack_reading import Pack, PackError, parse_object
from audit.pack_records import body_of, check_record, moment_of
from audit.pack_scope import check_scope
from audit.pack_signatures import Signatures
from audit.pack_trust import Trust
from audit.pack_writing import BODIES, MANIFEST, NEEDED, OPTIONAL, SCHEMA, UNNAMED, artifact_digest
from audit.separation import Part

EXCLUSIVE: Final = frozenset({Role.BUILDER, Role.ENFORCER, Role.PLAN, Role.LEAD})
KEPT: Final = frozenset(
    {
        events.VERDICT_RECORDED, events.DECISION_RECORDED, events.PULL_MERGED, events.COMMIT_LANDED,
        events.POLICY_ENACTED, events.REPOSITORY_GOVERNED, events.BREAK_GLASS_OPENED, events.BREAK_GLASS_REVIEWED,
    }
)  # fmt: skip
DECIDED: Final = frozenset({events.VERDICT_RECORDED, events.DECISION_RECORDED})


@dataclass
class Verification:
    """One pack, checked."""

    pack: Pack
    keys: Sequence[VerifierKey]
    earlier: bytes | None
    judges: Judges | None = None
    witnesses: Sequence[VerifierKey] = ()
    artifacts: Mapping[str, Path] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    acts: list[Act] = field(default_factory=list)
    parts: dict[str, set[Part]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    rules: dict[str, JsonValue] = field(default_factory=dict)
    trust: Trust = field(default_factory=Trust)
    singles: dict[int, datetime] = field(default_factory=dict)
    is_read: bool = False
    replayed: int = 0
    misjudged: list[str] = field(default_factory=list)
    manifest: Mapping[str, JsonValue] = field(default_factory=dict)

    def run(self) -> list[Finding]:
        """Every check, in order."""
        attempt = self.report.attempt
        attempt("manifest", self.check_manifest)
        if not self.keys:
            self.report.broken("trust", "no key was given: whoever made the pack chose its key; give --key")
            attempt("log key", self.take_keys)
        heads, found = Heads(self.pack, self.keys, self.report), list[Checkpoint]()

        def checkpoint() -> str:
            head = heads.check_checkpoint(self.manifest)
            found.append(head)
            return f"{head.origin}: {head.size} leaves, root {head.root.hex()}"

        attempt("checkpoint", checkpoint)
        for head in found:
            self._check(head, heads)
        return self.report.findings

    def _check(self, head: Checkpoint, heads: Heads) -> None:
        attempt, duties = self.report.attempt, Duties(self.pack, self.parts, self.counts, head, self.report)
        attempt("witnesses", lambda: heads.check_witnesses(self.witnesses))
        attempt("seal", lambda: heads.check_seal(head))
        if "earlier.json" in self.pack.names:
            attempt("earlier checkpoint", lambda: heads.check_earlier(head))
        attempt("your checkpoint", lambda: heads.check_own(head, self.earlier))
        attempt("anchors", Anchors(heads, head, self.judges).check)
        attempt("leaves", lambda: check_tree(self.pack, head))
        attempt("records", self.check_acts)
        if self.judges is not None:
            attempt("decisions", self.check_decisions)
        attempt("policies", self.check_policies)
        attempt("keys", lambda: self.trust.check_keys(self.pack))
        attempt("signers", lambda: self.trust.check_signers(self.pack))
        attempt("standing", lambda: self.trust.check_standing(self.report))
        attempt("commits", lambda: check_commits(self.pack, self.acts, self.report))
        attempt("separation", duties.check_pulls)
        attempt("break-glass", lambda: duties.check_glasses(self.acts, moment_of(self.manifest.get("madeAt"))))
        if self.judges is None:
            self.report.gap("signatures.jsonl", "not checked: nothing to check them with was given")
        else:
            signatures = Signatures(self.pack, self.judges, self.artifacts, self.report)
            attempt("signatures", lambda: signatures.check({act.index: act for act in self.acts}))
            attempt("artifacts", signatures.check_artifacts)
        told = self.manifest.get("scope")
        scope = told if isinstance(told, dict) else {}
        attempt("completeness", lambda: check_scope(self.pack, scope, head.size, self.singles, self.report))
        self.tell_scope(scope.get("kind"))

    def check_manifest(self) -> str:
        """Every file is the one the manifest names, and there is no other."""
        manifest = self.manifest = parse_object(self.pack.read(MANIFEST), MANIFEST)
        files = manifest.get("files")
        if manifest.get("schema") != SCHEMA or not isinstance(files, dict):
            raise PackError(MANIFEST, f"expected the schema {SCHEMA} and files")
        for name in sorted(NEEDED | set(files) | self.pack.names - UNNAMED):
            if name not in files or not (name in NEEDED | OPTIONAL or artifact_digest(name)):
                self.report.say(State.FAILED, "files", f"{name}: the manifest does not name it")
            elif name not in self.pack.names:
                self.report.say(State.FAILED, "files", f"{name}: it is missing")
            else:
                size, digest = self.pack.digest(name)
                if files[name] != {"bytes": size, "sha256": digest}:
                    wanted = f"expected {files[name]}"
                    self.report.say(State.FAILED, "files", f"{name}: got {size} bytes, SHA-256 {digest}, {wanted}")
        return f"{len(files)} files"

    def take_keys(self) -> str:
        """The keys that the pack itself names: good for finding mistakes, not for trusting it."""
        lines = parse_object(self.pack.read("keys.json"), "keys.json").get("log")
        if not isinstance(lines, list):
            raise PackError("keys.json", "expected the log's keys")
        self.keys = [parse_vkey(str(line)) for line in lines]
        return "taken from the pack"

    def check_acts(self) -> str:
        """Every body is its leaf's, every row says what its leaf says."""
        rows = self.pack.rows("records.jsonl")
        pending = next(rows, None)
        erased = records = 0
        bodies = self.pack.rows(BODIES)
        for index, raw, is_single in indexed(self.pack):
            where, told = next(bodies, (BODIES, {}))
            try:
                leaf = parse_leaf(raw)
                body = body_of(leaf, told, where)
            except LeafError as error:
                raise PackError(f"leaf {index}", f"{error} ({where})") from None
            erased += body is None
            act = Act(index, leaf_hash(raw).hex(), leaf, body)
            while pending is not None and pending[1].get("leafIndex") == index:
                check_record(pending[0], pending[1], act)
                records += 1
                pending = next(rows, None)
            if is_single:
                self.singles[index] = leaf.at
            self._keep(act)
        if next(bodies, None) is not None:
            raise PackError(BODIES, "there are more bodies than leaves")
        if pending is not None:
            raise PackError(pending[0], f"its leaf {pending[1].get('leafIndex')} is not in the pack, or not in order")
        if erased:
            self.report.gap("bodies", f"{erased} were erased: their acts are proved, their words are gone")
        self.is_read = True
        return f"{records} rows say what their leaves say"

    def _keep(self, act: Act) -> None:
        leaf = act.leaf
        self.counts[leaf.subject] += 1
        self.trust.keep(act)
        if leaf.subject and leaf.role in EXCLUSIVE and not leaf.kind.endswith(".refused"):
            self.parts.setdefault(leaf.subject, set()).add(Part(leaf.principal, Role(leaf.role)))
        if leaf.kind not in KEPT:
            return
        if act.body is not None and leaf.kind == events.POLICY_ENACTED:
            self.rules[str(act.body.get("digest"))] = act.body.get("rules")
        if act.body is not None and leaf.kind in DECIDED and self.judges is not None:
            self.replayed += 1
            problem = self.judges.decision(leaf.kind, dict(act.body), self.rules.get(str(act.body.get("policy"))))
            self.misjudged += [f"leaf {act.index}: {leaf.kind}: {problem}"] if problem else []
        small = {name: value for name, value in (act.body or {}).items() if isinstance(value, str | int)}
        self.acts.append(Act(act.index, act.digest, leaf, small if act.body is not None else None))

    def check_decisions(self) -> str:
        """Every recorded verdict and decision comes out again from what is stored with it."""
        if not self.is_read:
            raise PackError("records.jsonl", "what was decided could not be read to its end")
        if self.misjudged:
            for detail in self.misjudged[1:]:
                self.report.say(State.FAILED, "decisions", detail)
            where, _, detail = self.misjudged[0].partition(": ")
            raise PackError(where, detail)
        if erased := sum(act.body is None and act.leaf.kind in DECIDED for act in self.acts):
            self.report.gap("decisions", f"{erased} cannot be computed again: their bodies were erased")
        return f"{self.replayed} were computed again, with the same result"

    def check_policies(self) -> str:
        """Every policy that a verdict was judged by is there, and is the text that was enacted."""
        texts = set()
        for where, row in self.pack.rows("policies.jsonl"):
            if not isinstance(text := row.get("document"), str):
                raise PackError(where, "expected a document")
            texts.add(digest := hashlib.sha256(text.encode()).hexdigest())
            problem = self.judges.policy(text, self.rules[digest]) if self.judges and digest in self.rules else ""
            if problem:
                raise PackError(where, problem)
        bodies = [(act, act.body) for act in self.acts if act.body is not None]
        enacted = {str(body.get("digest")) for act, body in bodies if act.leaf.kind == events.POLICY_ENACTED}
        for act, body in bodies:
            if act.leaf.kind == events.VERDICT_RECORDED and body.get("policy") not in texts & enacted:
                raise PackError("policies.jsonl", f"the policy {body.get('policy')} of leaf {act.index} is missing")
        if texts - enacted:
            raise PackError("policies.jsonl", f"nobody enacted {min(texts - enacted)}")
        return f"{len(texts)} policies"

    def tell_scope(self, kind: JsonValue) -> None:
        """What the pack does not hold, and so does not prove."""
        if kind == "pull":
            held = "a pack of one pull request proves what it holds, not that nothing else was recorded about it"
            self.report.gap("completeness", f"{held}; a pack of a period does")
        if self.manifest.get("assurance") == "single_operator":
            self.report.gap("assurance", "one person operates every agent: no separation of persons is claimed")
