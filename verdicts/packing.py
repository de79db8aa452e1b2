"""The evidence pack of a pull request, a period or the whole log, gathered from the database and the repositories.

Two steps, since the manifest is sealed by the log itself: the files and the manifest, whose digest becomes a leaf; and,
once a signed checkpoint covers that leaf, its proof and the tar.
Shape: one leaf, row or commit is in memory at a time, but for the proofs' hashes.
Source: product.md section 9; the format is in `audit.pack_writing`.
"""

from __future__ import annotations

import base64
import heapq
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Min, Q, QuerySet
from django.utils import timezone

from audit import events
from audit.canonical import JsonValue, parse_json, write_json
from audit.checkpoint import parse_checkpoint
from audit.covering import log_state
from audit.events import AuditError
from audit.export import Head, Sheet
from audit.merkle import ProofError, consistency_proof
from audit.models import LogCheckpoint, LogEntry, LogLeaf
from audit.notes import NoteError, VerifierKey, parse_note
from audit.pack_reading import MAX_LINE
from audit.pack_scope import period_of
from audit.pack_text import verify_text
from audit.pack_writing import PackedLeaf, PackWriter, artifact_name, encoded, one_leaf, run_of_leaves, write_tar
from audit.principals import PersonLink, Principal, in_force_at
from audit.separation import assurance
from audit.sequencing import nodes_at
from handoffs.bundles.store import BundleStore, StoreError
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.models import Handoff, HandoffError, Method, PullRequest, Repository, Signature, SigningKey, Status
from handoffs.published_keys import published_keys
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_verifying import production_root, read_root_file
from handoffs.trusted_roots import chosen_root
from verdicts.models import (
    BREAK_GLASS,
    DecisionStatement,
    MergeIntent,
    PolicyStatement,
    PolicyVersion,
    VerdictStatement,
)
from verdicts.separation_proof import packed_document
from verdicts.tables import TABLES, plain, sheet_of

CONTEXT: Final = (events.POLICY_ENACTED, events.REPOSITORY_GOVERNED, events.ROLE_GRANTED, events.KEY_CREATED,
                  events.KEY_ROTATED, events.KEY_REVOKED)  # fmt: skip
RELEASES: Final = (events.VERDICT_RECORDED, events.DECISION_RECORDED, events.PULL_MERGED, events.BREAK_GLASS_OPENED,
                   events.BREAK_GLASS_REVIEWED)  # fmt: skip
BATCH: Final = 500


@dataclass(frozen=True)
class Scope:
    """What a pack is about, and the checkpoint it is made at."""

    filters: Mapping[str, str]
    pulls: Sequence[PullRequest]
    checkpoint: LogCheckpoint
    first: int
    end: int
    others: Sequence[int]
    tips: Mapping[int, str]

    @property
    def kind(self) -> str:
        """A pull request's leaves, or a run of the log."""
        return "pull" if self.filters.get("pull") else "period" if is_period(self.filters) else "log"

    @property
    def size(self) -> int:
        """Of the signed tree."""
        return self.checkpoint.size

    @property
    def leaves(self) -> QuerySet[LogLeaf]:
        """Every leaf of the pack, in order."""
        chosen = Q(index__gte=self.first, index__lt=self.end) | Q(index__in=self.others)
        return LogLeaf.objects.filter(chosen).order_by("index")


def is_period(filters: Mapping[str, str]) -> bool:
    """Whether they name a day."""
    return bool({"first", "last"} & set(filters))


def protected_tips() -> dict[int, str]:
    """Where each protected branch is; a repository that cannot be read is not in here.

    To be read before the rows of `one_moment`: what has landed by now was intended before, and the rows say so.
    """
    found = {}
    for repository in Repository.objects.order_by("pk"):
        with suppress(GitError):
            found[repository.pk] = Git(Path(repository.path)).resolve(f"refs/heads/{repository.protected_branch}")
    return found


@contextmanager
def one_moment() -> Iterator[None]:
    """All rows that are read in here are of one moment, however long it takes; nothing is written, nobody waits."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def choose(filters: Mapping[str, str], tips: Mapping[int, str]) -> Scope:
    """What belongs into a pack of these filters, with the branches as they were at `tips`.

    Raises: AuditError("pack.unsigned") while there is no signed checkpoint, ("pack.empty") for a pack of nothing.
    """
    checkpoint = log_state().covered
    if checkpoint is None or checkpoint.size == 0:
        raise AuditError("pack.unsigned", "the log has no signed checkpoint yet; is its signer running?")
    entries: QuerySet[LogEntry] = sheet_of("leo_log_entry", filters).rows.filter(tree_leaf__index__lt=checkpoint.size)
    is_pull = bool(filters.get("pull"))
    found = entries.aggregate(a=Min("tree_leaf__index"), b=Max("tree_leaf__index"))
    if found["a"] is None:
        raise AuditError("pack.empty", "nothing was recorded that these filters fit")
    first, end = (0, 0) if is_pull else (found["a"], found["b"] + 1)
    own = set(entries.values_list("tree_leaf__index", flat=True)) if is_pull else set()
    if not is_pull and is_period(filters):
        first, end = _grown(first, end, filters, checkpoint.size)
        own = {index for index in (first - 1, end) if 0 <= index < checkpoint.size}  # they show the edges
    pulls = _pulls(filters, min({first, *own}), max({end, *(index + 1 for index in own)}))
    subjects = [
        f"H-{pk}"
        for pk in Handoff.objects.filter(chain__in={p.handoff.chain for p in pulls}).values_list("pk", flat=True)
    ]
    about = Q(kind__in=CONTEXT) | Q(subject__in=subjects) | (Q() if is_pull else _releases())
    context = LogEntry.objects.filter(about, tree_leaf__index__lt=checkpoint.size)
    others = own | {i for i in context.values_list("tree_leaf__index", flat=True) if not first <= i < end}
    return Scope(filters, pulls, checkpoint, first, end, sorted(others), tips)


def _grown(first: int, end: int, filters: Mapping[str, str], size: int) -> tuple[int, int]:
    """A period's run up to the next leaves outside of the period, or to the ends of the log.

    Leaves stand in the order in which they were committed: one of the period may stand behind one that is newer.
    """
    start, until = period_of({**filters})
    leaves = LogLeaf.objects.order_by("index")
    before = leaves.filter(index__lt=first, entry__created_at__lt=start) if start else leaves.none()
    after = leaves.filter(index__gte=end, index__lt=size, entry__created_at__gte=until) if until else leaves.none()
    older, newer = before.last(), after.first()
    return older.index + 1 if older else 0, newer.index if newer else size


def _pulls(filters: Mapping[str, str], first: int, end: int) -> list[PullRequest]:
    rows = PullRequest.objects.select_related("repository", "handoff").order_by("pk")
    if name := filters.get("pull"):
        full_name, _, number = name.partition("#")
        return list(rows.filter(repository__full_name=full_name, number=int(number)))
    subjects = LogEntry.objects.filter(tree_leaf__index__gte=first, tree_leaf__index__lt=end).exclude(subject="")
    numbers = {int(text[2:]) for text in subjects.values_list("subject", flat=True).distinct() if text[:2] == "H-"}
    chains = Handoff.objects.filter(pk__in=numbers).values("chain")
    return list(rows.filter(handoff__chain__in=chains))


def _releases() -> Q:
    """The leaves that say why what landed was allowed to."""
    merged = MergeIntent.objects.values_list("handoff_id", flat=True)
    subjects = [f"H-{pk}" for pk in merged if pk]
    return Q(subject__in=subjects, kind__in=RELEASES)


def write_pack(scope: Scope, folder: Path, facts: Mapping[str, JsonValue], keys: Sequence[VerifierKey]) -> str:
    """Every file and the manifest. Returns the manifest's SHA-256, for a leaf to hold.

    Raises: AuditError("pack.checkpoint") for an earlier checkpoint that is not this log's.
    """
    shutil.rmtree(folder, ignore_errors=True)
    writer, node = PackWriter(folder), nodes_at(scope.size)
    proofs = [one_leaf(index, scope.size, node) for index in scope.others]
    if scope.first < scope.end:
        proofs.append(run_of_leaves(scope.first, scope.end, scope.size, node))
    writer.add_rows("proofs.jsonl", sorted(proofs, key=_first_of))
    rows = scope.leaves.values_list("entry__leaf", "entry__body", "entry__salt")
    leaves = writer.add_leaves(PackedLeaf(*map(_bytes, row)) for row in rows.iterator(chunk_size=BATCH))
    records = writer.add_rows("records.jsonl", _records(scope))
    commits = writer.add_rows("commits.jsonl", _commits(scope))
    writer.add_rows("policies.jsonl", _policies(scope))
    writer.add_rows("principals.jsonl", _principals(scope))
    head = Head(scope.size, bytes(scope.checkpoint.root).hex())
    separations = [packed_document(pull, head) for pull in scope.pulls]
    writer.add_rows("separation.jsonl", separations)
    writer.add_rows("signatures.jsonl", _signatures(scope))
    for digest, raw in _artifacts(scope):
        writer.add(artifact_name(digest), raw)
    cosignatures = "".join(scope.checkpoint.cosignatures.order_by("pk").values_list("line", flat=True))
    writer.add("checkpoint", bytes(scope.checkpoint.note) + cosignatures.encode())
    signing = SigningKey.objects.select_related("replaces").order_by("-pk")
    published = parse_json(published_keys(list(signing), now=timezone.now()), max_bytes=64 << 20)
    writer.add("keys.json", write_json({"log": [key.vkey for key in keys], "signing": published}))
    if root := _trusted_root(scope):
        writer.add("trusted_root.json", root)
    if text := scope.filters.get("earlier"):
        writer.add("earlier.json", write_json(_earlier(text, scope, keys)))
    writer.add("VERIFY.md", verify_text(scope.kind).encode())
    return writer.finish(
        {
            **facts,
            "scope": {
                "kind": scope.kind,
                **{name: value for name, value in scope.filters.items() if name != "earlier"},
            },
            "log": {"origin": scope.checkpoint.origin, "size": scope.size, "root": bytes(scope.checkpoint.root).hex()},
            "assurance": assurance(Principal.objects.registry(size=scope.size)).value,
            "counts": {"leaves": leaves, "records": records, "commits": commits, "pulls": len(separations)},
        }
    )


def seal_pack(folder: Path, entry: LogEntry, scope_size: int, path: Path) -> bool:
    """Add the seal and make the tar, once a checkpoint covers the leaf. Returns whether one does."""
    leaf = LogLeaf.objects.filter(entry=entry).first()
    later = log_state().covered
    if leaf is None or later is None or later.size <= leaf.index:
        return False
    node = nodes_at(later.size)
    seal: dict[str, JsonValue] = {
        "leaf": bytes(entry.leaf).decode(),
        "body": bytes(entry.body or b"").decode(),
        "salt": bytes(entry.salt or b"").hex(),
        "index": leaf.index,
        "path": one_leaf(leaf.index, later.size, node)["path"],
        "checkpoint": bytes(later.note).decode(),
        "consistency": encoded(consistency_proof(scope_size, later.size, node)),
    }
    (folder / "seal.json").write_bytes(write_json(seal))
    write_tar(folder, path)
    shutil.rmtree(folder)
    return True


def _first_of(proof: Mapping[str, JsonValue]) -> int:
    found = proof.get("index", proof.get("first"))
    return found if isinstance(found, int) else 0


def _bytes(value: Any) -> Any:
    return bytes(value) if value is not None else None


def _records(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    """The rows of the SOP's four tables whose leaves are in the pack, in the order of the leaves."""
    head = Head(scope.size, "")
    tables = [_rows_of(sheet_of(name, {}), scope, head) for name, _ in TABLES if name != "leo_log_entry"]
    for _, row in heapq.merge(*tables, key=lambda found: found[0]):
        yield row


def _rows_of(sheet: Sheet, scope: Scope, head: Head) -> Iterator[tuple[int, dict[str, JsonValue]]]:
    chosen = Q(**{f"{sheet.index}__gte": scope.first, f"{sheet.index}__lt": scope.end}) | Q(
        **{f"{sheet.index}__in": scope.others}
    )
    rows = sheet.rows.filter(chosen, **{f"{sheet.index}__lt": head.size}).order_by(sheet.index)
    lookups = [lookup for _, lookup in sheet.columns]
    for index, leaf_hash, *values in rows.values_list(sheet.index, sheet.leaf_hash, *lookups).iterator(
        chunk_size=BATCH
    ):
        row = {name: plain(value) for (name, _), value in zip(sheet.columns, values, strict=True)}
        yield index, {"table": sheet.name, "leafIndex": index, "leafHash": bytes(leaf_hash).hex(), "row": row}


def _policies(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    for version in PolicyVersion.objects.filter(log_entry__tree_leaf__index__lt=scope.size).order_by("number"):
        yield {"number": version.number, "document": version.document}


def _principals(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    for principal in Principal.objects.order_by("pk").iterator():
        yield {"id": principal.pk, "kind": principal.kind, "sponsor": principal.sponsor_id}
    links = PersonLink.objects.filter(in_force_at(scope.size)).order_by("pk")
    for one, other in links.values_list("one_id", "other_id"):
        yield {"one": one, "other": other}


def _signatures(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    """Every statement and bundle signature of the pack's pull requests, and of the policies."""
    for kind, rows in (
        ("verdict", VerdictStatement.objects.filter(verdict__pull_request__in=scope.pulls)),
        ("decision", DecisionStatement.objects.filter(decision__pull_request__in=scope.pulls)),
        ("policy", PolicyStatement.objects.all()),
    ):
        subject = "policy" if kind == "policy" else kind
        for row in rows.select_related("key", f"{subject}__log_entry__tree_leaf").order_by("pk"):
            leaf = getattr(getattr(row, subject).log_entry, "tree_leaf", None)
            if leaf is None or leaf.index >= scope.size:
                continue
            yield {
                "kind": kind, "leafIndex": leaf.index, "fingerprint": row.key.fingerprint,
                "receivedAt": plain(row.signed_at), "envelope": base64.b64encode(bytes(row.envelope)).decode(),
            }  # fmt: skip
    chains = {pull.handoff.chain for pull in scope.pulls}
    for found in Signature.objects.filter(handoff__chain__in=chains).select_related("key").order_by("pk"):
        yield {
            "kind": "bundle", "handoff": found.handoff_id, "method": found.method, "digest": found.digest,
            "fingerprint": found.key.fingerprint if found.key else "", "receivedAt": plain(found.signed_at),
            "envelope": base64.b64encode(bytes(found.envelope)).decode(), "signature": found.signature,
            "artifactBundle": found.artifact_bundle, "statementBundle": found.statement_bundle,
            "identity": found.identity, "issuer": found.issuer,
        }  # fmt: skip


def _artifacts(scope: Scope) -> Iterator[tuple[str, bytes]]:
    """The bundles of one pull request that have a detached signature, as far as they are still kept."""
    chains = {pull.handoff.chain for pull in scope.pulls} if scope.kind == "pull" else set()
    signed = Signature.objects.filter(handoff__chain__in=chains, method=Method.OPENPGP)
    store = BundleStore(settings.BUNDLE_STORE)
    for digest in sorted({*signed.exclude(handoff__status=Status.QUARANTINED).values_list("digest", flat=True)}):
        with suppress(StoreError):
            raw = store.get(digest)
            if len(raw) <= MAX_LINE:
                yield digest, raw


def _trusted_root(scope: Scope) -> bytes:
    """The Sigstore root that the portal judges by; empty if nothing in the pack was signed that way."""
    chains = {pull.handoff.chain for pull in scope.pulls}
    if not Signature.objects.filter(handoff__chain__in=chains, method=Method.SIGSTORE).exists():
        return b""
    path = settings.SIGSTORE_TRUSTED_ROOT
    try:
        root = read_root_file(Path(path)) if path else chosen_root() or production_root()
    except (RefusedError, HandoffError) as error:
        raise AuditError("pack.trusted_root", f"the trusted root cannot be read: {error}") from None
    return root.raw


def _earlier(text: str, scope: Scope, keys: Sequence[VerifierKey]) -> dict[str, JsonValue]:
    try:
        note = parse_note(text.encode())
        note.verify(keys)
        old = parse_checkpoint(note.text)
        path = consistency_proof(old.size, scope.size, nodes_at(scope.size))
    except (NoteError, ProofError) as error:
        raise AuditError("pack.checkpoint", f"your earlier checkpoint is none of this log: {error}") from None
    return {"checkpoint": text, "path": encoded(path)}


def _commits(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    """The commits of the protected branches, each in its class; of a pull request's pack only its own."""
    is_whole = scope.kind != "pull"
    repositories = {pull.repository_id for pull in scope.pulls}
    for repository in Repository.objects.order_by("pk"):
        if is_whole or repository.pk in repositories:
            yield from _commits_of(repository, scope, is_whole=is_whole)


def _commits_of(repository: Repository, scope: Scope, *, is_whole: bool) -> Iterator[dict[str, JsonValue]]:
    try:
        git, begun = Git(Path(repository.path)), _begun(repository)
        if repository.pk not in scope.tips:
            raise AuditError("pack.repository", f"{repository.full_name} has no branch that can be read")
        tip = _before_what_comes(git, repository, scope)
        names = _listed(git, tip, *([f"^{begun}"] if begun else []))
        older = _listed(git, begun) if begun and is_whole else []
    except GitError as error:
        raise AuditError("pack.repository", f"{repository.full_name} cannot be read: {error.code}") from None
    classes = _classes(repository, scope)
    if not is_whole:
        own = {pull.merge_sha for pull in scope.pulls} | {pull.head_sha for pull in scope.pulls}
        names = [name for name in names if name in own]
        tip = next((pull.merge_sha for pull in scope.pulls if pull.merge_sha in names), tip)
    yield {
        "repository": repository.full_name, "branch": repository.protected_branch, "tip": tip, "begun": begun,
        "isWhole": is_whole,
    }  # fmt: skip
    classes |= dict.fromkeys(older, ("PRE-ENROLMENT", None))
    names += older
    for start in range(0, len(names), BATCH):
        chunk = names[start : start + BATCH]
        objects = git.read_objects(chunk, max_bytes=1 << 20)
        for name in chunk:
            found = objects[name]
            if found is None:
                raise AuditError("pack.repository", f"{repository.full_name} has lost the commit {name[:12]}")
            kind, number = classes.get(name, ("BYPASS", None))
            text = base64.b64encode(found[1]).decode()
            yield {"repository": repository.full_name, "commit": name, "object": text, "class": kind, "pull": number}


def _before_what_comes(git: Git, repository: Repository, scope: Scope) -> str:
    """The tip, or where it was before the first merge whose leaf the pack's checkpoint does not cover yet.

    Such a merge is in the next pack: in this one nothing could say what released it.
    """
    tip = scope.tips[repository.pk]
    landed = LogEntry.objects.filter(kind=events.PULL_MERGED, tree_leaf__index__lt=scope.size)
    covered = {int(subject[2:]) for subject in landed.values_list("subject", flat=True)}
    intents = MergeIntent.objects.filter(pull_request__repository=repository).exclude(handoff_id__in=covered)
    coming = set(intents.values_list("merge_sha", flat=True))
    chain = _listed(git, "--first-parent", tip) if coming else []
    later = [at for at, commit in enumerate(chain) if commit in coming]
    return chain[later[-1] + 1] if later and later[-1] + 1 < len(chain) else tip


def _listed(git: Git, *revisions: str) -> list[str]:
    return git.run("rev-list", *revisions).decode().split()


def _begun(repository: Repository) -> str:
    """Where the branch was when it came under protection: what the log says, or else the first base that was judged."""
    for entry in LogEntry.objects.filter(kind=events.REPOSITORY_GOVERNED).order_by("pk"):
        body = entry.open()
        if body.get("repository") == repository.full_name and body.get("tip"):
            return str(body["tip"])
    first = PullRequest.objects.filter(repository=repository).order_by("pk").first()
    return first.handoff.merge_base if first else ""


def _classes(repository: Repository, scope: Scope) -> dict[str, tuple[str, int | None]]:
    """What each merged commit was released by. Whoever is not in here came without the portal."""
    found: dict[str, tuple[str, int | None]] = {}
    landed = LogEntry.objects.filter(kind=events.PULL_MERGED, tree_leaf__index__lt=scope.size)
    covered = [int(subject[2:]) for subject in landed.values_list("subject", flat=True)]
    merged = PullRequest.objects.filter(repository=repository, handoff_id__in=covered).exclude(merge_sha="")
    for pull in merged.select_related("handoff"):
        at = {"head_sha": pull.head_sha, "log_entry__tree_leaf__index__lt": scope.size}
        passed = pull.verdicts.filter(verdict="PASS", **at).aggregate(at=Max("log_entry__tree_leaf__index"))["at"]
        approved = pull.decisions.filter(decision="approve", **at).order_by("log_entry__tree_leaf__index").last()
        kind = "PASS"
        if approved is not None and (passed is None or approved.log_entry.tree_leaf.index > passed):
            kind = "BREAK-GLASS" if approved.reason_class == BREAK_GLASS else "OVERRIDE"
        found[pull.merge_sha] = found[pull.head_sha] = (kind, pull.number)
    return found
