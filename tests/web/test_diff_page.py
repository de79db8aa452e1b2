"""The diff and the timeline of a pull request's page."""

from __future__ import annotations

from pathlib import Path

import pytest

from handoffs.diffing import HIDDEN, kept_sizes, list_changes, measure_size, read_diff
from handoffs.git.repository import Git
from tests.web.asking import address, text_of, verdict_form
from tests.web.scene import Scene, commit


def test_the_diff_lists_files_and_shows_one_at_a_time(scene: Scene):
    pull = scene.pull()
    client = scene.client("plan")
    listed = text_of(client, address(pull, "diff/"))
    assert "app.py" in listed
    assert "tests/test_app.py" in listed
    one = text_of(client, address(pull, "diff/?path=app.py"))
    assert '<tr class="del">' in one
    assert '<tr class="add">' in one
    assert '<span class="t-k">return</span>' in one
    assert client.get(address(pull, "diff/?path=README")).status_code == 404
    git = Git(Path(scene.repository.path))
    anchor = list_changes(git, scene.base, pull.head_sha)[0].anchor
    headers = {"HX-Request": "true", "HX-Target": f"{anchor}-body"}
    part = client.get(address(pull, "diff/?path=app.py"), headers=headers).content.decode()
    assert "<html" not in part
    assert "deliver" in part
    files = client.get(address(pull, "diff/"), headers={"HX-Request": "true", "HX-Target": "diff-files"})
    assert files.content.decode().lstrip().startswith('<div class="stack" id="diff-files"')


@pytest.mark.threat("PAT-06")
def test_a_diff_shows_what_could_mislead_and_folds_what_is_long(scene: Scene):
    path = Path(scene.repository.path)
    long = "".join(f"x = {number}\n" for number in range(900))
    files = {"long.py": long, "b\u202ed.py": "a = '\u202etrap'\n", "uv.lock": "a\n", "d\u00e4 ta": "\x00\x01"}
    head = commit(path, scene.base, files, "head")
    git = Git(path)
    changes = {file.path: file for file in list_changes(git, scene.base, head)}
    assert set(changes) == set(files)
    assert changes["uv.lock"].why_folded == "generated"
    assert changes["d\u00e4 ta"].why_folded == "binary"
    assert "\\u202e" in changes["b\u202ed.py"].shown_path
    cut = read_diff(git, scene.base, head, "long.py")
    assert (cut.shown, cut.total) == (400, 900)
    assert read_diff(git, scene.base, head, "long.py", is_whole=True).shown == 900
    shown = read_diff(git, scene.base, head, "b\u202ed.py")
    spans = [span for line in shown.sections[0].lines for span in line.spans]
    assert (HIDDEN, "U+202E RIGHT-TO-LEFT OVERRIDE") in {(span.style, span.text) for span in spans}
    assert "binary" in read_diff(git, scene.base, head, "d\u00e4 ta").note.lower()
    size = measure_size(git, scene.base, head)
    assert size is not None
    assert (size.files, size.added) == (4, 902)
    assert kept_sizes([(scene.base, head), (head, head)]) == {(scene.base, head): size}
    assert measure_size(None, scene.base, head) is None


def test_the_timeline_tells_who_did_what_in_which_role(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    client.post(address(pull, "verdict/"), verdict_form(pull))
    text = text_of(client, address(pull, "history/"))
    assert text.index("recorded a verdict") < text.index("signed the bundle")
    assert "PLAN-SUPERVISOR: PASS" in text
    assert f"[CODEX-READY:{pull.handoff.digest}]" in text
    assert '<span class="tag">ENFORCER</span> <strong>leoportal-enforcer</strong>' in text
    part = client.get(address(pull, "history/"), headers={"HX-Request": "true", "HX-Target": "history"})
    assert part.content.decode().lstrip().startswith('<div id="history">')
