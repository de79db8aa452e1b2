"""Heads that move, errors and kills at every place of the publish path: no success on what was not judged, ever."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.github.publishing import SATISFYING, Published
from tests.support.github import GitHub
from tests.support.github.pulls import Pull
from tests.support.portal import Portal
from verdicts.decision import Verdict as VerdictKind

LONG = bool(os.environ.get("LEO_FAULTS"))  # `make publishing`


@pytest.fixture
def there(portal: Portal, github: GitHub, settings) -> Published:
    return Published.make(portal, github, settings)


def amend(there: Published, pull: Pull) -> None:
    """The same change as another commit: same tree, other id."""
    tip = there.remote.git.resolve(f"{pull.head_sha}^")
    files = {"payments/fees.py": there.remote.git.read(pull.head_sha, "payments/fees.py")}
    there.remote.commit(files, branch=pull.head, message="Amended", by=there.dev, parent=tip, force=True)


def add(there: Published, pull: Pull) -> None:
    there.remote.commit({"backdoor.py": "import os\n"}, branch=pull.head, by=there.dev)


def retarget(there: Published, pull: Pull) -> None:
    if not there.remote.sha("release"):
        there.remote.commit({}, branch="release", by=there.dev)
    pull.edit(there.dev, base="release")


def twin(there: Published, pull: Pull) -> None:
    name = f"twin-{len(there.remote.pulls)}"
    there.remote.move(f"refs/heads/{name}", pull.head_sha, by=there.dev)
    there.remote.open_pull(name, by=there.dev)


def close(there: Published, pull: Pull) -> None:
    pull.close(there.dev)


MOVES: tuple[Callable[[Published, Pull], None], ...] = (amend, add, retarget, twin, close)


def put_back(there: Published, pull: Pull, judged: str) -> None:
    """As it was, and nothing published: GitHub has no check run of ours."""
    for other in there.remote.pulls.values():
        if other is not pull and other.state == "open":
            other.close(there.dev)
    if pull.state == "closed":
        pull.reopen(there.dev)
    pull.edit(there.dev, base="main")
    if pull.head_sha != judged:
        there.remote.move(f"refs/heads/{pull.head}", judged, by=there.dev)
    there.remote.check_runs.clear()


def watch(there: Published, judged: str, at: int, act: Callable[[], None]) -> Iterator[int]:
    """Before the call `at` of what follows, `act`; before each call no success stands on anything but what was judged."""
    first = len(there.github.requests)
    done = False

    def before(request) -> None:
        nonlocal done
        assert set(there.passed()) <= {judged}
        if request.number - first == at and not done:
            done = True
            act()

    stop = there.github.before_request(before)
    yield first
    stop()


@pytest.mark.threat("GATE-04")
@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__)
def test_the_head_moves_between_every_pair_of_calls(there: Published, move: Callable[[Published, Pull], None]):
    pull = there.hand_over()
    judged = pull.head_sha
    there.portal.verdict(VerdictKind.PASS)
    assert there.publish() == "done"
    put_back(there, pull, judged)
    first = len(there.github.requests)
    assert there.publish() == "done"
    calls = there.github.requests[first:]
    assert there.gate_3(judged) == "success"
    assert len(calls) >= 10
    reads = [at for at, one in enumerate(calls) if one.method == "GET" and one.path.endswith("/pulls")]
    assert len(reads) == 3  # to see what there is, before the success, after it
    # One kind at every place; of the others, which are found by the same reads, those around the success.
    for at in range(0 if move is amend or LONG else reads[1] - 1, len(calls)):
        put_back(there, pull, judged)
        there.retry()
        for _ in watch(there, judged, at, lambda: move(there, pull)):
            there.publish()
        assert at > reads[-1] or there.gate_3(judged) not in SATISFYING, (at, calls[at].path)
        there.retry()
        there.publish()
        assert set(there.passed()) == set(), (at, calls[at].path)
        assert pull.base != "main" or not pull.mergeable  # nothing is required on another branch
    put_back(there, pull, judged)
    there.retry()
    assert there.publish() == "done"
    assert there.gate_3(judged) == "success"
