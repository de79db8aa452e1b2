"""The handoffs app."""

from django.apps import AppConfig


class HandoffsConfig(AppConfig):
    """The app."""

    name = "handoffs"
