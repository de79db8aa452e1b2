"""The `leo` command. Exit codes: 0 done · 1 negative result · 2 usage · 3 not allowed for this
role · 4 the portal cannot be reached · 5 integrity failure · 6 timed out.

No Django here: `leo bundle` works on files and git repositories without a portal, the rest speaks to one over its API.
"""

from __future__ import annotations

import typer

from leoportal.cli_audit import audit_app
from leoportal.cli_bundle import bundle_app
from leoportal.cli_db import db_app
from leoportal.cli_evidence import evidence_app
from leoportal.cli_portal import agent_app, gate_app, plan_app, pr_app
from leoportal.cli_repo import repo_app
from leoportal.cli_verify import verify_app
from leoportal.cli_witness import witness_app

app = typer.Typer(
    name="leo",
    help="Hand over, check and follow AI-written changes that nobody approves alone.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(bundle_app, name="bundle")
app.add_typer(verify_app, name="verify")
app.add_typer(audit_app, name="audit")
app.add_typer(pr_app, name="pr")
app.add_typer(gate_app, name="gate")
app.add_typer(agent_app, name="agent")
app.add_typer(plan_app, name="plan")
app.add_typer(db_app, name="db")
app.add_typer(witness_app, name="witness")
app.add_typer(repo_app, name="repo")
app.add_typer(evidence_app, name="evidence")
# One line for each further group of commands; its module is leoportal/cli_<group>.py.


@app.callback()
def leo() -> None:
    """Hand over, check and follow AI-written changes that nobody approves alone."""


def main() -> None:
    """Run the command line."""
    app(prog_name="leo")
