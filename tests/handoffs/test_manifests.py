"""What each manifest and lock file says of its packages and where they come from."""

from __future__ import annotations

import pytest

from tests.support.lockfiles import npm3, said

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
