"""One stack for the kills of a test process, gone after the last: real processes, the runtime's logins, short leases."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from leoportal.stack.pytest_plugin import find_parent_folder
from tests.kill.arrival import Arrivals
from tests.support.processes import running_stack


@pytest.fixture(scope="package")
def portal_of_run() -> Iterator[Arrivals]:
    """Services, schema, people, a signing key, one governed repository, beat and a worker."""
    folder = Path(tempfile.mkdtemp(prefix="lk-", dir=find_parent_folder()))
    with running_stack(folder) as stack:
        stack.run("-m", "tests.kill.people", "make")
        stack.start_processes()
        arrivals = Arrivals(stack)
        yield arrivals
        arrivals.assert_portal_is_whole()


@pytest.fixture
def arrivals(portal_of_run: Arrivals) -> Iterator[Arrivals]:
    """The portal of this run with its processes alive; no trap is left over for the next test."""
    portal_of_run.stack.revive()
    yield portal_of_run
    portal_of_run.stack.traps.clear()
