"""Scanners that are missing, broken, hang, or say too much: nothing of it passes."""

from __future__ import annotations

import socket
import sys
import threading

import pytest

from tests.support.subagents import SCANNERS, analyse, change, changed, needs_scanners
from verdicts.results import AgentKind, AgentOutcome, Grade, Tool, from_json, to_json
from verdicts.subagents.sandbox import run, workspace

SAMPLE = (
    changed("app/a.py", "x = 1\n"),
    changed("tests/test_a.py", "def test_a():\n    assert f() == 1\n"),
    changed("a.sql", "SELECT 1;\n"),
    changed("a.html", "<p>a</p>\n"),
    changed("a.js", "export const a = 1;\n"),
)
PROGRAMS = ("ruff", "detect-secrets", "zizmor", "shellcheck", "hadolint", "squawk", "complexipy", "djlint", "oxlint")


def fake(folder, script):
    for program in PROGRAMS:
        path = folder / program
        path.write_text(script)
        path.chmod(0o755)
    return folder


@pytest.mark.parametrize("kind", AgentKind)
def test_a_missing_scanner_never_passes(kind, tmp_path):
    result = analyse(kind, *SAMPLE, scanners=tmp_path)
    assert (result.outcome, result.confidence, result.grade) == (AgentOutcome.MISSING, 0, Grade.MISSING)
    assert "not installed" in result.reason


@needs_scanners
def test_one_missing_scanner_among_several_is_enough(tmp_path):
    for program in PROGRAMS:
        if program != "detect-secrets":
            (tmp_path / program).symlink_to(SCANNERS / program)
    assert analyse("SECURITY", *SAMPLE, scanners=tmp_path).outcome is AgentOutcome.MISSING


# Reading is one code path for all five; these two have the most different readers.
BROKEN = {
    "crashes": "#!/bin/sh\nexit 3\n",
    "is silent": "#!/bin/sh\nexit 0\n",
    "fails and says nothing": "#!/bin/sh\nexit 1\n",
    "fails with an empty list": "#!/bin/sh\necho '[]'\nexit 1\n",
    "writes nonsense": "#!/bin/sh\necho 'all good'\n",
    "writes another shape": "#!/bin/sh\necho '{\"ok\": true}'\n",
    "is killed": "#!/bin/sh\nkill -9 $$\n",
    "is no program": "not a program",
    "has no interpreter": "#!/nowhere/at/all\n",
}


@pytest.mark.parametrize("kind", ["PERFORMANCE", "DESIGN"])
@pytest.mark.parametrize("how", BROKEN)
def test_a_scanner_that_does_not_work_never_passes(kind, how, tmp_path):
    result = analyse(kind, *SAMPLE, scanners=fake(tmp_path, BROKEN[how]))
    assert (result.outcome, result.confidence) == (AgentOutcome.ERROR, 0)
    assert result.reason
    assert from_json(to_json(result)) == result


def test_a_scanner_that_speaks_of_files_it_was_not_given_is_an_error(tmp_path):
    row = '[{"filename":"f9999.py","code":"S307","message":"m","location":{"row":1},"end_location":{"row":1}}]'
    result = analyse("TESTING", *SAMPLE, scanners=fake(tmp_path, f"#!/bin/sh\necho '{row}'\nexit 1\n"))
    assert result.outcome is AgentOutcome.ERROR


def execute(folder, script, **more):
    program = folder / "probe"
    program.write_text(script)
    program.chmod(0o755)
    with workspace(change(*SAMPLE)) as place:
        return run(folder, Tool("probe", "1"), place.names(lambda file: True), place, **more)


def test_a_scanner_that_hangs_is_stopped_with_its_children(tmp_path):
    execution = execute(tmp_path, "#!/bin/sh\n(while :; do :; done) &\nwhile :; do :; done\n", timeout_seconds=0.5)
    assert execution.outcome is AgentOutcome.ERROR
    assert (execution.tool.exit_code, "did not end" in execution.problem) == (None, True)


def test_a_scanner_cannot_fill_the_disk(tmp_path):
    script = f"#!{sys.executable}\nwith open('big', 'wb') as file:\n    file.truncate(1 << 30)\n    file.seek(1 << 29)\n    file.write(b'x')\n"
    assert execute(tmp_path, script).tool.exit_code != 0


def test_a_scanner_gets_no_environment_and_sees_only_the_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("LEO_SECRET", "hunter2")
    script = f"#!{sys.executable}\nimport os\nprint(sorted(os.environ), sorted(os.listdir('.')), os.getcwd())\n"
    output = execute(tmp_path, script).output.decode()
    assert "LEO_SECRET" not in output
    assert "'f0001.py', 'f0002.py', 'f0003.sql', 'f0004.html', 'f0005.js'" in output
    assert ".git" not in output


def accept_one(server):
    connection, _ = server.accept()
    connection.close()


def test_a_scanner_has_no_network_where_the_result_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=accept_one, args=(server,), daemon=True).start()
        script = f"#!{sys.executable}\nimport socket\nsocket.create_connection(('127.0.0.1', {port}), 2)\n"
        execution = execute(tmp_path, script)
        socket.create_connection(("127.0.0.1", port)).close()  # lets the waiting thread end in any case
    assert execution.is_isolated == (execution.tool.exit_code != 0)


@needs_scanners
def test_the_evidence_says_what_ran_and_how():
    result = analyse("SECURITY", *SAMPLE)
    tools = {tool.name: tool for tool in result.tools}
    assert set(tools) == {"leoportal", "ruff", "detect-secrets"}
    assert tools["ruff"].version != "unknown"
    assert {"--isolated", "--ignore-noqa", "(2 files)"} <= set(tools["ruff"].arguments)
    assert (tools["ruff"].exit_code, len(tools["ruff"].rules_digest)) == (
        1,
        64,
    )  # the assert in the test: seen, expected
    assert result.subjects == tuple(sorted(file.path for file in SAMPLE))
