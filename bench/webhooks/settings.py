"""The portal's settings with two more addresses."""

from leoportal.settings import *  # noqa: F403  that is what it is for

ROOT_URLCONF = "bench.webhooks.urls"
