"""Loopback Sigstores for a test: with either version of Rekor, or the first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.loopback_sigstore import LoopbackSigstore


@pytest.fixture(params=[1, 2], ids=["rekor1", "rekor2"])
def sigstore(request) -> Iterator[LoopbackSigstore]:
    with LoopbackSigstore(rekor=request.param) as running:
        yield running


@pytest.fixture
def rekor1() -> Iterator[LoopbackSigstore]:
    with LoopbackSigstore(rekor=1) as running:
        yield running
