"""kill -9 of the worker at each point of keyless signing: exactly one accepted signature, every extra entry accounted for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leoportal.stack.pytest_plugin import find_parent_folder
from tests.kill.signing import POINTS, KilledSigning, killed_signing

pytestmark = pytest.mark.kill


@pytest.fixture(scope="module")
def killed() -> Iterator[KilledSigning]:
    with killed_signing(find_parent_folder(), rekor=1) as running:
        yield running


@pytest.mark.threat("ATT-11")
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_while_it_signs_leaves_one_accepted_signature(killed: KilledSigning, point: str):
    branch = killed.kill_at(point, point.replace(".", "-"))
    killed.assert_signed_once(branch)
