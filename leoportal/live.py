"""Parts of a page that follow the record: polled every five seconds, swapped only when something changed."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from leoportal.web import Request, with_names


def render_live(
    request: Request, template: str, context: dict[str, Any], *, part: str, status: int = 200
) -> HttpResponse:
    """The page, or its live part `part` when htmx asks for it: 204, and so no swap, if the reader has it already.

    What a reader has is named by a digest of the part's own HTML, which the page carries as `seen`. A changed part
    is rendered with `is_poll`, so that it can bring what belongs to it elsewhere on the page.
    """
    context = {"my_role": request.actor.role.value, **with_names(context)}
    inner = render_to_string(f"{template}#{part}", {**context, "seen": ""})
    seen = hashlib.sha256(inner.encode()).hexdigest()[:16]
    if _asks_for(request, part):
        if request.GET.get("seen") == seen:
            return HttpResponse(status=204)
        return render(request, f"{template}#{part}", {**context, "seen": seen, "is_poll": True}, status=status)
    return render(request, template, {**context, "seen": seen}, status=status)


def _asks_for(request: Request, part: str) -> bool:
    return bool(request.htmx) and request.htmx.target == part
