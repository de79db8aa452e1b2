"""The one YAML reader: what two readers could understand differently is refused, with its code and line."""

from __future__ import annotations

import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import write_json
from handoffs.strict_yaml import Scalar, YamlError, parse_yaml_lines, parse_yaml_text, parse_yaml_values

READERS = (parse_yaml_text, parse_yaml_lines, parse_yaml_values)
BOMB = b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (98 + i, 98 + i, 97 + i, 97 + i) for i in range(20))
REFUSED = {
    "too long": (b"#" * 100_001, "yaml.too_long", 1),
    "not UTF-8": (b"a: 1\nb: \xff\n", "yaml.not_utf8", 2),
    "a line's end of YAML 1.1": ("# \u2028evil: 1\na: 1\n".encode(), "yaml.line_break", 1),
    "a next line": ("a: b\n# \x85c: d\n".encode(), "yaml.line_break", 2),
    "nothing": (b"", "yaml.empty", 1),
    "only a comment": (b"# x\n", "yaml.empty", 1),
    "no YAML": (b"a: 1\nb: [\n", "yaml.syntax", 3),
    "a tab": (b"a:\n\t- x", "yaml.syntax", 2),
    "a control character": (b"a: \x01", "yaml.syntax", 1),
    "two documents": (b"a: 1\n---\nb: 2\n", "yaml.documents", 2),
    "a directive": (b"%YAML 1.1\n---\na: 1\n", "yaml.directive", 1),
    "a tag directive": (b"%TAG ! tag:x,2000:\n---\na: 1\n", "yaml.directive", 1),
    "an anchor": (b"a: 1\nb: &x 2\n", "yaml.anchor", 2),
    "an anchored list": (b"a: &x []\n", "yaml.anchor", 1),
    "an alias": (b"a: *x\n", "yaml.anchor", 1),
    "a bomb": (BOMB, "yaml.anchor", 1),
    "a merge": (b"a: 1\n<<: {b: 2}\n", "yaml.merge_key", 2),
    "a quoted merge": (b"'<<': {b: 2}\n", "yaml.merge_key", 1),
    "a tag": (b"a: !!python/object/apply:os.getcwd []\n", "yaml.tag", 1),
    "a plain tag": (b"a: ! x\n", "yaml.tag", 1),
    "a tagged mapping": (b"!!map {a: 1}\n", "yaml.tag", 1),
    "a key twice": (b"a: 1\nb: 2\na: 3\n", "yaml.duplicate_key", 3),
    "a key twice, once in quotes": (b"a: 1\n'a': 3\n", "yaml.duplicate_key", 2),
    "a key twice, below": (b"x:\n  - a: 1\n    \"\\x61\": 2\n", "yaml.duplicate_key", 3),
    "a list as a key": (b"? [a]\n: 1\n", "yaml.key", 1),
    "a mapping as a key": (b"{{a: 1}: 1}\n", "yaml.key", 1),
    "too deep": (b"a: " + b"[" * 64 + b"]" * 64, "yaml.too_deep", 1),
    "far too deep": (b"[" * 50_000, "yaml.too_deep", 1),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_two_readers_could_take_differently_is_refused(reader, name):
    raw, code, line = REFUSED[name]
    with pytest.raises(YamlError) as refused:
        reader(raw, max_bytes=100_000)
    assert (refused.value.code, refused.value.line) == (code, line)
    assert refused.value.detail


def test_depth_is_what_the_caller_says():
    assert parse_yaml_text(b"[[x]]", max_bytes=10, max_depth=2) == [["x"]]
    with pytest.raises(YamlError, match=r"yaml\.too_deep"):
        parse_yaml_text(b"[[x]]", max_bytes=10, max_depth=1)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("", None), ("~", None), ("null", None), ("true", True), ("false", False), ("0", 0), ("-7", -7), ("14400", 14400),
        ("'85.00'", "85.00"), ('"yes"', "yes"), ("'1'", "1"), ("abc", "abc"), ("a b", "a b"), ("v1.0.0", "v1.0.0"), ("''", ""),
        ("|\n  1\n", "1\n"), ("https://x.example/y", "https://x.example/y"),
    ],
)  # fmt: skip
def test_scalars_are_what_both_versions_of_yaml_say(written, value):
    read: Any = parse_yaml_values(f"a: {written}".encode(), max_bytes=1000)
    assert read == {"a": value}
    assert type(read["a"]) is type(value)


@pytest.mark.parametrize(
    "written",
    [
        "yes", "no", "on", "Off", "True", "NULL", "y: 1", "0x1F", "0o17", "017", "1_000", "1:30", "85.00", "1e5", ".5", ".inf", ".NaN",
        "2026-01-01", "2026-99-99", "2026-01-01T00:00:00Z", "+1", "1" * 20, "=",
    ],
)  # fmt: skip
def test_scalars_that_they_read_differently_are_refused(written):
    if written == "y: 1":
        assert parse_yaml_values(b"y: 1", max_bytes=10) == {"y": 1}
        return
    with pytest.raises(YamlError) as refused:
        parse_yaml_values(f"a:\n- {written}".encode(), max_bytes=1000)
    assert (refused.value.code, refused.value.line) == ("yaml.ambiguous", 2)
    assert parse_yaml_text(f"a:\n- {written}".encode(), max_bytes=1000) == {"a": [written]}


@pytest.mark.parametrize("key", ["1", "true", "null", "~"])
def test_keys_of_values_are_text(key):
    with pytest.raises(YamlError, match=r"yaml\.key"):
        parse_yaml_values(f"{key}: x".encode(), max_bytes=100)
    assert parse_yaml_text(f"{key}: x".encode(), max_bytes=100) == {key: "x"}


def test_text_knows_its_line():
    read: Any = parse_yaml_lines(
        b"on: push\njobs:\n  a:\n    run: |\n      one\n      two\n    if: >\n      x\n", max_bytes=1000
    )
    job = read["jobs"]["a"]
    assert {str(key): (key.line, job[key].line, job[key].is_block) for key in job} == {
        "run": (4, 4, True),
        "if": (7, 7, False),
    }
    assert job["run"] == "one\ntwo\n"
    assert isinstance(job["run"], Scalar)


def test_values_are_counted():
    with pytest.raises(YamlError, match=r"yaml\.too_many"):
        parse_yaml_text(b"[a, b, c: d]", max_bytes=100, max_values=5)
    assert parse_yaml_text(b"[a, b, c: d]", max_bytes=100, max_values=6) == ["a", "b", {"c": "d"}]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**14), 10**14) | st.text(string.printable.replace("\x0b", "").replace("\x0c", "")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(string.ascii_letters, min_size=1), inner, max_size=4),
)  # fmt: skip


@given(PLAIN)
def test_what_is_written_as_json_reads_as_it_was(value):
    assert parse_yaml_values(write_json(value), max_bytes=1 << 20) == value


def test_hostile_text_takes_no_time():
    started = time.process_time()
    for unit in (b"[", b"- ", b"? ", b"a: ", b"&a ", b"{a: ", b"'a", b"\n\n", b"!!x "):
        with pytest.raises(YamlError):
            parse_yaml_text(unit * (200_000 // len(unit)), max_bytes=200_000)
    assert time.process_time() - started < 5
