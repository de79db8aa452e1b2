"""Commands in comments and buttons of check runs: who may, what comes of it, how it is answered."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import ProgrammingError, connection
from django.test import Client
from django.utils import timezone
from psycopg import sql

from audit.actions import add_identity
from audit.erasure import apply_retention
from audit.events import Role
from audit.models import ErasableText, Identity, Kind, LogEntry
from handoffs.deliveries import _keep_request
from handoffs.github.events import Asked, AskedKind
from handoffs.hosting import Side
from handoffs.models import GitHubCommand, GitHubRequest, PullRequest, WorkflowRun
from leoportal import setup
from leoportal.lanes.switching import acting_in
from tests.github.test_showing import hand_over, look, state, status_comment
from tests.support.github.issues import Comment
from tests.support.on_github import OnGitHub
from tests.support.people import one_person, person
from verdicts import answering
from verdicts.models import VerificationWork, WorkStatus
from verdicts.tasks_composing import sweep_commands
from verdicts.tasks_projecting import sweep_projections, sweep_requests

ROLES = {"paula": "plan", "leon": "lead", "otto": "auditor", "codex-bot": "codex"}


@pytest.fixture
def stage(on_github: OnGitHub) -> OnGitHub:
    """A verified pull request, and people whose accounts are linked; mallory's and the eponymous one's are not."""
    hosted = on_github
    hand_over(hosted)
    look(hosted)
    for login, name in ROLES.items():
        add_identity(person(name), Identity.Kind.GITHUB, str(hosted.user(login).id), by=setup.OPERATOR)
        hosted.remote.add(hosted.user(login))
    hosted.remote.add(hosted.user("plan"))  # the login of PLAN's person, and another's account
    return hosted


def deliver(stage: OnGitHub, comment: Comment, *, is_edited: bool = False, by: str = "") -> None:
    """What the event of a comment leaves, however often it is delivered."""
    sender = stage.user(by).id if by else comment.user.id
    line = comment.body.partition("\n")[0][:200]
    asked = Asked(
        AskedKind.COMMAND, f"comment {comment.id}", comment.on.number, comment.id, "", sender, line, is_edited=is_edited
    )
    _keep_request(stage.hosted.github_id, asked)


def answer(stage: OnGitHub) -> None:
    """Both lanes, as their beats call them."""
    for _ in range(2):
        GitHubRequest.objects.update(next_try_at=None)
        with stage.lane(Side.ENFORCER):
            sweep_requests()
        sweep_commands()


def ask(stage: OnGitHub, line: str, *, by: str = "paula") -> Comment:
    comment = stage.remote_pull().comment(line, stage.user(by))
    deliver(stage, comment)
    answer(stage)
    return comment


def reactions(comment: Comment) -> list[str]:
    return [one.content for one in comment.reactions]


def replies(stage: OnGitHub) -> list[str]:
    said = [one.body for one in stage.remote.comments if one.app is stage.enforcer_app]
    return [body.split("\n", 1)[1] for body in said if body.startswith("<!-- leoportal notice answer ")]


def test_plan_has_it_verified_again(stage: OnGitHub):
    comment = ask(stage, "/leo-verify PR-1\nplease")
    assert reactions(comment) == ["eyes", "+1"]
    assert VerificationWork.objects.filter(status=WorkStatus.WAITING).count() == 7
    (entry,) = LogEntry.objects.filter(kind="command.done")
    assert (entry.principal, entry.role) == (person("plan").pk, Role.PLAN)
    assert LogEntry.objects.filter(kind="round.started").latest("pk").principal == person("plan").pk
    assert replies(stage) == ["7 checks are queued on this head."]
    ask(stage, "/leo-verify")
    assert VerificationWork.objects.filter(status=WorkStatus.WAITING).count() == 7, "it joins the round that runs"


@pytest.mark.threat("HOK-02")
def test_each_request_is_answered_once_whatever_is_delivered_again(stage: OnGitHub):
    comment = ask(stage, "/leo-explain")
    said, events = replies(stage), LogEntry.objects.count()
    for _ in range(3):
        deliver(stage, comment)
        answer(stage)
    assert (replies(stage), LogEntry.objects.count()) == (said, events)
    assert reactions(comment) == ["eyes", "+1"]
    assert "who clears it" in said[0]


def test_an_answer_whose_worker_died_is_given_once(stage: OnGitHub):
    comment = stage.remote_pull().comment("/leo-help", stage.user("paula"))
    deliver(stage, comment)
    stage.github.chaos.plant("reset", method="POST", path="/reactions", times=1, after=True)
    answer(stage)
    stage.github.chaos.plant("reset", method="POST", path=f"/issues/{comment.on.number}/comments", times=1, after=True)
    answer(stage)
    answer(stage)
    assert len(replies(stage)) == 1
    assert reactions(comment) == ["eyes", "+1"]


REFUSED = [
    ("/leo-verify", "leon", "role.not_allowed", "needs role PLAN; you have LEAD"),
    ("/leo-verify", "otto", "role.not_allowed", "needs role PLAN; you have AUDITOR"),
    ("/leo-verify", "codex-bot", "role.not_allowed", "needs role PLAN; you have BUILDER"),
    ("/leo-explain", "codex-bot", "command.of_people", "is for people"),
    ("/leo-verify", "mallory", "actor.unknown", "is not registered"),
    ("/leo-verify", "plan", "actor.unknown", "is not registered"),
    ("/leo-verify PR-99", "paula", "command.pull", "was not opened by leoportal"),
    ("/leo-verify now", "paula", "command.argument", "expected"),
    ("/leo-rerun nothing", "paula", "command.gate", "expected one of"),
    ("/leo-rerun slsa", "leon", "role.not_allowed", "needs role ENFORCER or PLAN; you have LEAD"),
    ("/leo-escalate May this go live on Friday?", "leon", "role.not_allowed", "needs role PLAN; you have LEAD"),
    ("/leo-approve", "leon", "command.unknown", "lists them"),
    ("/LEO-VERIFY", "paula", "command.unknown", "lists them"),
]


@pytest.mark.threat("MRK-01")
def test_what_is_refused_says_why_and_changes_nothing(stage: OnGitHub):
    before = state(stage)
    for line, by, code, says in REFUSED:
        comment = ask(stage, line, by=by)
        assert reactions(comment) == ["eyes", "confused"], line
        said = replies(stage)[-1]
        assert f"(`{code}`)" in said, line
        assert says in said.replace("\\", "").replace("\u200b", ""), line
        entry = LogEntry.objects.filter(kind="command.refused").latest("pk").open()
        assert entry["code"] == code
        assert not {by, "paula", "leon"} & set(str(entry).replace("'", " ").split())
    assert state(stage) == before
    assert LogEntry.objects.filter(kind="command.refused").count() == len(replies(stage)) == len(REFUSED)
    assert not VerificationWork.objects.filter(status=WorkStatus.WAITING).exists()


def test_who_built_the_change_cannot_have_it_verified(stage: OnGitHub):
    """PLAN's account is its own; the role is there, the duty on this handoff is another one."""
    ada = person("ada")
    setup.ensure_person("petra", Role.PLAN)
    add_identity(person("petra"), Identity.Kind.GITHUB, str(stage.user("petra").id), by=setup.OPERATOR)
    stage.remote.add(stage.user("petra"))
    one_person(ada, person("petra"))
    comment = ask(stage, "/leo-verify", by="petra")
    assert reactions(comment) == ["eyes", "confused"]
    assert "sod.conflict" in replies(stage)[0]
    assert "petra" not in replies(stage)[0]


def test_the_account_counts_and_not_its_login(stage: OnGitHub):
    """Somebody else takes the login over that PLAN's account had."""
    paula = stage.user("paula")
    paula.login = "paula-before"
    ask(stage, "/leo-verify", by="paula")
    assert "actor.unknown" in replies(stage)[0]


def test_an_edited_comment_is_not_acted_on_and_says_so(stage: OnGitHub):
    """Edited before its event was made, and between the event and our look."""
    for first, then, is_seen in (("/leo-status", "/leo-verify", True), ("/leo-verify", "Never mind.", False)):
        comment = stage.remote_pull().comment(first, stage.user("paula"))
        if not is_seen:
            deliver(stage, comment)
        stage.github.clock.advance(5)
        comment.edit(then, stage.user("paula"))
        if is_seen:
            deliver(stage, comment, is_edited=True)
        answer(stage)
        assert reactions(comment) == ["eyes", "confused"]
        assert "comment.edited" in replies(stage)[-1]
    assert not VerificationWork.objects.filter(status=WorkStatus.WAITING).exists()


def test_a_comment_that_is_gone_or_another_ones_is_nothing(stage: OnGitHub):
    gone = stage.remote_pull().comment("/leo-verify", stage.user("paula"))
    deliver(stage, gone)
    stage.remote.comments.remove(gone)
    deliver(stage, stage.remote_pull().comment("/leo-verify", stage.user("mallory")), by="paula")
    deliver(stage, status_comment(stage))
    stage.remote_pull().comment("/leo-verify", stage.gate_app.bot)
    deliver(stage, stage.remote.comments[-1])
    answer(stage)
    codes = list(GitHubRequest.objects.order_by("pk").values_list("code", flat=True))
    assert codes == ["comment.deleted", "comment.edited", "command.none", "actor.bot"]
    assert not VerificationWork.objects.filter(status=WorkStatus.WAITING).exists()
    assert [one for one in replies(stage) if "comment.edited" not in one] == []


def test_status_help_and_a_draft_for_lead_and_only_so_many_answers_to_strangers(
    stage: OnGitHub, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    stage.remote.comments.remove(status_comment(stage))
    assert reactions(ask(stage, "/leo-status", by="otto")) == ["eyes", "+1"]
    with stage.lane(Side.ENFORCER):
        sweep_projections()
    assert status_comment(stage)
    assert reactions(ask(stage, "/leo-help", by="mallory")) == ["eyes", "+1"]
    assert "/leo-escalate <question>" in replies(stage)[-1]
    before = state(stage)
    ask(stage, "/leo-escalate May this go live on a Friday?")
    command = GitHubCommand.objects.latest("pk")
    assert f"({settings.PORTAL_URL}/prs/acme/payments/1/?draft={command.pk}#your-verdict)" in replies(stage)[-1]
    assert state(stage) == before, "a draft is no verdict"
    page = draft(stage, "plan", command.pk)
    assert 'value="May this go live on a Friday?"' in page
    assert 'value="ESCALATE" required checked' in page
    setup.ensure_person("prue", Role.PLAN)
    assert "Friday" not in draft(stage, "prue", command.pk), "it is filled in for who asked"
    monkeypatch.setattr(answering, "MOST_STRANGERS", 1)
    told = (len(replies(stage)), LogEntry.objects.count())
    for line in ("/leo-help", "/leo-nonsense"):
        assert reactions(ask(stage, line, by="mallory")) == []
    assert (len(replies(stage)), LogEntry.objects.count()) == told
    assert reactions(ask(stage, "/leo-help")) == ["eyes", "+1"]


def draft(stage: OnGitHub, name: str, number: int) -> str:
    """The page that the link opens."""
    client = Client()
    client.force_login(User.objects.get(username=name), backend=stage.settings.AUTHENTICATION_BACKENDS[-1])
    return client.get(f"/prs/acme/payments/1/?draft={number}").content.decode()


def test_a_question_is_erased_with_its_authors_other_texts(stage: OnGitHub):
    """It stands in one row of the portal, that of a text, and in none of the log."""
    ask(stage, "/leo-escalate May this go live on a Friday?")
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [table for (table,) in cursor.fetchall()]
        assert holding(cursor, tables) == ["audit_text"]
        assert ErasableText.objects.get(text__contains="Friday").author == person("plan")
        assert apply_retention({"decision": 0}, now=timezone.now()) > 0
        assert holding(cursor, tables) == []
    assert not any("Friday" in str(entry.open()) for entry in LogEntry.objects.filter(kind="command.done"))
    command = GitHubCommand.objects.latest("pk")
    page = draft(stage, "plan", command.pk)
    assert "your-verdict" in page
    assert "Friday" not in page
    assert "Friday" not in "".join(replies(stage))


def holding(cursor: Any, tables: list[str]) -> list[str]:
    """The tables in which a row says Friday."""
    found = []
    for table in tables:
        query = sql.SQL("SELECT count(*) FROM {} AS t WHERE t::text LIKE '%Friday%'").format(sql.Identifier(table))
        cursor.execute(query)
        found += [table] if cursor.fetchone()[0] else []
    return found


def press(stage: OnGitHub, button: str, by: str) -> str:
    key = f"run 7 {button} {GitHubRequest.objects.count()}"
    asked = Asked(AskedKind.ACTION, key, 0, 7, stage.pull().head_sha, stage.user(by).id, button)
    _keep_request(stage.hosted.github_id, asked)
    answer(stage)
    return GitHubRequest.objects.latest("pk").code


def test_buttons_are_judged_like_commands(stage: OnGitHub):
    assert press(stage, "leo-verify", "leon") == "role.not_allowed"
    assert press(stage, "leo-verify", "mallory") == "actor.unknown"
    assert press(stage, "approve", "paula") == "command.unknown"
    assert press(stage, "leo-explain", "leon") == press(stage, "leo-escalate", "paula") == "done"
    assert not VerificationWork.objects.filter(status=WorkStatus.WAITING).exists()
    assert press(stage, "leo-verify", "paula") == "done"
    assert VerificationWork.objects.filter(status=WorkStatus.WAITING).count() == 7
    asked = Asked(AskedKind.ACTION, "later", 1, 7, stage.pull().head_sha, stage.user("paula").id, "leo-verify")
    _keep_request(stage.hosted.github_id, asked)
    PullRequest.objects.update(head_sha="e" * 40)
    answer(stage)
    assert GitHubRequest.objects.latest("pk").code == "command.head_moved"


def test_a_gate_is_run_again_by_github(stage: OnGitHub):
    stage.enforce()
    stage.run_workflows()
    stage.enforce()
    runs = {run.workflow.path.rpartition("/")[2]: run for run in stage.remote.runs}
    comment = ask(stage, "/leo-rerun slsa")
    assert reactions(comment) == ["eyes", "+1"]
    assert {name: run.attempt for name, run in runs.items()} == {
        "leo-slsa.yml": 2, "leo-policy.yml": 1, "leo-story.yml": 1, "leo-agents.yml": 1,
    }  # fmt: skip
    ask(stage, "/leo-rerun slsa")
    assert runs["leo-slsa.yml"].attempt == 2, "it is running"
    WorkflowRun.objects.update(status="", remote_id=None)
    ask(stage, "/leo-rerun slsa")
    assert "command.no_run" in replies(stage)[-1]


def test_neither_lane_does_the_others_part(stage: OnGitHub):
    ask(stage, "/leo-explain")
    for lane, column in (("enforcer", "outcome"), ("enforcer", "answer"), ("verifier", "verb"), ("plan", "outcome")):
        with acting_in(lane), pytest.raises(ProgrammingError, match="permission denied"):
            GitHubCommand.objects.update(**{column: "x"})
    assert person("codex").kind == Kind.MACHINE
