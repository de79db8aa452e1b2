"""Repositories of a given size with one change in them, and the bundle the builder makes of it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from handoffs.bundles.building import BundleRequest, create_bundle
from handoffs.bundles.bundle import Limits, digest_of, read_archive, write_archive
from handoffs.bundles.patches_reading import parse_patch
from handoffs.checks.catalogue import Context
from handoffs.checks.evidence import BuilderTrust
from handoffs.git.repository import Git
from handoffs.packages.components import MAX_TOLD
from handoffs.packages.sbom import parse_sbom
from tests.support.sigstore import Signed, signed_statement

BUILDER = "https://builder.invalid/codex/v1"
ATTESTATION = "attestation.intoto.json"
LOCK_FILE = "requirements.txt"
LINES_PER_FILE = 80
PER_FOLDER = 40


@dataclass(frozen=True)
class Change:
    """How large: changed lines are `files` times `lines`, and one for each newly pinned package.

    Units: `filling` is bytes added to each component of the SBOM, as a generator that looks packages up would.
    """

    files: int
    lines: int
    packages: int
    filling: int = 0


@dataclass(frozen=True)
class Subject:
    """One bundle to verify, and the bare repository it is for."""

    path: Path
    base: str
    raw: bytes
    signed: Signed

    @property
    def git(self) -> Git:
        return Git(self.path)

    @property
    def members(self) -> dict[str, bytes]:
        return dict(read_archive(self.raw, Limits()).members)

    @property
    def context(self) -> Context:
        """What the portal knows of it; everything agrees with the bundle."""
        return Context(
            repository="acme/payments",
            marker_digest=digest_of(self.raw),
            branch="staging/codex-bench",
            target_branch_sha=self.base,
            max_components_told=MAX_TOLD,
            allowed_builders=(BUILDER,),
            trust=BuilderTrust(self.signed.root, {BUILDER: self.signed.signer}),
        )

    def describe(self) -> str:
        """What is in the bundle, counted in the bundle itself."""
        members = self.members
        patch, sbom = parse_patch(members["changes.patch"], Limits()), parse_sbom(members["sbom.cdx.json"])
        return (
            f"{patch.changed_lines:,} changed lines in {len(patch.files)} files, "
            f"SBOM of {len(sbom.components)} components, {len(self.raw):,} bytes"
        )


def make_subject(folder: Path, *, files: int, change: Change) -> Subject:
    """A bare repository with `files` files, a change in it, and the bundle of the change."""
    path = folder / f"repository-{files}-{change.files}.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(path)], check=True)
    names = [_name(number) for number in range(files - 1)]
    before = {LOCK_FILE: _lock(20), **{name: _text(name, changed=0) for name in names}}
    step = len(names) // change.files
    after = {name: _text(name, changed=change.lines // 2) for name in names[: step * change.files : step]}
    if change.packages:
        after[LOCK_FILE] = _lock(20 + change.packages)
    stream = _commit("main", before, parent="") + _commit("work", after, parent="main")
    subprocess.run(["git", f"--git-dir={path}", "fast-import", "--quiet"], input=stream, check=True)
    git = Git(path)
    base = git.resolve("main")
    request = BundleRequest(
        prd_id="PRD-1",
        task="Change what is measured",
        builder_id=BUILDER,
        sponsor="ada",
        repository="acme/payments",
        branch="staging/codex-bench",
    )
    raw = create_bundle(git, base=base, commit="work", request=request)
    members = dict(read_archive(_filled(raw, change.filling) if change.filling else raw, Limits()).members)
    signed = signed_statement(members[ATTESTATION])
    return Subject(path, base, write_archive({**members, ATTESTATION: signed.raw}), signed)


def _filled(raw: bytes, filling: int) -> bytes:
    """The bundle with larger components, and every digest made right again."""
    members = dict(read_archive(raw, Limits()).members)
    document = json.loads(members["sbom.cdx.json"])
    for component in document["components"]:
        url = f"https://packages.example.com/{component['name']}"
        component["externalReferences"] = [
            {"type": kind, "url": f"{url}/{kind}"} for kind in ("website", "vcs", "license")
        ]
        component["licenses"] = [{"license": {"id": "Apache-2.0"}}]
        component["description"] = "What it does, at length. ".ljust(max(0, filling - 330), "x")
    members["sbom.cdx.json"] = json.dumps(document, separators=(",", ":")).encode()
    manifest = json.loads(members["manifest.json"])
    for member in manifest["members"]:
        content = members[member["name"]]
        member.update(size=len(content), sha256=digest_of(content))
    members["manifest.json"] = json.dumps(manifest).encode()
    statement = json.loads(members["attestation.intoto.json"])
    for subject in statement["subject"]:
        subject["digest"] = {"sha256": digest_of(members[subject["name"]])}
    members["attestation.intoto.json"] = json.dumps(statement).encode()
    return write_archive(members)


def _name(number: int) -> str:
    """Three levels deep, at most PER_FOLDER entries in a folder."""
    part, area = number // PER_FOLDER, number // PER_FOLDER**2
    return f"src/area{area:02}/part{part % PER_FOLDER:02}/module{number % PER_FOLDER:02}.py"


def _commit(branch: str, files: dict[str, bytes], *, parent: str) -> bytes:
    """One commit for git fast-import."""
    when = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
    head = f"commit refs/heads/{branch}\ncommitter Cody <codex@builder.invalid> {when} +0000\ndata 6\nchange\n"
    parts = [head.encode(), f"from refs/heads/{parent}\n".encode() if parent else b""]
    for name, content in files.items():
        parts.append(b"M 100644 inline %s\ndata %d\n%s\n" % (name.encode(), len(content), content))
    return b"".join(parts)


def _text(name: str, *, changed: int) -> bytes:
    """A module of small functions; `changed` of their bodies, spread out, differ from the first version."""
    functions = LINES_PER_FILE // 2
    marked = {number * functions // changed for number in range(changed)} if changed else set()
    return "".join(
        f"def step_{number}(amount):  # {name}\n    return amount * {number + 1000 * (number in marked)}\n"
        for number in range(functions)
    ).encode()


def _lock(packages: int) -> bytes:
    return "".join(f"package-{number:04}==1.{number}.0\n" for number in range(packages)).encode()
