"""What people do, each act a process of its own that can be killed: set the portal up, release a change, merge it.

python -m tests.kill.people make | rotate | revoke | sigstore | release | merge
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.faulty_worker import FOLDER, Traps, install

ON_THE_WEB = ("release", "merge")
if sys.argv[1] in ON_THE_WEB:
    os.environ["DATABASE_URL"] = os.environ["DATABASE_WEB_URL"]
WRAPPER = install(Traps(Path(os.environ[FOLDER])))

from handoffs.keys import active_key, create_signing_key
from handoffs.models import Lane, Repository
from handoffs.rotating import request_rotation
from handoffs.tasks import key_vault
from leoportal import setup
from leoportal.lanes.switching import acting_in
from tests.support.portal import Portal
from tests.support.signing import IDENTITY, enact, enact_signing
from verdicts.decision import Verdict
from verdicts.merging import merge_pull_request
from verdicts.results import GateOutcome
from verdicts.revoking import Revocation, revoke_key


def main(act: str, folder: Path) -> None:
    """One act, on the newest pull request."""
    if act == "make":
        Portal.make(folder)
        enact(hourly_quota={"handoffs": 10_000, "bytes": 1 << 40})  # a campaign hands over more than sixty in an hour
        return
    if act == "sigstore":
        enact_signing({"method": "sigstore", "identity": IDENTITY, "issuer": os.environ["TEST_ISSUER"]})
        return
    if act == "rotate":
        request_rotation(Lane.GATE, by=setup.OPERATOR, reason="a test of kills")
        return
    if act == "revoke":
        key = active_key(Lane.ENFORCER)
        why = Revocation(key.fingerprint, key.created_at, "a test of kills")
        revoke_key(why, password="", by=setup.OPERATOR)
        create_signing_key(Lane.ENFORCER, key_vault(), by=setup.OPERATOR)
        return
    if act not in ON_THE_WEB:
        raise SystemExit(f"got {act!r}, expected make, rotate, revoke, sigstore, release or merge")
    with acting_in("plan"):
        portal = Portal(folder, folder / "source", Repository.objects.get())
        pull = portal.pull()
        if act == "release":
            portal.report("story-release", GateOutcome.SUCCESS, run_id=f"story-{pull.pk}")
            portal.verdict(Verdict.PASS)
            return
        with WRAPPER.on(pull.handoff.staging_branch):
            merge_pull_request(pull.pk, portal.tools(), by=portal.actor("plan"))


if __name__ == "__main__":
    main(sys.argv[1], Path(os.environ[FOLDER]).parent)
