"""The child that looks at hostile bytes: its limits, its ends, and what it cannot touch."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from handoffs.checks.isolation import Ceiling, IsolationError, run_isolated
from handoffs.checks.verification import Report, verify_bundle
from handoffs.checks.wire import WireError, pack, unpack
from handoffs.models import Handoff, Status
from handoffs.tasks import sweep_staging
from handoffs.verifying import verify_handoff
from tests.support.bundles import failed_codes, honest_handover
from tests.support.credentials import SURE
from tests.support.portal import GOOD_CHANGE, Portal

HONEST = honest_handover()
TIGHT = Ceiling(cpu_seconds=1, wall_seconds=5.0, memory_bytes=64 << 20, file_bytes=1 << 20, answer_bytes=1 << 20)


def refusal(work, ceiling: Ceiling = TIGHT) -> str:
    with pytest.raises(IsolationError) as caught:
        run_isolated(str, work, ceiling)
    return caught.value.code


def spin() -> str:
    while True:
        pass


def hog() -> str:
    return str(len(bytearray(1 << 30)))


def fill(path: Path) -> str:
    return str(path.write_bytes(bytes(2 << 20)))


def end_with(number: int) -> str:
    os.kill(os.getpid(), number)
    return "alive"


def test_a_report_from_the_child_is_the_report():
    context = HONEST.context(HONEST.raw)
    seen = run_isolated(Report, lambda: verify_bundle(HONEST.raw, git=HONEST.git, context=context), Ceiling())
    assert seen == verify_bundle(HONEST.raw, git=HONEST.git, context=context)
    assert seen.is_verified


@pytest.mark.parametrize(("said", "codes"), [("", set()), (dict(SURE)["GitHub token"], {"secrets.none"})])
def test_a_bundle_that_is_worth_a_thread_is_judged_the_same(said, codes):
    raw = HONEST.rebuilt(sbom=lambda d: d["components"][0].update(description="x " * (1 << 19) + said))
    assert failed_codes(run_isolated(Report, lambda: HONEST.verify(raw), Ceiling())) == codes


@pytest.mark.threat("BUN-06")
@pytest.mark.parametrize(
    ("work", "code"),
    [
        (spin, "archive.limits"),
        (hog, "archive.limits"),
        (lambda: "x" * (2 << 20), "archive.limits"),
        (lambda: end_with(signal.SIGSEGV), "verify.crashed"),
        (lambda: end_with(signal.SIGKILL), "verify.crashed"),
        (lambda: os._exit(3), "verify.crashed"),
        (lambda: os._exit(0), "verify.crashed"),
        (lambda: str(1 // 0), "verify.crashed"),
        (lambda: 7, "verify.crashed"),
    ],
)
def test_whatever_ends_the_child_is_a_code_and_the_parent_goes_on(work, code):
    assert refusal(work) == code
    assert run_isolated(str, lambda: "next", TIGHT) == "next"


@pytest.mark.threat("BUN-06")
def test_a_child_that_sleeps_is_killed(tmp_path):
    def sleep() -> str:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(30)
        return ""

    started = time.monotonic()
    assert refusal(sleep, replace(TIGHT, wall_seconds=0.5)) == "archive.limits"
    assert time.monotonic() - started < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_files_are_limited_for_the_child_and_its_programs(tmp_path):
    assert refusal(lambda: fill(tmp_path / "a")) == "archive.limits"
    copied = run_isolated(
        int, lambda: subprocess.run(["dd", "if=/dev/zero", f"of={tmp_path / 'b'}", "bs=2M", "count=1"], check=False, capture_output=True).returncode, TIGHT
    )  # fmt: skip
    assert copied != 0
    assert (tmp_path / "b").stat().st_size <= TIGHT.file_bytes


def test_every_limit_is_in_force():
    names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NPROC")

    def look() -> list[int]:
        return [resource.getrlimit(getattr(resource, name))[0] for name in names]

    found = dict(zip(names, run_isolated(list[int], look, TIGHT), strict=True))
    assert (found["RLIMIT_CPU"], found["RLIMIT_FSIZE"], found["RLIMIT_CORE"]) == (1, 1 << 20, 0)
    assert 0 < found["RLIMIT_NPROC"] < 1_000_000
    assert (64 << 20) < found["RLIMIT_AS"] < (1 << 40)


def test_the_child_holds_none_of_its_parents_connections():
    here, there = socket.socketpair()
    here.settimeout(0.2)

    def meddle() -> int:
        try:
            return there.send(b"from the child")
        except OSError:
            there.close()
            return 0

    with here, there:
        run_isolated(int, meddle, TIGHT)
        with pytest.raises(TimeoutError):
            here.recv(1)
        there.send(b"!")
        assert here.recv(1) == b"!"


@dataclass(frozen=True)
class Sample:
    text: str
    number: int
    many: tuple[tuple[str, int], ...]
    some: frozenset[str]
    maybe: Sample | None


def test_values_travel_as_data_and_only_as_their_type():
    value = Sample("\udc80 caf\u00e9", 2**60, (("a", 1),), frozenset({"x"}), Sample("", 0, (), frozenset(), None))
    assert unpack(Sample, pack(value)) == value
    for raw in (b"", b"[]", b"{}", b'"x"', pack(value).replace(b'"number":0', b'"number":"0"'), pack({"text": "x"})):
        with pytest.raises(WireError):
            unpack(Sample, raw)
    with pytest.raises(TypeError):
        pack({"object": object()})


class DeadlyForge:
    """The real forge, whose repository cannot be looked at by another process and survived."""

    def __init__(self, forge: object) -> None:
        self._forge, self._home = forge, os.getpid()

    def __getattr__(self, name: str) -> object:
        if name == "git_path" and os.getpid() != self._home:
            os.kill(os.getpid(), signal.SIGSEGV)
        return getattr(self._forge, name)


@pytest.mark.threat("BUN-06")
@pytest.mark.parametrize("code", ["archive.limits", "verify.crashed"])
def test_a_bundle_that_ends_its_child_is_refused_and_the_lane_goes_on(portal: Portal, code: str):
    portal.push_bundle(portal.bundle(GOOD_CHANGE))
    sweep_staging()
    handoff = Handoff.objects.get()
    tools = portal.tools()
    if code == "archive.limits":
        verify_handoff(handoff, replace(tools, ceiling=Ceiling(answer_bytes=500)))
    else:
        verify_handoff(handoff, replace(tools, forge=DeadlyForge(tools.forge)))
    handoff.refresh_from_db()
    assert (handoff.status, handoff.refusal_code) == (Status.REFUSED, code)
    assert handoff.events.get(event="handoff.refused").detail["failed"] == [code]
    assert not Handoff.objects.due().exists()
    assert portal.hand_over(branch="staging/codex-after").status == Status.TRIGGERED
