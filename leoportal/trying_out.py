"""Trying a repository on GitHub out with one token in place of the two Apps: it separates nothing, and blocks nothing.

Everything runs and is shown as statuses of the token's user; no rule is written, none could tell them from a forger's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from django.conf import settings

from handoffs.actions import Enrolment, govern_on_github
from handoffs.forges.protocol import ForgeError
from handoffs.github.connection import Connection
from handoffs.github.contexts import NOT_SEPARATED, TRIAL
from handoffs.github.live import Expected
from handoffs.github.rules import Reader
from handoffs.models import HandoffError
from handoffs.protecting import expect_protection
from leoportal.governing import Ending, Governed, Say
from leoportal.setup import OPERATOR
from verdicts.evidence import policy_in_force
from verdicts.policy import parse_policy

NEXT: Final = (
    "start the portal with GITHUB_TOKEN_FILE=FILE, a token that may push; for real use begin anew with both Apps"
)


def try_out(full_name: str, branch: str, connection: Connection, *, say: Say) -> Governed:
    """Put a repository under the portal without its Apps. Safe to repeat.

    Raises: ForgeError; HandoffError("repository.other") where it is governed for real.
    """
    reader = Reader(connection)
    about = reader.get(f"/repos/{full_name}")
    if not (about.get("permissions") or {}).get("push"):
        raise ForgeError("github.forbidden", f"got a token that may not push to {full_name}, expected one that may")
    name, number = str(about["full_name"]), int(about["id"])
    say(f"1 repository  {name} is number {number}, and the token may push to it")
    say(f"2 TRIAL       {NOT_SEPARATED.upper()}. NOTHING HERE BLOCKS A MERGE, whatever the portal says")
    policy = parse_policy(policy_in_force().document.encode())
    tip = str(reader.get(f"/repos/{name}/git/ref/heads/{branch}")["object"]["sha"])
    mirror = Path(settings.FORGE_ROOT) / "github" / f"{number}.git"
    enrolment = Enrolment(number, name, branch, tip, mirror, is_observed=True)
    hosted = govern_on_github(enrolment, by=OPERATOR)
    if hosted.is_separated or hosted.repository.protected_branch != branch:
        raise HandoffError("repository.other", f"{hosted} is governed with both Apps or on another branch; it stays so")
    contexts = tuple(gate.check_name for gate in policy.gates)
    expected = Expected(branch, contexts, gate_app=0, enforcer_app=0)
    expect_protection(hosted.repository, expected, is_observed=True, by=OPERATOR)
    say(f"3 registered  {hosted}, {branch} at {hosted.enrolled_sha[:12]}; no rule is written, no canary flown")
    say(f"4 statuses    {', '.join(f'{TRIAL}{context}' for context in contexts)}")
    return Governed(Ending.TRIAL, (), NEXT)
