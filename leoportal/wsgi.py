"""The web process's entry point."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "leoportal.settings")
application = get_wsgi_application()

from leoportal.lanes.watching import watch_database  # noqa: E402  it needs the models, which are loaded now

watch_database()
