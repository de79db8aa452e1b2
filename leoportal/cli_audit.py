"""`leo audit`: evidence packs, checked offline."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from audit.canonical import JsonValue
from audit.notes import KeyType, NoteError, parse_vkey
from audit.pack_checks import Verification
from audit.pack_findings import Finding, Judges, State
from audit.pack_reading import Pack, PackError, parse_object
from handoffs.signatures.refusals import RefusedError
from handoffs.signatures.sigstore_signers import Signer
from handoffs.signatures.sigstore_verifying import read_root_file
from leoportal.cli_output import INTEGRITY, NEGATIVE, USAGE, say, say_json, say_row, stop
from verdicts.replaying import Keyring, Sigstore, replay_decision, replay_policy

audit_app = typer.Typer(help="Evidence packs, offline.", no_args_is_help=True)
_WORDS = {State.OK: "ok", State.FAILED: "FAIL", State.BROKEN: "FAIL", State.GAP: "note"}


@audit_app.command("verify")
def verify(  # noqa: PLR0913 - options of a command
    pack: Annotated[Path, typer.Argument(metavar="PACK", help="A folder, or the .tar as it was downloaded.")],
    *,
    key: Annotated[list[str] | None, typer.Option("--key", help="The log's public key, or a file with it.")] = None,
    witness: Annotated[list[str] | None, typer.Option("--witness", help="A witness's key, or a file with it.")] = None,
    checkpoint: Annotated[Path | None, typer.Option("--checkpoint", help="A checkpoint of the log you kept.")] = None,
    trusted_root: Annotated[
        Path | None, typer.Option("--trusted-root", help="trusted_root.json to judge Sigstore signatures by.")
    ] = None,
    artifact: Annotated[
        list[Path] | None, typer.Option("--artifact", help="An artifact.tar.gz that is not in the pack.")
    ] = None,
    identity: Annotated[str, typer.Option("--identity", help="Whose Sigstore signatures: one exact identity.")] = "",
    issuer: Annotated[str, typer.Option("--issuer", help="Who vouches for it: one exact https address.")] = "",
    anchor_identity: Annotated[
        str, typer.Option("--anchor-identity", help="Whose signature the anchor in Rekor is: one exact identity.")
    ] = "",
    anchor_issuer: Annotated[str, typer.Option("--anchor-issuer", help="Who vouches for it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Signatures, consistency, completeness, every decision again, separation: says what is wrong and what is missing.

    Exit codes: 0 holds; 1 genuine, but it shows a broken rule, or no key was given; 5 not what was signed.
    """
    try:
        keys = [parse_vkey(_line(text)) for text in key or ()]
        witnesses = [parse_vkey(_line(text)) for text in witness or ()]
        if any(one.key_type is not KeyType.COSIGNATURE for one in witnesses):
            stop("witness.key", "this is no key for cosignatures", "give the witness's line, name+id+key", status=USAGE)
        earlier = checkpoint.read_bytes() if checkpoint else None
        opened = Pack(pack)
        root = read_root_file(trusted_root) if trusted_root else None
        sigstore = Sigstore(Signer(identity, issuer), root) if root and identity else None
        anchored = Sigstore(Signer(anchor_identity, anchor_issuer), root) if root and anchor_identity else None
        published = parse_object(opened.read("keys.json"), "keys.json")
        keyring = Keyring.of(published, sigstore)
        judges = Judges(replay_decision, replay_policy, keyring.check, keyring.check_artifact)
        if anchored:
            judges = replace(judges, anchor=anchored.check_anchor)
        artifacts = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in artifact or ()}
        found = Verification(opened, keys, earlier, judges, witnesses, artifacts).run()
    except OSError as error:
        stop("pack.unreadable", str(error), "name a pack that you can read", status=USAGE)
    except RefusedError as error:
        stop(error.code, str(error), "give a trusted_root.json that you trust", status=USAGE)
    except NoteError as error:
        stop(error.code, error.detail, "give the key's one line, name+id+key, or a file with it", status=USAGE)
    except PackError as error:
        found = [Finding(State.FAILED, "pack", str(error))]
    states = {finding.state for finding in found}
    status = INTEGRITY if State.FAILED in states else NEGATIVE if State.BROKEN in states else 0
    if as_json:
        rows: list[JsonValue] = [{"state": f.state.value, "check": f.check, "detail": f.detail} for f in found]
        say_json({"pack": str(pack), "status": status, "checks": rows})
    else:
        for finding in found:
            say_row(_WORDS[finding.state], finding.check, finding.detail)
        say({0: "The pack holds.", NEGATIVE: "Genuine, but see FAIL.", INTEGRITY: "NOT what was signed."}[status])
    raise typer.Exit(status)


def _line(text: str) -> str:
    return text if "+" in text else Path(text).read_text("utf-8").strip()
