"""The strict patch reader, the exact applier and the path rules."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handoffs.bundles.bundle import Limits
from handoffs.bundles.patches import apply_hunks
from handoffs.bundles.patches_binary import PatchError
from handoffs.bundles.patches_reading import parse_patch
from handoffs.bundles.paths import escape_text, names_submodules, path_problem, twin_key
from tests.support.bundles import BASE_FILES, changed, honest_handover, write_tree

LIMITS = Limits()
GOOD = b"diff --git a/f b/f\nindex 1234567..89abcde 100644\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"


def refusal(raw: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(PatchError) as caught:
        parse_patch(raw, limits)
    return caught.value.code


def test_a_good_patch_is_read():
    (file,) = parse_patch(GOOD, LIMITS).files
    assert file.path == "f"
    assert apply_hunks(b"one\ntwo\n", file.hunks) == b"one\n2\n"


@pytest.mark.threat("PAT-06")
@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "patch.not_empty"),
        (b"\n", "patch.parses"),
        (GOOD[:-1], "patch.parses"),
        (b"From: me\n\n" + GOOD, "patch.parses"),
        (GOOD + b"-- \n2.39.5\n", "patch.hunk_counts"),
        (GOOD + b'","components":[]}\n', "patch.parses"),
        (GOOD.replace(b"\n", b"\\n"), "patch.parses"),
        (GOOD.replace(b"-1,2", b"-1,3"), "patch.hunk_counts"),
        (GOOD.replace(b"+1,2", b"+1,1"), "patch.hunk_counts"),
        (GOOD.replace(b"+1,2", b"+7,2"), "patch.hunk_counts"),
        (GOOD.replace(b"@@ -1,2", b"@@ -x,2"), "patch.parses"),
        (GOOD.replace(b" one", b"one"), "patch.hunk_counts"),
        (GOOD.replace(b" one", b"\\ No newline at end of file\n one"), "patch.parses"),
        (GOOD.replace(b"-two\n", b"-two\n" + 2 * b"\\ No newline at end of file\n"), "patch.parses"),
        (GOOD.replace(b"-two\n", b"-two\n\\ too short\n").replace(b"too", b"t"), "patch.parses"),
        (GOOD.replace(b"+++ b/f", b"+++ b/.github/workflows/ci.yml"), "patch.parses"),
        (GOOD.replace(b"--- a/f", b"--- f"), "patch.parses"),
        (GOOD.replace(b"a/f b/f", b"a/f b/g"), "patch.parses"),
        (GOOD.replace(b"index 1", b"index 1234567..89abcde 100644\nindex 1"), "patch.parses"),
        (GOOD.replace(b"index 1234567", b"index HEAD"), "patch.parses"),
        (GOOD.replace(b"index", b"old mode 100644\nindex"), "patch.parses"),
        (GOOD.replace(b"index", b"new file mode 100644\ndeleted file mode 100644\nindex"), "patch.parses"),
        (GOOD.replace(b"index", b"rename from f\nindex"), "patch.parses"),
        (b"diff --git a/f b/f\n", "patch.parses"),
        (b"diff --git a/f b/f\nold mode 100644\nnew mode 100755\n--- a/f\n+++ b/f\n", "patch.parses"),
        (b"diff --git a/f b/f\nBinary files a/f and b/f differ\n", "patch.parses"),
        (b'diff --git "a/\\q" "b/\\q"\nold mode 100644\nnew mode 100755\n', "patch.parses"),
        (GOOD.replace(b"-two\n+2\n", b" two\n"), "patch.parses"),
        (
            GOOD.replace(b"-two\n", b"-two\n\\ No newline at end of file\n") + b"@@ -9 +9 @@\n-x\n+y\n",
            "patch.hunk_counts",
        ),
        (GOOD + b"@@ -1 +1 @@\n-x\n+y\n", "patch.hunk_counts"),
    ],
)
def test_a_patch_with_anything_odd_is_refused(raw, code):
    assert refusal(raw) == code


@pytest.mark.threat("PAT-06")
@pytest.mark.parametrize("raw", [b"From: me\n\n" + GOOD, GOOD + b"\nhidden\n", b"@@ -1 +1 @@\n-x\n+y\n"])
def test_text_outside_a_section_is_named_with_its_line(raw):
    with pytest.raises(PatchError, match=r"line [0-9]+: got text outside a file section"):
        parse_patch(raw, LIMITS)


@pytest.mark.parametrize(
    ("raw", "base", "made"),
    [
        (GOOD.replace(b" one", b""), b"\ntwo\n", b"\n2\n"),
        (
            GOOD.replace(b"two\n", b"two\n\\ Kein Zeilenumbruch am Dateiende.\n"),
            b"one\ntwo",
            b"one\n2\n",
        ),
    ],
    ids=["diff.suppressBlankEmpty", "another language"],
)
def test_what_git_takes_in_a_hunk_is_understood(raw, base, made, tmp_path):
    (file,) = parse_patch(raw, LIMITS).files
    assert apply_hunks(base, file.hunks) == made
    (tmp_path / "f").write_bytes(base)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=raw, check=True)
    assert (tmp_path / "f").read_bytes() == made


def test_octal_names_are_understood():
    raw = b'diff --git "a/\\303\\251 \\"q\\".txt" "b/\\303\\251 \\"q\\".txt"\nold mode 100644\nnew mode 100755\n'
    assert parse_patch(raw, LIMITS).touched_paths == {'é "q".txt'}


def test_names_with_spaces_are_understood():
    raw = b"diff --git a/a b/c b/a b/c\nold mode 100644\nnew mode 100755\n"
    assert parse_patch(raw, LIMITS).touched_paths == {"a b/c"}


def test_renames_and_copies_name_both_sides():
    moved = b"diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to y\n"
    copied = moved.replace(b"rename", b"copy")
    assert parse_patch(moved, LIMITS).touched_paths == {"x", "y"}
    assert parse_patch(copied, LIMITS).touched_paths == {"y"}
    assert refusal(moved.replace(b"rename to y", b"rename to z")) == "patch.parses"


@pytest.mark.threat("PAT-12")
def test_limits_hold_in_each_dimension():
    assert refusal(GOOD, Limits(max_files=0)) == "patch.limits"
    assert refusal(GOOD, Limits(max_changed_lines=1)) == "patch.limits"
    binary = b"diff --git a/b b/b\nGIT binary patch\nliteral 1\nIcmZPo000310RR91\n\n"
    assert refusal(binary, Limits(may_hold_binary=False)) == "patch.limits"
    assert refusal(binary.replace(b"literal 1", b"literal 999999999")) == "patch.limits"


def test_hunks_apply_at_their_lines_only():
    (file,) = parse_patch(GOOD, LIMITS).files
    for base in (b"zero\none\ntwo\n", b"one\ntwo", b"one\ntow\n", b"", b"one\n"):
        with pytest.raises(PatchError, match=r"patch\.exact"):
            apply_hunks(base, file.hunks)


def test_a_line_is_not_put_behind_one_without_a_line_end():
    (file,) = parse_patch(b"diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -2,0 +3 @@\n+x\n", LIMITS).files
    assert apply_hunks(b"one\ntwo\n", file.hunks) == b"one\ntwo\nx\n"
    with pytest.raises(PatchError, match="line 2 has no line end"):
        apply_hunks(b"one\ntwo", file.hunks)


LINES = st.lists(
    st.sampled_from([b"a", b"b", b"c\r", b"", b" x", b"-", b"+", b"@@ -1 +1 @@", b"diff --git"]), max_size=14
)


@settings(max_examples=40, deadline=None)
@given(LINES, LINES, st.booleans(), st.booleans())
def test_what_git_writes_is_read_and_gives_the_same_file(old, new, old_cut, new_cut):
    before = b"\n".join(old) + (b"" if old_cut else b"\n")
    after = b"\n".join(new) + (b"" if new_cut else b"\n")
    git = honest_handover().git
    trees = [write_tree(git, {"f": content}) for content in (before, after)]
    raw = git.diff(*trees)
    if trees[0] == trees[1]:
        assert raw == b""
        return
    (file,) = parse_patch(raw, LIMITS).files
    made = file.binary.apply(before, max_bytes=1 << 20) if file.binary else apply_hunks(before, file.hunks)
    assert made == after
    assert git.result_tree(trees[0], raw) == trees[1]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=4))
def test_no_edit_of_a_patch_makes_the_reader_fail(at, inserted):
    for raw in (GOOD[:at] + inserted + GOOD[at:], GOOD[:at] + inserted + GOOD[at + len(inserted) :], GOOD[:at]):
        try:
            parse_patch(raw, LIMITS)
        except PatchError:
            continue


def test_files_become_folders_and_folders_files():
    git = honest_handover().git
    base = write_tree(git, changed(BASE_FILES, {}))
    for after in (
        changed(BASE_FILES, {"README.md/new": b"x\n"}, "README.md"),
        changed({"src": b"a file\n"}, {k: v for k, v in BASE_FILES.items() if not k.startswith("src/")}),
        changed(BASE_FILES, {"src/deep/er/file": b"1\n", "src/deep/other": b"2\n"}, "src/pay.py"),
        {"only": b"left\n"},
    ):
        tree = write_tree(git, after)
        assert git.result_tree(base, git.diff(base, tree)) == tree


@pytest.mark.threat("PAT-04")
@pytest.mark.parametrize(
    "path",
    [
        "../x", "a/../x", "/etc/passwd", "a//b", "./a", "a/.", "", "a/",
        ".git/config", ".GIT/config", "a/.Git/hooks/x", "git~1/config", "GIT~1/x", ".git /x", ".git./x", ".git...",
        ".git::$INDEX_ALLOCATION/config", ".g\u200cit/config", "\ufeff.git/x", ".gi\u200dt", "a\\b", "c:x", "a:stream",
        "a\nb", "a\tb", "a\x7fb", "a\x00b", "e\u0301.txt", "a\u202eb", "a\u2028b", "x. /y", "tail.", "tail ", "\udcff",
        "n" * 256,
    ],
)  # fmt: skip
def test_a_path_that_could_mean_another_file_is_refused(path):
    assert path_problem(path)


@pytest.mark.parametrize(
    "path", ["a", ".gitignore", ".github/workflows/x", "git/x", "a b/ü.txt", "…/日本", "x~1", "digit~12", "....x"]
)
def test_an_ordinary_path_is_fine(path):
    assert not path_problem(path)
    assert not names_submodules(path)


@pytest.mark.parametrize(
    "path",
    [
        ".gitmodules",
        ".GITMODULES",
        "a/.gitmodules",
        "GITMOD~1",
        ".gitmodules .",
        "gi7eba~1",
        ".git\u200cmodules",
        ".g\u200citmodules",
    ],
)
def test_submodules_are_seen_in_every_spelling(path):
    assert names_submodules(path)


@pytest.mark.threat("PAT-08")
@pytest.mark.parametrize(("a", "b"), [("A", "a"), ("é", "e\u0301"), ("ı", "I"), ("ß", "SS"), ("Σ", "ς")])
def test_twins_have_one_key(a, b):
    assert twin_key(a) == twin_key(b)


@settings(max_examples=200)
@given(st.text())
def test_escaped_text_holds_nothing_that_hides(text):
    assert all(character.isprintable() for character in escape_text(text))
