"""`leo bundle`: the builder lane. Making a bundle, checking it, handing it over on a staging branch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from handoffs.bundles.building import BundleRequest, create_bundle
from handoffs.bundles.bundle import BundleError, Limits, Manifest, digest_of, parse_manifest, read_archive
from handoffs.bundles.markers import MarkerError, MarkerKind, write_marker
from handoffs.checks.catalogue import CHECKS, RECORD_CHECKS, Context
from handoffs.checks.evidence import BuilderTrust
from handoffs.checks.verification import verify_bundle
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.signatures.commit_signatures import with_signature
from leoportal.cli_output import INTEGRITY, NEGATIVE, USAGE, say, say_json, say_row, stop
from leoportal.cli_report import failed_checks, last_line, report_json, say_report, say_slsa, status
from leoportal.cli_signed import Found, refusing, sigstore_signer

ARTIFACT_PATH: Final = ".leo/artifact.tar.gz"

bundle_app = typer.Typer(help="Make, check and hand over bundles (artifact.tar.gz).", no_args_is_help=True)

RepositoryPath = Annotated[Path, typer.Option("--repo", help="Git repository, bare or with a work tree.")]
BundleFile = Annotated[Path, typer.Argument(metavar="FILE", help="The bundle, usually artifact.tar.gz.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@bundle_app.command()
def create(  # noqa: PLR0913
    *,
    repo: RepositoryPath,
    base: Annotated[str, typer.Option(help="Revision the change starts from; its merge base is used.")],
    prd: Annotated[str, typer.Option(help="Requirement the change serves, PRD-...")],
    task: Annotated[str, typer.Option(help="What was to be done, in one sentence.")],
    builder: Annotated[str, typer.Option(help="Builder id, an absolute URI.")],
    sponsor: Annotated[str, typer.Option(help="Person who answers for the builder.")],
    repository: Annotated[str, typer.Option(help="owner/name the change is for.")],
    branch: Annotated[str, typer.Option(help="staging/codex-...")],
    commit: Annotated[str | None, typer.Option(help="Revision that holds the change; HEAD if not given.")] = None,
    worktree: Annotated[bool, typer.Option("--worktree", help="Take the work tree as it lies there.")] = False,
    rollback: Annotated[Path | None, typer.Option(help="Rollback notes; written from the change if not given.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("artifact.tar.gz"),
    as_json: AsJson = False,
) -> None:
    """Make a bundle of a commit or of the work tree.

    The same inputs give the same bytes: created_at is the committer date, or SOURCE_DATE_EPOCH if set.
    """
    if worktree and commit is not None:
        stop("usage", "got --worktree and --commit", "leave one of the two out", status=USAGE)
    with _explained("leo bundle create --help"):
        request = BundleRequest(
            prd_id=prd,
            task=task,
            builder_id=builder,
            sponsor=sponsor,
            repository=repository,
            branch=branch,
            rollback=_text_of(rollback) if rollback else None,
            created_at=_source_date(),
        )
        raw = create_bundle(Git(repo), base=base, commit=None if worktree else commit or "HEAD", request=request)
    try:
        output.write_bytes(raw)
    except OSError as error:
        stop("output", f"{output}: {error.strerror}", "choose another file with -o", status=USAGE)
    digest = digest_of(raw)
    if as_json:
        say_json({"file": str(output), "sha256": digest, "size": len(raw)})
        return
    say_row("ok", str(output), f"{len(raw)} bytes, sha256 {digest}")
    say(f"  Next: leo bundle verify {output} --repo {repo}")


@bundle_app.command()
def verify(  # noqa: PLR0913
    file: BundleFile,
    *,
    repo: Annotated[
        Path | None, typer.Option(help="Repository to apply the patch in; without it nothing verifies.")
    ] = None,
    target: Annotated[str, typer.Option(help="Revision the merge base must be an ancestor of.")] = "HEAD",
    marker: Annotated[
        str | None, typer.Option(help="Digest of the handoff commit's marker; the file's own if not given.")
    ] = None,
    repository: Annotated[str | None, typer.Option(help="owner/name; the manifest's own if not given.")] = None,
    branch: Annotated[str | None, typer.Option(help="Staging branch; the manifest's own if not given.")] = None,
    builder: Annotated[list[str] | None, typer.Option(help="Allowed builder id; may be repeated.")] = None,
    identity: Annotated[str, typer.Option(help="The builder's own Sigstore identity: then its signature counts.")] = "",
    issuer: Annotated[str, typer.Option(help="Who vouches for that identity; one exact https address.")] = "",
    trusted_root: Annotated[
        Path | None, typer.Option(help="Sigstore trusted_root.json to judge by; the pinned one if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run every check on a bundle. Needs no network and no portal."""
    raw = _bytes_of(file)
    manifest = _manifest_of(raw)
    trust = None
    if identity or issuer or trusted_root:
        with refusing(as_json=as_json):
            by = sigstore_signer(identity, issuer, trusted_root, Found(file.name))
            trust = BuilderTrust(by.root, {manifest.builder_id: by.signer} if manifest else {})
    with _explained("leo bundle verify --help"):
        git = Git(repo) if repo is not None else None
        context = Context(
            repository=repository or (manifest.repository if manifest else ""),
            marker_digest=marker or digest_of(raw),
            branch=branch or (manifest.branch if manifest else None),
            target_branch_sha=git.resolve(target) if git else None,
            allowed_builders=tuple(builder) if builder else None,
            trust=trust,
        )
    report = verify_bundle(raw, git=git, context=context)
    if as_json:
        say_json(report_json(report))
    else:
        say_report(report, file)
        say_slsa(report)
        assumed = [
            name for name, given in (("marker", marker), ("repository", repository), ("branch", branch)) if not given
        ]
        if assumed:
            say_row("note", ", ".join(assumed), "compared with the bundle's own: nothing else was given")
        if repo is None:
            say_row("note", "repository", "not checked what needs one; run again with --repo PATH")
        say(last_line(report, file, repo))
    if not report.is_verified:
        raise typer.Exit(status(report))


@bundle_app.command()
def checks(*, markdown: Annotated[bool, typer.Option("--markdown", help="As docs/checks.md has it.")] = False) -> None:
    """List every check: its code and what it says."""
    if markdown:
        typer.echo("# Checks of a bundle\n\nMade by `leo bundle checks --markdown`; all of them run on every bundle.")
        typer.echo(
            "What the portal's records decide is checked where they are: in the portal, not by `leo bundle verify`.\n"
        )
        typer.echo("| code | what it says | judged by |\n|---|---|---|")
    judged = [(check.code, check.sentence, check.by.value) for check in CHECKS]
    judged += [(check.code, check.sentence, "the portal's records") for check in RECORD_CHECKS]
    for code, sentence, by in judged:
        typer.echo(f"| `{code}` | {sentence} | {by} |" if markdown else f"{code:<26} {sentence}")


@bundle_app.command()
def handoff(  # noqa: PLR0913
    file: BundleFile,
    repo: RepositoryPath,
    *,
    remote: Annotated[str | None, typer.Option(help="Path or https address to push the staging branch to.")] = None,
    target: Annotated[str, typer.Option(help="Revision the merge base must be an ancestor of.")] = "HEAD",
    name: Annotated[
        str | None, typer.Option(envvar="GIT_AUTHOR_NAME", help="Author; git's user.name if not given.")
    ] = None,
    email: Annotated[str | None, typer.Option(envvar="GIT_AUTHOR_EMAIL", help="Its address; git's user.email.")] = None,
    sign: Annotated[
        str,
        typer.Option(help="Fingerprint of the OpenPGP key to sign the commit with, by gpg: for staging: push: signed."),
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Hand a newer bundle over: a commit on top of the branch's last.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Commit a verified bundle on its staging branch, on top of the merge base, and push it."""
    raw = _bytes_of(file)
    manifest, digest = _manifest_of(raw), digest_of(raw)
    if manifest is None:
        stop("manifest.schema", "the bundle has no readable manifest", f"leo bundle verify {file}", status=INTEGRITY)
    with _explained(f"leo bundle verify {file} --repo {repo}"):
        git = Git(repo)
        context = Context(
            repository=manifest.repository,
            marker_digest=digest,
            branch=manifest.branch,
            target_branch_sha=git.resolve(target),
        )
        report = verify_bundle(raw, git=git, context=context)
        if not report.is_verified:
            found = failed_checks(report)
            stop(found[0].code, f"got {found[0].got}", f"leo bundle verify {file} --repo {repo}", status=status(report))
        author = (name or _configured(git, "user.name"), email or _configured(git, "user.email"))
        ref = f"refs/heads/{manifest.branch}"
        address = remote if remote is None or "://" in remote else str(Path(remote).absolute())
        tree = git.with_file(manifest.merge_base, ARTIFACT_PATH, git.write_blob(raw))
        old = _tip(git, ref, address)
        commit = old
        if not old or git.tree_of(old) != tree:
            if old and not replace:
                stop("handoff.branch_exists", f"{ref} is at {old}", "run it again with --replace, or another branch")
            commit = git.write_commit(
                tree,
                [manifest.merge_base, old] if old else [manifest.merge_base],
                write_marker(MarkerKind.CODEX_READY, digest, manifest.task)[:4000] + "\n",
                name=author[0],
                email=author[1],
                when=datetime.fromisoformat(manifest.created_at),
            )
            commit = _signed(git, commit, sign) if sign else commit
            _move(git, ref, commit, address, old=old)
    where = remote or "this repository"
    if as_json:
        say_json({"commit": commit, "ref": ref, "sha256": digest, "remote": remote})
        return
    say_row("ok", manifest.branch, f"{commit} on {where}")
    say_row("ok", "marker", f"[CODEX-READY:{digest}]")
    if remote is None:
        say(f"  Next: leo bundle handoff {file} --repo {repo} --remote <path or https address>")


def _signed(git: Git, commit: str, key: str) -> str:
    """The same commit with the person's signature in it; their gpg has the key and asks for what opens it."""
    found = git.read_objects([commit], max_bytes=1 << 20)[commit]
    raw = found[1] if found else b""
    command = ["gpg", "--batch", "--local-user", key, "--armor", "--detach-sign"]
    try:
        done = subprocess.run(command, input=raw, check=False, capture_output=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        stop("sign.gpg", f"gpg: {error}", "install GnuPG, or sign with a key that opens within 5 minutes", status=USAGE)
    if done.returncode != 0:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:300]
        stop("sign.gpg", f"gpg: {said}", f"gpg --list-secret-keys {key}", status=USAGE)
    return git.write_objects("commit", [with_signature(raw, done.stdout.decode("ascii"))])[0]


def _tip(git: Git, ref: str, remote: str | None) -> str:
    """Where the staging branch stands now, here or at the remote; its commit is fetched. Empty: there is none."""
    if remote is None:
        return git.refs(ref).get(ref, "")
    listed = git.run("ls-remote", "--end-of-options", remote, ref).decode("utf-8", "replace").split()
    if listed:
        git.fetch(remote, ref)
    return listed[0] if listed else ""


def _move(git: Git, ref: str, commit: str, remote: str | None, *, old: str) -> None:
    """Move the staging branch forward, here or at the remote."""
    if remote is None:
        git.run("update-ref", "--create-reflog", ref, commit, old or "0" * len(commit))
    else:
        git.push(remote, commit, ref, old=old)


@contextmanager
def _explained(next_step: str) -> Iterator[None]:
    """Errors of the core as one line and the next step."""
    try:
        yield
    except (BundleError, MarkerError) as error:
        stop(error.code, error.detail, next_step, status=USAGE)
    except GitError as error:
        usage = {"git.unknown_revision", "git.no_repository", "git.no_worktree", "git.bad_identity"}
        stop(error.code, error.detail, next_step, status=USAGE if error.code in usage else NEGATIVE)


def _configured(git: Git, key: str) -> str:
    """A value of the person's own git configuration, or a usage error that says how to give it."""
    env = {"GIT_CONFIG_GLOBAL": str(Path.home() / ".gitconfig")}
    try:
        return git.run("config", "--get", key, env=env).decode("utf-8", "replace").strip()
    except GitError:
        option = "--name" if key == "user.name" else "--email"
        stop("usage", f"got no {key}", f"give {option}, or run git config --global {key} ...", status=USAGE)


def _bytes_of(file: Path) -> bytes:
    try:
        if file.stat().st_size > Limits().max_archive_bytes:
            stop(
                "archive.size", f"{file} is too large", f"at most {Limits().max_archive_bytes} bytes", status=INTEGRITY
            )
        return file.read_bytes()
    except OSError as error:
        stop("file", f"{file}: {error.strerror}", "name a bundle, or make one: leo bundle create --help", status=USAGE)


def _text_of(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        stop("file", f"{file} cannot be read as UTF-8 text", "name another file with --rollback", status=USAGE)


def _manifest_of(raw: bytes) -> Manifest | None:
    try:
        return parse_manifest(read_archive(raw, Limits()).members.get("manifest.json", b""))
    except BundleError:
        return None


def _source_date() -> datetime | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isdecimal() or len(text) > 11:
        stop("usage", f"got SOURCE_DATE_EPOCH={text[:40]}", "set it to seconds since 1970 or unset it", status=USAGE)
    return datetime.fromtimestamp(int(text), UTC)
