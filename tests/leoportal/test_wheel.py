"""The wheel that a governed repository's workflows install: whole enough for `leo`, with the hashes of what it needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile  # noqa: TID251 - a wheel of ours is read
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_leo_runs_from_the_wheel_alone(tmp_path: Path):
    tree, out = tmp_path / "tree", tmp_path / "out"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in files.split("\0"):
        if (
            name.startswith(("audit/", "handoffs/", "leoportal/", "verdicts/", "requirements/"))
            or name == "pyproject.toml"
        ):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    build = f"from setuptools import build_meta; print(build_meta.build_wheel({str(out)!r}))"
    out.mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True, capture_output=True)
    (wheel,) = out.glob("leoportal-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        locked = archive.read("leoportal/requirements/base.txt")
        archive.extractall(tmp_path / "installed")
    assert locked == (ROOT / "requirements" / "base.txt").read_bytes()
    assert locked.count(b"--hash=sha256:") > 100
    for arguments in (["evidence", "--help"], ["repo", "workflows", "--help"], ["bundle", "--help"]):
        code = f"import sys; sys.path[:0] = [{str(tmp_path / 'installed')!r}]; sys.argv[1:] = {arguments!r}; from leoportal.cli import main; main()"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
