"""Lock files and manifests, each in the form its own tool writes; and what an attacker would write instead."""

from __future__ import annotations

import json

import pytest

from handoffs.packages.lockfiles import LockDelta, is_lock_file, lock_delta, read_lock_file
from handoffs.packages.pins import name_of, package_url, version_of
from tests.support.lockfiles import npm3, said

H = "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

S = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="

# Each: before and after; `a` changes its version, `b` goes, `c` comes, `d` stays.
CHANGES = {
    "requirements.txt": (
        b"# by pip-compile\na==1.0 \\\n    --hash=sha256:aa\nb==2.0\nd==4.0\n",
        b"# by pip-compile\na==1.1 \\\n    --hash=sha256:ab\nc==3.0\nd==4.0\n",
    ),
    "requirements/dev.in": (b"a==1.0\nb==2.0\nd==4.0\n", b"a==1.1\nc==3.0\nd==4.0\n"),
    "pyproject.toml": (
        b'[project]\nname = "own"\nversion = "1"\ndependencies = ["a==1.0", "b==2.0", "d==4.0"]\n',
        b'[project]\nname = "own"\nversion = "2"\ndependencies = ["a==1.1", "c==3.0", "d==4.0"]\n',
    ),
    "poetry/pyproject.toml": (
        b'[tool.poetry.dependencies]\npython = "^3.12"\na = "1.0"\nb = "2.0"\n[tool.poetry.group.dev.dependencies]\nd = "4.0"\n',
        b'[tool.poetry.dependencies]\npython = "^3.12"\na = "1.1"\nc = "3.0"\n[tool.poetry.group.dev.dependencies]\nd = "4.0"\n',
    ),
    "setup.cfg": (
        b"[options]\ninstall_requires =\n    a==1.0\n    b==2.0\n    d==4.0\n",
        b"[options]\ninstall_requires =\n    a==1.1\n    c==3.0\n    d==4.0\n",
    ),
    "Pipfile": (b'[packages]\na = "==1.0"\nb = "==2.0"\nd = "==4.0"\n', b'[packages]\na = "==1.1"\nc = "==3.0"\nd = "==4.0"\n'),
    "Pipfile.lock": (
        b'{"_meta":{"sources":[]},"default":{"a":{"version":"==1.0"},"b":{"version":"==2.0"}},"develop":{"d":{"version":"==4.0"}}}',
        b'{"_meta":{"sources":[]},"default":{"a":{"version":"==1.1"},"c":{"version":"==3.0"}},"develop":{"d":{"version":"==4.0"}}}',
    ),
    "poetry.lock": tuple(
        "".join(f'[[package]]\nname = "{n}"\nversion = "{v}"\noptional = false\nfiles = [\n    {{file = "{n}.whl", hash = "sha256:{n}"}},\n]\n\n' for n, v in listed).encode()
        + b'[metadata]\nlock-version = "2.0"\n'
        for listed in ([("a", "1.0"), ("b", "2.0"), ("d", "4.0")], [("a", "1.1"), ("c", "3.0"), ("d", "4.0")])
    ),
    "uv.lock": tuple(
        b'version = 1\n\n[[package]]\nname = "own"\nversion = "0"\nsource = { editable = "." }\n'
        + "".join(f'[[package]]\nname = "{n}"\nversion = "{v}"\nsource = {{ registry = "https://index.example/packages" }}\nsdist = {{ url = "https://f.example/{n}", hash = "sha256:{n}" }}\n' for n, v in listed).encode()
        for listed in ([("a", "1.0"), ("b", "2.0"), ("d", "4.0")], [("a", "1.1"), ("c", "3.0"), ("d", "4.0")])
    ),
    "pylock.toml": tuple(
        b'lock-version = "1.0"\n' + "".join(f'[[packages]]\nname = "{n}"\nversion = "{v}"\n' for n, v in listed).encode()
        for listed in ([("a", "1.0"), ("b", "2.0"), ("d", "4.0")], [("a", "1.1"), ("c", "3.0"), ("d", "4.0")])
    ),
    "package.json": (
        b'{"name":"own","dependencies":{"a":"1.0.0","b":"2.0.0"},"devDependencies":{"d":"4.0.0"}}',
        b'{"name":"own","dependencies":{"a":"1.1.0","c":"3.0.0"},"devDependencies":{"d":"4.0.0"}}',
    ),
    "v1/package-lock.json": tuple(
        json.dumps({"lockfileVersion": 1, "dependencies": {n: {"version": v, "integrity": S} for n, v in listed}}).encode()
        for listed in ([("a", "1.0.0"), ("b", "2.0.0"), ("d", "4.0.0")], [("a", "1.1.0"), ("c", "3.0.0"), ("d", "4.0.0")])
    ),
    "v2/package-lock.json": tuple(
        json.dumps({
            "lockfileVersion": 2,
            "packages": {"": {"name": "own"}, **{f"node_modules/{n}": {"version": v, "integrity": S, "license": "MIT"} for n, v in listed}},
            "dependencies": {n: {"version": v, "integrity": S} for n, v in listed},
        }).encode()
        for listed in ([("a", "1.0.0"), ("b", "2.0.0"), ("d", "4.0.0")], [("a", "1.1.0"), ("c", "3.0.0"), ("d", "4.0.0")])
    ),
    "v3/package-lock.json": tuple(
        npm3(**{f"node_modules__{n}": {"version": v, "integrity": S} for n, v in listed})
        for listed in ([("a", "1.0.0"), ("b", "2.0.0"), ("d", "4.0.0")], [("a", "1.1.0"), ("c", "3.0.0"), ("d", "4.0.0")])
    ),
    "v5/pnpm-lock.yaml": tuple(
        b"lockfileVersion: 5.4\n\nspecifiers:\n  a: ^1\n\npackages:\n\n"
        + "".join(f"  /{n}/{v}_react@18.0.0:\n    resolution: {{integrity: {S}}}\n    dev: false\n\n" for n, v in listed).encode()
        for listed in ([("a", "1.0.0"), ("b", "2.0.0"), ("d", "4.0.0")], [("a", "1.1.0"), ("c", "3.0.0"), ("d", "4.0.0")])
    ),
    "v6/pnpm-lock.yaml": tuple(
        b"lockfileVersion: '6.0'\n\nsettings:\n  autoInstallPeers: true\n\npackages:\n\n"
        + "".join(f"  /{n}@{v}(react@18.0.0):\n    resolution: {{integrity: {S}}}\n    engines: {{node: '>=18'}}\n    deprecated: |-\n      Use z\n\n      instead\n\n" for n, v in listed).encode()
        for listed in ([("a", "1.0.0"), ("b", "2.0.0"), ("d", "4.0.0")], [("a", "1.1.0"), ("c", "3.0.0"), ("d", "4.0.0")])
    ),
    "v9/pnpm-lock.yaml": tuple(
        b"lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    dependencies:\n      a:\n        specifier: ^1\n        version: 1.0.0\n\npackages:\n\n"
        + "".join(f"  {n}@{v}:\n    resolution: {{integrity: {S}}}\n\n" for n, v in listed).encode()
        + b"snapshots:\n" + "".join(f"\n  {n}@{v}: {{}}\n" for n, v in listed).encode()
        for listed in ([("a", "1.0.0"), ("b", "2.0.0"), ("d", "4.0.0")], [("a", "1.1.0"), ("c", "3.0.0"), ("d", "4.0.0")])
    ),
    "classic/yarn.lock": tuple(
        b"# THIS IS AN AUTOGENERATED FILE. DO NOT EDIT THIS FILE DIRECTLY.\n# yarn lockfile v1\n\n\n"
        + "\n\n".join(f'{n}@^1.0.0, {n}@^1.1:\n  version "{v}"\n  resolved "https://registry.example/{n}/-/{n}-{v}.tgz#0a"\n  integrity {S}\n  dependencies:\n    z "^1"\n    "@z/y" "^2"' for n, v in listed).encode()
        + b"\n"
        for listed in ([("a", "1.0.0"), ("b", "2.0.0"), ("d", "4.0.0")], [("a", "1.1.0"), ("c", "3.0.0"), ("d", "4.0.0")])
    ),
    "berry/yarn.lock": tuple(
        b'# This file is generated by running "yarn install".\n\n__metadata:\n  version: 8\n  cacheKey: 10c0\n\n'
        + "\n".join(f'"{n}@npm:^1.0.0, {n}@npm:^1.1":\n  version: {v}\n  resolution: "{n}@npm:{v}"\n  checksum: 10c0/{n}\n  languageName: node\n  linkType: hard\n' for n, v in listed).encode()
        + b'\n"own@workspace:.":\n  version: 0.0.0-use.local\n  resolution: "own@workspace:."\n  languageName: unknown\n  linkType: soft\n'
        for listed in ([("a", "1.0.0"), ("b", "2.0.0"), ("d", "4.0.0")], [("a", "1.1.0"), ("c", "3.0.0"), ("d", "4.0.0")])
    ),
    "go.mod": (
        b"module x.org/own\n\ngo 1.22\n\nrequire (\n\ta v1.0.0\n\tb v2.0.0 // indirect\n)\n\nrequire d v4.0.0+incompatible\n",
        b"module x.org/own\n\ngo 1.22\n\nrequire (\n\ta v1.1.0\n\tc v3.0.0 // indirect\n)\n\nrequire d v4.0.0+incompatible\n",
    ),
    "go.sum": tuple(
        "".join(f"{n} {v} {H}\n{n} {v}/go.mod {H}\n" for n, v in listed).encode()
        for listed in ([("a", "v1.0.0"), ("b", "v2.0.0"), ("d", "v4.0.0")], [("a", "v1.1.0"), ("c", "v3.0.0"), ("d", "v4.0.0")])
    ),
    "Cargo.toml": (
        b'[package]\nname = "own"\n[dependencies]\na = "=1.0.0"\nb = "=2.0.0"\n[dev-dependencies]\nd = "=4.0.0"\n',
        b'[package]\nname = "own"\n[dependencies]\na = "=1.1.0"\nc = "=3.0.0"\n[dev-dependencies]\nd = "=4.0.0"\n',
    ),
    "Cargo.lock": tuple(
        b'version = 4\n[[package]]\nname = "own"\nversion = "0.1.0"\ndependencies = ["a"]\n'
        + "".join(f'[[package]]\nname = "{n}"\nversion = "{v}"\nsource = "registry+https://github.com/rust-lang/crates.io-index"\nchecksum = "{n}"\n' for n, v in listed).encode()
        for listed in ([("a", "1.0.0"), ("b", "2.0.0"), ("d", "4.0.0")], [("a", "1.1.0"), ("c", "3.0.0"), ("d", "4.0.0")])
    ),
    "Gemfile.lock": tuple(
        b"GEM\n  remote: https://gems.example/\n  specs:\n"
        + "".join(f"    {n} ({v})\n      z (>= 1, < 3)\n" for n, v in listed).encode()
        + b"\nPLATFORMS\n  ruby\n  x86_64-linux\n\nDEPENDENCIES\n  a (~> 1)\n\nBUNDLED WITH\n   2.5.6\n"
        for listed in ([("a", "1.0"), ("b", "2.0"), ("d", "4.0")], [("a", "1.1"), ("c", "3.0"), ("d", "4.0")])
    ),
    "composer.lock": tuple(
        json.dumps({"packages": [{"name": n, "version": v, "dist": {"url": "https://x"}, "license": ["MIT"]} for n, v in listed], "packages-dev": []}).encode()
        for listed in ([("a/a", "1.0"), ("a/b", "2.0"), ("a/d", "4.0")], [("a/a", "1.1"), ("a/c", "3.0"), ("a/d", "4.0")])
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(CHANGES))
def test_added_removed_and_changed_packages_are_the_difference(path):
    before, after = CHANGES[path]
    delta = lock_delta({path: before}, {path: after})
    assert not delta.unread
    assert not delta.malformed
    assert [name_of(pin.purl)[-1] for pin in sorted(delta.removed)] == ["a", "b"]
    assert [name_of(pin.purl)[-1] for pin in sorted(delta.added)] == ["a", "c"]
    assert [version_of(pin.purl).removeprefix("v")[:3] for pin in sorted(delta.removed)] == ["1.0", "2.0"]
    assert [version_of(pin.purl).removeprefix("v")[:3] for pin in sorted(delta.added)] == ["1.1", "3.0"]
    assert all(pin.said.startswith(path) for pin in delta.added | delta.removed)
    assert lock_delta({path: after}, {path: after}) == LockDelta(files=frozenset({path}))
    whole = lock_delta({}, {path: after})
    assert {name_of(pin.purl)[-1] for pin in whole.added if pin.purl} == {"a", "c", "d"}
    assert lock_delta({path: after}, {}).removed == whole.added


@pytest.mark.parametrize("path", sorted(CHANGES))
def test_a_file_cut_anywhere_is_refused_or_says_less(path):
    _, after = CHANGES[path]
    whole = read_lock_file(path, after)
    for end in range(0, len(after), max(1, len(after) // 60)):
        delta = lock_delta({}, {path: after[:end]})
        assert bool(delta.malformed) is (path not in delta.files)
        assert len(delta.added) <= len(whole) + 1


def test_the_same_package_in_two_files_is_said_twice():
    before = {"a/requirements.txt": b"x==1\n", "b/requirements.txt": b""}
    after = {"a/requirements.txt": b"", "b/requirements.txt": b"x==1\n"}
    delta = lock_delta(before, after)
    assert {pin.text for pin in delta.added} == {"pkg:pypi/x@1 b/requirements.txt"}
    assert {pin.text for pin in delta.removed} == {"pkg:pypi/x@1 a/requirements.txt"}
    both = lock_delta({}, {"requirements.txt": b"x==1\n", "uv.lock": b'[[package]]\nname="x"\nversion="1"\n'})
    assert {pin.purl for pin in both.added} == {"pkg:pypi/x@1"}
    assert len(both.added) == 2


def test_a_range_is_a_purl_without_a_version_that_says_the_range():
    assert said("requirements.txt", b"Foo_Bar [B,a] >=1, <2 ; python_version > '3.8'  # why\n") == {
        "pkg:pypi/foo-bar [a,b] <2,>=1 ; python_version > '3.8'"
    }
    assert said("package.json", b'{"peerDependencies":{"@s/a":"^1 || ^2"}}') == {
        "pkg:npm/%40s/a peerDependencies ^1 || ^2"
    }
    assert said("Cargo.toml", b'[dependencies]\na = { version = "1.0", features = ["x"] }\n') == {
        "pkg:cargo/a dependencies 1.0 features=[x]"
    }
    assert said("Gemfile", b"gem 'a', '~> 1.0'\n") == {"pkg:gem/a '~> 1.0'"}
    assert said("go.mod", b"module x\ngo 1.22\n") == {"go 1.22"}


@pytest.mark.parametrize(
    "path", ["bun.lock", "Podfile.lock", "setup.py", "app/x.csproj", "pom.xml", "x.gemspec", "package.yaml", "uv.toml"]
)
def test_formats_that_are_not_read_are_named(path):
    assert is_lock_file(path)
    assert lock_delta({}, {path: b"anything"}) == LockDelta(unread=frozenset({path}))
    assert lock_delta({path: b"anything"}, {}).unread == {path}


def test_ordinary_files_are_not_lock_files():
    paths = ("README.txt", "src/requirements.py", "package.json.md", "lock", "docs/requirement.txt", "my-package.json")
    assert not any(is_lock_file(path) for path in paths)


def test_package_urls_follow_their_types():
    assert package_url("pypi", "A.b_c", "1+local") == "pkg:pypi/a-b-c@1%2Blocal"
    assert package_url("npm", "@s/b", "1") == "pkg:npm/%40s/b@1"
    assert package_url("npm", "JSONStream", "1") == "pkg:npm/JSONStream@1"
    assert package_url("golang", "github.com/Azure/x", "v1") == "pkg:golang/github.com/Azure/x@v1"
    assert package_url("composer", "Vendor/X", "1") == "pkg:composer/vendor/x@1"
    assert package_url("npm", "a?b#c@d", "1/2") == "pkg:npm/a%3Fb%23c%40d@1%2F2"
    for name in ("@s/b", "a?b", "ü", "x y"):
        assert (name_of(package_url("npm", name, "1")), version_of(package_url("npm", name, "1+2"))) == (name, "1+2")
