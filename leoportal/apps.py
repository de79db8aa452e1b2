"""The project as an app: templates, management commands, and the Celery app in every Django process."""

from django.apps import AppConfig

from leoportal.celery import app

__all__ = ["LeoportalConfig", "app"]


class LeoportalConfig(AppConfig):
    """The project."""

    name = "leoportal"

    def ready(self) -> None:
        """Sign-ins are recorded from now on."""
        from leoportal import signing_in  # noqa: PLC0415  it needs the models, which are loaded now

        signing_in.connect()
