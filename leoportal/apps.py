"""The project as an app: templates, management commands, and the Celery app in every Django process."""

from django.apps import AppConfig

from leoportal.celery import app

__all__ = ["LeoportalConfig", "app"]


class LeoportalConfig(AppConfig):
    """The project."""

    name = "leoportal"
