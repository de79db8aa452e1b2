"""The four gates' workflows for a governed repository, and an action for workflows of one's own. Pure.

Each workflow is whole in its one file, since the portal compares that file with the protected branch's: an action
beside it would be the change's own. The one action they use is pinned by commit; what `leo` is, by the SHA-256 of its
wheel, which brings the hashes of everything it needs. The change's own code runs in jobs without an identity.
Source: GATE-10, GATE-11 and GATE-13 of the threat list; GitHub's workflow syntax and security hardening.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from audit.coded import CodedError

CHECKOUT: Final = "actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2"
REPORT: Final = "leo-report.sarif"
POLICY: Final = ".github/leoportal"  # where the signed policy lies, below what has owners
# Gates in which the change's own code runs, and the job that it runs in.
_OWN_CODE: Final = {"story": "test", "agents": "analyse"}
_WHEEL: Final = re.compile(r"https://[A-Za-z0-9._~/%-]{1,400}/(leoportal-[A-Za-z0-9.+_]{1,60}-py3-none-any\.whl)\Z")
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_PORTAL: Final = re.compile(r"https://[A-Za-z0-9.-]{1,200}(?::[0-9]{1,5})?\Z")
_BRANCH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,120}\Z")
_FINGERPRINT: Final = re.compile(r"[0-9A-F]{40}(?:[0-9A-F]{24})?\Z")
_RECEIVED: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)\Z", re.ASCII)
# Words of a command as the shell splits them, and nothing that it would expand.
_COMMAND: Final = re.compile(r"[A-Za-z0-9_./=:@,+-]+(?: [A-Za-z0-9_./=:@,+-]+){0,40}\Z")


class TemplateError(CodedError):
    """Something that cannot stand in a workflow. `code` is stable."""


@dataclass(frozen=True)
class Release:
    """The wheel that the workflows install."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Its name, as pip needs it. Raises: TemplateError("workflows.wheel")."""
        found = _WHEEL.match(self.url)
        if found is None:
            detail = f"got {self.url[:120]!r}, expected https://…/leoportal-VERSION-py3-none-any.whl"
            raise TemplateError("workflows.wheel", detail)
        return found[1]


@dataclass(frozen=True)
class PolicyKey:
    """Who signed the policy, and when that was received: pinned, since a key that retired meanwhile still counts."""

    fingerprint: str
    received_at: str

    @property
    def command(self) -> str:
        """The line that verifies document, signature and attestation. Raises: TemplateError("workflows.policy_key")."""
        if not _FINGERPRINT.match(self.fingerprint) or not _RECEIVED.match(self.received_at):
            detail = f"got {self.fingerprint[:80]!r} at {self.received_at[:40]!r}, expected what policy-export said"
            raise TemplateError("workflows.policy_key", detail)
        return (
            f"leo verify policy {POLICY}/policy.yaml --signature {POLICY}/policy.yaml.asc"
            f" --attestation {POLICY}/policy.dsse.json --key {POLICY}/key.asc"
            f" --fingerprint {self.fingerprint} --received-at {self.received_at}"
        )


@dataclass(frozen=True)
class Commands:
    """The repository's own: its tests, and what writes its analysers' report, REPORT."""

    test: str = "make test"
    analyse: str = "make leo-report.sarif"


def render_templates(
    release: Release, *, portal: str, branch: str, policy: PolicyKey, commands: Commands
) -> dict[str, str]:
    """Every file by its path in the governed repository.

    Raises: TemplateError for what would be a hole in a workflow, or none at all.
    """
    if not _SHA256.match(release.sha256):
        raise TemplateError("workflows.sha256", f"got {release.sha256[:80]!r}, expected 64 hex digits")
    if not _PORTAL.match(portal):
        raise TemplateError("workflows.portal", f"got {portal[:120]!r}, expected https://HOST")
    for command in (commands.test, commands.analyse):
        if not _COMMAND.match(command):
            detail = f"got {command[:120]!r}, expected words without quotes, $ or redirections; put more into a script"
            raise TemplateError("workflows.command", detail)
    if not _BRANCH.match(branch):
        raise TemplateError("workflows.branch", f"got {branch[:80]!r}, expected the protected branch")
    install = _install(release)
    gates = {
        "slsa": ("LEO SLSA", (f"leo evidence slsa --target origin/{branch}",)),
        "policy": ("LEO Policy", (policy.command, "leo evidence policy")),
        "story": ("LEO Story", (f"leo evidence story -- {commands.test}",)),
        "agents": ("LEO Agents", (commands.analyse, f"leo evidence agents {REPORT} --agent SECURITY")),
    }
    found = {f".github/workflows/leo-{gate}.yml": _workflow(gate, *of, install, portal) for gate, of in gates.items()}
    return {**found, ".github/actions/leo/action.yml": _action(install, portal)}


def _install(release: Release) -> tuple[str, ...]:
    name = release.file_name
    return (
        f"curl --fail --silent --show-error --location --proto =https --output {name} {release.url}",
        f'echo "{release.sha256}  {name}" | sha256sum --check --strict',
        "python3 -m venv .leo-venv",
        f"unzip -p {name} leoportal/requirements/base.txt > leo-requirements.txt",
        ".leo-venv/bin/python -m pip install --quiet --require-hashes --requirement leo-requirements.txt",
        f".leo-venv/bin/python -m pip install --quiet --no-deps ./{name}",
        'echo "$PWD/.leo-venv/bin" >> "$GITHUB_PATH"',
    )


def _lines(lines: tuple[str, ...], indent: int = 10) -> str:
    return "\n".join(" " * indent + line for line in lines)


HEAD: Final = """\
# {title}: a gate of leoportal, written by `leo repo workflows`. The portal compares it with the protected branch's.
name: {title}
run-name: "{title} ${{{{ inputs.intent }}}}"
on:
  workflow_dispatch:
    inputs:
      intent:
        description: what the portal started it for
        required: true
        type: string
permissions: {{}}
defaults:
  run:
    shell: bash
env:
  LEO_URL: {portal}
jobs:
"""
JOB: Final = """\
  {job}:
    runs-on: ubuntu-24.04
    timeout-minutes: 30
    permissions:
      contents: read
{more}    steps:
"""
CHECK_OUT: Final = f"""\
      - name: Check out the commit that is judged
        uses: {CHECKOUT}
        with:
          fetch-depth: 0
          persist-credentials: false
"""
STEP: Final = """\
      - name: {name}
{more}        run: |
{commands}
"""
ACTION: Final = """\
# One gate's evidence, collected by leo and sent to the portal: for workflows of your own. The portal's four gates are
# whole in their files and do not use it. The job needs `id-token: write` and a checkout with `fetch-depth: 0`.
name: leo evidence
description: Collect the evidence of a gate and send it to a leoportal under this job's identity token
inputs:
  gate:
    description: "slsa, policy, story or agents, with its options: for instance `policy`"
    required: true
runs:
  using: composite
  steps:
    - name: Install leo by its digest
      shell: bash
      run: |
{install}
    - name: Verify and send
      shell: bash
      env:
        LEO_URL: {portal}
        LEO_GATE: ${{{{ inputs.gate }}}}
      run: |
        read -r -a arguments <<< "$LEO_GATE"
        leo evidence "${{arguments[@]}}"
        leo evidence send
"""
_IDENTITY: Final = "      id-token: write\n"
_OUTPUTS: Final = """\
    outputs:
      evidence: ${{ steps.evidence.outputs.evidence }}
"""
_GIVEN: Final = """\
        env:
          EVIDENCE: ${{{{ needs.{job}.outputs.evidence }}}}
"""
_SEND: Final = "leo evidence send"


def _workflow(gate: str, title: str, commands: tuple[str, ...], install: tuple[str, ...], portal: str) -> str:
    """One job where only leo runs; two where the change's own code does: it works in one, the other speaks."""
    head = HEAD.format(title=title, portal=portal)
    installed = STEP.format(name="Install leo by its digest", more="", commands=_lines(install))
    if gate not in _OWN_CODE:
        told = STEP.format(name="Verify and send the evidence", more="", commands=_lines((*commands, _SEND)))
        return head + JOB.format(job=gate, more=_IDENTITY) + CHECK_OUT + installed + told
    worker = _OWN_CODE[gate]
    kept = 'echo "evidence=$(base64 --wrap=0 evidence.json)" >> "$GITHUB_OUTPUT"'
    work = STEP.format(name="Verify", more="        id: evidence\n", commands=_lines((*commands, kept)))
    given = _lines(('printf %s "$EVIDENCE" | base64 --decode > evidence.json', _SEND))
    send = STEP.format(name="Send the evidence", more=_GIVEN.format(job=worker), commands=given)
    first = JOB.format(job=worker, more=_OUTPUTS) + CHECK_OUT + installed + work
    return head + first + JOB.format(job=gate, more=f"{_IDENTITY}    needs: {worker}\n") + installed + send


def _action(install: tuple[str, ...], portal: str) -> str:
    return ACTION.format(install=_lines(install, 8), portal=portal)
