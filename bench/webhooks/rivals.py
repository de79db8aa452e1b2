"""The two usual ways, as early in the portal's own Django and with its own checks: a message in it, and the ORM."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from handoffs.models import WebhookDelivery
from handoffs.tasks import nudge
from handoffs.views_github import _answer, _headers, _read, _refuse_forged, _secrets, _store
from leoportal.lanes.switching import acting_in


class RivalsMiddleware:
    """Answers their two addresses."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        match request.path_info:
            case "/bench/message/":
                return take(request, with_message)
            case "/bench/orm/":
                return take(request, with_orm)
        return self._get_response(request)


def take(request: HttpRequest, store: Callable[[str, str, bytes], None]) -> JsonResponse:
    """What the portal does before it stores."""
    delivery_id, event, signature, length = _headers(request)
    body = _read(request, length)
    _refuse_forged(body, signature, _secrets("enforcer"))
    store(delivery_id, event, body)
    return _answer(202, "webhook.stored", "it is processed soon")


def with_message(delivery_id: str, event: str, body: bytes) -> None:
    """Store as the portal does, and tell the broker before answering."""
    _store("enforcer", delivery_id, event, body)
    nudge("handoffs.tasks_github.take_deliveries")


def with_orm(delivery_id: str, event: str, body: bytes) -> None:
    """Store by `get_or_create`, over Django's pool, in the lane."""
    with acting_in("ingest"):
        WebhookDelivery.objects.get_or_create(
            app="enforcer", delivery_id=delivery_id, defaults={"event": event, "body": body}
        )
