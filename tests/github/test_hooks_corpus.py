"""Bodies of GitHub's webhooks that another project collected: each is taken or refused for a stated reason.

They lie beside the repository, in ../shared/corpora; where they are absent the test skips and says so.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from handoffs import tasks_github, views_github
from handoffs.github.events import USES, Event, Ignored, parse_event
from handoffs.models import WebhookDelivery
from handoffs.tasks_github import take_deliveries
from tests.github.delivering import SECRETS, deliver
from tests.support.corpora import all_of, cases, read

FOLDER = "octokit-webhooks"


def name_of(case: dict[str, Any]) -> str:
    return str(case["id"].split("/")[-2])


@pytest.mark.parametrize("case", cases(FOLDER))
def test_each_body_is_understood_or_passed_over_for_what_it_is(case: dict[str, Any]):
    name = name_of(case)
    found = parse_event(name, read(FOLDER, case["bundle"]))
    if name not in USES:
        assert found == Ignored(found.action, "event.unused")
        return
    action = re.search(r"action (\w+)", case["why"])
    if USES[name].actions and action and action[1] not in USES[name].actions:
        assert found == Ignored(action[1], "event.unused_action")
        return
    assert isinstance(found, Event)
    assert (found.kind, found.action) == (name, action[1] if action else "")
    assert found.repository_id or found.installation_id


@pytest.mark.threat("HOK-05")
@pytest.mark.skipif(not all_of(FOLDER), reason=f"no corpus {FOLDER} in ../shared/corpora")
def test_every_body_goes_all_the_way_and_none_is_an_error(transactional_db, hosted, settings, monkeypatch):
    settings.GITHUB_ENFORCER_WEBHOOK_SECRETS = [SECRETS["enforcer"]]
    monkeypatch.setattr(views_github.bell, "press", lambda: None)
    monkeypatch.setattr(tasks_github, "nudge", lambda *_: None)
    everything = all_of(FOLDER)
    for case in everything:
        answer = deliver(read(FOLDER, case["bundle"]), name_of(case))
        assert (answer.status_code, answer.json()["code"]) == (202, "webhook.stored"), case["id"]
    while take_deliveries():
        pass
    ends = Counter(WebhookDelivery.objects.values_list("status", "code"))
    assert set(ends) <= {
        ("ignored", "event.unused"),
        ("ignored", "event.unused_action"),
        ("refused", "event.foreign_repository"),
        ("refused", "event.foreign_installation"),
    }
    assert sum(ends.values()) == len(everything)
