"""What "arrived exactly once" means, asked of the database, the repository and the bundle store from outside."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from audit.merkle import Frontier, leaf_hash
from handoffs.git.repository import Git
from handoffs.models import Repository
from handoffs.signatures.openpgp import open_envelope, verify_detached
from tests.support.portal import GOOD_CHANGE, Portal
from tests.support.processes import Stack

LANE: Final = ("received", "verified", "signed", "applying", "applied", "opened", "triggered")
AGENTS: Final = {"SECURITY", "DATABASE", "TESTING", "PERFORMANCE", "DESIGN"}
GATES: Final = {"slsa", "policy-bundle"}
# Each row of these tables belongs to one log entry, and each entry of these kinds to one row.
RECORDED: Final = {
    "leo_handoff_tracking": ("handoff.%", "signing.%", "pull.merged"),
    "leo_gate_executions": ("gate.reported",),
    "leo_agent_report": ("agent.reported",),
    "leo_verification_results": ("verdict.recorded",),
    "pr_approval_audit": ("decision.recorded",),
    "leo_policy_version": ("policy.enacted",),
    "leo_push_refusal": ("push.refused",),
    "leo_verdict_statement": ("verdict.attested",),
    "leo_policy_statement": ("policy.attested",),
}

WAITING = "SELECT FROM leo_log_entry e WHERE NOT EXISTS (SELECT FROM leo_log_leaf l WHERE l.entry_id = e.id) LIMIT 1"


class Arrivals:
    """One portal on one stack: hand bundles over, wait, and look."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        folder = stack.folder
        bare = folder / "forge" / "payments.git"
        # Bundles are built and pushed without the portal's database: the builder has no login.
        self.builder = Portal(folder, folder / "source", Repository(full_name="acme/payments", path=str(bare)))
        self.git = Git(bare)

    def push(self, name: str, files: Mapping[str, str | None] | None = None) -> str:
        """A builder's bundle on a branch of its own; without `files` only a text changes, which costs no scanner."""
        branch = f"staging/codex-{name}"
        change: dict[str, str | None] = dict(files) if files else {f"docs/{name}.md": f"# {name}\n"}
        self.builder.push_bundle(self.builder.bundle(change, branch=branch, task=f"Add {name}"), branch=branch)
        return branch

    def push_code(self, name: str) -> str:
        """A change of code and tests, which every sub-agent that can judges."""
        return self.push(name, {**GOOD_CHANGE, f"payments/{name.replace('-', '_')}.py": f'"""{name}."""\n'})

    def status(self, branch: str) -> str:
        """Where the handoff of a branch stands; empty before it is received."""
        found = self.stack.rows("SELECT status FROM handoffs_handoff WHERE staging_branch = %s", branch)
        return str(found[0][0]) if found else ""

    def is_done(self, *branches: str) -> bool:
        """Triggered, and nothing of the verification is left to run."""
        left = "SELECT 1 FROM verdicts_verificationwork w JOIN handoffs_pullrequest p ON p.id = w.pull_request_id"
        left += " JOIN handoffs_handoff h ON h.id = p.handoff_id WHERE h.staging_branch = %s AND w.status = 'waiting'"
        return all(self.status(branch) == "triggered" and not self.stack.rows(left, branch) for branch in branches)

    def wait(self, *branches: str, seconds: float = 60.0) -> None:
        """Until the enforcer lane and the verification are through with these branches."""
        self.stack.wait(lambda: self.is_done(*branches), f"{branches} arrive", seconds=seconds)

    def subject(self, branch: str) -> str:
        """What the log calls the handoff of a branch."""
        return f"H-{self._one('handoffs_handoff', 'staging_branch', branch)['id']}"

    def pull_status(self, branch: str) -> str:
        """Where the pull request of a branch stands."""
        return str(self._pull(branch)["status"])

    def rounds(self, branch: str) -> int:
        """The round of verification the pull request of a branch is in."""
        return int(self._pull(branch)["round"])

    def applyings(self, branch: str) -> int:
        """How often the enforcer said what it is about to push."""
        return len(
            self.stack.rows(
                "SELECT 1 FROM leo_log_entry WHERE subject = %s AND kind = 'handoff.applying'", self.subject(branch)
            )
        )

    def entries(self, branches: Iterable[str]) -> list[tuple[Any, ...]]:
        """The log of these handoffs."""
        subjects = [self.subject(branch) for branch in branches]
        return self.stack.rows(
            "SELECT id, kind, subject FROM leo_log_entry WHERE subject = ANY(%s) ORDER BY id", subjects
        )

    def assert_once(self, branch: str, *, rounds: int = 1) -> None:
        """The handoff of a branch arrived exactly once, and everything about it fits together."""
        handoff = self._one("handoffs_handoff", "staging_branch", branch)
        assert handoff["status"] == "triggered"
        self._assert_events(handoff)
        self._assert_signed(handoff)
        self._assert_applied(handoff)
        self._assert_verified_work(handoff, rounds)
        checks = self.stack.rows(
            "SELECT position, outcome FROM leo_bundle_check WHERE handoff_id = %s ORDER BY position", handoff["id"]
        )
        assert [position for position, _ in checks] == list(range(len(checks)))
        assert len(checks) >= 20
        assert "FAILED" not in {outcome for _, outcome in checks}

    def assert_merged_once(self, branch: str, before: str) -> None:
        """The protected branch moved by exactly one merge commit, and the trail says so once."""
        pull = self._pull(branch)
        assert self.git.resolve("refs/heads/main") == pull["merge_sha"]
        assert self.git.parents_of(pull["merge_sha"]) == (before, pull["head_sha"])
        assert self.git.tree_of(pull["merge_sha"]) == pull["merge_tree"]
        kinds = Counter(
            self.stack.rows(
                "SELECT kind FROM leo_log_entry WHERE subject = %s AND kind IN ('pull.merged', 'merge.refused')",
                self.subject(branch),
            )
        )
        assert kinds == Counter({("pull.merged",): 1})

    def assert_portal_is_whole(self) -> None:
        """The trail is dense and complete, rows and entries match, nothing is stuck, the repository is sound."""
        stack = self.stack
        stack.wait(lambda: not stack.rows(WAITING), "the log is integrated", seconds=20)
        leaves = stack.rows(
            "SELECT l.index, e.leaf, e.leaf_hash FROM leo_log_leaf l JOIN leo_log_entry e ON e.id = l.entry_id"
            " ORDER BY l.index"
        )
        sizes = stack.rows(
            "SELECT (SELECT count(*) FROM leo_log_entry), (SELECT max(size) FROM leo_log_head),"
            " (SELECT root FROM leo_log_head ORDER BY size DESC LIMIT 1)"
        )
        entries, size, root = sizes[0]
        assert [index for index, _, _ in leaves] == list(range(entries))
        assert size == entries
        assert all(leaf_hash(bytes(leaf)) == bytes(stored) for _, leaf, stored in leaves)
        assert Frontier(0, ()).extend(bytes(stored) for _, _, stored in leaves).root == bytes(root)
        for table, kinds in RECORDED.items():
            self._assert_rows_match_entries(table, kinds)
        assert stack.rows("SELECT id FROM handoffs_handoff WHERE attempts >= 5 AND status <> 'triggered'") == []
        assert (
            stack.rows("SELECT id, name FROM verdicts_verificationwork WHERE attempts >= 5 AND status = 'waiting'")
            == []
        )
        numbers = [row[0] for row in stack.rows("SELECT number FROM handoffs_pullrequest ORDER BY number")]
        assert numbers == list(range(1, len(numbers) + 1))
        assert stack.rows("SELECT next_number FROM handoffs_repository") == [(len(numbers) + 1,)]
        self.git.run("fsck", "--strict", "--no-dangling")
        assert list(self.git.path.rglob("*.lock")) == []

    def _one(self, table: str, column: str, value: object) -> dict[str, Any]:
        found = [row[0] for row in self.stack.rows(f"SELECT to_jsonb(t) FROM {table} t WHERE {column} = %s", value)]
        assert len(found) == 1, found
        return dict(found[0])

    def _pull(self, branch: str) -> dict[str, Any]:
        return self._one("handoffs_pullrequest", "head_ref", branch.replace("staging/codex-", "feature/"))

    def _assert_events(self, handoff: dict[str, Any]) -> None:
        """One event of each kind, in order. Only `handoff.applying` may come again.

        It says before the push what will be pushed. A worker that finds the ref not moved yet, because another died
        or is still at it, says the same again, about the same commit: the ref moves once.
        """
        events = self.stack.rows(
            "SELECT event, detail->>'commit', log_entry_id FROM leo_handoff_tracking WHERE handoff_id = %s"
            " AND event LIKE 'handoff.%%' ORDER BY id",
            handoff["id"],
        )
        counted = Counter(event for event, _, _ in events)
        expected = Counter({f"handoff.{name}": 1 for name in LANE})
        expected["handoff.applying"] = max(1, counted["handoff.applying"])
        assert counted == expected
        entries = [entry for _, _, entry in events]
        assert entries == sorted(set(entries))
        order = [f"handoff.{name}" for name in LANE]
        assert [event for event, _, _ in events] == sorted((event for event, _, _ in events), key=order.index)
        commits = {commit for event, commit, _ in events if event in {"handoff.applying", "handoff.applied"}}
        assert commits == {handoff["applied_commit"]}

    def _assert_signed(self, handoff: dict[str, Any]) -> None:
        signed = self.stack.rows(
            "SELECT s.digest, s.signature, s.envelope, k.public_key, k.fingerprint FROM leo_signature s"
            " JOIN handoffs_signingkey k ON k.id = s.key_id WHERE s.handoff_id = %s",
            handoff["id"],
        )
        assert len(signed) == 1
        digest, signature, envelope, public_key, fingerprint = signed[0]
        stored = Path(self.stack.environment["LEOPORTAL_VAR"], "bundles", digest[:2], digest).read_bytes()
        assert hashlib.sha256(stored).hexdigest() == digest == handoff["digest"]
        verify_detached(stored, signature, public_key=public_key, fingerprint=fingerprint)
        statement = open_envelope(bytes(envelope), public_key=public_key, fingerprint=fingerprint)
        assert json.loads(json.dumps(statement))["subject"][0]["digest"] == {"sha256": digest}

    def _assert_applied(self, handoff: dict[str, Any]) -> None:
        pull = self._one("handoffs_pullrequest", "handoff_id", handoff["id"])
        branch, commit = handoff["feature_branch"], handoff["applied_commit"]
        assert (pull["head_ref"], pull["head_sha"]) == (branch, commit)
        assert self.git.resolve(f"refs/heads/{branch}") == commit
        assert self.git.parents_of(commit) == (handoff["merge_base"],)
        assert self.git.tree_of(commit) == handoff["result_tree"]
        intents = self.stack.rows("SELECT new FROM leo_ref_intent WHERE ref = %s", f"refs/heads/{branch}")
        assert intents == [(commit,)]
        refused = self.stack.rows("SELECT code FROM leo_push_refusal WHERE ref = %s", f"refs/heads/{branch}")
        assert refused == []

    def _assert_verified_work(self, handoff: dict[str, Any], rounds: int) -> None:
        pull = self._one("handoffs_pullrequest", "handoff_id", handoff["id"])
        gates = self.stack.rows("SELECT gate FROM leo_gate_executions WHERE pull_request_id = %s", pull["id"])
        built_in = Counter(gate for (gate,) in gates if gate in GATES)
        assert built_in == Counter(GATES)
        reports = self.stack.rows("SELECT round, agent FROM leo_agent_report WHERE pull_request_id = %s", pull["id"])
        assert Counter(agent for number, agent in reports if number == 1) == Counter(AGENTS)
        assert max(Counter(reports).values()) == 1
        assert {number for number, _ in reports} == set(range(1, rounds + 1))
        work = self.stack.rows(
            "SELECT kind, name, round, status FROM verdicts_verificationwork WHERE pull_request_id = %s", pull["id"]
        )
        assert {status for *_, status in work} == {"done"}
        done = {(number, name) for kind, name, number, _ in work if kind == "agent"}
        assert done == set(reports)

    def _assert_rows_match_entries(self, table: str, kinds: tuple[str, ...]) -> None:
        told = "SELECT id FROM leo_log_entry WHERE " + " OR ".join(["kind LIKE %s"] * len(kinds))
        entries = Counter(self.stack.rows(told, *kinds))
        rows = Counter(self.stack.rows(f"SELECT log_entry_id FROM {table} WHERE log_entry_id IS NOT NULL"))
        assert rows == entries, table
