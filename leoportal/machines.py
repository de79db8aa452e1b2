"""Requests of machines: who signed in by a token, and the lane that acts for them until the answer is made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, cast

from django.http import HttpRequest

from audit.events import Role
from leoportal.lanes.switching import LANE_OF, acting_in


class MachineRequest(HttpRequest):
    """A request below /api/v1/, as `leaving_its_lane` and the router's own authentication leave it."""

    lane: ExitStack
    auth: object


def enter_lane(request: HttpRequest, role: Role) -> None:
    """From now on the lane of this role acts, until the request is answered."""
    cast("MachineRequest", request).lane.enter_context(acting_in(LANE_OF[role]))


def signed_in[T](request: HttpRequest, kind: type[T]) -> T:
    """Who the request's token stands for.

    Raises: TypeError where an operation is behind another kind of token than it thinks.
    """
    found = cast("MachineRequest", request).auth
    if not isinstance(found, kind):
        raise TypeError(f"got {type(found).__name__}, expected {kind.__name__}")
    return found


def leaving_its_lane(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view, after which no lane acts any more."""

    @functools.wraps(view)
    def answer(request: MachineRequest, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as lane:
            request.lane = lane
            return view(request, *args, **kwargs)

    return answer
