"""Lock files and manifests as an attacker would write them: hidden packages, other sources, malformed files, much of everything."""

from __future__ import annotations

import json
import time

import pytest

from handoffs.packages.lockfiles import LockError, lock_delta, read_lock_file
from tests.support.lockfiles import npm3, said


def purls(path: str, content: bytes) -> set[str]:
    return {pin.purl for pin in read_lock_file(path, content) if pin.purl}


SWAPPED = {
    "package-lock.json": (npm3(node_modules__a={"version": "1.0.0", "integrity": "sha512-a"}), npm3(node_modules__a={"version": "1.0.0", "integrity": "sha512-b"})),
    "v/package-lock.json": (npm3(node_modules__a={"version": "1.0.0", "resolved": "https://registry.example/a"}), npm3(node_modules__a={"version": "1.0.0", "resolved": "https://evil.example/a"})),
    "yarn.lock": (b'a@^1:\n  version "1.0.0"\n  resolved "https://registry.example/a"\n', b'a@^1:\n  version "1.0.0"\n  resolved "https://evil.example/a"\n'),
    "pnpm-lock.yaml": (b"lockfileVersion: '9.0'\npackages:\n  a@1.0.0:\n    resolution: {integrity: a}\n", b"lockfileVersion: '9.0'\npackages:\n  a@1.0.0:\n    resolution: {integrity: b}\n"),
    "go.sum": (b"a v1.0.0 h1:a=\n", b"a v1.0.0 h1:b=\n"),
    "Cargo.lock": (b'[[package]]\nname="a"\nversion="1.0.0"\nsource="registry+x"\nchecksum="a"\n', b'[[package]]\nname="a"\nversion="1.0.0"\nsource="registry+x"\nchecksum="b"\n'),
    "Gemfile.lock": (b"GEM\n  remote: https://gems.example/\n  specs:\n    a (1.0)\n", b"GEM\n  remote: https://evil.example/\n  specs:\n    a (1.0)\n"),
    "uv.lock": (b'[[package]]\nname="a"\nversion="1"\nwheels=[{url="u",hash="sha256:a"}]\n', b'[[package]]\nname="a"\nversion="1"\nwheels=[{url="u",hash="sha256:b"}]\n'),
    "poetry.lock": (b'[[package]]\nname="a"\nversion="1"\n[metadata.files]\na=[{file="a",hash="sha256:a"}]\n', b'[[package]]\nname="a"\nversion="1"\n[metadata.files]\na=[{file="a",hash="sha256:b"}]\n'),
    "requirements.txt": (b"a==1 --hash=sha256:a\n", b"a==1 --hash=sha256:b\n"),
    "x/requirements.txt": (b"a==1\n", b"a==1\n-i https://evil.example\n"),
    "Pipfile.lock": (b'{"default":{"a":{"version":"==1","hashes":["sha256:a"]}}}', b'{"default":{"a":{"version":"==1","hashes":["sha256:b"]}}}'),
    "file/Pipfile.lock": (b'{"default":{"a":{"version":"==1"}}}', b'{"default":{"a":{"version":"==1","file":"https://evil.example/a.whl"}}}'),
    "v1/Cargo.lock": tuple(b'[[package]]\nname="a"\nversion="1.0.0"\nsource="registry+x"\n[metadata]\n"checksum a 1.0.0 (registry+x)"="%s"\n' % digest for digest in (b"a", b"b")),
    "package.json": (b'{"dependencies":{"a":"^1"}}', b'{"devDependencies":{"a":"^1"}}'),
    "go.mod": (b"module x\nrequire a v1.0.0\n", b"module x\nrequire a v1.0.0\nreplace a => ../evil\n"),
    "Gemfile": (b"gem 'a'\n", b"gem 'a', git: 'https://evil.example'\n"),
}  # fmt: skip


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize("path", sorted(SWAPPED))
def test_another_source_or_digest_of_the_same_version_is_a_difference(path):
    before, after = SWAPPED[path]
    assert lock_delta({path: before}, {path: after}).added


# What a hurried reader would take for a comment, for nothing, or for one of two things.
HIDDEN = {
    "a comment that ends with a backslash": ("requirements.txt", b"# comment \\\nevil==1\n", "pkg:pypi/evil@1"),
    "an unusual line end": ("requirements.txt", b"# comment\x0bevil==1\n", "pkg:pypi/evil@1"),
    "a hash sign in an address": ("requirements.txt", b"https://x.example/a.zip#egg=evil\n", "pkg:pypi/evil"),
    "a block without a space": ("go.mod", b"module x\nrequire(\n\tevil v1.0.0\n)\n", "pkg:golang/evil@v1.0.0"),
    "a quoted module": ("go.mod", b'module x\nrequire "evil" v1.0.0\n', "pkg:golang/evil@v1.0.0"),
    "a flow mapping": ("pnpm-lock.yaml", b"{lockfileVersion: '9.0', packages: {evil@1.0.0: {resolution: {integrity: x}}}}\n", "pkg:npm/evil@1.0.0"),
    "a quoted top key": ("pnpm-lock.yaml", b"lockfileVersion: '9.0'\n\"packages\": # x\n    evil@1.0.0:\n        resolution: {integrity: x}\n", "pkg:npm/evil@1.0.0"),
    "an escaped key": ("package.json", b'{"dependen\\u0063ies":{"evil":"1.0.0"}}', "pkg:npm/evil@1.0.0"),
    "the other half of version 2": ("package-lock.json", b'{"lockfileVersion":2,"packages":{},"dependencies":{"evil":{"version":"1.0.0"}}}', "pkg:npm/evil@1.0.0"),
    "a dotted key": ("Cargo.toml", b'dependencies.evil.version = "=1.0.0"\n', "pkg:cargo/evil@1.0.0"),
    "a file name in capitals": ("REQUIREMENTS.TXT", b"evil==1\n", "pkg:pypi/evil@1"),
    "another folder's requirements": ("requirements/x.txt", b"evil==1\n", "pkg:pypi/evil@1"),
    "constraints": ("dev-constraints.txt", b"evil==1\n", "pkg:pypi/evil@1"),
    "a lock file of requirements": ("requirements-dev.lock", b"evil==1\n", "pkg:pypi/evil@1"),
    "a folder below requirements": ("requirements/ci/x.txt", b"evil==1\n", "pkg:pypi/evil@1"),
    "a line end of old machines": ("setup.cfg", b"[options]\n# x\rinstall_requires = evil==1\n", "pkg:pypi/evil@1"),
    "a dash for an underscore": ("setup.cfg", b"[options]\ninstall-requires = evil==1\n", "pkg:pypi/evil@1"),
    "a target's old key": ("Cargo.toml", b'[target."cfg(unix)".build_dependencies]\nevil = "=1.0.0"\n', "pkg:cargo/evil@1.0.0"),
    "two sources, one of them local": ("uv.lock", b'[[package]]\nname = "evil"\nversion = "1"\nsource = { registry = "https://r.example", virtual = "." }\n', "pkg:pypi/evil@1"),
    "a registry that calls itself a folder": ("uv.lock", b'[[package]]\nname = "evil"\nversion = "1"\nsource = { registry = "https://r.example", type = "directory" }\n', "pkg:pypi/evil@1"),
    "an address that calls itself a folder": ("uv.lock", b'[[package]]\nname = "evil"\nversion = "1"\nsource = { url = "https://r.example/x", type = "directory" }\n', "pkg:pypi/evil@1"),
    "a path beside git": ("pdm.lock", b'[[package]]\nname = "evil"\nversion = "1"\npath = "."\ngit = "https://x.example"\n', "pkg:pypi/evil@1"),
    "a tool's own list": ("pyproject.toml", b'[tool.hatch.env]\nrequires = ["evil==1"]\n', "pkg:pypi/evil@1"),
    "a hook's own list": ("pyproject.toml", b'[tool.hatch.build.hooks.x]\ndependencies = ["evil==1"]\n', "pkg:pypi/evil@1"),
    "a branch's lock file": ("pnpm-lock.feature.yaml", b"lockfileVersion: '9.0'\npackages: {evil@1.0.0: {resolution: {integrity: x}}}\n", "pkg:npm/evil@1.0.0"),
    "a Gemfile of another name": ("gemfiles/x.gemfile.lock", b"GEM\n  specs:\n    evil (1.0)\n", "pkg:gem/evil@1.0"),
}  # fmt: skip


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize("name", sorted(HIDDEN))
def test_a_package_cannot_hide_behind_spelling(name):
    path, content, purl = HIDDEN[name]
    assert purl in purls(path, content)


# What is no package by itself and still decides which code comes in.
STEERING = {
    "a hook of a tool": ("pyproject.toml", b"[tool.poetry.requires-plugins]\nevil = '1'\n", "poetry.requires-plugins evil=1"),
    "plugins": ("pyproject.toml", b"[tool.pdm]\nplugins = ['evil']\n", "pdm.plugins evil"),
    "overrides": ("pyproject.toml", b"[tool.pdm.resolution.overrides]\nevil = '1'\n", "pdm.resolution.overrides evil=1"),
    "build dependencies of others": ("pyproject.toml", b"[tool.uv.extra-build-dependencies]\na = ['evil']\n", "uv.extra-build-dependencies a=[evil]"),
    "code in a text of several lines": ("Gemfile", b'x = <<E\n#{gem "evil"}\nE\n', '#{gem "evil"}'),
}  # fmt: skip


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize("name", sorted(STEERING))
def test_what_steers_an_installation_is_a_setting(name):
    path, content, line = STEERING[name]
    assert line in said(path, content)


@pytest.mark.threat("JSN-02")
def test_a_file_that_requirements_newly_include_is_unread_whatever_its_name():
    content = (
        b"-r dev.txt\n-c ../pins/all.txt\n--requirement=base.in\n-r ../requirements.txt\n-r https://x.example/r.txt\n"
    )
    assert lock_delta({}, {"a/requirements.txt": content}).unread == {"a/dev.txt", "pins/all.txt", "a/base.in"}
    assert not lock_delta({"requirements.txt": content}, {"requirements.txt": content + b"a==1\n"}).unread


MALFORMED = [
    ("package-lock.json", b"{"),
    ("package-lock.json", b'{"packages":[]}'),
    ("package-lock.json", b'{"lockfileVersion":4,"packages":{}}'),
    ("package-lock.json", b'{"lockfileVersion":3,"packages":{"x/node_modules":{"version":"1.0.0"}}}'),
    ("package-lock.json", b'{"lockfileVersion":3,"packages":{"node_modules/a":{"version":"1.0.0","version":"2.0.0"}}}'),
    ("package-lock.json", b'\xef\xbb\xbf{"lockfileVersion":3}'),
    ("package.json", b'{"dependencies":{"a":"1","a":"2"}}'),
    ("package.json", b'{"dependencies":["a"]}'),
    ("package.json", b'{"dependencies":{"a":1}}'),
    ("package.json", b'{"dependencies":{"a":"1"} /* x */}'),
    ("package.json", b'{"dependencies":{"":"1"}}'),
    ("poetry.lock", b"[[package]\n"),
    ("poetry.lock", b"[[package]]\nversion='1'\n"),
    ("uv.lock", b'[[package]]\nname = "a"\nname = "b"\n'),
    ("uv.lock", b'[package]\nname = "a"\n'),
    ("pyproject.toml", b'[project]\ndependencies = "a"\n'),
    ("pyproject.toml", b'[project]\ndependencies = ["a b"]\n'),
    ("pyproject.toml", b'[project]\ndependencies = ["a>=1"]\n[project]\ndependencies = []\n'),
    ("Cargo.toml", b'[dependencies]\na = ["1"]\n'),
    ("Cargo.lock", b"[[package]]\nname = 1\n"),
    ("setup.cfg", b"[options]\n[options]\n"),
    ("requirements.txt", b"This is prose.\n"),
    ("requirements.txt", b"a==1 b==2\n"),
    ("requirements.txt", b"a=1\n"),
    ("requirements.txt", b"\xff\n"),
    ("requirements.txt", "a==1\n".encode("utf-16")),
    ("requirements.txt", b"# -*- coding: utf-7 -*-\na==1\n"),
    ("requirements.txt", b"#\r\r# coding: utf-7\n# +AAo-evil==1\n"),
    ("requirements.txt", b"a==1\0\n"),
    ("go.mod", b"require x\n"),
    ("go.mod", b"module x\nrequire (\n\ta v1.0.0\n"),
    ("go.mod", b"module x\nrequire (a v1.0.0\n"),
    ("go.mod", b"module x\nrequire a v1.0.0//x\n"),
    ("go.mod", b"module x\nrequired a v1.0.0\n"),
    ("go.mod", b'module x\nrequire "a v1.0.0\n'),
    ("go.sum", b"one two\n"),
    ("pnpm-lock.yaml", b"lockfileVersion: '9.0'\npackages:\n  what is this\n"),
    ("pnpm-lock.yaml", b"lockfileVersion: '10.0'\n"),
    ("pnpm-lock.yaml", b"lockfileVersion: '9.0'\npackages: {}\npackages:\n  a@1.0.0: {}\n"),
    ("pnpm-lock.yaml", b"lockfileVersion: '9.0'\npackages: &a\n  a@1.0.0: {}\nb: *a\n"),
    ("pnpm-lock.yaml", b"lockfileVersion: '9.0'\npackages: !!map {}\n"),
    ("pnpm-lock.yaml", b"lockfileVersion: '9.0'\n---\nlockfileVersion: '9.0'\n"),
    ("pnpm-lock.yaml", b"lockfileVersion: '9.0'\npackages: " + b"[" * 100 + b"]" * 100),
    ("pnpm-lock.yaml", b"lockfileVersion: '9.0'\n<<: {packages: {evil@1.0.0: {resolution: {integrity: x}}}}\n"),
    ("pnpm-lock.yaml", b"- lockfileVersion\n"),
    ("yarn.lock", b"<<<<<<< ours\n"),
    ("yarn.lock", b'a@^1:\n\tversion "1.0.0"\n'),
    ("yarn.lock", b'a@^1:\n  version "1.0.0"\n  version "2.0.0"\n'),
    ("yarn.lock", b'a@^1:\n  resolved "x"\n'),
    ("yarn.lock", b'a@^1, b@^1:\n  version "1.0.0"\n'),
    ("yarn.lock", b'"a@^1:\n  version "1.0.0"\n'),
    ("yarn.lock", b'  version "1.0.0"\n'),
    ("yarn.lock", b'__metadata:\n  version: 8\n"a@npm:1":\n  version: 1.0.0\n'),
    ("yarn.lock", b'__metadata:\n  version: 8\n"a@npm:1":\n  version: 1\n  resolution: "a@npm:1"\n  resolved: "https://evil.example"\n'),
    ("Gemfile.lock", b"GEM\n  specs:\n    a 1.0\n"),
    ("Gemfile.lock", b"GEM\n  specs:\n\ta (1.0)\n"),
    ("Gemfile.lock", b"gem\n  specs:\n    a (1.0)\n"),
    ("Pipfile.lock", b'{"default":[]}'),
    ("composer.lock", b'{"packages":{}}'),
]  # fmt: skip


@pytest.mark.threat("JSN-02")
@pytest.mark.parametrize(("path", "content"), MALFORMED)
def test_a_malformed_file_of_a_known_kind_is_never_merely_unread(path, content):
    with pytest.raises(LockError, match=r"lock\.malformed"):
        read_lock_file(path, content)
    delta = lock_delta({}, {path: content})
    assert [name for name, _ in delta.malformed] == [path]
    assert not delta.unread


def test_a_file_that_was_malformed_before_can_be_mended_or_removed():
    mended = lock_delta({"package.json": b"{"}, {"package.json": b'{"dependencies":{"a":"1.0.0"}}'})
    assert not mended.malformed
    assert mended.unread == {"package.json"}
    assert {pin.purl for pin in mended.added} == {"pkg:npm/a@1.0.0"}
    assert lock_delta({"package.json": b"{"}, {}).unread == {"package.json"}


def test_what_is_wrong_is_told_by_place_and_not_by_content():
    with pytest.raises(LockError) as caught:
        read_lock_file("requirements.txt", b"a==1\nhttps :// me:hunter2@x.example\n")
    assert "line 2" in caught.value.detail
    assert "hunter2" not in caught.value.detail


def test_paths_cannot_be_taken_for_statements():
    delta = lock_delta({}, {"a b/requirements.txt": b"x==1\n", "pkg:pypi/requirements.txt": b"-i https://i.example\n"})
    assert {pin.text for pin in delta.added} == {
        "pkg:pypi/x@1 a%20b/requirements.txt",
        "pkg%3Apypi/requirements.txt -i https://i.example",
    }


def test_very_long_statements_are_cut_and_closed_with_a_digest():
    one, other = (
        next(iter(read_lock_file("package.json", json.dumps({"dependencies": {"a": "x" * 5000 + end}}).encode())))
        for end in "ab"
    )
    assert one != other
    assert len(one.said) < 1000


GROWING = {
    "requirements.txt": lambda n: b"".join(b"a%d==1 \\\n  --hash=sha256:%064d\n" % (i, i) for i in range(n)),
    "long/requirements.txt": lambda n: b"a" + b"-" * n * 40 + b"\n",
    "open/requirements.txt": lambda n: b"a==1 \\\n" * n * 4,
    "yarn.lock": lambda n: b"".join(b'a%d@^1:\n  version "1.0.%d"\n' % (i, i) for i in range(n)),
    "keys/yarn.lock": lambda n: b", ".join(b'"a@^%d"' % i for i in range(n * 4)) + b':\n  version "1.0.0"\n',
    "quotes/yarn.lock": lambda n: b'a@^1:\n  version "1.0.0"\n' + b'"' * n * 40 + b":\n",
    "pnpm-lock.yaml": lambda n: b"lockfileVersion: '9.0'\npackages:\n" + b"".join(b"  a%d@1.0.0:\n    resolution: {integrity: x}\n" % i for i in range(n)),
    "go.mod": lambda n: b"module x\nrequire (\n" + b"".join(b"\ta%d v1.0.0\n" % i for i in range(n)) + b")\n",
    "Gemfile": lambda n: b"gem 'a',\n" * n,
    "Gemfile.lock": lambda n: b"GEM\n  specs:\n" + b"".join(b"    a%d (1.0)\n" % i for i in range(n)),
    "gap/requirements.txt": lambda n: b"a==1" + b" " * n * 40 + b"x\n",
    "gap/setup.cfg": lambda n: b"[options]\nx = 1\ny" + b" " * n * 4 + b"z = 2\n",
    "blocks/Gemfile": lambda n: b"group :x do\n" * 40 + b"gem 'a'\n" * n,
    "blanks/Gemfile.lock": lambda n: b"GEM\n" + b"  remote: x\n" * n,
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(GROWING))
def test_reading_takes_time_in_proportion_to_size(path):
    def seconds(n: int) -> float:
        content = GROWING[path](n)
        started = time.process_time()
        lock_delta({}, {path: content})
        return time.process_time() - started

    seconds(100)
    small = max(min(seconds(500) for _ in range(3)), 0.001)
    assert min(seconds(5000) for _ in range(2)) / small < 40
