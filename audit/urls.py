"""Addresses of the trail."""

from django.urls import path

from audit import views

app_name = "audit"

urlpatterns = [
    path("", views.explore, name="explorer"),
    path("events/<int:pk>/", views.show_entry, name="entry"),
]
