"""The Celery app. Messages only wake workers up; PostgreSQL holds the work."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leoportal.settings")
app = Celery("leoportal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
