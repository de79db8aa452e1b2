"""The one JSON reader and writer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import JsonError, digest_json, parse_json, write_json

REFUSED = {
    b'{"a":1,"a":2}': "json.duplicate_key",
    b'{"x":{"b":1,"b":1}}': "json.duplicate_key",
    b'{"a":":","\\u0061":[{"b":"\\":"}]}': "json.duplicate_key",
    b'[{"a":{"b":"x:y"}},{"b":"\\\\","c":1,"b":""}]': "json.duplicate_key",
    b'{"x":"\\"","y":"\\"","a":1,"a":2}': "json.duplicate_key",
    b'{"a":[1,[18446744073709551616]]}': "json.number_too_large",
    b'{"a":[-9007199254740992]}': "json.number_too_large",
    b"[9007199254740992.0]": "json.number_too_large",
    b"[NaN]": "json.not_a_number",
    b"[Infinity]": "json.not_a_number",
    b"[-Infinity]": "json.not_a_number",
    b"[1e400]": "json.number_too_large",
    b"[9007199254740993]": "json.number_too_large",
    b"[" + b"9" * 5000 + b"]": "json.number_too_large",
    b'["\\ud800"]': "json.lone_surrogate",
    b'{"\\udfff":1}': "json.lone_surrogate",
    b'{"a":"x\\u0000y"}': "json.nul",
    b'{"\\u0000":1}': "json.nul",
    b"\xef\xbb\xbf{}": "json.byte_order_mark",
    b'["\xff"]': "json.not_utf8",
    b"[" * 65 + b"]" * 65: "json.too_deep",
    b"[1,]": "json.syntax",
    b"{'a':1}": "json.syntax",
    b"": "json.syntax",
    b"{} {}": "json.syntax",
    b'["\x01"]': "json.syntax",
    b"[01]": "json.syntax",
    b"// x\n{}": "json.syntax",
}


def test_a_key_that_stands_twice_behind_a_long_text_is_refused():
    """Keys are counted piece by piece: a piece that begins within a text must not count that text's colons."""
    with pytest.raises(JsonError, match="duplicate_key"):
        parse_json(b'{"pad":"' + b"x" * 70_000 + b'","a":1,"a":2,"x":"::"}')


@pytest.mark.parametrize("raw", REFUSED)
def test_what_two_readers_could_read_differently_is_refused(raw: bytes):
    with pytest.raises(JsonError) as refused:
        parse_json(raw)
    assert refused.value.code == REFUSED[raw]
    assert refused.value.detail


def test_a_document_over_the_size_is_refused_before_it_is_read():
    with pytest.raises(JsonError, match=r"json\.too_long"):
        parse_json(b"[" * 2_000_000, max_bytes=1000)


@pytest.mark.parametrize("text", ['a:b,"c":[{', "\\", '\\":', '"', "::", "{}"])
def test_marks_in_strings_are_no_keys_and_no_structure(text):
    document = {text: [{"a": text, "b": {text: text}}], "n": [0, -(2**53) + 1, True, None]}
    for separators in ((",", ":"), (" , ", " : ")):
        assert parse_json(json.dumps(document, separators=separators).encode()) == document


def test_minus_zero_and_fractions_are_read_as_they_are_written():
    assert [str(number) for number in parse_json(b"[-0,-0.0,1.50,1E2]")] == ["0", "-0.0", "1.5", "100.0"]


def test_brackets_in_strings_are_no_depth():
    assert parse_json(json.dumps(["[" * 200, "\\", '"', "\\\\["]).encode()) == ["[" * 200, "\\", '"', "\\\\["]


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53) + 1, 2**53 - 1)
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=4
            )
        ),
        max_leaves=20,
    )
)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back_and_written_the_same(value):
    raw = write_json(value)
    assert parse_json(raw) == value
    assert write_json(parse_json(raw)) == raw
    assert digest_json(value) == digest_json(parse_json(json.dumps(value).encode()))
