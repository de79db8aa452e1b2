"""Verifying a bundle in a warm process, against command-line tools and against the bare work, stage by stage.

Wherever a command line does less than the verifier, it is let off: every difference favours the other side.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench.measure import Series, interleave, print_table, ratio
from bench.repositories import ATTESTATION, PER_FOLDER, Change, Subject, make_subject
from bench.schema import compile_schema
from handoffs.attestations.attestations import parse_attestation
from handoffs.attestations.dsse import PAYLOAD_TYPE, pae
from handoffs.bundles.bundle import LISTED, Limits, digest_of, parse_manifest, read_archive, write_archive
from handoffs.bundles.patches_reading import parse_patch
from handoffs.checks.builder_signatures import judge_builder_signature
from handoffs.checks.catalogue import CHECKS, CheckResult, Evidence, read_parts
from handoffs.checks.verification import gather_facts, verify_bundle
from handoffs.packages.sbom import parse_sbom
from tests.support.loopback_sigstore import LoopbackSigstore

ECDSA: Final = 5  # what a keyless bundle takes: certificate, SCT, promise of the log, checkpoint, statement
ROOT: Final = Path(__file__).resolve().parents[1]
PATCH_GROUPS: Final = ("merge_base", "patch", "scope")
SECRETS: Final = r"PRIVATE KEY-----|AKIA[A-Z2-7]{16}|gh[pousr]_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20}|xox[abeoprs]-"


@dataclass(frozen=True)
class Stage:
    """One part of the work: the check groups it answers for, and what a script does for the same answer."""

    name: str
    groups: tuple[str, ...]
    script: str
    bare: str


STAGES: Final = (
    Stage(
        "archive",
        ("archive",),
        "sha256sum artifact.tar.gz >/dev/null; tar -xzf artifact.tar.gz -C members",
        "zlib.decompress, hashlib.sha256",
    ),
    Stage(
        "marker, manifest",
        ("marker", "manifest"),
        "cd members; $JSON manifest.json >/dev/null; sha256sum --check --quiet ../listed.sha256",
        "hashlib.sha256 of three members",
    ),
    Stage(
        "SBOM",
        ("sbom",),
        '"$PYTHON" -I "$BENCH/schema.py" members/sbom.cdx.json',
        "orjson.loads, jsonschema-rs is_valid, schema compiled before",
    ),
    Stage(
        "patch, by git",
        PATCH_GROUPS,
        "rm -f index; git merge-base --is-ancestor $BASE $TARGET; git read-tree $BASE; "
        "git apply --cached members/changes.patch; git diff-tree -r --raw $BASE $(git write-tree) >/dev/null",
        "one `git apply --cached --check` on an index of the touched paths, made before",
    ),
    Stage(
        "attestation",
        ("attestation",),
        "cd members; sha256sum --check --quiet ../subjects.sha256; "
        "$SIGSTORE --trust-config ../trust.json verify identity --offline --bundle attestation.intoto.json "
        "--cert-identity $IDENTITY --cert-oidc-issuer $ISSUER changes.patch",
        f"hashlib.sha256 of the manifest, {ECDSA} verifications of ECDSA P-256, the key read before",
    ),
    Stage(
        "rollback, secrets",
        ("rollback", "secrets"),
        'cd members; test -s rollback.md; ! grep -qE -e "$SECRETS" *',
        "-",
    ),
)


class Rivals:
    """The three ways to do each stage on one bundle."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject
        self.git, self.context, self.raw = subject.git, subject.context, subject.raw
        self.members = subject.members
        parts = read_parts(read_archive(self.raw, Limits()), digest_of(self.raw), self.context)
        self.unasked = parts
        self.evidence = replace(parts, facts=gather_facts(parts, self.git))
        self.schema = compile_schema()
        self.folder = folder
        (folder / "members").mkdir(parents=True)
        self._lay_out(self.raw)
        self._write_sparse_index()
        self._write_trust()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._message = pae(PAYLOAD_TYPE, self.members[ATTESTATION])
        self._signature = self._key.sign(self._message, ec.ECDSA(hashes.SHA256()))
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "GIT_DIR": str(subject.path),
            "GIT_INDEX_FILE": str(folder / "index"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "BASE": subject.base,
            "TARGET": subject.base,
            "PYTHON": sys.executable,
            "BENCH": str(ROOT / "bench"),
            "JSON": json_reader(),
            "SECRETS": SECRETS,
            "SIGSTORE": str(Path(sys.executable).with_name("sigstore")),
            "IDENTITY": subject.signed.signer.identity,
            "ISSUER": subject.signed.signer.issuer,
        }

    def prove(self) -> None:
        """Both sides must accept the bundle, and refuse one with a patch that does not apply."""
        report = verify_bundle(self.raw, git=self.git, context=self.context)
        assert report.is_verified, [result for result in report.results if result.outcome == "FAILED"]
        self.run_script(whole_script())
        patch = self.members["changes.patch"].replace(b"\n-", b"\n-never there ", 1)
        broken = write_archive({**self.members, "changes.patch": patch})
        assert not verify_bundle(broken, git=self.git, context=self.context).is_verified
        self._lay_out(broken, members={**self.members, "changes.patch": patch})
        try:
            self.run_script(STAGES[0].script)
            self.run_script(STAGES[3].script)
        except subprocess.CalledProcessError:
            self._lay_out(self.raw)
            self.run_script(STAGES[0].script)
            return
        raise AssertionError("the command line accepted a patch that does not apply")

    def verify(self) -> None:
        """All of it, as the portal's worker does."""
        verify_bundle(self.raw, git=self.git, context=self.context)

    def verify_cold(self) -> None:
        """All of it in a new process, as the builder does by hand."""
        command = [str(Path(sys.executable).with_name("leo")), "bundle", "verify", "artifact.tar.gz"]
        command += ["--repo", str(self.subject.path), "--target", self.subject.base]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def run_script(self, script: str) -> None:
        """Commands in one shell; any that fails ends it."""
        command = ["sh", "-euc", script]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, capture_output=True)

    def own(self, stage: Stage) -> Callable[[], object]:
        """The verifier's part of this name: reading it, and its checks."""
        raw, members, limits, evidence = self.raw, self.members, self.context.limits, self.evidence

        def gather() -> None:
            parse_patch(members["changes.patch"], limits)
            gather_facts(self.unasked, self.git)

        readers: Mapping[str, Callable[[], object]] = {
            "archive": lambda: (digest_of(raw), read_archive(raw, limits)),
            "marker, manifest": lambda: parse_manifest(members["manifest.json"]),
            "SBOM": lambda: parse_sbom(members["sbom.cdx.json"]),
            "patch, by git": gather,
            "attestation": lambda: (parse_attestation(members[ATTESTATION]), judge_builder_signature(self.unasked)),
            "rollback, secrets": lambda: None,
        }
        read = readers[stage.name]
        return lambda: (read(), run_groups(evidence, stage.groups))

    def bare(self, stage: Stage) -> Callable[[], object] | None:
        """The least work that could give the answer."""
        raw, members = self.raw, self.members
        limits: Mapping[str, Callable[[], object]] = {
            "archive": lambda: (zlib.decompress(raw, wbits=31), hashlib.sha256(raw).digest()),
            "marker, manifest": lambda: [hashlib.sha256(members[name]).digest() for name in LISTED],
            "SBOM": lambda: self.schema.is_valid(orjson.loads(members["sbom.cdx.json"])),
            "patch, by git": self._apply_bare,
            "attestation": self._attest_bare,
        }
        return limits.get(stage.name)

    def all_bare(self) -> None:
        """The bare work of all stages, one after the other."""
        for stage in STAGES:
            work = self.bare(stage)
            if work is not None:
                work()

    def _attest_bare(self) -> None:
        hashlib.sha256(self.members["manifest.json"]).digest()
        for _ in range(ECDSA):
            self._key.public_key().verify(self._signature, self._message, ec.ECDSA(hashes.SHA256()))

    def _apply_bare(self) -> None:
        command = ["git", "apply", "--cached", "--check", "-"]
        environment = {**self.environment, "GIT_INDEX_FILE": str(self.folder / "sparse")}
        patch = self.members["changes.patch"]
        subprocess.run(command, cwd=self.subject.path, env=environment, input=patch, check=True, capture_output=True)

    def _lay_out(self, raw: bytes, members: Mapping[str, bytes] | None = None) -> None:
        """The archive, and the digests it must hold, as files."""
        known = members or self.members
        (self.folder / "artifact.tar.gz").write_bytes(raw)
        for file, names in (("listed.sha256", LISTED), ("subjects.sha256", (*LISTED, "manifest.json"))):
            (self.folder / file).write_text("".join(f"{digest_of(known[name])}  {name}\n" for name in names))

    def _write_trust(self) -> None:
        """The root of the Sigstore that signed, as its command line takes it; whom else to ask is never looked at."""
        with LoopbackSigstore() as services:
            config = {**services.trust_config(), "trustedRoot": self.subject.signed.root_document}
        (self.folder / "trust.json").write_text(json.dumps(config))

    def _write_sparse_index(self) -> None:
        """An index of the touched paths only, by git itself."""
        assert self.evidence.facts is not None
        touched = [change for change in self.evidence.facts.changes if change.status != "A"]
        lines = "".join(f"{change.old_mode} {change.old_blob}\t{change.path}\0" for change in touched)
        environment = {"GIT_INDEX_FILE": str(self.folder / "sparse")}
        self.git.run("update-index", "--add", "-z", "--index-info", stdin=lines.encode(), env=environment)


def run_groups(evidence: Evidence, groups: tuple[str, ...]) -> list[CheckResult]:
    """The checks of some groups."""
    return [check.run(evidence) for check in CHECKS if check.group in groups]


def whole_script() -> str:
    """Every stage as one script, each in a subshell of its own so that a `cd` ends with it."""
    return "\n".join(f"({stage.script})" for stage in STAGES)


def json_reader() -> str:
    """A command that reads one JSON file and fails if it is none: jq if it is installed, as the faster one."""
    found = shutil.which("jq")
    return f"{found} -e ." if found else f"{sys.executable} -I -m json.tool"


def run(folder: Path) -> None:
    """Measure both bundles, and the small one in a large repository."""
    small = make_subject(folder, files=2_000, change=Change(files=3, lines=2, packages=6))
    large = make_subject(folder, files=2_001, change=Change(files=200, lines=24, packages=100))
    for name, subject, rounds in (("small", small, 11), ("large", large, 5)):
        rivals = Rivals(subject, folder / name)
        rivals.prove()
        print(f"bundle verification, {name}: {subject.describe()}; repository of 2,000 files; {rounds} rounds; ms")
        print_stages(rivals, rounds)
    wide = make_subject(folder, files=52_000, change=Change(files=3, lines=2, packages=6))
    narrow_rivals, wide_rivals = Rivals(small, folder / "narrow"), Rivals(wide, folder / "wide")
    narrow_rivals.prove()
    wide_rivals.prove()
    print_growth(narrow_rivals, wide_rivals, rounds=5)
    print_sides()


def print_stages(rivals: Rivals, rounds: int) -> None:
    """Three sides of every stage and of the whole, all in the same rounds."""
    candidates: dict[str, Callable[[], object]] = {
        "own whole": rivals.verify,
        "script whole": lambda: rivals.run_script(whole_script()),
        "bare whole": rivals.all_bare,
        "cold": rivals.verify_cold,
    }
    for stage in STAGES:
        candidates[f"own {stage.name}"] = rivals.own(stage)
        candidates[f"script {stage.name}"] = lambda script=stage.script: rivals.run_script(script)  # type: ignore[misc]
        bare = rivals.bare(stage)
        if bare is not None:
            candidates[f"bare {stage.name}"] = bare
    found = interleave(candidates, rounds=rounds)
    rows = [_row(name, found, whole=found["own whole"]) for name in ("whole", *(stage.name for stage in STAGES))]
    print_table(("stage", "warm", "share", "script", "bare", "script/warm", "warm/bare"), rows)
    cold, script = found["cold"], found["script whole"]
    print(f"  a new process, `leo bundle verify`: {cold}; script/cold {ratio(script, cold)}\n")


def _row(name: str, found: Mapping[str, Series], *, whole: Series) -> tuple[str, ...]:
    own, script, bare = (found.get(f"{side} {name}") for side in ("own", "script", "bare"))
    assert own is not None
    share = f"{own.median / whole.median:.0%}"
    return (name, str(own), share, str(script), str(bare or "-"), ratio(script, own), ratio(own, bare))


def print_growth(narrow: Rivals, wide: Rivals, *, rounds: int) -> None:
    """The same small change in repositories of 2,000 and 52,000 files."""
    patch = next(stage for stage in STAGES if stage.groups == PATCH_GROUPS)
    found = interleave(
        {
            "verify 2k": narrow.verify,
            "verify 52k": wide.verify,
            "script 2k": lambda: narrow.run_script(patch.script),
            "script 52k": lambda: wide.run_script(patch.script),
        },
        rounds=rounds,
    )
    print(f"the small change in 52,000 files against 2,000, at most {PER_FOLDER} in a folder; {rounds} rounds; ms")
    rows = [
        (what, str(found[f"{side} 2k"]), str(found[f"{side} 52k"]), ratio(found[f"{side} 52k"], found[f"{side} 2k"]))
        for what, side in (("warm verify_bundle", "verify"), ("script, patch alone", "script"))
    ]
    print_table(("side", "2,000 files", "52,000 files", "52k/2k"), rows)


def print_sides() -> None:
    """Exactly what each side does."""
    print("what each side does:")
    print("  warm: verify_bundle in a process that verified before; a stage is its reader and its")
    print("    checks. Only this side reads patch and JSON strictly, compares the SBOM with the files and lock files")
    print("    the patch makes, applies the patch a second time, and looks at paths, modes, markers and provenance.")
    print(f"  script: one `sh`; JSON is `{json_reader().rsplit('/', 1)[-1]}`; expected digests are given to it")
    for stage in STAGES:
        print(f"    {stage.name}: {stage.script}")
    print("  bare: the same process")
    for stage in STAGES:
        print(f"    {stage.name}: {stage.bare}")
    print(flush=True)
