"""What was done on GitHub that means nothing here, put on record once: labels, our comments, forged markers.

In the enforcer's lane, which talks to GitHub. Who it was is GitHub's number of the account, where GitHub says it.
Source: D10 of the decisions; MRK-01 and GATE-15 of the threat list.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.actions import append_event
from audit.canonical import JsonValue
from audit.events import Actor
from handoffs.git.repository import Git
from handoffs.github.commands import claims_in
from handoffs.models import Handoff, Notice, Projection, PullRequest, Repository, Tampering

QUIET = timedelta(minutes=10)  # no more than one comment about repairs in that time; the trail has them all
MAX_PER_PULL = 200
MAX_COMMITS = 2000  # of all branches together that are looked at, the newest first
_HEADS = "refs/heads/"
_BUILDERS = f"{_HEADS}staging/codex-"


@dataclass(frozen=True)
class Found:
    """Something that means nothing here. Shape: `pull` GitHub's number, 0 for none; `github_id` 0: not known."""

    what: Tampering.What
    key: str
    pull: int
    github_id: int
    body: dict[str, JsonValue]


@dataclass(frozen=True)
class Place:
    """Where somebody wrote something. Shape: `kind` comment, review, label, commit, branch or tag."""

    kind: str
    name: str
    pull: int = 0
    github_id: int = 0


@transaction.atomic(durable=True)
def record(repository: Repository, found: Found, *, by: Actor) -> Tampering | None:
    """Put it on record; None if it is there already, or if there is so much that more says nothing."""
    rows = Tampering.objects.filter(repository=repository)
    if rows.filter(what=found.what, key=found.key[:200]).exists():
        return None
    if rows.filter(pull_number=found.pull).count() >= MAX_PER_PULL:
        return None
    kind = events.MARKER_FORGED if found.what is Tampering.What.MARKER else events.PROJECTION_REPAIRED
    pull = PullRequest.objects.filter(repository=repository, number=found.pull).first() if found.pull else None
    body: dict[str, JsonValue] = {
        "repository": repository.full_name,
        "pr": found.pull,
        "what": found.what.value,
        "github_id": found.github_id,
        **found.body,
    }
    return Tampering.objects.create(
        repository=repository,
        pull_number=found.pull,
        what=found.what,
        key=found.key[:200],
        github_id=found.github_id,
        log_entry=append_event(kind, by, f"H-{pull.handoff_id}" if pull else "", body),
    )


def record_repair(row: Projection, found: Found, said: str, *, by: Actor) -> None:
    """A projection was changed by hand and is about to be put back: on record, and in a comment."""
    seen = record(row.pull_request.repository, found, by=by)
    lately = Notice.objects.filter(
        pull_request=row.pull_request, key__startswith="repaired ", created_at__gt=timezone.now() - QUIET
    )
    if seen is not None and not lately.exists():
        who = f"account {found.github_id}" if found.github_id else "somebody"
        body = f"{said.format(who=who)} Nothing follows from labels and comments; what is recorded in leoportal counts."
        Notice.objects.create(pull_request=row.pull_request, key=f"repaired {seen.pk}", body=body)


def record_claims(repository: Repository, place: Place, text: str, *, by: Actor) -> bool:
    """Put what only the portal says, written by somebody else, on record. Returns whether this is new.

    The same text at the same place is the same thing.
    """
    claims = claims_in(text)
    if not claims:
        return False
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    body: dict[str, JsonValue] = {"place": place.kind, "name": place.name[:100], "markers": [*claims]}
    key = f"{place.kind} {place.name[:100]} {digest[:32]}"
    return record(repository, Found(Tampering.What.MARKER, key, place.pull, place.github_id, body), by=by) is not None


def look_at_refs(repository: Repository, tags: Iterable[str], *, by: Actor) -> int:
    """Names of branches and tags, and the messages of every commit that has not landed. Returns how many are new.

    Not looked at: what is on the protected branch, whose merges say what released them; the builder's branches, which
    intake reads; commits that the enforcer made; the oldest ones beyond `MAX_COMMITS`.
    """
    git = Git(Path(repository.path))
    count = sum(record_claims(repository, Place("tag", tag), tag, by=by) for tag in tags)
    for ref in git.refs(_HEADS):
        branch = ref.removeprefix(_HEADS)
        count += record_claims(repository, Place("branch", branch), branch, by=by)
    which = (f"--exclude={_BUILDERS}*", f"--glob={_HEADS}*", "--not", f"{_HEADS}{repository.protected_branch}")
    raw = git.run("log", "-z", f"--max-count={MAX_COMMITS}", "--format=%H%x00%B", *which, "--")
    parts = raw.decode("utf-8", "replace").split("\0")
    for sha, message in itertools.batched(parts[:-1], 2):
        if claims_in(message) and not Handoff.objects.filter(repository=repository, applied_commit=sha).exists():
            count += record_claims(repository, Place("commit", sha), message, by=by)
    return count


def digest_of_text(text: str) -> str:
    """SHA-256 of a comment, whatever GitHub did to the ends of its lines."""
    plain = text.replace("\r\n", "\n").rstrip()
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def names_of_labels(labels: Iterable[str]) -> list[JsonValue]:
    """Labels in the body of an entry: sorted, and short."""
    return [label[:50] for label in sorted(labels)]
