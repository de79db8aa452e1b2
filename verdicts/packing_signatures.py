"""The signatures of an evidence pack: statements of what was judged, and each bundle's, the first and later ones."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db.models import QuerySet

from audit import events
from audit.canonical import JsonValue
from audit.events import AuditError
from audit.pack_reading import MAX_LINE
from handoffs.bundles.store import BundleStore, StoreError
from handoffs.models import (
    HandoffError,
    HandoffEvent,
    Method,
    Signature,
    SignatureRenewal,
    Status,
)
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_verifying import production_root, read_root_file
from handoffs.trusted_roots import chosen_root
from verdicts.packing_scope import Scope
from verdicts.statement_rows import DecisionStatement, PolicyStatement, VerdictStatement
from verdicts.tables import plain

_LEAF: Final = "log_entry__tree_leaf__index"


def packed_signatures(scope: Scope) -> Iterator[dict[str, JsonValue]]:
    """Statements about the pack's pull requests and the policies; every bundle signature whose leaf is in the pack."""
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
    for event in _signed(scope).select_related("handoff__signature__key", "log_entry__tree_leaf").order_by(_LEAF):
        yield _bundle_row(event.handoff.signature, event.handoff.signature, event.log_entry.tree_leaf.index)
    again = SignatureRenewal.objects.filter(scope.holds(_LEAF)).select_related("renewed", "key", "log_entry__tree_leaf")
    for renewal in again.defer("key__secret_key").order_by(_LEAF):
        yield _bundle_row(renewal.renewed, renewal, renewal.log_entry.tree_leaf.index)


def _signed(scope: Scope) -> QuerySet[HandoffEvent]:
    """That a bundle was signed, for the first time, as far as the pack has the leaf."""
    rows = HandoffEvent.objects.filter(scope.holds(_LEAF), event=events.HANDOFF_SIGNED)
    return rows.defer("handoff__signature__key__secret_key")


def _bundle_row(first: Signature, made: Signature | SignatureRenewal, index: int) -> dict[str, JsonValue]:
    """A signature over a bundle: the first, or one that another key made over the same bytes."""
    row: dict[str, JsonValue] = {
        "kind": "bundle", "leafIndex": index, "handoff": first.handoff_id, "method": first.method,
        "digest": first.digest,
        "fingerprint": made.key.fingerprint if made.key else "", "receivedAt": plain(made.signed_at),
        "envelope": base64.b64encode(bytes(made.envelope)).decode(), "signature": made.signature,
        "artifactBundle": "", "statementBundle": "", "identity": "", "issuer": "",
    }  # fmt: skip
    if isinstance(made, Signature):
        row |= {
            "artifactBundle": made.artifact_bundle, "statementBundle": made.statement_bundle,
            "identity": made.identity, "issuer": made.issuer,
        }  # fmt: skip
    return row


def packed_artifacts(scope: Scope) -> Iterator[tuple[str, bytes]]:
    """The bundles of one pull request that have a detached signature, as far as they are still kept."""
    chains = {pull.handoff.chain for pull in scope.pulls} if scope.kind == "pull" else set()
    signed = Signature.objects.filter(handoff__chain__in=chains, method=Method.OPENPGP)
    store = BundleStore(settings.BUNDLE_STORE)
    for digest in sorted({*signed.exclude(handoff__status=Status.QUARANTINED).values_list("digest", flat=True)}):
        with suppress(StoreError):
            raw = store.get(digest)
            if len(raw) <= MAX_LINE:
                yield digest, raw


def trusted_root(scope: Scope) -> bytes:
    """The Sigstore root that the portal judges by; empty if nothing in the pack was signed that way."""
    if not _signed(scope).filter(handoff__signature__method=Method.SIGSTORE).exists():
        return b""
    path = settings.SIGSTORE_TRUSTED_ROOT
    try:
        root = read_root_file(Path(path)) if path else chosen_root() or production_root()
    except (RefusedError, HandoffError) as error:
        raise AuditError("pack.trusted_root", f"the trusted root cannot be read: {error}") from None
    return root.raw
