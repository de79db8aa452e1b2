"""A worker killed at ten points of keyless signing: one accepted signature, and every extra log entry has its orphan.

The short form is `tests/kill/test_signing.py`; the long one is a part of `make kill`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from handoffs.attestations.dsse import PAYLOAD_TYPE, pae
from tests.kill.arrival import Arrivals
from tests.support.loopback_sigstore import LoopbackSigstore, Seen
from tests.support.processes import Stack, running_stack

IDENTITY: Final = "https://portal.leo.example/enforcer"
LEASE_SECONDS: Final = 60.0
# Points inside the worker, in order of time; and points of the protocol, where the service sees the kill.
INSIDE: Final = (
    "sign.before",
    "record.signing.started",
    "intent.after",
    "sigstore.after",
    "record.handoff.signed",
    "sign.after",
)
OUTSIDE: Final = ("token.shown", "certificate.issued", "artifact.logged", "statement.logged")
POINTS: Final = (*INSIDE[:3], *OUTSIDE, *INSIDE[3:])


class KilledSigning:
    """A stack that signs with a loopback Sigstore, whose worker dies where we say."""

    def __init__(self, stack: Stack, sigstore: LoopbackSigstore) -> None:
        self.stack = stack
        self.sigstore = sigstore
        self.arrivals = Arrivals(stack)
        self._point = ""
        self._entries = 0
        self._answer = sigstore.answer
        self._lock = threading.Lock()
        sigstore.answer = self._watch  # type: ignore[method-assign]

    def kill_at(self, point: str, name: str) -> str:
        """One handoff whose worker dies at a point; returns its branch, signed."""
        branch = f"staging/codex-{name}"
        (self.stack.folder / "sigstore" / "token").write_text(self.sigstore.token(IDENTITY, seconds=3000))
        deaths = self.stack.deaths
        if point in INSIDE:
            self.stack.traps.lay(point, branch)
        else:
            self._point, self._entries = point, 0
        self.arrivals.push(name)
        self.stack.wait(lambda: self._has_died(point, branch, deaths), f"the worker dies at {point}")
        # As if the lease of the dead worker had run out.
        self.stack.rows(
            "UPDATE handoffs_handoff SET lease_until = now() WHERE staging_branch = %s RETURNING id", branch
        )
        # Longer than a lease: on a machine that stands still for a while, a run that lost its place comes back.
        wanted = {"opened", "triggered"}
        self.stack.wait(
            lambda: self.arrivals.status(branch) in wanted, f"{branch} is signed", seconds=3 * LEASE_SECONDS
        )
        return branch

    def _has_died(self, point: str, branch: str, deaths: int) -> bool:
        has_fired = self.stack.traps.has_fired(point, branch) if point in INSIDE else not self._point
        return has_fired and self.stack.deaths > deaths

    def _watch(self, seen: Seen) -> tuple[int, bytes, str]:
        """Kill the worker before or after a request is answered; the answer then reaches nobody."""
        is_certificate, is_entry = seen.path.endswith("/signingCert"), seen.path.endswith("/log/entries")
        if is_certificate:
            self._die_at("token.shown")
        answer = self._answer(seen)
        if is_certificate:
            self._die_at("certificate.issued")
        elif is_entry and seen.method == "POST":
            self._entries += 1
            self._die_at("artifact.logged" if self._entries == 1 else "statement.logged")
        return answer

    def _die_at(self, point: str) -> None:
        with self._lock:
            if point == self._point:
                self.stack.kill_worker_tree()
                self._point = ""

    def assert_signed_once(self, branch: str) -> None:
        """One accepted attempt, one signature, and no entry of the log that nobody accounts for."""
        (number, digest), *others = self.stack.rows(
            "SELECT id, digest FROM handoffs_handoff WHERE staging_branch = %s", branch
        )
        assert others == []
        attempts = self.stack.rows(
            "SELECT outcome, statement FROM leo_signing_attempt WHERE handoff_id = %s ORDER BY id", number
        )
        outcomes = [outcome for outcome, _ in attempts]
        assert outcomes[-1] == "accepted", outcomes
        assert set(outcomes[:-1]) <= {"orphaned"}, outcomes
        assert len({bytes(statement) for _, statement in attempts}) == 1
        assert self.stack.rows("SELECT digest FROM leo_signature WHERE handoff_id = %s", number) == [(digest,)]
        told: dict[str, list[Any]] = {"handoff.signed": [], "signing.orphan": [], "signing.started": []}
        for event, detail in self.stack.rows(
            "SELECT event, detail FROM leo_handoff_tracking WHERE handoff_id = %s AND event = ANY(%s)",
            number,
            list(told),
        ):
            told[event].append(detail)
        assert len(told["handoff.signed"]) == 1
        assert len(told["signing.started"]) == len(attempts)
        assert len(told["signing.orphan"]) == outcomes.count("orphaned")
        self._assert_entries_accounted_for(digest, bytes(attempts[-1][1]), told)

    def _assert_entries_accounted_for(self, digest: str, statement: bytes, told: dict[str, list[Any]]) -> None:
        accepted = told["handoff.signed"][0]["log_indexes"]
        entries = [index for index, hashed in self._logged() if hashed in {digest, *_digests_of(statement)}]
        assert set(accepted) <= set(entries)
        if self.sigstore.rekor == 1:
            orphaned = [index for detail in told["signing.orphan"] for index in detail["log_indexes"]]
            assert sorted(accepted + orphaned) == sorted(entries)
        else:  # this log has no index to ask: the orphans say so
            assert len(entries) - len(accepted) <= 2 * len(told["signing.orphan"])
            assert {detail["log_indexes"] for detail in told["signing.orphan"]} <= {None}

    def _logged(self) -> list[tuple[int, str]]:
        """Index and digest of every entry."""
        found = []
        for index, body in enumerate(self.sigstore.logs[self.sigstore.rekor].bodies):
            if not body.startswith(b"{"):
                continue
            match json.loads(body)["spec"]:
                case {"data": {"hash": {"value": hashed}}} | {"payloadHash": {"value": hashed}}:
                    found.append((index, hashed))
                case {"hashedRekordV002": {"data": {"digest": encoded}}}:
                    found.append((index, base64.b64decode(encoded).hex()))
        return found


def _digests_of(statement: bytes) -> set[str]:
    """How a log may name a statement: by its own digest, or by that of its envelope's encoding."""
    return {hashlib.sha256(data).hexdigest() for data in (statement, pae(PAYLOAD_TYPE, statement))}


@contextlib.contextmanager
def killed_signing(parent: Path | None, *, rekor: int) -> Iterator[KilledSigning]:
    """A stack and a Sigstore for it. Leases are long: nothing but a death makes a step run twice."""
    folder = Path(tempfile.mkdtemp(prefix="ls-", dir=parent))
    with LoopbackSigstore(rekor=rekor) as sigstore, running_stack(folder, lease_seconds=LEASE_SECONDS) as stack:
        trust_config = sigstore.write_config(folder / "sigstore")
        stack.environment |= {
            "SIGSTORE_TRUST_CONFIG": str(trust_config),
            "SIGSTORE_IDENTITY_TOKEN_FILE": str(folder / "sigstore" / "token"),
            "SIGSTORE_SECONDS": "30",
        }
        stack.workers, stack.beat = stack._children()
        stack.run("-m", "tests.kill.people", "make")
        stack.run("-m", "tests.kill.people", "sigstore", TEST_ISSUER=sigstore.url)
        stack.start_processes()
        yield KilledSigning(stack, sigstore)


def kill_at_each_point(times: int, say: Callable[[str], None]) -> None:
    """The long form: every point so many times, with both versions of the log."""
    for rekor in (1, 2):
        with killed_signing(None, rekor=rekor) as killed:
            for number in range(times):
                for point in POINTS:
                    branch = killed.kill_at(point, f"{point.replace('.', '-')}-{number}")
                    killed.assert_signed_once(branch)
                say(f"Rekor v{rekor}: {(number + 1) * len(POINTS)} kills, each signed exactly once")
