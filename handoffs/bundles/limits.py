"""What of a bundle is too much, and how a reader says what is wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is too much. Units: bytes, files, lines as the names say."""

    max_archive_bytes: int = 48 << 20
    max_unpacked_bytes: int = 40 << 20
    max_ratio: int = 200
    max_manifest_bytes: int = 256 << 10
    max_patch_bytes: int = 20 << 20
    max_sbom_bytes: int = 16 << 20
    max_attestation_bytes: int = 1 << 20
    max_rollback_bytes: int = 256 << 10
    max_files: int = 5_000
    max_changed_lines: int = 200_000
    max_member_lines: int = 1_000_000
    max_blob_bytes: int = 128 << 20
    may_hold_binary: bool = True

    def of_member(self, name: str) -> int:
        """The most bytes the member `name` may have."""
        return {
            "attestation.intoto.json": self.max_attestation_bytes,
            "changes.patch": self.max_patch_bytes,
            "manifest.json": self.max_manifest_bytes,
            "rollback.md": self.max_rollback_bytes,
            "sbom.cdx.json": self.max_sbom_bytes,
        }[name]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an archive; `code` is the code of the check that reports it."""

    code: str
    got: str
    expected: str
