"""What every view stands on: the typed request, permissions, rendering a page or a part of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django_htmx.middleware import HtmxDetails

from audit.accountability import MATRIX, Act, may
from audit.coded import CodedError
from audit.events import Actor, Role
from audit.names import named
from leoportal.lanes.switching import LANE_OF, VISITOR, acting_in


class Request(HttpRequest):
    """A request that came through the middleware: somebody is signed in, in one role."""

    user: User
    htmx: HtmxDetails
    actor: Actor


type View[**P] = Callable[Concatenate[Request, P], HttpResponseBase]


def page[**P](act: Act | None, *methods: str) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Declare a view: the act it needs (None: any signed-in person with a role) and its methods.

    A view without this declaration answers nobody (`DenyByDefaultMiddleware`).
    """

    def declare(view: View[P]) -> Callable[..., HttpResponseBase]:
        @functools.wraps(view)
        def guarded(request: Request, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if request.method not in (*methods, "HEAD" if "GET" in methods else ""):
                response: HttpResponseBase = render(request, "405.html", {"methods": methods}, status=405)
                response.headers["Allow"] = ", ".join(methods)
                return response
            request.actor = _actor(request.user)
            if act is not None and not may(request.actor.role, act):
                needed = " or ".join(sorted(role.value for role in MATRIX[act]))
                raise PermissionDenied(f"This page needs the role {needed}. You are signed in as {request.actor.role}.")
            with acting_in(LANE_OF[request.actor.role]):
                response = view(request, *args, **kwargs)
            if isinstance(response, StreamingHttpResponse) and not response.is_async:
                response.streaming_content = _acting_while(LANE_OF[request.actor.role], iter(response))
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        guarded.is_declared = True  # type: ignore[attr-defined]
        return guarded

    return declare


def _acting_while[T](lane: str, parts: Iterable[T]) -> Iterator[T]:
    """What a view streams is read after it returned: in its lane all the same."""
    with acting_in(lane):
        yield from parts


def open_to_all(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Declare a view that needs no sign-in: machines' health checks, and the API, which checks its own tokens."""
    view.is_declared = True  # type: ignore[attr-defined]
    view.login_required = False  # type: ignore[attr-defined]
    return view


class VisitorMiddleware:
    """Whatever a request asks the database before its view is known, and after, it asks as nobody in particular."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Called by Django for each request."""
        with acting_in(VISITOR):
            return self._get_response(request)


class DenyByDefaultMiddleware:
    """Refuse every view that did not declare who may see it. Sign-in pages come from allauth and pass."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Called by Django for each request. No name of anything here holds U+0000, and no database takes it."""
        if "\x00" in request.path:
            return HttpResponse("There is nothing here.", status=404, content_type="text/plain; charset=utf-8")
        return self._get_response(request)

    def process_view(
        self, _request: HttpRequest, view: Callable[..., Any], _args: list[Any], _kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        """Called by Django before each view."""
        if getattr(view, "is_declared", False) or view.__module__.startswith("allauth.account."):
            return None
        raise PermissionDenied("This address declares no permission and therefore answers nobody.")


def render_page(
    request: Request, template: str, context: dict[str, Any], *, part: str = "", status: int = 200
) -> HttpResponse:
    """The whole page, or only its part `part` when htmx asks for that one."""
    context = with_names(context)
    if part and request.htmx and request.htmx.target == part:
        return render(request, f"{template}#{part}", context, status=status)
    return render(request, template, context, status=status)


@dataclass(frozen=True)
class Refusal:
    """A refusal as a page says it."""

    code: str
    detail: str


def with_names(context: dict[str, Any]) -> dict[str, Any]:
    """The context, its refusal with names in place of numbers: that sentence may be kept, so it says numbers."""
    match context.get("refusal"):
        case CodedError() as error:
            return {**context, "refusal": Refusal(error.code, named(error.detail))}
        case _:
            return context


def _actor(user: User) -> Actor:
    principal = getattr(user, "principal", None)
    role = getattr(user, "role", None)
    if principal is None or role is None:
        raise PermissionDenied("Your account is not linked to a person with a role. Ask an administrator.")
    return Actor(principal.pk, principal.name, Role(role))
