"""Addresses."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from leoportal import api
from leoportal.web import open_to_all


@open_to_all
def healthz(_request: HttpRequest) -> HttpResponse:
    """Alive."""
    return HttpResponse("ok")


urlpatterns = [path("healthz", healthz), path("api/v1/", api.urls), path("accounts/", include("allauth.account.urls"))]
