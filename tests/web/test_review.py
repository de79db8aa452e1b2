"""PLAN's pages: queue, list, one pull request, verdict, verify, merge, diff and timeline."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from audit.actions import take_part
from audit.models import LogEntry
from handoffs.diffing import HIDDEN, list_changes, read_diff, size_of
from handoffs.git.repository import Git
from handoffs.models import PullRequest, PullStatus
from tests.web.scene import HOSTILE, Scene, commit, finding
from verdicts import evidence
from verdicts.models import Verdict
from verdicts.queueing import for_glance, glance_at
from verdicts.results import AgentKind, GateOutcome, Severity

REASON = "Read the diff and every finding."


def address(pull: PullRequest, rest: str = "") -> str:
    return f"/prs/acme/payments/{pull.number}/{rest}"


def verdict_form(pull: PullRequest, verdict: str = "PASS", *, step: str = "record", **changes: str) -> dict[str, str]:
    form = {"verdict": verdict, "justification": REASON, "question": "", "head_sha": pull.head_sha, "step": step}
    return {**form, **changes}


def text_of(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, url
    return answer.content.decode()


def test_an_empty_queue_says_what_would_be_here(scene: Scene):
    text = text_of(scene.client("plan"), "/turn/")
    assert "Nothing waits for you." in text
    assert "All pull requests" in text


def test_the_queue_shows_why_each_row_waits(scene: Scene):
    scene.passing()
    weak = scene.pull(title="Ledger export")
    scene.report_agents(weak, score=60)
    text = text_of(scene.client("plan"), "/turn/")
    assert "2 waiting for you" in text
    assert "Everything holds: it needs your verdict" in text
    assert "Confidence 60.00 is below 85.00" in text
    assert "3/4" in text
    assert "0/4" in text
    assert "Security: Passed" in text
    assert "+3 −1" in text
    assert 'datetime="' in text


def test_a_list_judges_as_the_page_does(scene: Scene):
    scene.passing()
    failing = scene.pull()
    scene.report_agents(failing, score=50, findings={AgentKind.SECURITY: (finding(Severity.CRITICAL),)})
    scene.report_gates(failing, GateOutcome.SKIPPED)
    scene.pull(is_triggered=False)
    for row in glance_at(list(for_glance(PullRequest.objects.order_by("pk")))):
        pull = PullRequest.objects.get(pk=row.pull.pk)
        assert row.judgement == evidence.gather(pull, tree=pull.handoff.result_tree).judgement


def test_an_open_queue_is_told_of_changes_and_not_moved(scene: Scene):
    scene.passing()
    client = scene.client("plan")
    text = text_of(client, "/turn/")
    seen = text.partition("?seen=")[2].partition('"')[0]
    headers = {"HX-Request": "true", "HX-Target": "queue-news"}
    assert client.get(f"/turn/?seen={seen}", headers=headers).status_code == 204
    scene.passing()
    news = client.get(f"/turn/?seen={seen}", headers=headers).content.decode()
    assert "The queue changed: show it" in news
    assert "<table" not in news


def test_the_list_filters_by_state_in_its_address(scene: Scene):
    scene.passing(title="Waits for PLAN")
    done = scene.passing(title="Went back")
    PullRequest.objects.filter(pk=done.pk).update(status=PullStatus.NEEDS_REVISION)
    client = scene.client("auditor")
    both = text_of(client, "/prs/")
    assert "Waits for PLAN" in both
    assert "Went back" in both
    one = text_of(client, "/prs/?state=needs-revision")
    assert "Went back" in one
    assert "Waits for PLAN" not in one
    assert "No pull request is merged." in text_of(client, "/prs/?state=merged")


def test_list_pages_are_addressed_by_the_last_row(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("verdicts.views.PAGE_SIZE", 2)
    pulls = [scene.pull(title=f"Change {number}") for number in range(5)]
    client = scene.client("plan")
    first = text_of(client, "/prs/")
    assert "Change 4" in first
    assert "Change 2" not in first
    assert f"before={pulls[3].pk}" in first
    last = text_of(client, f"/prs/?before={pulls[1].pk}")
    assert "Change 0" in last
    assert "Older" not in last
    assert client.get("/prs/?before=1;drop").status_code == 400


def test_the_page_says_what_blocks_and_who_clears_it(scene: Scene):
    pull = scene.pull()
    text = text_of(scene.client("plan"), address(pull))
    assert "Blocked by 10 things" in text
    assert "Gate slsa has no result yet" in text
    assert "You can clear it: PLAN records the verdict" in text
    assert "Expected, not reported" in text
    assert "No result yet" in text


def test_the_confidence_is_opened_to_its_terms(scene: Scene):
    pull = scene.pull()
    scene.report_gates(pull)
    scene.report_agents(pull, score=88, findings={AgentKind.DATABASE: (finding(Severity.LOW),)})
    text = text_of(scene.client("plan"), address(pull))
    assert "88.0 %" in text
    assert "26.40" in text  # 88 x 0.30
    assert "Sum of products" in text
    assert "88.00" in text
    assert "Computed verdict" in text
    assert "The index is not built concurrently" in text
    assert "ruff 0.17.6" in text
    assert "run-slsa" in text
    assert "AB" * 20 in text
    assert "Pending transparency" in text


def test_laxer_verdicts_are_disabled_and_say_why(scene: Scene):
    pull = scene.pull()
    scene.report_gates(pull)
    scene.report_agents(pull, score=80)
    text = text_of(scene.client("plan"), address(pull))
    assert 'value="PASS" required disabled' in text
    assert "It needs a confidence of 85.00; it is 80.00." in text
    assert 'value="FAIL" required aria' in text


def test_new_findings_come_first_and_old_ones_do_not_count(scene: Scene):
    pull = scene.pull()
    old = finding(Severity.CRITICAL, message="It was bad before", is_new=False)
    scene.report_agents(pull, findings={AgentKind.SECURITY: (old,), AgentKind.DESIGN: (finding(Severity.LOW),)})
    text = text_of(scene.client("plan"), address(pull))
    assert text.index("The index is not built") < text.index("It was bad before")
    assert "Findings, 1 new in this change" in text
    assert "was there before" in text


def test_a_verdict_is_reviewed_recorded_and_receipted(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    review = client.post(address(pull, "verdict/"), verdict_form(pull, step="review"))
    assert review.status_code == 200
    assert f"Record Pass for PR-{pull.number}?" in review.content.decode()
    assert not Verdict.objects.exists()
    answer = client.post(address(pull, "verdict/"), verdict_form(pull))
    verdict = Verdict.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == f"{address(pull)}?recorded={verdict.pk}#receipt"
    text = text_of(client, answer["Location"])
    assert "Verdict recorded" in text
    assert REASON in text
    assert "Merge PR-" in text
    pull.refresh_from_db()
    assert pull.status == PullStatus.READY_TO_MERGE


def test_back_from_the_review_step_keeps_what_was_typed(scene: Scene):
    pull = scene.passing()
    typed = verdict_form(pull, "ESCALATE", step="edit", question="Is the risk worth it?")
    text = scene.client("plan").post(address(pull, "verdict/"), typed).content.decode()
    assert REASON in text
    assert 'value="Is the risk worth it?"' in text
    assert 'value="ESCALATE" required checked' in text


def test_a_pass_below_the_line_is_refused_with_its_code_and_in_the_trail(scene: Scene):
    pull = scene.pull()
    scene.report_gates(pull)
    scene.report_agents(pull, score=84)
    answer = scene.client("plan").post(address(pull, "verdict/"), verdict_form(pull))
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "verdict.confidence_too_low" in text
    assert "Nothing was recorded" in text
    assert REASON in text
    assert not Verdict.objects.exists()
    plan = scene.actor("plan").principal_id
    assert LogEntry.objects.filter(kind="verdict.refused", principal=plan).count() == 1


def test_a_verdict_on_a_head_that_moved_is_refused_and_nothing_typed_is_lost(scene: Scene):
    pull = scene.passing()
    stale = verdict_form(pull, head_sha="c" * 40)
    answer = scene.client("plan").post(address(pull, "verdict/"), stale)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "verdict.head_moved" in text
    assert "The head moved to" in text
    assert REASON in text


def test_an_incomplete_form_says_what_is_missing(scene: Scene):
    pull = scene.passing()
    form = verdict_form(pull, "ESCALATE", step="review", justification=" ")
    answer = scene.client("plan").post(address(pull, "verdict/"), form)
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "Write the reason" in text
    assert "Ask LEAD one question" in text
    assert 'role="alert"' in text


@pytest.mark.parametrize("field", ["status", "actor", "role", "supervisor", "_connector"])
def test_fields_that_are_not_asked_for_are_ignored(scene: Scene, field: str):
    pull = scene.passing()
    scene.client("plan").post(address(pull, "verdict/"), verdict_form(pull, **{field: "lead"}))
    verdict = Verdict.objects.get()
    assert verdict.supervisor.name == "plan"
    assert verdict.verdict == "PASS"


def test_who_took_part_sees_why_the_form_is_closed(scene: Scene):
    pull = scene.passing()
    actor = scene.actor("plan")
    take_part(pull.handoff.chain, type(actor)(actor.principal_id, actor.name, scene.enforcer.role))
    client = scene.client("plan")
    text = text_of(client, address(pull))
    assert "You cannot judge this handoff: you took part in this handoff as ENFORCER" in text
    assert '<fieldset disabled aria-describedby="why-no-verdict">' in text
    refused = client.post(address(pull, "verdict/"), verdict_form(pull))
    assert refused.status_code == 409
    assert "sod.conflict" in refused.content.decode()


def test_only_plan_sees_the_verdict_form(scene: Scene):
    pull = scene.passing()
    assert "verdict-form" in text_of(scene.client("plan"), address(pull))
    for name in ("lead", "auditor"):
        assert "verdict-form" not in text_of(scene.client(name), address(pull))


def test_a_link_that_nobody_asked_for_on_github_fills_nothing_in(scene: Scene):
    pull = scene.passing()
    text = text_of(scene.client("plan"), f"{address(pull)}?draft=7&question=May+this+go+live%3F")
    assert "May this go live" not in text
    assert 'value="ESCALATE" required checked' not in text
    assert scene.client("plan").get(f"{address(pull)}?draft=PASS").status_code == 400


def test_lead_sees_a_pull_request_once_plan_is_done_with_it(scene: Scene):
    watched, escalated = scene.passing(), scene.escalated()
    assert "It is with PLAN" in text_of(scene.client("lead"), address(watched))
    assert "Required checks, 3 of 4" in text_of(scene.client("lead"), address(escalated))
    listed = text_of(scene.client("lead"), "/prs/")
    assert address(escalated) in listed
    assert address(watched) not in listed
    assert "gates-passing" not in listed
    assert address(watched) not in text_of(scene.client("lead"), "/prs/?state=gates-passing")


def test_a_live_part_is_swapped_only_when_something_changed(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    answer = client.get(address(pull))
    headers = {"HX-Request": "true", "HX-Target": "pr-live"}
    for _ in range(20):  # an age on the page ("3 s ago") may roll on between two looks: that is a change, too
        seen = answer.content.decode().partition("?seen=")[2].partition('"')[0]
        answer = client.get(f"{address(pull)}?seen={seen}", headers=headers)
        if answer.status_code == 204:
            break
    assert answer.status_code == 204
    scene.report_agents(pull, score=90)
    part = client.get(f"{address(pull)}?seen={seen}", headers=headers).content.decode()
    assert part.lstrip().startswith('<div class="stack" id="pr-live"')
    assert "90.0 %" in part
    assert 'hx-swap-oob="true"' in part
    assert "verdict-form" not in part


def test_a_merge_without_pass_is_refused(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    assert "Merging needs a PASS on this head" in text_of(client, address(pull))
    answer = client.post(address(pull, "merge/"))
    assert answer.status_code == 409
    assert "merge.no_pass" in answer.content.decode()


def test_verify_again_queues_the_checks_once(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    first = client.post(address(pull, "verify/"), follow=True).content.decode()
    assert "7 checks are queued on this head." in first
    assert "Checks are running on this head now." in first
    again = client.post(address(pull, "verify/"), follow=True).content.decode()
    assert "A verification is running on this head already." in again


def test_a_merged_page_is_frozen_at_what_was_true(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    client.post(address(pull, "verdict/"), verdict_form(pull))
    PullRequest.objects.filter(pk=pull.pk).update(
        status=PullStatus.MERGED, merge_sha="d" * 40, merged_at=timezone.now()
    )
    scene.report_agents(pull, score=10)
    text = text_of(client, address(pull))
    assert "This pull request has ended" in text
    assert "95.0 %" in text
    assert "10.0 %" not in text
    assert "d" * 40 in text
    assert "verdict-form" not in text
    assert "every 5s" not in text


def test_a_repository_that_cannot_be_read_passes_nothing(scene: Scene):
    pull = scene.passing()
    Path(scene.repository.path).rename(scene.root / "gone.git")
    text = text_of(scene.client("plan"), address(pull))
    assert "The repository cannot be read" in text
    assert "tree.differs" in text
    assert scene.client("plan").get(address(pull, "diff/")).status_code == 503
    refused = scene.client("plan").post(address(pull, "verdict/"), verdict_form(pull))
    assert refused.status_code == 409
    assert not Verdict.objects.exists()


def test_a_passed_deadline_is_told(scene: Scene):
    pull = scene.pull()
    PullRequest.objects.filter(pk=pull.pk).update(deadline_at=timezone.now() - timedelta(hours=1))
    assert "passed 1 h ago" in text_of(scene.client("plan"), address(pull))


@pytest.mark.threat("WEB-01")
def test_hostile_text_is_text_everywhere(scene: Scene):
    pull = scene.pull(title=f"Title {HOSTILE}"[:200])
    scene.report_agents(pull, findings={AgentKind.SECURITY: (finding(Severity.HIGH, message=HOSTILE),)})
    plan = scene.client("plan")
    pages = ["/turn/", "/prs/", address(pull), address(pull, "history/"), f"/handoffs/{pull.handoff_id}/", "/handoffs/"]
    for url in (*pages, f"/audit{address(pull)}", address(pull, "diff/")):
        text = text_of(plan, url)
        assert "<script>alert" not in text, url
        assert "&lt;script&gt;alert(1)" in text, url
        assert "14" not in text.partition("Title ")[2][:80], url


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
    size = size_of(git, scene.base, head)
    assert size is not None
    assert (size.files, size.added) == (4, 902)
    assert size_of(None, scene.base, head) == size


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


def test_a_page_opened_at_another_head_says_that_the_head_moved(scene: Scene):
    pull = scene.passing()
    client = scene.client("plan")
    headers = {"HX-Request": "true", "HX-Target": "pr-live"}
    old = "ab" * 20
    part = client.get(address(pull), {"seen": "x", "head": old}, headers=headers).content.decode()
    assert f"The head moved to {pull.head_sha[:12]}" in part
    assert f"head={old}" in part
    same = client.get(address(pull), {"seen": "x", "head": pull.head_sha}, headers=headers).content.decode()
    assert "The head moved" not in same
    assert "The head moved" not in client.get(address(pull), {"head": '"><script>'}, headers=headers).content.decode()
