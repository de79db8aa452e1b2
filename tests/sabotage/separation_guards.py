"""The guards of who may not decide: the person behind an account, a machine, an address, or the same change."""

from __future__ import annotations

from tests.sabotage.engine import Guard

COLLUSION = "tests/test_collusion.py::test_collusion_is_refused_with_its_reason"
ACCOUNT = f"{COLLUSION}[PLAN turns out to be the builder's person under another account]"
MACHINE = f"{COLLUSION}[a second machine of the builder's person acts as PLAN]"

SEPARATION_GUARDS: tuple[Guard, ...] = (
    Guard("audit/separation.py", "in (*self.sponsors.items(), *self.links):", "in self.sponsors.items():", ACCOUNT),
    Guard("audit/separation.py", "in (*self.sponsors.items(), *self.links):", "in self.links:", MACHINE),
    Guard("verdicts/deciding.py", "    settle_contributors(handoff)\n    take_part(handoff.chain, by)\n", "    take_part(handoff.chain, by)\n", f"{COLLUSION}[a commit's author is PLAN]"),
    Guard("verdicts/deciding.py", "    settle_contributors(handoff)\n    take_part(handoff.chain, by)\n", "    settle_contributors(handoff)\n", f"{COLLUSION}[PLAN turns out to be the builder's person under another account]"),
    Guard("verdicts/deciding.py", "    take_part(handoff.chain, by)\n    if clashes", "    if clashes", f"{COLLUSION}[LEAD turns out to be the builder's person under another account]"),
    Guard("verdicts/deciding.py", "    require(by, Act.REVIEW_ESCALATION)\n    pull = PullRequest.objects.select_for_update().get(pk=pull_id)\n    refuse_moved(pull, request.head_sha, \"decision\")", "    pull = PullRequest.objects.select_for_update().get(pk=pull_id)\n    refuse_moved(pull, request.head_sha, \"decision\")", f"{COLLUSION}[PLAN approves its own escalation]"),
)  # fmt: skip
