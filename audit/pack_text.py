"""VERIFY.md of an evidence pack: how to check it, what it proves and what it does not."""

from __future__ import annotations

from typing import Final

_TEXT: Final = """# How to verify this pack

You need the log's public key (one line, `name+id+key`) from somewhere else than this pack, and, if you have one, a
checkpoint of this log that you kept from an earlier visit. Without the first, whoever made the pack chose the key;
without the second, a log that was forked would not show.

    leo audit verify PACK --key KEY --checkpoint EARLIER --witness WITNESS
    python3 standalone_verifier.py PACK --key KEY --checkpoint EARLIER    # Python alone; no OpenPGP, no Sigstore

Both work offline and name the record that is wrong. Without either of them:

* `checkpoint` is a C2SP signed note. Its signature: the last line's base64 after the key's name, without its first four
  bytes, is an Ed25519 signature over the text down to and including the newline before the empty line. The key's line
  ends in base64 of 0x01 and the 32 bytes of the key. `openssl pkeyutl -verify -rawin -pubin -inkey key.pem -sigfile
  signature -in text` checks it; so does Go's `golang.org/x/mod/sumdb/note`.
* `leaves.txt` has two lines a leaf: SHA-256 over a zero byte and both lines, without the last newline, is its leaf hash
  (RFC 9162). `proofs.jsonl` has a path for a single leaf (`tlog.CheckRecord`), or the frontier before a run of leaves
  and a consistency proof from its end (`tlog.CheckTree`).
* `bodies.jsonl`: SHA-256 over salt and body is `bodySha256` in the leaf. null: erased on somebody's request.
* `anchors.json` has tree heads that left the portal, with the proof between each and this pack's. `git hash-object -t
  commit --stdin` over the decoded `object` gives `commit`; its first line names the tree, which names the file.
* Everybody is a number here (`principal`). The portal's registry knows the name, until it is erased.
* `manifest.json` names every file; its own SHA-256 is in the leaf in `seal.json`.
* Each verdict and decision has its inputs and the policy's digest in its body, the leaf that enacted the policy its
  rules. Both verifiers judge the inputs again, by two programs; a version of them that they do not know is refused.
* `signatures.jsonl` has each signature over a bundle, by its leaf (`handoff.signed`, and `handoff.resigned` where a key
  was revoked); `keys.json` the keys, each by the leaf that made it. A verdict is judged by the signature that was in
  force when it was recorded: revocations with a higher entry number (in the leaf's first line) came later.
* `artifact-….tar.gz`, in a pack of one pull request: what the detached OpenPGP signature in `signatures.jsonl` is over.
* `commits.jsonl` has git's own bytes: compare its first lines with your `git rev-parse`, and the rest with `git log`.

# What this pack is

{scope}

# What it proves

Given an honest witness and your earlier checkpoint:

* G1 no entry below the last witnessed size can be changed, removed, reordered or backdated without a verifier failing;
* G2 two auditors who share a witness see the same log;
* G3 nothing was released through the portal whose verdict is not in a signed checkpoint;
* G4 no governed change of state was committed without its leaf;
* G5 the database login in each leaf was enforced by PostgreSQL;
* G6 every commit that landed on a protected branch is covered by a record (PASS, OVERRIDE, BREAK-GLASS), or listed as
  BYPASS or PRE-ENROLMENT.

And with an anchor that you find elsewhere, too (a commit in your clone of the anchors' repository, an entry in Rekor):
its leaves were this log's when your clone was fetched, or when Rekor took it in; whoever held the log's key since then
could not replace them unseen. It takes no witness, and covers as many leaves as both verifiers say.

# What it does not prove

* that a commit in `anchors.json` was published: without a clone of yours it is the portal's word, and so is its date;
* N1 that an entry is true: a compromised PLAN process can record a wrong verdict in PLAN's name, not in LEAD's;
* N2 anything about entries that are not yet signed and witnessed;
* N3 that nobody can delete: it is noticed, not prevented;
* N4 absolute time: times are the database's clock;
* N5 anything against the database's owner, the holder of the log's key and the witness's owner acting together;
* N6 that a forge's administrator did not switch its rules off: that is detected, not prevented;
* N7 that two people did not act together;
* N8 the content of text that was erased.
"""
_SCOPES: Final = {
    "pull": "The acts recorded about one pull request, with what is needed to judge them. It proves what it holds; it "
    "cannot prove\nthat nothing else was recorded about that pull request. A pack of a period can.",
    "period": "Every leaf from the first to the last of a period, none left out, and the older ones they rest on. "
    "The next leaf on\neach side is in it, too, and lies outside of the period, unless the log begins or ends there. "
    "Leaves stand in the order in\nwhich they were committed, not quite in that of their times: a leaf of the period "
    "that was committed beyond that\nneighbour, by a transaction that lasted across the edge, cannot be ruled out.",
    "log": "Every leaf of the log up to the signed checkpoint, none left out.",
}


def verify_text(kind: str) -> str:
    """VERIFY.md for a pack of this kind: pull, period or log."""
    return _TEXT.format(scope=_SCOPES[kind])
