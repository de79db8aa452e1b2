"""The two usual ways, in the portal's own Django, with its own checks: a message in the request, and the ORM."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from handoffs.models import WebhookDelivery, store_delivery
from handoffs.tasks import nudge
from handoffs.views_github import _headers, _read, _refuse_forged, _secrets
from leoportal.lanes.ingesting import ingest
from leoportal.lanes.switching import acting_in
from leoportal.web import open_to_all


@open_to_all
@csrf_exempt
def with_message(request: HttpRequest) -> JsonResponse:
    """Store as the portal does, and tell the broker before answering."""
    delivery_id, event, signature, length = _headers(request)
    body = _read(request, length)
    _refuse_forged(body, signature, _secrets("enforcer"))
    ingest(lambda session: store_delivery(session, "enforcer", delivery_id, event, body))
    nudge("handoffs.tasks_github.take_deliveries")
    return JsonResponse({"code": "webhook.stored"}, status=202)


@open_to_all
@csrf_exempt
def with_orm(request: HttpRequest) -> JsonResponse:
    """Store by `get_or_create`."""
    delivery_id, event, signature, length = _headers(request)
    body = _read(request, length)
    _refuse_forged(body, signature, _secrets("enforcer"))
    with acting_in("ingest"):
        WebhookDelivery.objects.get_or_create(
            app="enforcer", delivery_id=delivery_id, defaults={"event": event, "body": body}
        )
    return JsonResponse({"code": "webhook.stored"}, status=202)
