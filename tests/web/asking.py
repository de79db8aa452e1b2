"""What a browser asks the pages of pull requests: addresses, forms, and the text of an answer."""

from __future__ import annotations

from typing import Final

from django.test import Client

from handoffs.models import PullRequest

REASON: Final = "Read the diff and every finding."


def address(pull: PullRequest, rest: str = "") -> str:
    return f"/prs/acme/payments/{pull.number}/{rest}"


def verdict_form(pull: PullRequest, verdict: str = "PASS", *, step: str = "record", **changes: str) -> dict[str, str]:
    form = {"verdict": verdict, "justification": REASON, "question": "", "head_sha": pull.head_sha, "step": step}
    return {**form, **changes}


def text_of(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, url
    return answer.content.decode()
