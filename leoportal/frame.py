"""What every page shows around itself: who you are, and how much waits for you."""

from __future__ import annotations

from django.http import HttpRequest

from audit.events import Role
from audit.rollback import guard, log_trouble
from handoffs.models import PullRequest
from leoportal.lanes.switching import LANE_OF, acting_in
from verdicts.break_glass_rows import BreakGlass
from verdicts.keyring import key_warnings

MOST = 100


def broken_glass() -> BreakGlass | None:
    """The one that waits for its review: everybody sees it until then."""
    broken = BreakGlass.objects.unreviewed()
    return broken.select_related("pull_request", "requested_by", "second").first() if broken.exists() else None


def page_frame(request: HttpRequest) -> dict[str, object]:
    """Template context: the person's role, the counts of what is their turn (never totals), and late keys."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"log_trouble": log_trouble()}
    principal = getattr(user, "principal", None)
    held = getattr(user, "role", None)
    if principal is None or held is None:
        return {"my_role": "", "my_name": user.get_username(), "log_trouble": log_trouble()}
    role = Role(held)
    counts = {
        Role.PLAN: PullRequest.objects.waiting_for_plan()[:MOST].count,
        Role.LEAD: PullRequest.objects.waiting_for_lead()[:MOST].count,
    }
    with acting_in(LANE_OF[role]):  # pages about errors are rendered outside any view
        waiting = counts[role]() if role in counts else 0
        glass = broken_glass() if role is not Role.BUILDER else None
        trouble = log_trouble() if getattr(user, "has_alarm", True) else guard.look()
        warnings = tuple(key_warnings()) if role is Role.ENFORCER else ()
    return {
        "my_role": role.value,
        "my_name": principal.name,
        "my_turn": waiting if waiting < MOST else f"{MOST - 1}+",
        "glass": glass,
        "log_trouble": trouble,
        "key_warnings": warnings,
    }
