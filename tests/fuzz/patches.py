"""Patches: what the strict reader and git together accept is what plain `git apply` makes of plain files."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from handoffs.bundles.archive import read_archive
from handoffs.bundles.bundle import write_archive
from handoffs.bundles.limits import Limits
from handoffs.bundles.patches_binary import PatchError
from handoffs.bundles.patches_reading import parse_patch
from handoffs.checks.catalogue import CHECKS, Outcome, read_parts
from handoffs.checks.verification import gather_facts
from handoffs.git.process import ENVIRONMENT
from tests.fuzz.engine import Target, mutate_bytes, mutate_lines
from tests.support.bundles import BASE_FILES, CHANGE, changed, honest_handover, write_tree

HONEST = honest_handover()
LIMITS = Limits()
GROUPS = ("patch.", "merge_base.")


@functools.cache
def seeds() -> tuple[bytes, ...]:
    """Patches git made: text, creation, deletion, mode, rename by content, binary, no line end, carriage returns."""
    sides = (
        changed(BASE_FILES, CHANGE),
        changed(BASE_FILES, {"src/moved.py": BASE_FILES["src/pay.py"]}, "src/pay.py"),
        changed(BASE_FILES, {"run.sh": ("100644", b"#!/bin/sh\nexit 0\n"), "src/cut.txt": b"no line end\n"}),
        changed(BASE_FILES, {"src/crlf.txt": b"one\r\n2\r\nthree\r\n", "src/logo.bin": bytes(range(255)) * 8}),
        changed(BASE_FILES, {'a b/\u00fc "q".txt': b"x\n", "new/deep/er": b"y\n"}),
        changed(BASE_FILES, {"src/logo.bin": bytes(range(256)) * 8 + b"tail"}),
    )
    made = [HONEST.git.diff(HONEST.base, write_tree(HONEST.git, side)) for side in sides]
    base = HONEST.git.tree_of(HONEST.base)
    moved = write_tree(HONEST.git, sides[1])
    renames = HONEST.git.run("diff-tree", "-p", "-r", "-M", "--full-index", base, moved)
    copies = renames.replace(b"rename from", b"copy from").replace(b"rename to", b"copy to")
    return (*made, renames, copies)


def mutate(raw: bytes, randomly: random.Random) -> bytes:
    """Mostly whole lines, sometimes bytes, sometimes two patches one after the other."""
    how = randomly.random()
    if how < 0.1:
        return raw + randomly.choice(seeds())
    return mutate_bytes(raw, randomly) if how < 0.4 else mutate_lines(raw, randomly)


def judge_reader(raw: bytes) -> bool:
    """Refused with a code and a line, or read."""
    try:
        found = parse_patch(raw, LIMITS)
    except PatchError as error:
        assert error.code.startswith("patch.")
        assert error.detail
        return False
    assert found.files
    return True


def judge_result(raw: bytes) -> bool:
    """What every patch check accepts gives the files that `git apply` makes in a plain folder."""
    members = {**HONEST.members, "changes.patch": raw}
    archive = write_archive(members)
    evidence = read_parts(read_archive(archive, Limits()), "", HONEST.context(archive))
    whole = replace(evidence, facts=gather_facts(evidence, HONEST.git))
    results = [check.run(whole) for check in CHECKS if check.code.startswith(GROUPS)]
    if any(result.outcome is Outcome.FAILED for result in results):
        return False
    assert whole.facts is not None
    assert whole.facts.result_tree == plain_result(raw), "git apply makes other files of a plain folder"
    return True


def plain_result(raw: bytes) -> str:
    """The tree of a folder without a repository after `git apply`, made file by file."""
    with tempfile.TemporaryDirectory(prefix="leo-fuzz-") as name:
        folder = Path(name)
        for path, value in BASE_FILES.items():
            mode, content = ("100644", value) if isinstance(value, bytes) else value
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
            (folder / path).chmod(int(mode[-3:], 8))
        environment = {"PATH": os.environ["PATH"], **ENVIRONMENT, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
        subprocess.run(
            ["git", "apply", "--whitespace=nowarn", "-"],
            cwd=folder,
            input=raw,
            env=environment,
            check=True,
            capture_output=True,
        )
        files = {
            path.relative_to(folder).as_posix(): (
                "100755" if path.stat().st_mode & 0o100 else "100644",
                path.read_bytes(),
            )
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    return write_tree(HONEST.git, files)


def reader() -> Target:
    """Many mutations, the strict reader alone."""
    return Target("patch", seeds(), judge_reader, mutate)


def result() -> Target:
    """Fewer mutations, all the way to the files; a case starts processes."""
    return Target("patch-result", seeds(), judge_result, mutate, slow_seconds=0.5)
