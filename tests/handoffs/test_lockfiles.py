"""Lock files, each in the form its own tool writes."""

from __future__ import annotations

import pytest

from handoffs.lockfiles import LockError, is_lock_file, lock_delta, package_url, read_lock_file

CASES = {
    "requirements.txt": (
        b"# pinned\ndjango==5.0 \\\n    --hash=sha256:aa\nrequests[socks]==2.31.0 ; python_version > '3.8'\n-r other.txt\nloose>=1\n",
        {"pkg:pypi/django@5.0", "pkg:pypi/requests@2.31.0", "pkg:pypi/loose"},
    ),
    "requirements/base.txt": (b"Zope.Interface==6\n", {"pkg:pypi/zope-interface@6"}),
    "Pipfile.lock": (b'{"default":{"a":{"version":"==1"}},"develop":{"b":{"version":"==2"}}}', {"pkg:pypi/a@1", "pkg:pypi/b@2"}),
    "poetry.lock": (b'[[package]]\nname = "a"\nversion = "1"\n', {"pkg:pypi/a@1"}),
    "uv.lock": (
        b'version = 1\n[[package]]\nname = "own"\nversion = "0"\nsource = { editable = "." }\n'
        b'[[package]]\nname = "a"\nversion = "1"\nsource = { registry = "x" }\n',
        {"pkg:pypi/a@1"},
    ),
    "Cargo.lock": (
        b'[[package]]\nname = "own"\nversion = "0.1.0"\n[[package]]\nname = "serde"\nversion = "1.0.0"\nsource = "registry+x"\n',
        {"pkg:cargo/serde@1.0.0"},
    ),
    "package-lock.json": (
        b'{"lockfileVersion":3,"packages":{"":{"name":"own"},"node_modules/a":{"version":"1.0.0"},'
        b'"node_modules/a/node_modules/@s/b":{"version":"2.0.0"},"node_modules/l":{"link":true}}}',
        {"pkg:npm/a@1.0.0", "pkg:npm/%40s/b@2.0.0"},
    ),
    "old/package-lock.json": (
        b'{"lockfileVersion":1,"dependencies":{"a":{"version":"1.0.0","dependencies":{"b":{"version":"2.0.0"}}}}}',
        {"pkg:npm/a@1.0.0", "pkg:npm/b@2.0.0"},
    ),
    "pnpm-lock.yaml": (
        b"lockfileVersion: '9.0'\n\npackages:\n\n  '@s/b@2.0.0':\n    resolution: {integrity: x}\n\n  a@1.0.0:\n    resolution: {}\n\n"
        b"snapshots:\n\n  a@1.0.0: {}\n",
        {"pkg:npm/a@1.0.0", "pkg:npm/%40s/b@2.0.0"},
    ),
    "six/pnpm-lock.yaml": (
        b"lockfileVersion: '6.0'\npackages:\n\n  /@s/b@2.0.0(react@18.0.0):\n    resolution: {}\n  /a@1.0.0:\n    dev: true\n",
        {"pkg:npm/a@1.0.0", "pkg:npm/%40s/b@2.0.0"},
    ),
    "yarn.lock": (
        b'# yarn lockfile v1\n\n"@s/b@^2.0.0":\n  version "2.0.0"\n\na@^1.0.0, a@^1.1.0:\n  version "1.2.0"\n  dependencies:\n    c "1"\n',
        {"pkg:npm/a@1.2.0", "pkg:npm/%40s/b@2.0.0"},
    ),
    "berry/yarn.lock": (
        b'__metadata:\n  version: 6\n\n"a@npm:^1.0.0":\n  version: 1.2.0\n  resolution: "a@npm:1.2.0"\n\n'
        b'"own@workspace:.":\n  version: 0.0.0-use.local\n',
        {"pkg:npm/a@1.2.0"},
    ),
    "go.mod": (
        b"module own\n\ngo 1.22\n\nrequire (\n\tgithub.com/a/b v1.0.0\n\tgithub.com/c/d v2.0.0+incompatible // indirect\n)\n\nrequire x.org/y v0.1.0\n",
        {"pkg:golang/github.com/a/b@v1.0.0", "pkg:golang/github.com/c/d@v2.0.0%2Bincompatible", "pkg:golang/x.org/y@v0.1.0"},
    ),
    "go.sum": (b"github.com/a/b v1.0.0 h1:x=\ngithub.com/a/b v1.0.0/go.mod h1:y=\n", {"pkg:golang/github.com/a/b@v1.0.0"}),
    "Gemfile.lock": (
        b"GEM\n  remote: https://rubygems.org/\n  specs:\n    rake (13.0.0)\n    rails (7.0.0)\n      rake (>= 12)\n\nPLATFORMS\n  ruby\n",
        {"pkg:gem/rake@13.0.0", "pkg:gem/rails@7.0.0"},
    ),
    "composer.lock": (b'{"packages":[{"name":"A/b","version":"1.0"}],"packages-dev":[]}', {"pkg:composer/a/b@1.0"}),
}  # fmt: skip


@pytest.mark.parametrize("path", sorted(CASES))
def test_each_format_is_read(path):
    content, packages = CASES[path]
    assert is_lock_file(path)
    assert read_lock_file(path, content) == packages
    assert lock_delta({}, {path: content}).added == packages
    assert lock_delta({path: content}, {}).removed == packages
    assert lock_delta({path: content}, {path: content}) == lock_delta({}, {})


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("package-lock.json", b"{"),
        ("package-lock.json", b'{"packages":[]}'),
        ("poetry.lock", b"[[package]\n"),
        ("poetry.lock", b"[[package]]\nversion='1'\n"),
        ("requirements.txt", b"git+https://github.com/a/b\n"),
        ("requirements.txt", b"a @ https://x/a.whl\n"),
        ("requirements.txt", b"\xff\n"),
        ("go.mod", b"require x\n"),
        ("go.sum", b"one two\n"),
        ("pnpm-lock.yaml", b"packages:\n  what is this\n"),
        ("bun.lock", b"{}"),
        ("Podfile.lock", b""),
    ],
)
def test_what_cannot_be_read_is_named_and_never_passed_over(path, content):
    with pytest.raises(LockError):
        read_lock_file(path, content)
    assert lock_delta({}, {path: content}).unread == {path}


def test_ordinary_files_are_not_lock_files():
    assert not any(is_lock_file(path) for path in ("README.txt", "src/requirements.py", "package.json", "lock"))


def test_package_urls_follow_their_types():
    assert package_url("pypi", "A.b_c", "1+local") == "pkg:pypi/a-b-c@1%2Blocal"
    assert package_url("npm", "@s/b", "1") == "pkg:npm/%40s/b@1"
