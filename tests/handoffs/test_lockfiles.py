"""Lock files and manifests, each in the form its own tool writes; and what an attacker would write instead."""

from __future__ import annotations

import json
import time

import pytest

from handoffs.packages.lockfiles import LockDelta, LockError, is_lock_file, lock_delta, read_lock_file
from handoffs.packages.pins import name_of, package_url, version_of

H = "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
S = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="


def purls(path: str, content: bytes) -> set[str]:
    return {pin.purl for pin in read_lock_file(path, content) if pin.purl}


def said(path: str, content: bytes) -> set[str]:
    return {pin.text for pin in read_lock_file(path, content)}


def npm3(**packages) -> bytes:
    entries = {name.replace("__", "/"): entry for name, entry in packages.items()}
    return json.dumps({"name": "own", "lockfileVersion": 3, "packages": {"": {"name": "own"}, **entries}}).encode()


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


MANIFESTS = {
    "pyproject.toml": (
        b'[build-system]\nrequires = ["hatchling>=1"]\n'
        b'[project]\ndependencies = ["a>=1", "b @ git+https://u:p@x.example/b.git"]\n[project.optional-dependencies]\nx = ["c[extra]"]\n'
        b'[dependency-groups]\ndev = ["d", {include-group = "more"}]\nmore = ["e<2"]\n'
        b'[tool.poetry.dependencies]\npython = "^3.12"\nf = { git = "https://x.example/f", rev = "1" }\ng = [{ version = "^1", python = "<3.9" }, { version = "^2" }]\n'
        b'[tool.uv]\ndev-dependencies = ["h"]\ncheck-url = "https://c.example"\n[tool.uv.sources]\na = { path = "vendor/a" }\n[[tool.uv.index]]\nurl = "https://i.example"\n',
        {
            "pkg:pypi/hatchling build-system >=1",
            "pkg:pypi/a dependencies >=1",
            "pkg:pypi/b dependencies @ git+https://***@x.example/b.git",
            "pkg:pypi/c optional-dependencies.x [extra]",
            "pkg:pypi/d dependency-groups.dev",
            "dependency-groups.dev include-group=more",
            "pkg:pypi/e dependency-groups.more <2",
            "dependencies python ^3.12",
            "pkg:pypi/f dependencies git=https://x.example/f,rev=1",
            "pkg:pypi/g dependencies ^1 python=<3.9",
            "pkg:pypi/g dependencies ^2",
            "pkg:pypi/h uv.dev-dependencies",
            "pkg:pypi/a uv.sources path=vendor/a",
            "uv.index url=https://i.example",
            "uv.check-url https://c.example",
        },
    ),
    "package.json": (
        b'{"dependencies":{"a":"npm:@s/evil@^1","b":"github:x/y#1","c":"file:../c","d":"workspace:*","E":"latest"},'
        b'"optionalDependencies":{"f":"*"},"overrides":{"g":{".":"1","h":"2"}},"resolutions":{"i":"3"},"packageManager":"pnpm@9.1.0+sha512.ab"}',
        {
            "pkg:npm/%40s/evil dependencies as a ^1",
            "pkg:npm/b dependencies github:x/y#1",
            "pkg:npm/c dependencies file:../c",
            "pkg:npm/d dependencies workspace:*",
            "pkg:npm/E dependencies latest",
            "pkg:npm/f optionalDependencies *",
            "overrides g=.=1,h=2",
            "resolutions i=3",
            "pkg:npm/pnpm@9.1.0 packageManager sha512.ab",
        },
    ),
    "Cargo.toml": (
        b'[workspace.dependencies]\na = "1"\n[target."cfg(windows)".dependencies]\nb = { git = "https://x.example/b", rev = "1" }\n'
        b'[dependencies]\nc = { package = "evil", version = "=1.0.0" }\nd = { workspace = true }\n[patch.crates-io]\nserde = { path = "vendor/serde" }\n',
        {
            "pkg:cargo/a workspace 1",
            "pkg:cargo/b target.cfg(windows).dependencies git=https://x.example/b,rev=1",
            "pkg:cargo/evil@1.0.0 dependencies as c",
            "pkg:cargo/d dependencies workspace=true",
            "pkg:cargo/serde patch.crates-io path=vendor/serde",
        },
    ),
    "Gemfile": (
        b'source "https://gems.example"\nruby "3.3.0"\n# gem "no"\ngem "a"\ngroup :test do\n  gem "b", "~> 1",\n    require: false\nend\neval(File.read("x"))\n',
        {
            'source "https://gems.example"',
            'ruby "3.3.0"',
            '# gem "no"',
            "pkg:gem/a",
            "group :test do",
            'pkg:gem/b group :test do "~> 1", require: false',
            "group :test do end",
            'eval(File.read("x"))',
        },
    ),
    "go.mod": (
        b'module x.org/own\n\ngo 1.22\ntoolchain go1.22.1\nrequire(\n\t"github.com/Azure/A" v1.0.0\n)\nexclude b v1.0.0\n'
        b"replace a => evil.example/a v1.0.0 // why\nreplace (\n\tc v1.0.0 => ../c\n)\ntool x.org/t\n",
        {
            "go 1.22",
            "toolchain go1.22.1",
            "pkg:golang/github.com/Azure/A@v1.0.0",
            "pkg:golang/b@v1.0.0 exclude",
            "pkg:golang/evil.example/a@v1.0.0 replaces a",
            "pkg:golang/c@v1.0.0 replaced by ../c",
            "tool x.org/t",
        },
    ),
    "composer.json": (
        b'{"require":{"Vendor/A":"^1"},"repositories":[{"type":"vcs","url":"https://x.example"}]}',
        {"pkg:composer/vendor/a require ^1", "repositories [type=vcs,url=https://x.example]"},
    ),
    "setup.cfg": (
        b"[options]\ninstall_requires = a>=1; b\n[options.extras_require]\nx = file: more.txt\n",
        {"pkg:pypi/a install_requires >=1", "pkg:pypi/b install_requires", "extras_require.x file: more.txt"},
    ),
    "requirements.txt": (
        b"-r base.txt\n-i https://me:secret@i.example/packages\n--no-binary :all:\n-e git+https://x.example/a.git@main#egg=A_b\n-e .\n"
        b"./vendor/c\nhttps://x.example/d-1.0.zip\ne @ https://x.example/e.whl ; python_version<'3'\nf==1.*\ng===1.0\nh==1.0;os_name=='nt'\n(i)\n"[:-4],
        {
            "-r base.txt",
            "-i https://***@i.example/packages",
            "--no-binary :all:",
            "pkg:pypi/a-b @ git+https://x.example/a.git@main#egg=A_b editable",
            "local . editable",
            "local ./vendor/c",
            "pkg:generic/d-1.0.zip @ https://x.example/d-1.0.zip",
            "pkg:pypi/e @ https://x.example/e.whl ; python_version<'3'",
            "pkg:pypi/f ==1.*",
            "pkg:pypi/g@1.0",
            "pkg:pypi/h@1.0 ; os_name=='nt'",
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(MANIFESTS))
def test_each_manifest_says_where_packages_come_from(path):
    content, statements = MANIFESTS[path]
    assert said(path, content) == statements


LOCKED = {
    "alias in package-lock": ("package-lock.json", npm3(node_modules__good={"name": "evil", "version": "1.0.0"}), {"pkg:npm/evil@1.0.0 as good"}),
    "alias in package-lock v1": ("package-lock.json", b'{"lockfileVersion":1,"dependencies":{"good":{"version":"npm:@s/evil@1.0.0"}}}', {"pkg:npm/%40s/evil@1.0.0 as good"}),
    "nested, scoped, workspace": (
        "package-lock.json",
        npm3(**{"packages/w": {"version": "1.0.0"}, "node_modules/w": {"link": True, "resolved": "packages/w"}, "packages/w/node_modules/@s/b": {"version": "2.0.0"}}),
        {"local node_modules/w packages/w", "pkg:npm/%40s/b@2.0.0"},
    ),
    "git in package-lock": ("package-lock.json", npm3(node_modules__a={"version": "1.0.0", "resolved": "git+ssh://git@github.com/x/a.git#ab"}), {"pkg:npm/a@1.0.0 git+ssh://***@github.com/x/a.git#ab"}),
    "alias in yarn": ("yarn.lock", b'"good@npm:evil@^1":\n  version "1.0.0"\n', {"pkg:npm/evil@1.0.0"}),
    "alias and patch in berry": (
        "yarn.lock",
        b'__metadata:\n  version: 8\n\n"good@npm:evil@^1":\n  version: 1.0.0\n  resolution: "evil@npm:1.0.0"\n\n'
        b'"p@patch:p@npm%3A1.0.0#x.patch":\n  version: 1.0.0\n  resolution: "p@patch:p@npm%3A1.0.0#x.patch::version=1.0.0"\n',
        {"pkg:npm/evil@1.0.0", "pkg:npm/p@1.0.0 p@patch:p@npm%3A1.0.0#x.patch::version=1.0.0"},
    ),
    "git and folder in pnpm 9": (
        "pnpm-lock.yaml",
        b"lockfileVersion: '9.0'\npackages:\n  a@https://codeload.github.com/x/a/tar.gz/ab:\n    resolution: {tarball: https://codeload.github.com/x/a/tar.gz/ab}\n    version: 1.0.0\n"
        b"  b@file:../b:\n    resolution: {directory: ../b, type: directory}\n  '@s/c@1.0.0':\n    resolution: {integrity: x}\noverrides:\n  d: 1.0.0\n",
        {"pkg:npm/a@1.0.0 a@https://codeload.github.com/x/a/tar.gz/ab tarball=https://codeload.github.com/x/a/tar.gz/ab", "local b directory=../b,type=directory", "pkg:npm/%40s/c@1.0.0 integrity=x", "overrides d=1.0.0"},
    ),
    "git in pnpm 6": (
        "pnpm-lock.yaml",
        b"lockfileVersion: '6.0'\npackages:\n  github.com/x/a/ab12:\n    resolution: {tarball: https://t.example}\n    name: a\n    version: 1.0.0\n",
        {"pkg:npm/a@1.0.0 github.com/x/a/ab12 tarball=https://t.example"},
    ),
    "git and path in Cargo": (
        "Cargo.lock",
        b'[[package]]\nname = "own"\nversion = "0.1.0"\n[[package]]\nname = "a"\nversion = "1.0.0"\nsource = "git+https://x.example/a?rev=1#ab"\n',
        {"local own", "pkg:cargo/a@1.0.0 git+https://x.example/a?rev=1#ab"},
    ),
    "git and path in Gemfile.lock": (
        "Gemfile.lock",
        b"GIT\r\n  remote: https://x.example/a.git\r\n  revision: ab\r\n  specs:\r\n    a (1.0)\r\n\r\nPATH\r\n  remote: .\r\n  specs:\r\n    own (0.1)\r\n      a\r\n\r\nCHECKSUMS\r\n  a (1.0) sha256=ab\r\n",
        {"pkg:gem/a@1.0 git remote=https://x.example/a.git revision=ab sha256=ab", "local own remote=."},
    ),
    "git in uv": ("uv.lock", b'[[package]]\nname = "a"\nversion = "1"\nsource = { git = "https://x.example/a?rev=1#ab" }\n', {"pkg:pypi/a@1 git=https://x.example/a?rev=1#ab"}),
    "git in poetry": (
        "poetry.lock",
        b'[[package]]\nname = "A.b"\nversion = "1"\n[package.source]\ntype = "git"\nurl = "https://x.example/a"\nresolved_reference = "ab"\n[[package]]\nname = "l"\nversion = "1"\n[package.source]\ntype = "directory"\nurl = "l"\n',
        {"pkg:pypi/a-b@1 resolved_reference=ab,type=git,url=https://x.example/a", "local l type=directory,url=l"},
    ),
    "git in pdm": ("pdm.lock", b'[[package]]\nname = "a"\nversion = "1"\ngit = "https://x.example/a"\nrevision = "ab"\n', {"pkg:pypi/a@1 git=https://x.example/a revision=ab"}),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(LOCKED))
def test_sources_and_aliases_show_the_true_package(name):
    path, content, statements = LOCKED[name]
    assert said(path, content) == statements


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
