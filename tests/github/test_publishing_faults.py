"""An error at every call site of the publish path: nothing is shown as passed afterwards, and the next look repairs it."""

from __future__ import annotations

import os

import pytest

from handoffs.github import check_runs
from handoffs.models import GitHubRepository
from tests.github.faults import InjectedError, Sites, faulty
from tests.github.publishing import GATE_3, Published
from tests.support.github import GitHub
from tests.support.portal import Portal
from verdicts import check_text, publisher, publishing, publishing_facts, publishing_plans
from verdicts.decision import Verdict as VerdictKind
from verdicts.publishing_plans import Desk
from verdicts.tasks_publishing import desk_of

# Where GitHub is told, then what is read and worked out before.
MODULES = (publisher, check_runs, publishing_plans, publishing_facts, publishing, check_text)
LONG = bool(os.environ.get("LEO_FAULTS"))


@pytest.fixture
def there(portal: Portal, github: GitHub, settings) -> Published:
    return Published.make(portal, github, settings)


@pytest.mark.threat("GATE-12")
def test_an_error_at_any_call_site_leaves_no_success(there: Published):
    """At the last passage of each site: after the success was written, where a site is passed then. LEO_FAULTS=1 for
    every passage of every site; without it, of the modules that only read, one site in five."""
    pull = there.hand_over()
    there.portal.verdict(VerdictKind.PASS)
    there.github.limits.limit = 1_000_000  # every passage of every site asks more than GitHub answers in an hour
    desk = desk_of(GitHubRepository.objects.select_related("repository").get())
    errors = 0
    with faulty(*MODULES) as sites:
        with sites.run():
            publisher.publish_repository(desk)
        assert there.gate_3(pull.head_sha) == "success"
        passed = dict(sites.hits)
        assert len(passed) >= 60
        tells = {site for site in passed if sites.where[site].startswith(("publisher:", "check_runs:"))}
        for place, (site, times) in enumerate(sorted(passed.items())):
            if not (LONG or site in tells or place % 5 == 0):
                continue
            for passage in range(1 if LONG else times, times + 1):
                _publish_with_error(there, desk, sites, site, passage)
                assert set(there.passed()) == set(), (sites.where[site], passage)
                assert pull.mergeable_state == "blocked"
                errors += 1
        there.remote.check_runs.clear()
        with sites.run():
            publisher.publish_repository(desk)
    assert there.states(pull.head_sha)[GATE_3] == "success"
    print(f"\n{errors} errors at {len(passed)} call sites that were passed, of {len(sites.where)}")


def _publish_with_error(there: Published, desk: Desk, sites: Sites, site: int, passage: int) -> None:
    """What waits for something passes a site less often some times: then its last passage of that time fails."""
    while passage:
        there.remote.check_runs.clear()
        try:
            with sites.run((site, passage)):
                publisher.publish_repository(desk)
        except InjectedError:
            return
        passage = min(passage - 1, sites.hits.get(site, 0))
    pytest.fail(f"{sites.where[site]} is not passed any more")
