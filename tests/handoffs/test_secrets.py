"""The small credential detector."""

from __future__ import annotations

import random
import string
import time

import pytest

from handoffs.secrets import find_secrets

RANDOM = random.Random(3)


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(RANDOM.choice(alphabet) for _ in range(count))


UPPER = string.ascii_uppercase + "234567"
SEEDED = {
    "private key": ["-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PGP PRIVATE KEY BLOCK-----"],
    "AWS access key": [f"AKIA{letters(16, UPPER)}", f"ASIA{letters(16, UPPER)}"],
    "GitHub token": [f"gh{kind}_{letters(36)}" for kind in "pousr"] + [f"github_pat_{letters(22)}_{letters(59)}"],
    "GitLab token": [f"glpat-{letters(20)}"],
    "Slack token": [f"xoxb-{letters(12, string.digits)}-{letters(24)}"],
    "Slack webhook": [f"https://hooks.slack.com/services/T{letters(8, UPPER)}/B{letters(8, UPPER)}/{letters(24)}"],
    "Google API key": [f"AIza{letters(35)}"],
    "Google OAuth secret": [f"GOCSPX-{letters(28)}"],
    "Stripe key": [f"sk_live_{letters(24)}"],
    "npm token": [f"npm_{letters(36)}"],
    "PyPI token": [f"pypi-AgE{letters(80)}"],
    "OpenAI key": [f"sk-{letters(20)}T3BlbkFJ{letters(20)}"],
    "Anthropic key": [f"sk-ant-api03-{letters(93)}"],
    "JSON web token": [f"eyJ{letters(20)}.eyJ{letters(40)}.{letters(43)}"],
    "password in a URL": [f"postgres://ann:{letters(12)}@db.acme.example/x"],
    "random value of a secret's name": [f'api_key = "{letters(32)}7"', f"'client_secret': '{letters(40)}7'", f'TOKEN="{letters(24)}7"'],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in SEEDED.items() for text in texts])
def test_each_kind_is_found_where_it_lies(kind, text):
    hits = list(find_secrets("f", [(6, "ordinary"), (7, f"x = {text} ;")]))
    assert kind in {hit.kind for hit in hits}
    assert {hit.line for hit in hits} == {7}
    assert not any(text in repr(hit) for hit in hits)


@pytest.mark.parametrize(
    "text",
    [
        "password = os.environ['PASSWORD']", 'token = "change-me-please-now"', "-----BEGIN PUBLIC KEY-----", "ghp_short",
        "https://user:${PASSWORD}@host", "secret_name = 'projects/x/secrets/y'", "AKIAlowercase0000000", "eyJ.eyJ.x",
        "sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'", "http://host:8080/a@b",
    ],
)  # fmt: skip
def test_ordinary_lines_are_left_alone(text):
    assert not list(find_secrets("f", [(1, text)]))


@pytest.mark.parametrize(
    "unit", ["eyJ", "eyJa.", " eyJ" + "a" * 2000, "secret", "secret" * 3 + "='", "a://", "-----BEGIN A ", "xoxb-"]
)
def test_the_search_takes_linear_time(unit):
    text = unit * (400_000 // len(unit))
    started = time.process_time()
    list(find_secrets("f", [(1, text)]))
    assert time.process_time() - started < 2
