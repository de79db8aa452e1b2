"""The verdicts app."""

from django.apps import AppConfig


class VerdictsConfig(AppConfig):
    """The app."""

    name = "verdicts"
