"""`leo witness`: sign a log's checkpoints on another machine, if each extends the last. No Django, no database."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from audit.notes import KeyType, NoteError, SignerKey, parse_vkey
from audit.witness import Witness, serve

witness_app = typer.Typer(help="Witness a log: sign its checkpoints if each extends the last.", no_args_is_help=True)


@witness_app.command("key")
def make_key(name: str, path: Path) -> None:
    """Make a key in a new file only you can read, and print its public half. Also for the signer of a log."""
    key = SignerKey.generate(name)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as file:  # noqa: PTH123  its mode
            file.write(key.line)
    except FileExistsError:
        typer.echo(f"{path} is there already and is not overwritten. Next: name a new file.", err=True)
        raise typer.Exit(2) from None
    typer.echo(key.verifier(KeyType.COSIGNATURE).vkey)


@witness_app.command("serve")
def run(
    key: Annotated[Path, typer.Option(help="file made by `leo witness key`")],
    log: Annotated[list[str], typer.Option(help="public key of a log, a line of its log.vkey; once for each epoch")],
    folder: Annotated[Path, typer.Option(help="where the last checkpoint of each log is kept")],
    host: str = "127.0.0.1",
    port: int = 8600,
) -> None:
    """Serve add-checkpoint (C2SP tlog-witness) until you stop it."""
    try:
        logs = {vkey.name: vkey for vkey in map(parse_vkey, log)}
        witness = Witness(SignerKey.parse(key.read_text()), folder, logs)
    except (NoteError, OSError) as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"witness {witness.key.name} at http://{host}:{port}/add-checkpoint")
    with serve(witness, host, port) as server:
        server.serve_forever()
