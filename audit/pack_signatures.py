"""The signatures of an evidence pack: statements, bundles, and the detached ones over artifacts that are there.

What judges them comes from the caller: the libraries are not the trail's.
Source: RFC 9580 (OpenPGP), Sigstore bundles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from audit.canonical import JsonValue
from audit.pack_findings import FALLEN, NOT_CHECKED, Act, Judges, Report
from audit.pack_reading import Pack, PackError
from audit.pack_writing import artifact_digest, artifact_name


@dataclass(frozen=True)
class Signatures:
    """The rows of signatures.jsonl. `artifacts` are files that the reader has, by their SHA-256."""

    pack: Pack
    judges: Judges
    artifacts: Mapping[str, Path]
    report: Report

    def check(self, acts: Mapping[int, Act]) -> str:
        """Every signed statement and bundle signature.

        Raises: PackError.
        """
        count = left = fallen = 0
        for where, row in self.pack.rows("signatures.jsonl"):
            problem = self.judges.signature(row, acts)
            if problem == NOT_CHECKED:
                left += 1
                continue
            if problem and problem != FALLEN:
                raise PackError(where, problem)
            count, fallen = count + 1, fallen + (problem == FALLEN)
        if fallen:
            held = "they were received since the moment from which it is distrusted"
            self.report.gap("signatures.jsonl", f"{fallen} are by a key that was revoked: {held}")
        if left:
            said = "give --trusted-root, --identity and --issuer; the pack's own root proves nothing by itself"
            self.report.gap("signatures.jsonl", f"{left} by Sigstore were not checked: {said}")
        return f"{count} hold"

    def check_artifacts(self) -> str:
        """Every detached OpenPGP signature over an artifact.tar.gz that is in the pack or that the reader gave.

        Raises: PackError.
        """
        signed = [(where, row) for where, row in self.pack.rows("signatures.jsonl") if _is_detached(row)]
        known, count = {str(row.get("digest")) for _, row in signed}, 0
        for name in sorted(self.pack.names):
            digest = artifact_digest(name)
            if digest and self.pack.digest(name)[1] != digest:
                raise PackError(name, f"it has the SHA-256 {self.pack.digest(name)[1]}")
            if digest and digest not in known:
                raise PackError(name, "no row of signatures.jsonl is about it")
        for where, row in signed:
            raw = self._artifact(str(row.get("digest")))
            if raw is None:
                continue
            problem = self.judges.artifact(row, raw)
            if problem and problem != FALLEN:
                raise PackError(where, f"the detached signature over artifact.tar.gz: {problem}")
            count += 1
        if count < len(signed):
            left = f"{len(signed) - count} over artifact.tar.gz were not checked"
            self.report.gap("artifacts", f"{left}: the artifacts are not in the pack; give them with --artifact")
        return f"{count} detached signatures hold"

    def _artifact(self, digest: str) -> bytes | None:
        if artifact_name(digest) in self.pack.names:
            return self.pack.read(artifact_name(digest))
        path = self.artifacts.get(digest)
        return path.read_bytes() if path else None


def _is_detached(row: Mapping[str, JsonValue]) -> bool:
    return row.get("kind") == "bundle" and row.get("method") != "sigstore"
