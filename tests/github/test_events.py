"""What a webhook's body says: where to look and what was asked for; everything else is passed over or refused."""

from __future__ import annotations

import json

import pytest

from audit.canonical import JsonError
from handoffs.github.admission import Subscription, Taken, admit
from handoffs.github.events import USES, AskedKind, Event, EventError, Ignored, Wake, parse_event
from tests.github import events
from tests.github.events import HEAD

MINE = frozenset({Subscription(4711, 31)})


def asked(name: str, raw: bytes):
    found = parse_event(name, raw)
    assert isinstance(found, Event)
    return found.asked


@pytest.mark.parametrize(
    ("name", "raw", "head", "pulls"),
    [
        ("push", events.push(), HEAD, ()),
        ("create", events.body(ref="staging/codex-net", ref_type="branch"), "", ()),
        ("pull_request", events.pull("synchronize"), HEAD, (7,)),
        ("check_run", events.check_run("created"), HEAD, (7,)),
        ("check_suite", events.body(action="requested", check_suite={"id": 5, "head_sha": HEAD}), HEAD, ()),
        ("workflow_run", events.workflow_run(), HEAD, ()),
        ("workflow_job", events.body(action="queued", workflow_job={"id": 5, "head_sha": HEAD}), HEAD, ()),
        ("status", events.body(sha=HEAD, state="success", context="LEO"), HEAD, ()),
        ("issue_comment", events.comment("hello"), "", (7,)),
        ("merge_group", events.merge_group(), HEAD, ()),
        ("branch_protection_rule", events.body(action="edited", rule={}), "", ()),
        ("repository_ruleset", events.body(action="deleted", repository_ruleset={}), "", ()),
        ("repository", events.body(action="renamed", changes={}), "", ()),
    ],
)
def test_each_event_says_where_to_look(name: str, raw: bytes, head: str, pulls: tuple[int, ...]):
    found = parse_event(name, raw)
    assert isinstance(found, Event)
    assert (found.head_sha, found.pulls, found.repository_id, found.installation_id) == (head, pulls, 4711, 31)
    outcome = admit(found, MINE)
    assert (outcome.taken, outcome.repositories) == (Taken.DONE, frozenset({4711}))
    assert Wake.RECONCILE in outcome.wakes


@pytest.mark.parametrize("name", ["installation", "installation_repositories"])
def test_an_event_of_an_installation_is_about_every_repository_of_it(name: str):
    action = "suspend" if name == "installation" else "added"
    found = parse_event(name, events.body(action=action, repository=None, repositories=[{"id": 1}]))
    mine = frozenset({Subscription(1, 31), Subscription(2, 31), Subscription(3, 32)})
    assert admit(found, mine).repositories == {1, 2}
    assert admit(found, frozenset()).code == "event.foreign_installation"


@pytest.mark.parametrize(
    ("name", "raw", "code"),
    [
        ("ping", b'{"zen": "Anything added dilutes everything else."}', "event.unused"),
        ("star", events.body(action="created"), "event.unused"),
        ("pull_request", events.pull("assigned"), "event.unused_action"),
        ("issue_comment", events.comment("x", action="pinned"), "event.unused_action"),
        ("team", b'{"action": 7}', "event.unused"),
    ],
)
def test_what_the_portal_does_not_use_is_ignored_with_the_reason(name: str, raw: bytes, code: str):
    found = parse_event(name, raw)
    assert isinstance(found, Ignored)
    assert (admit(found, MINE).taken, admit(found, MINE).code) == (Taken.IGNORED, code)


@pytest.mark.parametrize("name", sorted(USES))
def test_an_event_without_what_it_is_about_is_refused(name: str):
    use = USES[name]
    whole = {"action": min(use.actions, default=""), "repository": None, "installation": None}
    with pytest.raises(EventError, match=r"event\.payload"):
        parse_event(name, events.body(**whole))


@pytest.mark.parametrize(
    "members",
    [
        {"repository": {"id": "4711", "full_name": "acme/payments"}},
        {"repository": {"id": 4711.0, "full_name": "acme/payments"}},
        {"repository": {"id": True, "full_name": "acme/payments"}},
        {"repository": {"id": -1, "full_name": "acme/payments"}},
        {"repository": {"id": 4711, "full_name": "acme/../payments"}},
        {"repository": {"id": 4711}},
        {"repository": [4711]},
        {"installation": {"id": "31"}},
        {"sender": "octo-ada"},
        {"action": ["created"]},
        {"check_run": {"id": 1, "head_sha": "a" * 39}},
        {"check_run": {"id": 1, "head_sha": "A" * 40}},
        {"check_run": {"id": 1, "head_sha": HEAD, "pull_requests": [{"number": "7"}]}},
        {"check_run": {"id": 1, "head_sha": HEAD, "pull_requests": {"number": 7}}},
    ],
)
def test_a_member_that_is_used_has_one_form(members):
    value = json.loads(events.check_run("created")) | members
    with pytest.raises(EventError, match=r"event\.payload"):
        parse_event("check_run", json.dumps(value).encode())


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "json.syntax"),
        (b"payload=%7B%7D", "json.syntax"),
        (b"[]", "json.not_an_object"),
        (b'{"action": "created", "action": "deleted"}', "json.duplicate_key"),
        (b'{"a": NaN}', "json.not_a_number"),
        (b'{"a": 12345678901234567890}', "json.number_too_large"),
        (b'{"a": "\xff"}', "json.not_utf8"),
        (b'{"a": "\\u0000"}', "json.nul"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "json.too_deep"),
        (b"\xef\xbb\xbf{}", "json.byte_order_mark"),
    ],
)
def test_a_body_that_two_readers_could_read_differently_is_refused(raw: bytes, code: str):
    with pytest.raises(JsonError) as refused:
        parse_event("check_run", raw)
    assert refused.value.code == code


@pytest.mark.threat("SOD-14")
def test_a_command_is_a_new_comments_first_line_on_a_pull_request_and_names_its_author_by_number():
    found = asked("issue_comment", events.comment("  /leo-rerun slsa \nplease"))
    assert (found.kind, found.key, found.pull, found.remote_id) == (AskedKind.COMMAND, "comment 900", 7, 900)
    assert (found.actor_id, found.text, found.is_edited) == (77, "/leo-rerun slsa", False)
    assert asked("issue_comment", events.comment("/leo-status", edited=True)).is_edited
    assert len(asked("issue_comment", events.comment("/leo-" + "x" * 60_000)).text) == 200


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("look: /leo-status", {}),
        ("\n\nhello\n/leo-status", {}),
        ("/leo-status", {"action": "edited"}),
        ("/leo-status", {"action": "deleted"}),
        ("/leo-status", {"on_pull": False}),
    ],
)
def test_no_other_comment_is_a_command(text: str, members):
    assert asked("issue_comment", events.comment(text, **members)) is None


def test_buttons_and_re_runs_of_check_runs_are_asked_for_once_for_the_same_bytes():
    press = events.check_run("requested_action", requested_action={"identifier": "rerun"})
    found = asked("check_run", press)
    assert (found.kind, found.remote_id, found.head_sha, found.pull, found.text) == (
        AskedKind.ACTION, 800, HEAD, 7, "rerun",
    )  # fmt: skip
    assert asked("check_run", press).key == found.key
    later = events.check_run("requested_action", requested_action={"identifier": "rerun"}, pushed=2)
    assert asked("check_run", later).key != found.key
    again = asked("check_run", events.check_run("rerequested", pulls=(7, 8)))
    assert (again.kind, again.pull) == (AskedKind.RERUN, 0)  # of which of two nobody guesses
    suite = {"id": 800, "head_sha": HEAD, "pull_requests": [{"number": 7}]}
    whole = asked("check_suite", events.body(action="rerequested", check_suite=suite))
    assert (whole.kind, whole.pull) == (AskedKind.RERUN, 7)
    assert whole.key.startswith("suite 800 ")
    with pytest.raises(EventError, match=r"requested_action"):
        parse_event("check_run", events.check_run("requested_action"))
    with pytest.raises(EventError, match=r"no sender"):
        parse_event("check_run", events.check_run("rerequested", sender=None))


@pytest.mark.threat("GATE-06")
def test_a_merge_group_is_named_by_its_head_and_never_by_its_branch():
    found = asked("merge_group", events.merge_group())
    assert (found.kind, found.key, found.pull, found.text) == (
        AskedKind.MERGE_GROUP, f"group {HEAD}", 0, "refs/heads/main",
    )  # fmt: skip
    assert asked("merge_group", events.merge_group(action="destroyed")) is None


@pytest.mark.threat("GATE-14")
@pytest.mark.parametrize(
    ("name", "raw", "code"),
    [
        (
            "workflow_run",
            events.workflow_run(repository={"id": 9, "full_name": "acme/payments"}),
            "event.foreign_repository",
        ),
        ("workflow_run", events.workflow_run(installation={"id": 32}), "event.foreign_installation"),
        ("workflow_run", events.workflow_run(installation=None), "event.foreign_installation"),
        ("workflow_run", events.workflow_run(head_repository=9), "event.foreign_head"),
    ],
)
def test_what_belongs_to_another_repository_installation_or_fork_wakes_nobody(name: str, raw: bytes, code: str):
    outcome = admit(parse_event(name, raw), MINE)
    assert (outcome.taken, outcome.code) == (Taken.REFUSED, code)
    assert (outcome.repositories, outcome.wakes, outcome.asked) == (frozenset(), frozenset(), None)
