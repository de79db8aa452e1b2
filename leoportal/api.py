"""The JSON API under /api/v1/: what machines report and read. Bearer tokens only; every error is {code, detail}.

Verdicts and decisions are not taken here: they are made by a signed-in person in the browser.
"""

from __future__ import annotations

from typing import Any, Literal

from django.http import Http404, HttpRequest
from ninja import NinjaAPI, Schema, Status
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser
from ninja.security import HttpBearer

from audit import actions as trail
from audit.accountability import Act, may, require
from audit.canonical import JsonError, parse_json
from audit.events import Actor, AuditError
from audit.names import named
from handoffs.git.repository import Git
from handoffs.github.oidc import OidcError
from handoffs.models import HandoffError, PullRequest, PullStatus
from handoffs.tasks import nudge, nudge_publisher, tools_for
from leoportal.api_github import router as github_router
from leoportal.machines import enter_lane, leaving_its_lane, signed_in
from leoportal.web import open_to_all
from verdicts import actions, evidence, rounds
from verdicts.actions import GateReport
from verdicts.models import AgentReport, GateExecution, VerdictError, VerificationWork
from verdicts.policy import judgement_to_json
from verdicts.results import AgentKind, GateOutcome, Grade, ResultError, parse_junit, parse_native, parse_sarif

MAX_REPORT_BYTES = 4 << 20


class TokenAuth(HttpBearer):
    """The actor behind `Authorization: Bearer …`; ninja answers 401 for None. From then on its lane acts."""

    def authenticate(self, request: HttpRequest, token: str) -> Actor | None:
        """Raises nothing: a bad token is no actor."""
        try:
            actor = trail.actor_of_token(token)
        except AuditError:
            return None
        enter_lane(request, actor.role)
        return actor


class Refusal(Schema):
    """Why a request was refused."""

    code: str
    detail: str


class GateIn(Schema):
    """A gate's result. `run_id` is the reporter's own id of the run: the same run twice is stored once."""

    gate: str
    conclusion: Literal[
        "success",
        "failure",
        "neutral",
        "cancelled",
        "skipped",
        "timed_out",
        "action_required",
        "stale",
        "startup_failure",
    ]
    run_id: str
    head_sha: str
    evidence: dict[str, Any] = {}


class Stored(Schema):
    """Where a report landed: the row, and the id of its entry in the log."""

    id: int
    log_entry: int


class Queued(Schema):
    """How many pieces of verification work were queued."""

    queued: int
    round: int


class WorkOut(Schema):
    """One piece of the portal's own verification work."""

    name: str
    kind: str
    status: str
    round: int
    error: str


class PullOut(Schema):
    """A pull request as it stands: what `leo pr explain` prints."""

    repository: str
    number: int
    title: str
    status: str
    label: str
    head_sha: str
    base_sha: str
    round: int
    deadline_at: str | None
    verdict: str | None
    is_verdict_current: bool
    gates: dict[str, str]
    work: list[WorkOut]
    judgement: dict[str, Any]


class StrictParser(Parser):
    """Request bodies are read like every other JSON here: no duplicate keys, NaN, depth or size beyond need."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        """The body's object. Raises: JsonError."""
        body = parse_json(request.body)
        if not isinstance(body, dict):
            raise JsonError("json.not_an_object", f"got {type(body).__name__}, expected an object")
        return body


api = NinjaAPI(
    title="leoportal", version="1", auth=TokenAuth(), parser=StrictParser(), openapi_url="/openapi.json", docs_url=None
)


def _actor(request: HttpRequest) -> Actor:
    return signed_in(request, Actor)


def _pull(owner: str, name: str, number: int) -> PullRequest:
    pulls = PullRequest.objects.select_related("repository", "handoff")
    pull = pulls.filter(repository__full_name=f"{owner}/{name}", number=number).first()
    if pull is None:
        raise Http404
    return pull


@api.get("/prs/{owner}/{name}/{number}", response=PullOut)
def show_pull(request: HttpRequest, owner: str, name: str, number: int) -> dict[str, Any]:
    """How a pull request stands, judged now from its rows and its head's real tree."""
    require(_actor(request), Act.VIEW_PULLS)
    pull = _pull(owner, name, number)
    if may(_actor(request).role, Act.REVIEW_ESCALATION) and pull.status == PullStatus.GATES_PASSING:
        raise AuditError("role.with_plan", f"{pull} is with PLAN; LEAD sees its gates once PLAN is done")
    found = evidence.gather(pull, tree=evidence.observed_tree(pull, Git(tools_for(pull.repository).forge.git_path)))
    verdict = evidence.live_verdict(pull)
    return {
        "repository": pull.repository.full_name,
        "number": pull.number,
        "title": pull.title,
        "status": pull.status,
        "label": pull.label,
        "head_sha": pull.head_sha,
        "base_sha": pull.base_sha,
        "round": pull.round,
        "deadline_at": pull.deadline_at.isoformat() if pull.deadline_at else None,
        "verdict": verdict.verdict if verdict else None,
        "is_verdict_current": bool(verdict and verdict.binds(pull)),
        "gates": {gate.key: gate.outcome.value for gate in found.inputs.gates},
        "work": list(
            VerificationWork.objects.filter(pull_request=pull, head_sha=pull.head_sha)
            .order_by("pk")
            .values("name", "kind", "status", "round", "error")
        ),
        "judgement": judgement_to_json(found.judgement),
    }


@api.post("/prs/{owner}/{name}/{number}/gates", response={201: Stored})
def report_gate(request: HttpRequest, owner: str, name: str, number: int, body: GateIn) -> Status[dict[str, int]]:
    """Report how a gate ended on a head."""
    require(_actor(request), Act.REPORT_RESULT)
    report = GateReport(body.gate, GateOutcome(body.conclusion), body.run_id, body.head_sha, body.evidence)
    pull = _pull(owner, name, number)
    row = actions.report_gate(pull.pk, report, by=_actor(request))
    nudge_publisher(pull.repository)
    return Status(201, _stored(row))


@api.post("/prs/{owner}/{name}/{number}/agents", response={201: Stored})
def report_agent(  # noqa: PLR0913 - each is a part of the address or the query
    request: HttpRequest,
    owner: str,
    name: str,
    number: int,
    format: Literal["native", "sarif", "junit"] = "native",  # noqa: A002 - the query parameter's public name
    kind: str = "",
    head_sha: str = "",
) -> Status[dict[str, int]]:
    """Report a sub-agent's result: native JSON, SARIF 2.1.0 or JUnit XML as the raw body."""
    require(_actor(request), Act.REPORT_RESULT)
    raw = request.body
    if len(raw) > MAX_REPORT_BYTES:
        raise ResultError("result.too_long", f"got {len(raw)} bytes, expected at most {MAX_REPORT_BYTES}")
    if format == "native":
        result = parse_native(raw, grade=Grade.VERIFIED)
    else:
        if kind not in set(AgentKind):
            raise ResultError("result.kind", f"got {kind[:40]!r}, expected one of {', '.join(AgentKind)}")
        reader = parse_sarif if format == "sarif" else parse_junit
        result = reader(raw, AgentKind(kind), head_sha)
    pull = _pull(owner, name, number)
    row = actions.report_agent(pull.pk, result, by=_actor(request))
    nudge_publisher(pull.repository)
    return Status(201, _stored(row))


@api.post("/prs/{owner}/{name}/{number}/verify", response={202: Queued})
def verify_again(request: HttpRequest, owner: str, name: str, number: int) -> Status[dict[str, int]]:
    """PLAN's `/leo-verify`: run the built-in gates and all five sub-agents again on this head."""
    require(_actor(request), Act.RUN_VERIFICATION)
    pull = _pull(owner, name, number)
    queued = rounds.verify_again(pull.pk, by=_actor(request))
    nudge("verdicts.tasks.sweep_work")
    return Status(202, {"queued": queued, "round": pull.round})


def _stored(row: GateExecution | AgentReport) -> dict[str, int]:
    return {"id": row.pk, "log_entry": row.log_entry_id}


@api.exception_handler(AuditError)
@api.exception_handler(VerdictError)
@api.exception_handler(ResultError)
@api.exception_handler(JsonError)
@api.exception_handler(HandoffError)
@api.exception_handler(OidcError)
def _refused(request: HttpRequest, error: Exception) -> Any:
    code, detail = getattr(error, "code", ""), getattr(error, "detail", "")
    if code.startswith(("sod.", "role.")):
        status = 403
    elif code.startswith("oidc."):
        status = 503 if code == "oidc.keys" else 401
    elif code.endswith(("_moved", "_conflict", ".not_triggered", ".not_now", ".already_recorded", ".already_sent")):
        status = 409
    else:
        status = 422
    return api.create_response(request, {"code": code, "detail": named(detail)}, status=status)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> Any:
    places = [[str(part) for part in item["loc"] if part != "body"] for item in error.errors[:5]]
    said = "; ".join(
        f"{'.'.join(place) or 'the body'}: got {str(item.get('input'))[:80]!r}, {item['msg']}"
        for place, item in zip(places, error.errors, strict=False)
    )
    return api.create_response(request, {"code": "request.invalid", "detail": said}, status=422)


@api.exception_handler(HttpError)
def _http(request: HttpRequest, error: HttpError) -> Any:
    if isinstance(error.__cause__, JsonError):
        return _refused(request, error.__cause__)
    if error.status_code == 401:
        detail = "got no token, or one that is unknown, expired or revoked; an operator issues one (operate token)"
        return api.create_response(request, {"code": "token.invalid", "detail": detail}, status=401)
    code = f"http.{error.status_code}"
    return api.create_response(request, {"code": code, "detail": str(error)}, status=error.status_code)


@api.exception_handler(Http404)
def _missing(request: HttpRequest, _error: Http404) -> Any:
    detail = "no such pull request, or this token may not see it"
    return api.create_response(request, {"code": "pull.unknown", "detail": detail}, status=404)


api.add_router("/github", github_router)
api_urls = api.urls  # once: the property builds new patterns each time
for pattern in api_urls[0]:
    if pattern.callback is not None:
        pattern.callback = open_to_all(leaving_its_lane(pattern.callback))
