"""The diff as pages show it: every path that git's trees differ in, whatever its name or attributes say."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from handoffs.bundles.limits import Limits
from handoffs.bundles.patches_reading import parse_patch
from handoffs.diffing import HIDDEN, MAX_FILES, MAX_LINE_LENGTH, NUMSTAT, count_lines, list_changes, page_of, read_diff
from handoffs.git.repository import PATCH_OPTIONS
from handoffs.git.trees import Trees
from tests.support.bundles import BASE_FILES, honest_handover, write_commit, write_tree
from tests.support.credentials import SURE

GIT = honest_handover().git
NAMES = ("a.py", "b c.txt", 'q"uote', "tab\there", "d\u00e4ta", "\u202etxt.exe", "-rf", "x" * 200, "deep/er/a.py", "A.py", ".gitattributes",
         "package-lock.json", "\udcff.bin", "new\nline", "{{ 7|add:7 }}", "'; drop", "%00", "..a", "sub/.gitattributes", "z.min.js")  # fmt: skip
CONTENTS = (b"", b"a\n", b"no end", b"\0\1\2", b"* -diff linguist-generated=true\n", b"-- \n2.39.5\n\ndiff --git a/x b/x\n", "\u202e\n".encode(),
            b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n", b"x" * 5000 + b"\n")  # fmt: skip


def _random_files(chance: random.Random) -> dict[str, bytes | tuple[str, bytes]]:
    names = chance.sample(NAMES, chance.randint(1, 12))
    return {name: (chance.choice(("100644", "100755")), chance.choice(CONTENTS)) for name in names}


@pytest.mark.threat("PAT-06")
def test_the_page_and_the_patch_name_exactly_the_paths_that_differ_for_10_000_patches():
    """One git process each tells the truth, the counts and the patches; what we make of them is compared with it."""
    chance = random.Random(11)
    hiding = {".gitattributes": b"* -diff linguist-generated\n"}
    trees = [write_tree(GIT, {**hiding, **_random_files(chance)}) for _ in range(150)]
    pairs = chance.sample([(a, b) for a in trees for b in trees if a != b], 10_000)
    truths = [_names(part) for part in _answers(pairs, "-r", "-z", "--name-only", "--no-renames")]
    counts = _answers(pairs, *NUMSTAT)
    patches = _answers(pairs, *PATCH_OPTIONS)
    walk = Trees(GIT)
    for (base, head), truth, numstat, patch in zip(pairs, truths, counts, patches, strict=True):
        listed = count_lines(walk.changes(base, head), numstat)
        assert {file.path for file in listed} == truth
        assert len({file.anchor for file in listed}) == len(truth)
        assert parse_patch(patch, Limits()).touched_paths == truth


def _answers(pairs: list[tuple[str, str]], *options: str) -> list[bytes]:
    """What one `git diff-tree --stdin` says of each pair of trees."""
    heads = [f"{base} {head}\n".encode() for base, head in pairs]
    said = GIT.run("diff-tree", "--stdin", *options, stdin=b"".join(heads), max_output_bytes=1 << 30)
    found, at = [], 0
    for this, following in pairwise([*heads, b""]):
        assert said.startswith(this, at)
        start = at + len(this)
        at = said.index(following, start) if following else len(said)
        found.append(said[start:at])
    return found


def _names(raw: bytes) -> set[str]:
    return {path.decode("utf-8", "surrogateescape") for path in raw.split(b"\0") if path}


@pytest.mark.threat("PAT-06")
def test_every_listed_file_has_something_to_read():
    chance = random.Random(12)
    for _ in range(30):
        base, head = (write_tree(GIT, {".gitattributes": b"* -diff\n", **_random_files(chance)}) for _ in range(2))
        listed = list_changes(GIT, base, head)
        assert {file.path for file in listed} == {change.path for change in GIT.changes(base, head)}
        for file in chance.sample(listed, min(3, len(listed))):
            diff = read_diff(GIT, base, head, file.path)
            assert diff.note or diff.sections, file.path


@pytest.mark.threat("PAT-06")
def test_what_looks_like_the_end_of_a_patch_is_shown():
    base = write_commit(GIT, BASE_FILES)
    head = write_commit(
        GIT, {**BASE_FILES, ".gitattributes": b"*.py -diff\n", "evil.py": b"a = 1\n-- \n2.39.5\n\nimport os\n"}
    )
    (shown,) = read_diff(GIT, base, head, "evil.py").sections
    assert "import os" in "".join(span.text for span in shown.lines[-1].spans)


@pytest.mark.threat("PAT-12")
def test_many_files_are_shown_page_by_page_and_none_is_left_out():
    base = write_commit(GIT, {"f": b"x"})
    head = write_commit(GIT, {"f": b"x", **{f"d/{number:05}": b"y\n" for number in range(2 * MAX_FILES + 7)}})
    files = list_changes(GIT, base, head)
    seen: list[str] = []
    first: int | None = 0
    while first is not None:
        page = page_of(files, first)
        assert len(page.files) <= MAX_FILES
        seen += [file.path for file in page.files]
        first = page.rest
    assert seen == [file.path for file in files]
    assert len(seen) == 2 * MAX_FILES + 7


def test_a_long_line_says_how_much_of_it_is_not_shown():
    base, head = write_commit(GIT, {"f": b"x\n"}), write_commit(GIT, {"f": b"y" * (MAX_LINE_LENGTH + 500) + b"\n"})
    (section,) = read_diff(GIT, base, head, "f").sections
    assert "… 500 more characters" in "".join(span.text for span in section.lines[-1].spans)


@pytest.mark.threat("PAT-07")
def test_a_look_alike_is_a_badge_only_where_it_is_mixed_in():
    base = write_commit(GIT, {"f.py": b"\n"})
    head = write_commit(GIT, {"f.py": "p\u0430y = 1\n# \u043f\u0440\u0438\u0432\u0435\u0442\n".encode()})
    (section,) = read_diff(GIT, base, head, "f.py").sections
    badges = [span.text for line in section.lines for span in line.spans if span.style == HIDDEN]
    assert badges == ["U+0430 CYRILLIC SMALL LETTER A"]


@pytest.mark.threat("BUN-09")
def test_a_private_key_over_many_lines_is_redacted_and_the_numbers_stay_right():
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "Zm9vYmFy" * 8 + "\n-----END RSA PRIVATE KEY-----\nafter\n"
    token = next(text for kind, text in SURE if kind == "npm token")
    base, head = write_commit(GIT, {"k": b"x\n"}), write_commit(GIT, {"k": f"{key}{token}\n".encode()})
    lines = [line for section in read_diff(GIT, base, head, "k").sections for line in section.lines]
    told = "".join(span.text for line in lines for span in line.spans)
    assert "Zm9vYmFy" not in told
    assert token not in told
    assert next(line.new for line in lines if [span.text for span in line.spans] == ["after"]) == "4"
