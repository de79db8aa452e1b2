"""The audit app."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    """The app."""

    name = "audit"
