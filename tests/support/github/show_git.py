"""How GitHub writes commits, trees, branches and comparisons in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.support.github.plumbing import Commit
from tests.support.github.rules import rules_on
from tests.support.github.show import Json, node, user

if TYPE_CHECKING:
    from tests.support.github.accounts import Account
    from tests.support.github.repositories import Repository

UNSIGNED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
# "Up to 300 files" of a comparison or a commit, "up to 3000" of a pull request.
MOST_FILES = 300


def account_of(repository: Repository, email: str) -> Account | None:
    """Whose noreply address this is."""
    number = email.partition("+")[0]
    if not email.endswith("@users.noreply.github.com") or not number.isdigit():
        return None
    return next((one for one in repository.github.accounts if one.id == int(number)), None)


def whose(repository: Repository, email: str) -> Json | None:
    account = account_of(repository, email)
    return user(account) if account else None


def commit(repository: Repository, one: Commit) -> Json:
    url = f"{repository.url}/commits/{one.sha}"
    return {
        "sha": one.sha, "node_id": node("Commit", one.sha), "url": url, "html_url": f"{repository.html_url}/commit/{one.sha}",
        "comments_url": f"{url}/comments",
        "commit": {
            "author": one.author.show(), "committer": one.committer.show(), "message": one.message,
            "tree": {"sha": one.tree, "url": f"{repository.url}/git/trees/{one.tree}"},
            "url": f"{repository.url}/git/commits/{one.sha}", "comment_count": 0, "verification": UNSIGNED,
        },
        "author": whose(repository, one.author.email), "committer": whose(repository, one.committer.email),
        "parents": [
            {"sha": sha, "url": f"{repository.url}/commits/{sha}", "html_url": f"{repository.html_url}/commit/{sha}"}
            for sha in one.parents
        ],
    }  # fmt: skip


def full_commit(repository: Repository, one: Commit) -> Json:
    base = one.parents[0] if one.parents else repository.git.run("hash-object", "-t", "tree", "-w", "--stdin")
    listed = files(repository, base, one.sha)
    total = {"additions": sum(f["additions"] for f in listed), "deletions": sum(f["deletions"] for f in listed)}
    stats = total | {"total": total["additions"] + total["deletions"]}
    return commit(repository, one) | {"stats": stats, "files": listed[:MOST_FILES]}


def files(repository: Repository, base: str, head: str, *, most: int = 3000) -> list[Json]:
    found = []
    for status, path, earlier, sha, added, deleted in repository.git.changed(base, head)[:most]:
        name = quote(path)
        shown = {
            "sha": sha, "filename": path, "status": status, "additions": added, "deletions": deleted,
            "changes": added + deleted, "blob_url": f"{repository.html_url}/blob/{head}/{name}",
            "raw_url": f"{repository.html_url}/raw/{head}/{name}",
            "contents_url": f"{repository.url}/contents/{name}?ref={head}",
        }  # fmt: skip
        if text := repository.git.patch(base, head, path):
            shown["patch"] = text
        if earlier:
            shown["previous_filename"] = earlier
        found.append(shown)
    return found


def git_commit(repository: Repository, one: Commit) -> Json:
    """A commit as the Git database API writes it."""
    return {
        "sha": one.sha, "node_id": node("Commit", one.sha), "url": f"{repository.url}/git/commits/{one.sha}",
        "html_url": f"{repository.html_url}/commit/{one.sha}", "author": one.author.show(),
        "committer": one.committer.show(), "message": one.message,
        "tree": {"sha": one.tree, "url": f"{repository.url}/git/trees/{one.tree}"},
        "parents": [
            {"sha": sha, "url": f"{repository.url}/git/commits/{sha}", "html_url": f"{repository.html_url}/commit/{sha}"}
            for sha in one.parents
        ],
        "verification": UNSIGNED,
    }  # fmt: skip


def simple_commit(repository: Repository, sha: str) -> Json:
    """A commit as suites and runs carry it."""
    one = repository.git.commit(sha)
    return {
        "id": one.sha, "tree_id": one.tree, "message": one.message, "timestamp": one.committer.date,
        "author": {"name": one.author.name, "email": one.author.email},
        "committer": {"name": one.committer.name, "email": one.committer.email},
    }  # fmt: skip


def ref(repository: Repository, name: str, sha: str, kind: str) -> Json:
    return {
        "ref": name, "node_id": node("Ref", f"{repository.id}:{name}"),
        "url": f"{repository.url}/git/{quote(name)}",
        "object": {"sha": sha, "type": kind, "url": f"{repository.url}/git/{kind}s/{sha}"},
    }  # fmt: skip


def branch(repository: Repository, name: str, sha: str) -> Json:
    return {
        "name": name, "commit": {"sha": sha, "url": f"{repository.url}/commits/{sha}"},
        "protected": bool(rules_on(repository, name)),
    }  # fmt: skip


def full_branch(repository: Repository, name: str, sha: str) -> Json:
    url = f"{repository.url}/branches/{quote(name)}"
    classic = repository.protections.get(name) or {}
    checks = (classic.get("required_status_checks") or {}).get("checks", [])
    return {
        "name": name, "commit": commit(repository, repository.git.commit(sha)),
        "_links": {"self": url, "html": f"{repository.html_url}/tree/{quote(name)}"},
        "protected": bool(rules_on(repository, name)), "protection_url": f"{url}/protection",
        "protection": {
            "enabled": bool(classic),
            "required_status_checks": {
                "enforcement_level": "non_admins" if checks else "off", "contexts": [one["context"] for one in checks],
                "checks": [{"context": one["context"], "app_id": one.get("app_id")} for one in checks],
            },
        },
    }  # fmt: skip
