"""The project as an app: templates and management commands."""

from django.apps import AppConfig


class LeoportalConfig(AppConfig):
    name = "leoportal"
