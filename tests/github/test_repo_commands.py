"""`leo repo app` and `leo repo govern` as they are typed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from django.core.management import CommandError, call_command

from handoffs.github.manifests import manifest
from handoffs.models import GitHubRepository
from leoportal import setup
from leoportal.lanes.switching import acting_in
from tests.github.governing import PORTAL, Town, make_town
from tests.support.github import GitHub


def leo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment}
    command = [str(Path(sys.executable).with_name("leo")), *arguments]
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60)


def code_of(github: GitHub, side: str, **changes: Any) -> str:
    """What GitHub gives the browser that posted the manifest."""
    told = {**manifest(side, portal_url=PORTAL), **changes}
    body = urlencode({"manifest": json.dumps(told)})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    address = f"{github.url}/settings/apps/new?state=x"
    answer = requests.post(address, data=body, headers=headers, allow_redirects=False, timeout=20)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{PORTAL}/repositories/apps/{side}/?")
    return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]


@pytest.mark.threat("GATE-02")
def test_an_apps_keys_land_in_files_of_their_own(github: GitHub, tmp_path: Path):
    code = code_of(github, "gate")
    done = leo("repo", "app", "gate", "--code", code, "--folder", str(tmp_path / "keys"), GITHUB_API_URL=github.api)
    assert done.returncode == 0, done.stderr
    key, secret = tmp_path / "keys" / "leo-gate.pem", tmp_path / "keys" / "leo-gate.webhook-secret"
    assert key.read_text() == github.apps[-1].private_key()
    assert secret.read_text() == github.apps[-1].webhook_secret
    assert {stat.S_IMODE(path.stat().st_mode) for path in (key, secret)} == {0o600}
    assert f"GITHUB_GATE_APP_ID={github.apps[-1].id}" in done.stdout
    assert f"GITHUB_GATE_KEY_FILE={key}" in done.stdout
    assert "PRIVATE KEY" not in done.stdout
    again = leo("repo", "app", "gate", "--code", code, "--folder", str(tmp_path / "keys"), GITHUB_API_URL=github.api)
    assert (again.returncode, "github.not_found" in again.stderr) == (1, True)


def test_an_app_of_another_manifest_is_refused(github: GitHub, tmp_path: Path):
    code = code_of(github, "gate", default_permissions={"checks": "write", "contents": "write"})
    done = leo("repo", "app", "gate", "--code", code, "--folder", str(tmp_path), GITHUB_API_URL=github.api)
    assert done.returncode == 1
    assert "app.permissions" in done.stderr
    assert list(tmp_path.glob("leo-*")) == []
    assert leo("repo", "app", "plan", "--code", code).returncode == 2
    assert leo("repo", "app", "gate", "--code", "$(id)").returncode == 2


def test_without_the_operators_database_nothing_is_governed():
    done = leo("repo", "govern", "acme/payments")
    assert (done.returncode, "DATABASE_URL" in done.stderr) == (2, True)
    shown = leo("repo", "govern", "--help")
    assert (shown.returncode, "--observe" in shown.stdout) == (0, True)


def test_the_portals_own_command_governs_with_the_token_from_a_file(
    transactional_db, github: GitHub, settings, tmp_path: Path, capsys
):
    setup.ensure_lanes("opal", "rhea")
    setup.ensure_policy(())
    town: Town = make_town(github, settings, tmp_path)
    token = tmp_path / "token"
    token.write_text(town.boss.token() + "\n")
    options = ["acme/payments", "--token-file", str(token), "--builders", f"user:{town.builder.id}"]
    with acting_in("operator"):
        call_command("repo", "govern", *options)
        said = capsys.readouterr().out
        assert "7 enforced" in said
        assert token.read_text().strip() not in said
        call_command("repo", "check", "acme/payments", "--token-file", str(token))
        assert "21 of 21 points hold" in capsys.readouterr().out
        town.repo.secrets.append("X")
        with pytest.raises(CommandError, match="1 points do not hold") as caught:
            call_command("repo", "check", "acme/payments", "--token-file", str(token))
        assert caught.value.returncode == 1
        town.github.chaos.outage()
        with pytest.raises(CommandError) as caught:
            call_command("repo", "govern", *options)
        assert caught.value.returncode == 4
    assert GitHubRepository.objects.get().full_name == "acme/payments"
    for wrong in (["--builders", "everybody"], ["--token-file", str(tmp_path / "none")]):
        with pytest.raises(CommandError) as caught:
            call_command("repo", "govern", *options, *wrong)
        assert caught.value.returncode == 2
