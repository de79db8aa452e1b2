"""PLAN's pages: the queue, every pull request, one pull request with its verdict form, its diff and its history."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from audit.accountability import Act, may
from audit.events import AuditError
from audit.names import names_of
from handoffs.diffing import Size, kept_sizes, list_changes, measure_size, page_of, read_diff
from handoffs.git.process import GitError
from handoffs.git.repository import Git
from handoffs.github.commands import Verb
from handoffs.models import GitHubCommand, HandoffError, PullRequest, PullStatus
from handoffs.tasks import nudge, nudge_publisher, tools_for
from leoportal.live import render_live
from leoportal.web import Request, page, render_page
from verdicts import rounds
from verdicts.deciding import record_verdict
from verdicts.decision import Verdict as VerdictKind
from verdicts.forms import VerdictForm
from verdicts.history import read_history
from verdicts.hosted import glance_hosted
from verdicts.merging import merge_pull_request
from verdicts.models import VerdictError
from verdicts.queueing import for_glance, glance_at
from verdicts.reviewing import MAX_FINDINGS_SHOWN, Review, for_review, observe, read_review

PAGE_SIZE: Final = 25
QUEUE_SIZE: Final = 100


@page(Act.MONITOR_GATES, "GET")
def show_turn(request: Request) -> HttpResponse:
    """PLAN's queue: what waits for a verdict, in an order that is fixed while the page is open."""
    waiting = for_glance(PullRequest.objects.waiting_for_plan())
    rows = glance_at(list(waiting[:QUEUE_SIZE]))
    oldest = min((row.pull.moved_at for row in rows), default=None)
    sized = list(zip(rows, _sizes([row.pull for row in rows]), strict=True))
    names = names_of(texts=[row.why_you for row in rows])
    context = {"rows": sized, "oldest": oldest, "limit": QUEUE_SIZE, "names": names}
    return render_live(request, "verdicts/turn.html", context, part="queue-news")


@page(Act.VIEW_PULLS, "GET")
def list_pulls(request: Request) -> HttpResponse:
    """Every pull request, newest first, by state; pages are addressed by the last row seen.

    LEAD's begins where PLAN is done: what is still with PLAN shows LEAD no gates.
    """
    state, before = request.GET.get("state", ""), _number(request.GET, "before")
    states = [status for status in PullStatus if not _is_with_plan(request, status)]
    rows = for_glance(PullRequest.objects.filter(status__in=states).order_by("-pk")).select_related(
        "repository__github"
    )
    if state in states:
        rows = rows.filter(status=state)
    if before:
        rows = rows.filter(pk__lt=before)
    found = list(rows[: PAGE_SIZE + 1])
    counts = PullRequest.objects.count_by_status(exactly=state)
    hosted = glance_hosted(found[:PAGE_SIZE])
    context = {
        "rows": [(row, hosted.get(row.pull.pk)) for row in glance_at(found[:PAGE_SIZE])],
        "has_hosted": bool(hosted),
        "state": state if state in states else "",
        "pipeline": [(status.value, counts[status]) for status in states],
        "older": found[PAGE_SIZE - 1].pk if len(found) > PAGE_SIZE else None,
        "is_first": not before,
    }
    return render_page(request, "verdicts/pulls.html", context, part="pulls")


@page(Act.VIEW_PULLS, "GET")
def show_pull(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """One pull request: what blocks it, how its confidence is made up, and the verdict form."""
    pull = _pull(owner, repo, number)
    if _is_with_plan(request, pull.status):
        return render_page(request, "verdicts/with_plan.html", {"pull": pull, "handoff": pull.handoff})
    review = read_review(pull, request.actor)
    form = VerdictForm(initial={"head_sha": review.pull.head_sha, **_draft(request, pull)})
    return _render_review(request, review, form)


@page(Act.ISSUE_VERDICT, "POST")
def give_verdict(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """The review step of a verdict, and its recording. What was typed survives every refusal."""
    pull = _pull(owner, repo, number)
    form = VerdictForm(request.POST)
    step = request.POST.get("step", "review")
    if not form.is_valid() or step == "edit":
        status = 200 if step == "edit" else 422
        return _render_review(request, read_review(pull, request.actor), form, status=status)
    if step != "record":
        context = {"pull": pull, "form": form, "review": read_review(pull, request.actor)}
        return render_page(request, "verdicts/confirm_verdict.html", context)
    tree, _ = observe(pull)
    try:
        verdict = record_verdict(pull.pk, form.request(tree), by=request.actor)
    except (VerdictError, AuditError) as refusal:
        return _render_review(request, read_review(_pull(owner, repo, number), request.actor), form, refusal=refusal)
    nudge_publisher(pull.repository)
    return HttpResponseRedirect(f"{_address(pull)}?recorded={verdict.pk}#receipt")


@page(Act.RUN_VERIFICATION, "POST")
def verify_pull(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """Run the built-in gates and all sub-agents on this head once more."""
    pull = _pull(owner, repo, number)
    try:
        queued = rounds.verify_again(pull.pk, by=request.actor)
    except (VerdictError, AuditError) as refusal:
        return _render_review(request, read_review(pull, request.actor), _blank(pull), refusal=refusal)
    nudge("verdicts.tasks.sweep_work")
    said = f"{queued} checks are queued on this head." if queued else "A verification is running on this head already."
    messages.success(request, said)
    return HttpResponseRedirect(_address(pull))


@page(Act.MERGE, "POST")
def merge_pull(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """Merge what PASS or LEAD released; the repository's own hook has the last word."""
    pull = _pull(owner, repo, number)
    try:
        merged = merge_pull_request(pull.pk, tools_for(pull.repository), by=request.actor)
    except (VerdictError, AuditError, HandoffError, GitError) as refusal:
        review = read_review(_pull(owner, repo, number), request.actor)
        return _render_review(request, review, _blank(pull), refusal=refusal)
    if merged.status != PullStatus.MERGED:
        nudge("verdicts.tasks.sweep_verification")
        messages.success(request, f"GitHub is asked to merge PR-{pull.number}; its rules have the last word.")
        return HttpResponseRedirect(_address(pull))
    messages.success(request, f"PR-{pull.number} is merged.")
    return HttpResponseRedirect(f"{_address(pull)}#merged")


@page(Act.VIEW_PULLS, "GET")
def show_diff(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """The changed files, or with `path` one file's diff: a page of its own, or a part of the pull request's page."""
    pull = _pull(owner, repo, number)
    base, head, wanted = pull.handoff.merge_base, pull.head_sha, request.GET.get("path")
    context: dict[str, Any] = {"pull": pull}
    try:
        git = Git(Path(pull.repository.path))
        files = list_changes(git, base, head)
        context["listed"] = page_of(files, _number(request.GET, "from"))
        if wanted is None:
            return render_page(request, "verdicts/diff.html", context, part="diff-files")
        file = next((file for file in files if file.is_named(wanted)), None)
        if file is None:
            raise Http404("This pull request does not change that file.")
        is_whole = "all" in request.GET
        context |= {
            "file": file,
            "diff": read_diff(git, base, head, file.path, is_whole=is_whole),
            "is_whole": is_whole,
        }
    except GitError as error:
        context["error"] = f"{error.code}: {error.detail}"
        return render_page(request, "verdicts/diff.html", context, part="diff-files", status=503)
    is_part = request.htmx and request.htmx.target == f"{file.anchor}-body"
    return render_page(request, "verdicts/diff.html#file-diff" if is_part else "verdicts/diff.html", context)


@page(Act.VIEW_PULLS, "GET")
def show_history(request: Request, owner: str, repo: str, number: int) -> HttpResponse:
    """Everything that happened to this pull request's handoffs, newest first."""
    pull = _pull(owner, repo, number)
    context = {"pull": pull, "history": read_history(pull)}
    return render_page(request, "verdicts/history.html", context, part="history")


def _is_with_plan(request: Request, status: str) -> bool:
    """Watching gates is PLAN's: LEAD sees them once PLAN is done (SOP section 5), and the database shows no others."""
    return may(request.actor.role, Act.REVIEW_ESCALATION) and status == PullStatus.GATES_PASSING


def _render_review(
    request: Request,
    review: Review,
    form: VerdictForm,
    *,
    refusal: VerdictError | AuditError | HandoffError | GitError | None = None,
    status: int = 200,
) -> HttpResponse:
    role = request.actor.role
    context = {
        "review": review,
        "pull": review.pull,
        "handoff": review.pull.handoff,
        "form": form,
        "refusal": refusal,
        "size": _sizes([review.pull])[0],
        "may_judge": may(role, Act.ISSUE_VERDICT),
        "may_merge": may(role, Act.MERGE),
        "may_decide": may(role, Act.REVIEW_ESCALATION),
        "may_audit": may(role, Act.VIEW_TRAIL),
        "recorded": request.GET.get("recorded", ""),
        "max_findings": MAX_FINDINGS_SHOWN,
        "opened_head": _opened_head(request, review.pull),
    }
    return render_live(request, "verdicts/pull.html", context, part="pr-live", status=409 if refusal else status)


def _draft(request: Request, pull: PullRequest) -> dict[str, str]:
    """What a link from GitHub fills in, for who asked there. Nothing is recorded: PLAN writes why, and confirms."""
    if not (number := _number(request.GET, "draft")):
        return {}
    asked = GitHubCommand.objects.filter(pull_request=pull, principal=request.actor.principal_id, verb=Verb.ESCALATE)
    command = asked.select_related("question").filter(pk=number).first()
    if command is None:
        return {}
    question = command.question.text if command.question else ""
    return {"verdict": VerdictKind.ESCALATE.value, "question": question or ""}


def _opened_head(request: Request, pull: PullRequest) -> str:
    """The head the reader's page was opened at: a live part says so, a whole page is at the head of now."""
    said = request.GET.get("head", "")
    return said if request.htmx and re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", said) else pull.head_sha


def _pull(owner: str, repo: str, number: int) -> PullRequest:
    pull = for_review().filter(repository__full_name=f"{owner}/{repo}", number=number).first()
    if pull is None:
        raise Http404(f"There is no PR-{number} in {owner}/{repo}.")
    return pull


def _address(pull: PullRequest) -> str:
    owner, _, repo = pull.repository.full_name.partition("/")
    return reverse("verdicts:pull", args=[owner, repo, pull.number])


def _blank(pull: PullRequest) -> VerdictForm:
    return VerdictForm(initial={"head_sha": pull.head_sha})


def _sizes(pulls: Sequence[PullRequest]) -> list[Size | None]:
    kept = kept_sizes((pull.handoff.merge_base, pull.head_sha) for pull in pulls)
    return [kept.get((pull.handoff.merge_base, pull.head_sha)) or _measure(pull) for pull in pulls]


def _measure(pull: PullRequest) -> Size | None:
    try:
        git = Git(Path(pull.repository.path))
    except GitError:
        git = None
    return measure_size(git, pull.handoff.merge_base, pull.head_sha)


def _number(values: Mapping[str, str], name: str) -> int:
    text = values.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadRequest(f"{name} is {text[:40]!r}, expected a number.")
    return int(text or 0)
