"""Addresses. Every view but allauth's two declares who may see it; what is not listed here answers 404,
but GitHub's two webhooks, which are answered before (`handoffs.views_github`)."""

from allauth.account.views import login, logout
from django.urls import include, path

from audit import views_log
from leoportal import views
from leoportal.api import api_urls
from verdicts.views_keys import well_known

urlpatterns = [
    path("", views.land, name="land"),
    path("signin/", login, name="account_login"),
    path("signout/", logout, name="account_logout"),
    path("handoffs/", include("handoffs.urls")),
    path("", include("verdicts.urls")),
    path("audit/", include("audit.urls")),
    path("api/v1/", api_urls),
    path("log/checkpoint", views_log.checkpoint, name="log-checkpoint"),
    path("log/anchored", views_log.anchored, name="log-anchored"),
    path("log/anchored.sigstore.json", views_log.anchor_bundle, name="log-anchor-bundle"),
    path("log/tile/entries/<path:path>", views_log.entry_bundle, name="log-entries"),
    path("log/tile/<path:path>", views_log.hash_tile, name="log-tile"),
    path(".well-known/leoportal-keys.json", well_known, name="leoportal-keys"),
    path("healthz/live", views.live, name="live"),
    path("healthz/ready", views.ready, name="ready"),
]
