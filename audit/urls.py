"""Addresses of the trail."""

from django.urls import path

from audit import views, views_registry

app_name = "audit"

urlpatterns = [
    path("", views.explore, name="explorer"),
    path("registry/", views_registry.show_registry, name="registry"),
    path("registry/propose/", views_registry.propose, name="propose_change"),
    path("registry/proposals/<int:pk>/decide/", views_registry.decide, name="decide_change"),
    path("events/<int:pk>/", views.show_entry, name="entry"),
]
