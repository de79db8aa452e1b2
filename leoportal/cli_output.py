"""What the `leo` commands have in common: exit codes, colour, safe text, errors that name the next step."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Final, NoReturn

import typer

from audit.canonical import JsonValue, write_json
from handoffs.bundles.paths import escape_text

NEGATIVE: Final = 1
USAGE: Final = 2
INTEGRITY: Final = 5
# Control and direction characters above ASCII, and those that show nothing; in JSON they stand in texts only.
_UNSAFE: Final = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_COLOURS: Final = {"ok": "32", "FAIL": "31", "claim": "33", "note": "36"}


def say(text: str = "") -> None:
    """One line for people; control and invisible characters are escaped."""
    typer.echo(escape_text(text))


def say_row(word: str, name: str, text: str) -> None:
    """One aligned row: a word for the state, what it is about, what was found."""
    shown = word.ljust(6)
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        shown = f"\x1b[{_COLOURS.get(word, '0')}m{shown}\x1b[0m"
    typer.echo(f"  {shown}{escape_text(name):<22} {escape_text(text)}")


def say_json(value: JsonValue) -> None:
    """One JSON document for programs: canonical, but for what a terminal would obey or hide, which is escaped."""
    typer.echo(_UNSAFE.sub(lambda found: json.dumps(found[0])[1:-1], write_json(value).decode("utf-8")))


def stop(code: str, detail: str, next_step: str, *, status: int = NEGATIVE) -> NoReturn:
    """End with an error: a stable code, what was got and expected, and the next command to run."""
    typer.echo(f"refused: {code}: {escape_text(detail)}", err=True)
    typer.echo(f"Next: {escape_text(next_step)}", err=True)
    raise typer.Exit(status)
