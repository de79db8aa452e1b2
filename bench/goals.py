"""Goals 1 to 5: one bundle against the command line and the bare work, growth, large repositories, isolation.

Every ratio is of medians taken in the same rotated rounds of one run, but for what takes minutes: that runs once,
among the others, and says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.bundle import ECDSA, ROOT, STAGES, Rivals
from bench.measure import Series, interleave, print_table
from bench.repositories import BUILDER, Change, Subject, make_subject
from bench.schema import schema_folder
from handoffs.checks.isolation import Ceiling, run_isolated
from handoffs.checks.verification import Report, gather_facts, verify_bundle, warm_up
from handoffs.packages.sbom import parse_sbom

SMALL: Final = Change(files=3, lines=2, packages=6)
LARGE: Final = Change(files=580, lines=80, packages=20_000, filling=560)
AJV: Final = ("ajv@8.20.0", "ajv-formats@3.0.1", "ajv-formats-draft2019@1.6.1")


@dataclass(frozen=True)
class Measured:
    """One ratio and its goal: `at_most` or else at least."""

    goal: str
    what: str
    above: Series | float
    below: Series | float
    wanted: float
    at_most: bool

    @property
    def ratio(self) -> float:
        return _number(self.above) / _number(self.below)

    def row(self) -> tuple[str, ...]:
        met = self.ratio <= self.wanted if self.at_most else self.ratio >= self.wanted
        sign = "<=" if self.at_most else ">="
        return (
            f"{self.goal} {self.what}",
            str(self.above) if isinstance(self.above, Series) else f"{self.above:.4g}",
            str(self.below) if isinstance(self.below, Series) else f"{self.below:.4g}",
            f"{self.ratio:.3g}",
            f"{sign} {self.wanted:g}",
            "met" if met else "NOT MET",
        )


def _number(value: Series | float) -> float:
    return value.median if isinstance(value, Series) else value


def once(work: Callable[[], object]) -> Series:
    """One run of what is too slow to be repeated."""
    begin = time.perf_counter()
    work()
    return Series(((time.perf_counter() - begin) * 1000,))


class CommandLine:
    """The same answers by the tools a person would call: tar, sha256sum, an SBOM validator, git in a work tree."""

    def __init__(self, rivals: Rivals, validator: tuple[str, ...]) -> None:
        self.rivals, self.validator = rivals, validator

    def script(self) -> str:
        sbom = " ".join(self.validator)
        stages = []
        for stage in STAGES:
            match stage.name:
                case "SBOM":
                    stages.append(f"{sbom} members/sbom.cdx.json")
                case "patch, by git":
                    stages.append(self.patch())
                case _:
                    stages.append(stage.script)
        return "\n".join(f"({stage})" for stage in stages)

    @staticmethod
    def patch() -> str:
        """What a pipeline does: a fresh work tree at the base, the patch tried in it, the tree of the result."""
        return (
            "git merge-base --is-ancestor $BASE $TARGET; rm -rf tree; git worktree prune; "
            "env -u GIT_INDEX_FILE git worktree add --quiet --detach --force tree $BASE; "
            "cd tree; unset GIT_DIR GIT_INDEX_FILE; git apply --index ../members/changes.patch; "
            "git diff-tree -r --raw $BASE $(git write-tree) >/dev/null"
        )

    def sbom(self) -> None:
        self.rivals.run_script(f"{' '.join(self.validator)} members/sbom.cdx.json")

    def run(self) -> None:
        self.rivals.run_script(self.script())

    def run_patch(self) -> None:
        self.rivals.run_script(self.patch())


def find_validator(folder: Path) -> tuple[tuple[str, ...], str]:
    """node with ajv if npm can install it, else this project's validator as a program of its own."""
    own = (sys.executable, "-I", str(ROOT / "bench" / "schema.py"))
    if shutil.which("npm") is None or shutil.which("node") is None:
        return own, "a Python that imports jsonschema-rs alone (no node here)"
    done = subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--silent", "--ignore-scripts", *AJV],
        cwd=folder, check=False, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    if done.returncode != 0:
        return own, "a Python that imports jsonschema-rs alone (npm could not install ajv)"
    return ("node", str(ROOT / "bench" / "ajv.cjs"), str(folder), str(schema_folder())), ", ".join(AJV)


def run(folder: Path, only: frozenset[int] = frozenset(range(1, 6))) -> None:
    """Some of the five goals; the table is printed at the end."""
    npm = folder / "npm"
    npm.mkdir()
    validator, name = find_validator(npm) if only & {1, 2} else ((), "nothing, it is not asked to")
    print(f"goals; the command line validates SBOMs by {name}\n", flush=True)
    small = make_subject(folder, files=2_000, change=SMALL)
    rows: list[Measured] = []
    if 1 in only:
        rows += small_bundle(Rivals(small, folder / "small"), validator)
    if 2 in only:
        rows += large_bundle(make_subject(folder, files=2_001, change=LARGE), folder, validator)
    if 3 in only:
        rows += growth()
    if 4 in only:
        rows += repositories(folder, small)
    if 5 in only:
        rows += isolation(small)
    print_table(("goal", "above", "below", "ratio", "goal", ""), [row.row() for row in rows])
    print_sides()


def small_bundle(rivals: Rivals, validator: tuple[str, ...]) -> list[Measured]:
    """Goal 1."""
    rivals.prove()
    line = CommandLine(rivals, validator)
    print(f"  small: {rivals.subject.describe()}", flush=True)
    found = interleave({"x": rivals.verify, "L": rivals.all_bare, "A": line.run}, rounds=15)
    return [
        Measured("1", "small bundle, command line / verifier", found["A"], found["x"], 100, at_most=False),
        Measured("1", "small bundle, verifier / bare work", found["x"], found["L"], 2.0, at_most=True),
    ]


def large_bundle(subject: Subject, folder: Path, validator: tuple[str, ...]) -> list[Measured]:
    """Goal 2."""
    rivals = Rivals(subject, folder / "large")
    rivals.prove()
    print(f"  large: {subject.describe()}", flush=True)
    found = interleave({"x": rivals.verify, "L": rivals.all_bare}, rounds=7)
    slow = once(CommandLine(rivals, validator).sbom)
    unpacked = sum(map(len, subject.members.values()))
    peak = peak_of(subject, folder)
    return [
        Measured("2", "large bundle, SBOM by command line (one run) / verifier", slow, found["x"], 200, at_most=False),
        Measured("2", "large bundle, verifier / bare work", found["x"], found["L"], 1.3, at_most=True),
        Measured(
            "2", "large bundle, peak RSS MiB / unpacked MiB", peak / (1 << 20), unpacked / (1 << 20), 10, at_most=True
        ),
    ]


def peak_of(subject: Subject, folder: Path) -> int:
    """The most memory a new process takes that verifies one bundle and nothing else. Units: bytes."""
    program = """
import sys
from pathlib import Path
from handoffs.checks.catalogue import Context
from handoffs.git.repository import Git
from handoffs.checks.evidence import BuilderTrust
from handoffs.checks.verification import verify_bundle
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.trust_roots import read_trusted_root
root = read_trusted_root(Path(sys.argv[5]).read_bytes(), source="bench")
known = {"marker_digest": sys.argv[3], "target_branch_sha": sys.argv[4]}
trust = BuilderTrust(root, {sys.argv[6]: Signer(*sys.argv[7:])})
known["max_components_told"] = 200
context = Context(repository="acme/payments", branch="staging/codex-bench", trust=trust, **known)
assert verify_bundle(Path(sys.argv[1]).read_bytes(), git=Git(Path(sys.argv[2])), context=context).is_verified
fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(fields["VmHWM"].split()[0]) * 1024)
"""
    file = folder / "large.tar.gz"
    file.write_bytes(subject.raw)
    root = folder / "root.json"
    root.write_bytes(subject.signed.root.raw)
    signer = subject.signed.signer
    arguments = [str(file), str(subject.path), subject.context.marker_digest or "", subject.base]
    arguments += [str(root), BUILDER, signer.identity, signer.issuer]
    command = [sys.executable, "-c", program, *arguments]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def growth() -> list[Measured]:
    """Goal 3: components, and the length of an address each of them has."""
    few, many, long = _sbom(2_000, 38), _sbom(20_000, 38), _sbom(2_000, 418)
    found = interleave(
        {"2k": lambda: parse_sbom(few), "20k": lambda: parse_sbom(many), "long": lambda: parse_sbom(long)}, rounds=7
    )
    return [
        Measured("3", "SBOM of 20,000 / 2,000 components", found["20k"], found["2k"], 12, at_most=True),
        Measured("3", "SBOM with URLs of 418 / 38 characters", found["long"], found["2k"], 2, at_most=True),
    ]


def _sbom(components: int, address: int) -> bytes:
    url = "https://example.com/".ljust(address, "a")
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "components": [
                {
                    "type": "library",
                    "name": f"package-{number}",
                    "version": "1.0",
                    "purl": f"pkg:pypi/package-{number}@1.0",
                    "externalReferences": [{"type": "website", "url": url}],
                }
                for number in range(components)
            ],
        }
    ).encode()


def repositories(folder: Path, small: Subject) -> list[Measured]:
    """Goal 4: the patch check alone, the same patch in 2,000 and in 52,000 files."""
    wide = make_subject(folder, files=52_000, change=SMALL)
    rivals = {"2k": Rivals(small, folder / "narrow"), "52k": Rivals(wide, folder / "wide")}
    for rival in rivals.values():
        rival.prove()
    patch: Mapping[str, Callable[[], object]] = {name: _patch_check(rival) for name, rival in rivals.items()}
    found = interleave(patch, rounds=21)
    tree = once(CommandLine(rivals["52k"], ()).run_patch)
    return [
        Measured("4", "patch check, 52,000 / 2,000 files", found["52k"], found["2k"], 1.25, at_most=True),
        Measured(
            "4", "patch in a work tree of 52,000 files (one run) / patch check", tree, found["52k"], 1000, at_most=False
        ),
    ]


def _patch_check(rivals: Rivals) -> Callable[[], object]:
    return lambda: gather_facts(rivals.unasked, rivals.subject.git)


def isolation(subject: Subject) -> list[Measured]:
    """Goal 5: a forked child of a warm process, against a new process and against no isolation at all."""
    warm_up(subject.signed.root)
    git, context, raw, ceiling = subject.git, subject.context, subject.raw, Ceiling()
    with tempfile.TemporaryDirectory(prefix="leo-bench-") as name:
        file = Path(name) / "artifact.tar.gz"
        file.write_bytes(raw)
        leo = str(Path(sys.executable).with_name("leo"))
        command = [leo, "bundle", "verify", str(file), "--repo", str(subject.path), "--target", subject.base]
        found = interleave(
            {
                "warm": lambda: verify_bundle(raw, git=git, context=context),
                "forked": lambda: run_isolated(
                    Report, lambda: verify_bundle(raw, git=subject.git, context=context), ceiling
                ),
                "cold": lambda: subprocess.run(command, check=True, capture_output=True, env=dict(os.environ)),
            },
            rounds=15,
        )
    return [
        Measured("5", "a new process / a forked child", found["cold"], found["forked"], 25, at_most=False),
        Measured("5", "a forked child / the same without isolation", found["forked"], found["warm"], 3, at_most=True),
    ]


def print_sides() -> None:
    """Exactly what each side does."""
    print(
        "  verifier: verify_bundle in a process that verified before; every check of the portal, the builder's keyless"
    )
    print("    Sigstore signature on the attestation among them, under a pinned identity and root")
    print("  command line: one `sh`: tar, sha256sum, the SBOM validator named above, JSON read by jq if it is there,")
    print("    a fresh `git worktree` with `git apply --index` and diff-tree in it, grep for credentials, and")
    print("    `sigstore verify identity --offline` on the attestation")
    print(
        "  bare work: zlib.decompress, hashlib.sha256 of the archive and its members, orjson.loads and jsonschema-rs on"
    )
    print(f"    the SBOM, {ECDSA} verifications of ECDSA P-256, one `git apply --cached --check` on an index of")
    print("    the touched paths, all in the same process")
    print("  goal 2, command line: the SBOM alone")
    print("  goal 5: the new process verifies no signature, the other two do\n", flush=True)
