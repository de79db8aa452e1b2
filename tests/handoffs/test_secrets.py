"""The small credential detector."""

from __future__ import annotations

import base64
import random
import time
from re import _parser  # type: ignore[attr-defined]  # what is the shortest match of a pattern only it says

import pytest

from handoffs.scope.secret_forms import ASSIGNED, KINDS, SHORTEST
from handoffs.scope.secrets import find_secrets, may_hold_secret, redact, redact_json
from tests.support.credentials import SEEDED


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


@pytest.mark.threat("BUN-09")
@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in SEEDED.items() for text in texts])
def test_redaction_takes_the_value_out_and_names_the_kind(kind, text):
    said = redact(f"before {text} after")
    secret = max(text.split('"'), key=len).strip("'")
    assert secret not in said
    assert f"[redacted: {kind}]" in said
    assert said.startswith("before ")
    assert said.endswith(" after") or kind == "private key"  # whose body is what follows its header
    assert text not in str(redact_json({"a": [{"b": text, text: 1}]}))


# Their fixed text is too short to leave a trace in base64.
SHORT = (
    "random",
    "JSON web token",
    "Twilio",
    "Shopify",
    "Slack token",
    "password in",
    "SendGrid",
    "Hugging",
    "Telegram",
)


@pytest.mark.threat("BUN-09")
@pytest.mark.parametrize(
    "text",
    [texts[0] for kind, texts in SEEDED.items() if not kind.startswith(SHORT)],
)
@pytest.mark.parametrize("shift", range(3))
def test_base64_utf16_and_json_escapes_do_not_hide_it(text, shift):
    code = base64.b64encode(b" " * shift + text.encode() + b" and more").decode()
    assert list(find_secrets("f", [(1, "x"), (2, f"data: {code}")]))
    wrapped = [(number, code[at : at + 60]) for number, at in enumerate(range(0, len(code), 60), 1)]
    assert list(find_secrets("f", wrapped)) or len(code) > 60 > len(code) % 60
    for encoding in ("utf-16-le", "utf-16-be"):
        assert list(find_secrets("f", [(1, text.encode(encoding).decode("utf-8", "replace"))]))
    escaped = "".join(f"\\u{ord(character):04x}" for character in text)
    assert list(find_secrets("f", [(1, f'"task": "{escaped}"')]))


ODD = (
    'to\u212aen = "{}"', '\u017fecret: "{}"', 'ap\u0131_key="{}"', 'AP\u0130-KEY\u2003=\u2003\u2003"{}"',
    'password\n:\n"{}"', "ab://\u00e9\u20ac:\u20ac\u20ac{}@x", "\0{}", "\\/{}", "\\u0041{}",
)  # fmt: skip


@pytest.mark.threat("BUN-09")
@pytest.mark.parametrize("form", ODD)
def test_the_gate_is_open_for_every_spelling_that_the_forms_take(form):
    text = form.format("k7Qz9Lm2Xv4Rt8Wb1Nc6")
    assert may_hold_secret(text.encode())
    assert list(find_secrets("f", [(1, text)])) or text[0] in "\0\\"


@pytest.mark.threat("BUN-09")
def test_the_gate_is_never_shut_before_a_form_that_matches():
    randomly = random.Random(20261125)
    parts = [text for texts in SEEDED.values() for text in texts]
    parts += [part for text in parts for part in (text[: len(text) // 2], text[len(text) // 2 :])]
    parts += ["secret", ' = "', '"', "\n", "\u2028", "\u212a", "\x85", "://", ":", "@", "x" * 30, "-" * 5]
    opened = 0
    for _ in range(4_000):
        text = "".join(randomly.choices(parts, k=4))
        is_found = any(pattern.search(text) for *_, pattern in KINDS) or bool(ASSIGNED.search(text))
        assert may_hold_secret(text.encode()) >= is_found, text
        opened += is_found
    assert opened > 1_000
    assert not may_hold_secret(b"An ordinary text: https://example.com/a@b, sk-1, token = 'x', eyJhbGciOi\n" * 100)


def test_no_form_is_shorter_than_what_is_searched_at_all():
    for *_, pattern in (*KINDS, ("", (), ASSIGNED)):
        assert _parser.parse(pattern.pattern).getwidth()[0] >= SHORTEST


def test_redaction_keeps_lines_where_it_is_asked_to():
    key = "-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----"
    assert redact(f"a\n{key}\nb", keeps_lines=True) == "a\n[redacted: private key]\n\n\n\nb"


def test_ordinary_text_is_not_touched():
    text = "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, a key-value and SK-1"
    assert redact(text) == text
