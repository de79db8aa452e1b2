"""A broken glass in evidence packs: a class of its own, separated only by a third person's look in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from audit import standalone_verifier
from audit.events import Role
from handoffs.models import PullRequest
from leoportal.lanes.switching import acting_in
from tests.support.people import one_person, person
from tests.support.portal import Portal
from tests.support.portal_packs import by_command, key_of_the_log, make_pack, sign_log, states_of
from verdicts.break_glass import BreakGlassRequest, open_break_glass, request_break_glass, review_break_glass
from verdicts.break_glass_rows import BreakGlass
from verdicts.duties import read_separation
from verdicts.duty_facts import gather
from verdicts.duty_rules import glass_by_two_and_a_third
from verdicts.merging import merge_pull_request


def broken_glass(portal: Portal, pull: PullRequest) -> BreakGlass:
    """Two LEADs release a head that PLAN never judged."""
    second = portal.add_person("lead2", Role.LEAD)
    wanted = BreakGlassRequest(
        "Payments are down; this is the fix, and the runner is down, too.", "INC-7", pull.head_sha
    )
    with acting_in("lead"):
        glass = request_break_glass(pull.pk, wanted, by=portal.actor("lead"))
        open_break_glass(glass.pk, by=second)
    return BreakGlass.objects.get(pk=glass.pk)


@pytest.mark.threat("SOD-12")
def test_a_merge_behind_broken_glass_is_a_class_of_its_own(portal: Portal, settings):
    pull = portal.verified()
    glass = broken_glass(portal, pull)
    sign_log()
    merge_pull_request(pull.pk, portal.tools(), by=portal.actor("lead"))
    sign_log()
    pull.refresh_from_db()
    for state, told, filters in (("not_computed", "note", {}), ("ok", "ok", {"pull": "acme/payments#1"})):
        if state == "ok":
            words = "Looked at the change after the incident: it does what the request says, and nothing else."
            review_break_glass(glass.pk, words, by=portal.add_person("yuri", Role.ADMIN))
            sign_log()
        path = make_pack(settings, **filters)
        status, said = by_command(path)
        assert status == 0, [(k, v) for k, v in said.items() if v[0] not in {"ok", "note"}]
        assert said["commits"][1].startswith("2 BREAK-GLASS")
        assert said["break-glass"][0] == "ok"
        assert ("note" in states_of(path, "break-glass")) is (told == "note")
        assert read_separation(pull).state == state
        assert standalone_verifier.main([str(path), "--key", key_of_the_log()]) == 0


@pytest.mark.threat("SOD-12")
def test_a_broken_glass_that_nobody_reviewed_in_time_breaks_the_separation(portal: Portal):
    pull = portal.verified()
    glass = broken_glass(portal, pull)
    assert read_separation(pull).state == "not_computed"
    assert glass.review_due_at is not None
    late = replace(gather(pull), now=glass.review_due_at + timedelta(seconds=1))
    assert glass_by_two_and_a_third(late).state == "broken"
    alone = replace(gather(pull), parts=())
    assert glass_by_two_and_a_third(alone).state == "broken"
    one_person(person("lead"), person("lead2"))
    assert read_separation(pull).state == "broken"
